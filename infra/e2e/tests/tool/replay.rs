//! Tests of `aura-ops replay`: who gets which events again, and what is left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sqs::types::QueueAttributeName;
use e2e::Local;
use e2e::inbox::Inbox;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use stack::consumers::{QUEUES, Queue};
use stack::ops::{Identity, Ops};
use stack::settled::drained;
use stack::system::System;
use tokio::process::Child;
use uuid::Uuid;

use super::ledger::{item, put_all};
use super::ops;

/// How the names of replays and of their rules begin.
const PREFIX: &str = "aura-ops-replay-";

/// A deployed system, and the command.
struct Desk {
    system: System,
    ops: &'static Ops,
}

impl Desk {
    async fn new() -> Result<Self> {
        let system = Local::shared().await?.system(&[]).await?;
        drained(&system.stack).await?;
        Ok(Self {
            system,
            ops: ops().await?,
        })
    }

    fn output(&self, name: &str) -> Result<&str> {
        self.system.stack.output(name)
    }

    fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        self.system.stack.account().eventbridge()
    }

    async fn replay(&self, span: &[String; 2], options: &[&str]) -> Result<Value> {
        let options = [options_of(span, options).as_slice(), &["--yes"]].concat();
        self.ops.json(&self.system.stack, &options).await
    }

    /// The error of a replay that must be refused for this reason.
    async fn refusal(&self, span: &[String; 2], options: &[&str], why: &str) -> Result<String> {
        let options = [options_of(span, options).as_slice(), &["--yes"]].concat();
        let output = self.ops.run(&self.system.stack, &options).await?;
        ensure!(output.status.code() == Some(2), "{options:?} didn't fail");
        let error = String::from_utf8(output.stderr)?;
        ensure!(error.contains(why), "{options:?}: {error}");
        Ok(error)
    }

    /// The rules of replays that are there.
    async fn left_rules(&self) -> Result<Vec<String>> {
        let bus = self.output("EventBusName")?;
        let rules = self.eventbridge().list_rules().event_bus_name(bus);
        let rules = rules
            .name_prefix(PREFIX)
            .send()
            .await?
            .rules
            .unwrap_or_default();
        Ok(rules.into_iter().filter_map(|rule| rule.name).collect())
    }

    async fn depth(&self, url: &str) -> Result<u64> {
        Queue::new(self.system.stack.account().sqs(), url)
            .depth()
            .await
    }

    /// Takes all events from a queue.
    async fn take(&self, url: &str) -> Result<Vec<Value>> {
        let queue = Queue::new(self.system.stack.account().sqs(), url);
        let mut events = Vec::new();
        while queue.depth().await? > 0 {
            for body in queue.receive().await? {
                events.push(serde_json::from_str(&body)?);
            }
        }
        Ok(events)
    }

    /// Takes all events from a queue, and returns their keys in order.
    async fn keys(&self, url: &str) -> Result<Vec<String>> {
        let mut keys: Vec<_> = self.take(url).await?.iter().map(key).collect();
        keys.sort();
        Ok(keys)
    }

    /// The URLs of the stack's queues for consumers.
    fn queues(&self) -> Result<Vec<&str>> {
        QUEUES.iter().map(|output| self.output(output)).collect()
    }

    /// Forgets what came to the stack's queues and to this one so far.
    async fn empty(&self, also: Option<&Inbox>) -> Result<()> {
        for url in self
            .queues()?
            .into_iter()
            .chain(also.map(|inbox| inbox.url.as_str()))
        {
            let purge = self.system.stack.account().sqs().purge_queue();
            purge.queue_url(url).send().await?;
        }
        Ok(())
    }

    /// Delivers some events as AURA does, and returns the time in which they arrived.
    async fn deliver(&self, events: &[(&str, &str, u64)]) -> Result<[String; 2]> {
        let from = second(Timestamp::now())?;
        let webhook = self.system.webhook().await?;
        let http = shared::http_client::build()?;
        for (message, kind, id) in events {
            let body = json!({"message": message, (*kind): {"id": id}});
            let answer = webhook.post(&http, body.to_string().into()).await?;
            ensure!(answer.delivery_id().is_some(), "{body} was refused");
        }
        drained(&self.system.stack).await?;
        Ok([from.to_string(), next_second().await?.to_string()])
    }
}

/// The options of a replay, with those for the time in front.
fn options_of<'a>([from, to]: &'a [String; 2], options: &[&'a str]) -> Vec<&'a str> {
    let time = ["replay", "--from", from, "--to", to, "--wait", "0"];
    [&time, options].concat()
}

fn key(event: &Value) -> String {
    let key = event.pointer("/detail/key").and_then(Value::as_str);
    key.unwrap_or_default().to_owned()
}

/// The beginning of the second of this time.
fn second(at: Timestamp) -> Result<Timestamp> {
    Ok(Timestamp::from_second(at.as_second())?)
}

/// Waits until the next second begins, and returns its beginning. All that arrived before is before it.
async fn next_second() -> Result<Timestamp> {
    let next = Timestamp::from_second(Timestamp::now().as_second() + 1)?;
    while Timestamp::now() < next {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(next)
}

/// Some events, one of each kind of receiver.
const SOME: [(&str, &str, u64); 4] = [
    ("NEW_CALLOUT", "callout", 1),
    ("CALLOUT_CLOSED", "callout", 1),
    ("NEW_CALLOUT", "callout", 2),
    ("CREATED_CUSTOMER", "customer", 1),
];

/// Puts events straight on the bus, all with this time of arrival, and returns their keys.
async fn publish(
    desk: &Desk,
    at: Timestamp,
    kind: &str,
    ids: std::ops::Range<u32>,
) -> Result<BTreeSet<String>> {
    let bus = desk.output("EventBusName")?;
    let entry = |id: u32| {
        let key = format!("{kind}#{id}/NEW_CALLOUT");
        let detail = json!({
            "key": key, "message": "NEW_CALLOUT", "entity": {"kind": kind, "id": id.to_string()},
            "deliveryId": Uuid::now_v7(), "receivedAt": at, "origin": "webhook",
            "sequence": id.to_string(), "test": false, "payload": {},
        });
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(bus)
            .source("aura");
        let entry = entry
            .detail_type("NEW_CALLOUT")
            .time(DateTime::from_secs(at.as_second()));
        (key, entry.detail(detail.to_string()).build())
    };
    let (keys, entries): (BTreeSet<_>, Vec<_>) = ids.map(entry).unzip();
    for entries in entries.chunks(10) {
        let put = desk
            .eventbridge()
            .put_events()
            .set_entries(Some(entries.to_vec()));
        ensure!(
            put.send().await?.failed_entry_count == 0,
            "the bus refused an event"
        );
    }
    Ok(keys)
}

#[tokio::test]
async fn a_replay_of_1000_events_to_one_queue_sends_exactly_those_and_nothing_to_others()
-> Result<()> {
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    let everything = json!({"source": ["aura"]});
    let other = Inbox::new(stack, "other", "*").await?;
    other.add_rule(stack, "other", &everything).await?;
    let mine = Inbox::new(stack, "mine", &format!("{PREFIX}*")).await?;

    let from = next_second().await?;
    let [before, to] = [-1, 1].map(|seconds| Timestamp::from_second(from.as_second() + seconds));
    let (before, to) = (before?, to?);
    let mut expected = publish(&desk, from, "callout", 0..600).await?;
    expected.extend(publish(&desk, from, "customer", 0..300).await?);
    expected.extend(publish(&desk, from, "vehicle", 0..100).await?);
    publish(&desk, before, "callout", 1000..1010).await?;
    publish(&desk, to, "callout", 1010..1020).await?;
    let items = expected.iter().zip(from.as_millisecond()..);
    let items = items.map(|(key, at)| {
        let (partition, sort) = key.split_once('/').unwrap_or_default();
        item("PUBLISHED", partition, sort, Uuid::now_v7(), at)
    });
    put_all(stack, items).await?;
    assert_eq!(desk.depth(&other.url).await?, 1020);
    assert_eq!(desk.depth(&mine.url).await?, 0);
    desk.empty(Some(&other)).await?;

    // A replay's end may not be in the future.
    next_second().await?;
    let span = [from.to_string(), to.to_string()];
    let replayed = desk.replay(&span, &["--to-queue", &mine.url]).await?;
    assert_eq!(replayed["events"], 1000);
    assert_eq!(replayed["perhaps"], 0);
    assert_eq!(replayed["lastEvent"], from.to_string());
    let what = replayed["what"].as_str().unwrap_or_default();
    assert!(what.contains("The ledger counts 1000 events."), "{what}");
    assert!(what.contains("the newest may be missing"), "{what}");
    let events = desk.take(&mine.url).await?;
    let name = replayed["name"].as_str().context("no name")?;
    assert!(name.starts_with(PREFIX) && name.len() <= 64, "{name}");
    assert!(events.iter().all(|event| event["replay-name"] == name));
    assert_eq!(events.len(), 1000);
    assert_eq!(events.iter().map(key).collect::<BTreeSet<_>>(), expected);
    for url in desk.queues()?.into_iter().chain([other.url.as_str()]) {
        assert_eq!(desk.depth(url).await?, 0, "{url}");
    }

    assert_eq!(desk.left_rules().await?, [""; 0]);
    let audit: Value = desk.ops.json(stack, &["audit"]).await?;
    let change = &audit["changes"][0];
    assert_eq!(change["action"], "replay");
    assert_eq!(change["count"], 1000);
    assert_eq!(change["subjects"][0], name);
    assert_eq!(change["failure"], Value::Null);
    Ok(())
}

/// A dry run says that 3 events would be sent, and leaves no trace.
async fn dry_run(desk: &Desk, span: &[String; 2], queue: &str) -> Result<()> {
    let options = options_of(span, &["--to-queue", queue, "--dry-run"]);
    let dry = desk.ops.run(&desk.system.stack, &options).await?;
    let dry = String::from_utf8(dry.stdout)?;
    assert!(
        dry.starts_with("Nothing was sent. This would be done: Send 3 events again, "),
        "{dry}"
    );
    assert!(dry.contains("the newest may be missing"), "{dry}");
    assert_eq!(desk.depth(queue).await?, 0);
    assert_eq!(desk.left_rules().await?, [""; 0]);
    let audit: Value = desk.ops.json(&desk.system.stack, &["audit"]).await?;
    assert_eq!(audit.get("changes"), Some(&json!([])));
    Ok(())
}

#[tokio::test]
async fn a_queue_gets_what_its_own_rule_takes_and_of_that_what_is_asked_for() -> Result<()> {
    let desk = Desk::new().await?;
    let span = desk.deliver(&SOME).await?;
    let queue = desk.output("CalloutEventsQueueUrl")?;
    let mut live = desk.take(queue).await?;
    desk.empty(None).await?;
    dry_run(&desk, &span, queue).await?;

    let [opened, closed, second] =
        ["1/NEW_CALLOUT", "1/CALLOUT_CLOSED", "2/NEW_CALLOUT"].map(|end| format!("callout#{end}"));
    let cases: [(&[&str], &[&String]); 4] = [
        (&["--kind", "callout", "--id", "1"], &[&closed, &opened]),
        (&["--message", "NEW_CALLOUT"], &[&opened, &second]),
        (
            &[
                "--kind",
                "callout",
                "--id",
                "2",
                "--message",
                "CALLOUT_CLOSED",
            ],
            &[],
        ),
        (&["--kind", "callout"], &[&closed, &opened, &second]),
    ];
    for (filters, expected) in cases {
        let replayed = desk
            .replay(&span, &[&["--to-queue", queue], filters].concat())
            .await?;
        assert_eq!(replayed["events"], expected.len(), "{filters:?}");
        assert_eq!(
            desk.keys(queue).await?.iter().collect::<Vec<_>>(),
            expected,
            "{filters:?}"
        );
    }

    // Apart from the mark of the replay, the event is the one that came first.
    let replayed = desk.replay(&span, &["--to-queue", queue]).await?;
    let mut again = desk.take(queue).await?;
    for event in &mut again {
        let mark = event
            .as_object_mut()
            .and_then(|event| event.remove("replay-name"));
        assert_eq!(mark.as_ref(), Some(&replayed["name"]));
    }
    live.sort_by_key(key);
    again.sort_by_key(key);
    assert_eq!(again, live);
    for url in desk.queues()? {
        assert_eq!(desk.depth(url).await?, 0, "{url}");
    }
    let other = ["--to-queue", queue, "--kind", "customer"];
    desk.refusal(&span, &other, "leaves out such events")
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_rule_gets_what_it_takes_and_no_other_rule_does() -> Result<()> {
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    let inbox = Inbox::new(stack, "inbox", "*").await?;
    let closings = json!({"detail": {"payload": {"message": [{"suffix": "CLOSED"}]}}});
    inbox.add_rule(stack, "closings", &closings).await?;
    let span = desk.deliver(&SOME).await?;
    desk.empty(Some(&inbox)).await?;

    // The ledger doesn't know payloads.
    let replayed = desk.replay(&span, &["--to-rule", "closings"]).await?;
    assert_eq!(
        (&replayed["events"], &replayed["perhaps"]),
        (&json!(0), &json!(4))
    );
    assert_eq!(desk.keys(&inbox.url).await?, ["callout#1/CALLOUT_CLOSED"]);
    // The name in the template stands for the rule.
    let replayed = desk
        .replay(&span, &["--to-rule", "CustomerEventsRule"])
        .await?;
    assert_eq!(
        (&replayed["events"], &replayed["perhaps"]),
        (&json!(1), &json!(0))
    );
    let customers = desk.output("CustomerEventsQueueUrl")?;
    assert_eq!(desk.keys(customers).await?, ["customer#1/CREATED_CUSTOMER"]);
    for url in desk.queues()?.into_iter().chain([inbox.url.as_str()]) {
        assert_eq!(desk.depth(url).await?, 0, "{url}");
    }

    // A queue gets what its rule takes, also if that rule is disabled. The rule gets nothing then.
    let off = desk.eventbridge().disable_rule().name("closings");
    let off = off.event_bus_name(desk.output("EventBusName")?);
    off.send().await?;
    desk.replay(&span, &["--to-queue", &inbox.url]).await?;
    assert_eq!(desk.keys(&inbox.url).await?, ["callout#1/CALLOUT_CLOSED"]);
    desk.refusal(&span, &["--to-rule", "closings"], "is disabled")
        .await?;
    Ok(())
}

/// Makes queues that a replay can't fill as they are: one lets no rule of a replay in, one has several
/// rules, the rule of one takes no replay, and one is encrypted. The rule `idle` has no queue.
async fn unreachable_queues(desk: &Desk) -> Result<[Inbox; 4]> {
    let stack = &desk.system.stack;
    let closed = Inbox::new(stack, "closed", "another").await?;
    let shared = Inbox::new(stack, "shared", "*").await?;
    let nothing = json!({"source": ["nothing"]});
    for rule in ["one", "two"] {
        shared.add_rule(stack, rule, &nothing).await?;
    }
    let once = Inbox::new(stack, "once", "*").await?;
    let no_replay = json!({"replay-name": [{"exists": false}]});
    once.add_rule(stack, "once", &no_replay).await?;
    let encrypted = Inbox::new(stack, "encrypted", "*").await?;
    let key = stack.account().sqs().set_queue_attributes();
    let key = key
        .queue_url(&encrypted.url)
        .attributes(QueueAttributeName::KmsMasterKeyId, "alias/aws/sqs");
    key.send().await?;
    let idle = desk.eventbridge().put_rule().name("idle");
    let idle = idle.event_bus_name(desk.output("EventBusName")?);
    idle.event_pattern(nothing.to_string()).send().await?;
    Ok([closed, shared, once, encrypted])
}

#[tokio::test]
async fn what_cannot_get_there_or_is_unclear_is_refused_and_nothing_is_sent() -> Result<()> {
    let desk = Desk::new().await?;
    let span = desk.deliver(&SOME).await?;
    let [closed, shared, once, encrypted] = unreachable_queues(&desk).await?;
    let cases: [(&[&str], &str); 9] = [
        (
            &["--to-queue", &once.url],
            "the rule of once takes no replay",
        ),
        (
            &["--to-queue", &encrypted.url],
            "is encrypted with alias/aws/sqs",
        ),
        (
            &["--to-queue", &closed.url],
            "doesn't let the rules of a replay in. Add this statement to its policy: ",
        ),
        (
            &["--to-queue", &shared.url],
            "several rules put events into the queue: one, two",
        ),
        (
            &["--to-queue", "http://127.0.0.1:1/nobody"],
            "your role needs sqs:GetQueueAttributes on it",
        ),
        (&["--to-rule", "unknown"], "the rule unknown of the bus "),
        (&["--to-rule", "idle"], "has no targets"),
        (
            &["--to-rule", "one", "--message", "NEW_CALLOUT"],
            "name the rule's queue with --to-queue",
        ),
        (
            &["--to-rule", "one", "--to-queue", &shared.url],
            "cannot be used with",
        ),
    ];
    for (options, why) in cases {
        desk.refusal(&span, options, why).await?;
    }
    let [from, to] = span.clone();
    let future = [from.clone(), "2999-01-01T00:00:00Z".to_owned()];
    let times = [
        ([to, from], "--from has to be before --to"),
        (future, "--to is in the future"),
    ];
    for (times, why) in times {
        desk.refusal(&times, &["--to-rule", "one"], why).await?;
    }
    assert_eq!(desk.left_rules().await?, [""; 0]);

    // With the statement that the error shows, the queue gets the events.
    let to_closed = ["--to-queue", &closed.url];
    let error = desk.refusal(&span, &to_closed, "policy: ").await?;
    let statement = error.split_once("policy: ").context("no statement")?.1;
    let statement = serde_json::from_str(statement)?;
    closed.set_policy(&desk.system.stack, &statement).await?;
    let replayed = desk.replay(&span, &to_closed).await?;
    assert_eq!(replayed["events"], 4);
    assert_eq!(desk.keys(&closed.url).await?.len(), 4);
    Ok(())
}

/// Starts a replay that waits before it sends, and returns once its rule is there.
async fn waiting(desk: &Desk, span: &[String; 2], queue: &str) -> Result<(Child, String)> {
    let [from, to] = span;
    let options = [
        "replay",
        "--from",
        from,
        "--to",
        to,
        "--to-queue",
        queue,
        "--wait",
        "3600",
        "--yes",
    ];
    let mut command = desk.ops.command(
        &desk.system.stack,
        &Identity::root(&desk.system.stack),
        &options,
    );
    command.stderr(std::process::Stdio::piped());
    let mut child = command.spawn()?;
    loop {
        if let [name] = desk.left_rules().await?.as_slice() {
            return Ok((child, name.clone()));
        }
        ensure!(
            child.try_wait()?.is_none(),
            "the replay ended before it had a rule"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn ctrl_c_takes_the_replays_rule_away_and_stop_does_so_for_a_killed_replay() -> Result<()> {
    let desk = Desk::new().await?;
    let span = desk.deliver(&SOME).await?;
    let queue = desk.output("CalloutEventsQueueUrl")?;
    desk.empty(None).await?;

    let (child, _) = waiting(&desk, &span, queue).await?;
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    kill_process(pid.context("the replay has ended")?, Signal::INT)?;
    let output = child.wait_with_output().await?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("the replay was stopped before it began: nothing was sent"),
        "{error}"
    );
    assert_eq!(desk.left_rules().await?, [""; 0]);

    let (mut child, name) = waiting(&desk, &span, queue).await?;
    child.kill().await?;
    assert_eq!(desk.left_rules().await?, [name.as_str()]);
    let audit: Value = desk.ops.json(&desk.system.stack, &["audit"]).await?;
    let killed = &audit["changes"][0];
    assert_eq!(
        (&killed["subjects"][0], &killed["count"]),
        (&json!(name), &Value::Null)
    );
    // The rule that is left takes nothing of another replay.
    desk.replay(&span, &["--to-queue", queue]).await?;
    assert_eq!(desk.keys(queue).await?.len(), 3);
    let stop = ["replay", "stop", &name, "--yes"];
    let stopped: Value = desk.ops.json(&desk.system.stack, &stop).await?;
    assert_eq!(stopped["state"], Value::Null);
    assert_eq!(desk.left_rules().await?, [""; 0]);
    let other = desk
        .ops
        .run(&desk.system.stack, &["replay", "stop", "closings", "--yes"])
        .await?;
    assert_eq!(other.status.code(), Some(2));
    Ok(())
}

#[tokio::test]
async fn a_stack_has_an_archive_for_as_many_days_as_it_is_told_or_none() -> Result<()> {
    let local = Local::shared().await?;
    let system = local.system(&[("ArchiveDays", "0")]).await?;
    let stack = &system.stack;
    assert!(stack.output("EventArchiveArn").is_err());
    let options = [
        "replay",
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2026-01-02T00:00:00Z",
    ];
    let options = [
        &options[..],
        &["--to-rule", "CalloutEventsRule", "--dry-run"],
    ]
    .concat();
    let output = ops().await?.run(stack, &options).await?;
    let error = String::from_utf8(output.stderr)?;
    assert!(error.contains("the stack has no archive"), "{error}");
    // A replay that was begun before the archive was taken away can still be stopped.
    let stop = ["replay", "stop", "aura-ops-replay-none", "--yes"];
    let stopped: Value = ops().await?.json(stack, &stop).await?;
    assert_eq!(stopped["state"], Value::Null);

    let archives = async || {
        let archives = stack.account().eventbridge().list_archives().send().await?;
        let archives = archives.archives.unwrap_or_default().into_iter();
        anyhow::Ok(
            archives
                .map(|archive| archive.retention_days)
                .collect::<Vec<_>>(),
        )
    };
    for (days, expected) in [("35", &[Some(35)][..]), ("7", &[Some(7)]), ("0", &[])] {
        local.update(stack, &[("ArchiveDays", days)]).await?;
        assert_eq!(archives().await?, expected);
    }
    Ok(())
}
