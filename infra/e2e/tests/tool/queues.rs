//! Tests of the commands that look into the quarantine, the dead letters and the spill, and act on what is there.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use aws_sdk_sqs::types::MessageAttributeValue;
use e2e::Local;
use e2e::sender::Sender;
use jiff::Timestamp;
use prove::contract;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use shared::envelope::{Envelope, Origin};
use shared::event::Entity;
use shared::ledger::spill::Spill;
use shared::quarantine::{QuarantineId, Quarantined};
use shared::queue::{Destination, Outgoing, Queue};
use stack::consumers::{self, Consumers, Published};
use stack::ops::{Identity, Ops};
use stack::proxy::{FaultProxy, Plan};
use stack::settled::{all_published, drained};
use stack::system::System;
use uuid::Uuid;

use super::ops;

/// A deployed system, and the command.
struct Desk {
    system: System,
    ops: &'static Ops,
    sender: Sender,
}

impl Desk {
    async fn new() -> Result<Self> {
        let system = Local::shared().await?.system(&[]).await?;
        drained(&system.stack).await?;
        Ok(Self {
            ops: ops().await?,
            sender: Sender::new(&system).await?,
            system,
        })
    }

    async fn json(&self, arguments: &[&str]) -> Result<Value> {
        self.ops.json(&self.system.stack, arguments).await
    }

    /// What a command prints for people.
    async fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ops.run(&self.system.stack, arguments).await?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?} failed: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The error of a command that must fail.
    async fn refusal(&self, arguments: &[&str]) -> Result<String> {
        let output = self.ops.run(&self.system.stack, arguments).await?;
        ensure!(output.status.code() == Some(2), "{arguments:?} didn't fail");
        Ok(String::from_utf8(output.stderr)?)
    }

    fn queue(&self, output: &str) -> Result<Queue> {
        let url = self.system.stack.output(output)?.to_owned();
        Ok(Queue::new(self.system.stack.account().sqs(), url))
    }

    async fn depth(&self, output: &str) -> Result<u64> {
        let stack = &self.system.stack;
        let queue = consumers::Queue::new(stack.account().sqs(), stack.output(output)?);
        queue.depth().await
    }

    /// How many messages of a queue can be received now, without hiding them.
    async fn receivable(&self, output: &str) -> Result<usize> {
        let stack = &self.system.stack;
        let call = stack.account().sqs().receive_message();
        let call = call.queue_url(stack.output(output)?);
        let call = call.max_number_of_messages(10).visibility_timeout(0);
        Ok(call.send().await?.messages.unwrap_or_default().len())
    }
}

/// A delivery that arrived now, of an event whose name may come any number of times.
fn envelope(callout: &str, origin: Origin) -> Result<Envelope> {
    let payload = json!({"message": "CALLOUT_EVENTS_CHANGED", "callout": {"id": callout}});
    let payload = RawValue::from_string(payload.to_string())?;
    Ok(Envelope::new(
        Uuid::now_v7(),
        Timestamp::now(),
        origin,
        payload,
    ))
}

/// The member of each object in a list.
fn members<'a>(list: &'a Value, member: &str) -> Vec<&'a str> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|one| one[member].as_str()).collect()
}

#[tokio::test]
async fn a_look_into_the_quarantine_disturbs_nothing_and_shows_no_payload_unasked() -> Result<()> {
    let desk = Desk::new().await?;
    let conflict = r#"{"message":"NEW_CALLOUT","callout":{"id":1},"text":"second"}"#;
    desk.sender
        .send(conflict.replace("second", "first"))
        .await?;
    let corrected = desk.sender.send(conflict).await?;
    let unreadable = desk.sender.send("unreadable").await?;
    drained(&desk.system.stack).await?;

    let listed = desk.json(&["quarantine", "list"]).await?;
    let (list, output) = (&listed["deliveries"], "QuarantineQueueUrl");
    assert_eq!(listed["more"], 0);
    let known = HashMap::from([
        (corrected.as_str(), ("conflict", "callout#1")),
        (unreadable.as_str(), ("not-json", "")),
    ]);
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    for one in list.as_array().into_iter().flatten() {
        let (reason, entity) = known[one["id"].as_str().unwrap()];
        assert_eq!(one["reason"], reason);
        assert_eq!(one["entity"].as_str().unwrap_or_default(), entity);
    }
    assert_eq!(desk.depth(output).await?, 2);
    assert_eq!(desk.receivable(output).await?, 2);

    let texts = [
        desk.text(&["quarantine", "list"]).await?,
        desk.text(&["quarantine", "show", &corrected]).await?,
    ];
    for text in texts {
        assert!(
            text.contains("callout#1") && !text.contains("second"),
            "{text}"
        );
    }
    let asked = desk
        .text(&["quarantine", "show", &corrected, "--payload"])
        .await?;
    assert!(asked.ends_with(&format!("\n\n{conflict}\n")), "{asked}");
    assert_eq!(desk.receivable(output).await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_conflict_goes_out_as_a_correction_and_what_cannot_go_back_is_discarded() -> Result<()> {
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    let mut consumers = Consumers::read(stack, contract::check);
    desk.sender
        .send(r#"{"message":"NEW_CALLOUT","callout":{"id":1}}"#)
        .await?;
    let conflict = r#"{"message":"NEW_CALLOUT","callout":{"id":1},"text":"corrected"}"#;
    let corrected = desk.sender.send(conflict).await?;
    let unreadable = desk.sender.send("unreadable").await?;
    assert_eq!(all_published(stack, &mut consumers).await?.len(), 1);

    let release = ["quarantine", "release"];
    for (arguments, why) in [
        (&[&corrected, "--yes"][..], "--as-correction"),
        (
            &[&corrected, "--as-correction"],
            "repeat the command with --yes",
        ),
        (&[&unreadable, "--yes"], "can't go back"),
        (
            &[&unreadable, "--as-correction", "--yes"],
            "it is no conflict",
        ),
        (&["--all", "--yes"], "nothing was put back"),
    ] {
        let refused = desk.refusal(&[&release[..], arguments].concat()).await?;
        assert!(refused.contains(why), "{arguments:?}: {refused}");
    }
    assert_eq!(desk.receivable("QuarantineQueueUrl").await?, 2);

    let arguments = [&release[..], &[&corrected, "--as-correction", "--yes"]].concat();
    let done = desk.json(&arguments).await?;
    assert_eq!(done["ids"], json!([corrected]));
    let published = all_published(stack, &mut consumers).await?;
    let [Published { detail, .. }] = published.as_slice() else {
        anyhow::bail!("{published:?}");
    };
    assert_eq!(detail.key, format!("callout#1/NEW_CALLOUT#{corrected}"));
    assert_eq!(
        (detail.origin.as_str(), &detail.delivery_id),
        ("operator", &corrected)
    );
    assert_eq!(detail.payload, serde_json::from_str::<Value>(conflict)?);

    desk.text(&["quarantine", "discard", &unreadable, "--yes"])
        .await?;
    let empty = desk.text(&["quarantine", "list"]).await?;
    assert_eq!(empty, "The quarantine is empty.\n");
    Ok(())
}

#[tokio::test]
async fn what_goes_back_as_it_came_is_published_and_what_would_be_lost_has_to_wait() -> Result<()> {
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    let mut consumers = Consumers::read(stack, contract::check);
    let panicked = envelope("2", Origin::Webhook)?;
    let refused = envelope("3", Origin::Webhook)?;
    let message = |reason, id, body| Quarantined {
        reason,
        id,
        received_at: Timestamp::now(),
        body,
        conflict: None,
    };
    let body = panicked.to_json();
    let quarantine = desk.queue("QuarantineQueueUrl")?;
    let item = message("panicked", QuarantineId::Message("m1"), body.as_bytes());
    quarantine.send(&item.message()).await?;
    let id = QuarantineId::Delivery(refused.delivery_id);
    let item = message("unpublishable", id, refused.payload.get().as_bytes());
    quarantine.send(&item.message()).await?;

    let early = refused.delivery_id.to_string();
    let error = desk
        .refusal(&["quarantine", "release", &early, "--yes"])
        .await?;
    assert!(error.contains("Wait until"), "{error}");
    let done = desk
        .json(&["quarantine", "release", "--all", "--yes"])
        .await?;
    let id = panicked.delivery_id.to_string();
    assert_eq!(done["ids"], json!([id]));
    let what = done["what"].as_str().unwrap_or_default();
    assert!(what.contains(&format!("{early} stays: ")), "{what}");
    let published = all_published(stack, &mut consumers).await?;
    let [Published { detail, .. }] = published.as_slice() else {
        anyhow::bail!("{published:?}");
    };
    assert_eq!(
        (detail.delivery_id.as_str(), detail.origin.as_str()),
        (&*id, "webhook")
    );
    assert_eq!(desk.receivable("QuarantineQueueUrl").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_redrive_keeps_the_order_of_an_entity_beyond_what_one_look_sees() -> Result<()> {
    const EVENTS: usize = 12;
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    let mut consumers = Consumers::read(stack, contract::check);
    let queue = desk.queue("DeadLetterQueueUrl")?;
    let mut sent = Vec::new();
    for callout in std::iter::repeat_n("4", EVENTS).chain(["5"]) {
        let letter = envelope(callout, Origin::Webhook)?;
        queue
            .send(&letter.message(&Entity::callout(callout)))
            .await?;
        sent.push(letter.delivery_id.to_string());
    }
    let other = sent.pop().unwrap_or_default();

    let redrive = ["dead-letters", "redrive"];
    let listed = desk
        .json(&["dead-letters", "list", "--queue", "ingest"])
        .await?;
    let seen = members(&listed["messages"], "id").len() as u64;
    assert_eq!(seen + listed["more"].as_u64().unwrap(), 1 + EVENTS as u64);
    let dry = desk
        .text(&[&redrive[..], &["--all", "--dry-run"]].concat())
        .await?;
    assert!(
        dry.contains("Nothing was changed") && dry.contains(&other),
        "{dry}"
    );
    assert_eq!(desk.depth("DeadLetterQueueUrl").await?, 1 + EVENTS as u64);
    let error = desk
        .refusal(&[&redrive[..], &[&sent[1], "--yes"]].concat())
        .await?;
    assert!(error.contains("would overtake"), "{error}");

    desk.text(&[&redrive[..], &[&other, "--yes"]].concat())
        .await?;
    let published = all_published(stack, &mut consumers).await?;
    let ids: Vec<_> = published
        .iter()
        .map(|event| &event.detail.delivery_id)
        .collect();
    assert_eq!(ids, [&other]);

    desk.text(&[&redrive[..], &["--all", "--yes"]].concat())
        .await?;
    let mut published = all_published(stack, &mut consumers).await?;
    published.sort_by(|a, b| a.detail.place().cmp(&b.detail.place()));
    let ids: Vec<_> = published
        .iter()
        .map(|event| &event.detail.delivery_id)
        .collect();
    assert_eq!(ids, sent.iter().collect::<Vec<_>>());
    assert_eq!(
        desk.text(&["dead-letters", "list"]).await?,
        "There are no dead letters.\n"
    );
    Ok(())
}

#[tokio::test]
async fn a_failure_in_the_middle_says_how_much_is_done_and_gives_the_rest_back() -> Result<()> {
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    let queue = desk.queue("DeadLetterQueueUrl")?;
    // SQS refuses the second of three events of an entity.
    for bytes in [1, 50_000, 1] {
        let text = "x".repeat(bytes);
        let payload = json!({"message": "CALLOUT_OWNED", "callout": {"id": 9}, "text": text});
        let payload = RawValue::from_string(payload.to_string())?;
        let letter = Envelope::new(Uuid::now_v7(), Timestamp::now(), Origin::Webhook, payload);
        queue.send(&letter.message(&Entity::callout("9"))).await?;
    }
    let proxy = FaultProxy::before(stack.account().endpoint())?;
    proxy.set(Plan::Larger(20_000));
    let redrive = ["dead-letters", "redrive", "--all", "--yes"];
    let mut command = desk.ops.command(stack, &Identity::root(stack), &redrive);
    let output = command
        .env("AWS_ENDPOINT_URL", proxy.url())
        .output()
        .await?;
    let error = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{error}");
    let done = "1 of 3 messages were put back; the others stay where they are: SQS";
    assert!(error.contains(done), "{error}");
    assert_eq!(desk.receivable("DeadLetterQueueUrl").await?, 2);
    Ok(())
}

/// EventBridge's attributes on an event that it couldn't deliver.
fn of_eventbridge() -> Result<HashMap<String, MessageAttributeValue>> {
    let texts = [
        ("ERROR_CODE", "NO_PERMISSIONS"),
        ("ERROR_MESSAGE", "not allowed"),
    ];
    let attribute = |(name, text): (&str, &str)| {
        let value = MessageAttributeValue::builder().data_type("String");
        Ok((name.to_owned(), value.string_value(text).build()?))
    };
    texts.into_iter().map(attribute).collect()
}

#[tokio::test]
async fn a_consumers_dead_letter_says_why_it_is_there_and_goes_back_to_its_queue() -> Result<()> {
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    let mut consumers = Consumers::read(stack, consumers::by_type);
    let mut ids = Vec::new();
    for callout in [6, 7] {
        let body = format!(r#"{{"message":"NEW_CALLOUT","callout":{{"id":{callout}}}}}"#);
        ids.push(desk.sender.send(body).await?);
    }
    let published = all_published(stack, &mut consumers).await?;
    for event in &published {
        let call = stack.account().sqs().send_message();
        let call = call.queue_url(stack.output("CalloutEventsDeadLetterQueueUrl")?);
        let call = call.message_body(serde_json::to_string(event)?);
        let call = call.set_message_attributes(Some(of_eventbridge()?));
        call.send().await?;
    }

    let shown = desk.json(&["dead-letters", "show", &ids[0]]).await?;
    assert_eq!(
        (&shown["queue"], &shown["entity"]),
        (&json!("callout"), &json!("callout#6"))
    );
    let reason = "EventBridge could not deliver it: NO_PERMISSIONS: not allowed";
    assert_eq!(
        (&shown["reason"], &shown["payload"]),
        (&json!(reason), &Value::Null)
    );
    let output = "CalloutEventsDeadLetterQueueUrl";
    desk.text(&["dead-letters", "discard", &ids[1], "--yes"])
        .await?;
    assert_eq!(desk.receivable(output).await?, 1);
    let redrive = [
        "dead-letters",
        "redrive",
        "--queue",
        "callout",
        &ids[0],
        "--yes",
    ];
    desk.text(&redrive).await?;
    let again = consumers.all().await?;
    let keys: Vec<_> = again
        .iter()
        .map(|event| event.detail.key.as_str())
        .collect();
    assert_eq!(keys, ["callout#6/NEW_CALLOUT"]);
    assert_eq!(desk.depth(output).await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_spill_says_what_waits_and_that_nothing_empties_it() -> Result<()> {
    let desk = Desk::new().await?;
    let stack = &desk.system.stack;
    assert_eq!(
        desk.text(&["spill", "list"]).await?,
        "The spill is empty.\n"
    );
    let spill = Spill::new(
        stack.account().dynamodb(),
        stack.output("LedgerTableName")?.to_owned(),
    );
    let letter = envelope("8", Origin::Webhook)?;
    let delivery = Outgoing {
        delivery_id: letter.delivery_id,
        destination: Destination::Ingest,
        message: letter.message(&Entity::callout("8")),
    };
    spill.put(&delivery).await?;
    let listed = desk.json(&["spill", "list"]).await?;
    let [one] = listed["deliveries"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    else {
        anyhow::bail!("{listed}");
    };
    assert_eq!(one["id"], letter.delivery_id.to_string());
    assert_eq!(
        (&one["destination"], &one["entity"]),
        (&json!("ingest"), &json!("callout#8"))
    );
    let text = desk.text(&["spill", "list"]).await?;
    assert!(text.contains("The reconciler is off"), "{text}");
    Ok(())
}
