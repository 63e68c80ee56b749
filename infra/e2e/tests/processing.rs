//! Tests of the deployed processor: what an event costs, and what failures do to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::AttributeValue;
use e2e::Local;
use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;
use shared::envelope::{Envelope, Origin};
use shared::event::Entity;
use shared::ledger::{ClaimRequest, EventLedger, LedgerKey};
use shared::queue::Message;
use stack::consumers::{Published, Queue};
use stack::function_logs;
use stack::ledger;
use stack::processes;
use stack::proxy::{Call, Fault, FaultProxy, Plan};
use stack::settled::drained;
use stack::system::Leftovers;
use uuid::Uuid;

use self::trial::{Receive, Trial, delivery, delivery_at, entity};

pub mod trial;

/// Counts the calls of each operation. A call that the SDK repeats, as on a busy machine, counts
/// once.
fn counts(calls: &[Call]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for call in calls.iter().filter(|call| !call.is_retry) {
        *counts.entry(call.operation.clone()).or_default() += 1;
    }
    counts
}

fn expected<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    let counts = counts.map(|(operation, count)| (operation.to_owned(), count));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn keys(published: &[Published]) -> HashSet<&str> {
    let keys = published.iter().map(|event| event.detail.key.as_str());
    keys.collect()
}

/// The text or digits of an attribute, from each of the ledger's items that has it.
fn values(items: &[HashMap<String, AttributeValue>], attribute: &str) -> Vec<String> {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) | AttributeValue::N(text) => Some(text.clone()),
        _ => None,
    };
    let items = items.iter().filter_map(|item| item.get(attribute));
    items.filter_map(value).collect()
}

const UPDATE: &str = "DynamoDB_20120810.UpdateItem";
const LOOK_UP: &str = "DynamoDB_20120810.BatchGetItem";
const PUT: &str = "AWSEvents.PutEvents";

/// Two responders arrive an hour apart, and AURA sends the same payload for both.
#[tokio::test]
async fn content_that_arrives_again_after_the_window_is_published_with_one_more_call() -> Result<()>
{
    const NAME: &str = "RESPONDER_ARRIVED_ON_SCENE";
    let mut trial = Trial::begin().await?;
    let start = Timestamp::now();
    // Seconds between the arrivals, and the number of calls to the ledger for each. The last
    // delivery is a late copy of the first.
    for (later, calls) in [(0, 2), (60, 1), (3600, 3), (3660, 1), (299, 1)] {
        let before = trial.dynamodb.calls().len();
        let arrived = start + SignedDuration::from_secs(later);
        trial.send(delivery_at(NAME, 1, arrived)?).await?;
        drained(&trial.system.stack).await?;
        let made = counts(&trial.dynamodb.calls().split_off(before));
        // The processor may also note when AURA delivered last.
        let updates = made.get(UPDATE).copied().unwrap_or_default();
        assert!((calls..=calls + 1).contains(&updates), "{later}: {made:?}");
    }
    let mut published = trial.published().await?;
    published.sort_by_key(|event| event.detail.received_at.clone());
    let keys: Vec<_> = published.iter().map(|event| &event.detail.key).collect();
    let [first, second] = keys.as_slice() else {
        anyhow::bail!("{keys:?}");
    };
    assert_eq!(format!("{first}#2"), **second);
    Ok(())
}

#[tokio::test]
async fn a_new_event_costs_two_calls_to_the_ledger_an_opening_three_a_duplicate_one_a_batch_one_more()
-> Result<()> {
    const EVENTS: u32 = 10;
    let mut trial = Trial::begin().await?;
    // The first event includes the calls that a process makes only once.
    trial.deliver("NEW_CALLOUT", 0..1).await?;
    drained(&trial.system.stack).await?;
    let mut batches = trial.batches().await?.len();

    // An event between the opening and the closing, and the opening, which is also noted.
    let messages = [("RESPONDER_COMPLETED", 2), ("NEW_CALLOUT", 3)];
    for (message, calls_of_new, is_new) in messages
        .iter()
        .flat_map(|(message, calls)| [(*message, *calls, true), (*message, *calls, false)])
    {
        let proxies = [&trial.dynamodb, &trial.eventbridge, &trial.sqs];
        let before = proxies.map(|proxy| proxy.calls().len());
        // While the processor claims the first event, the others collect in the queue. The SDK
        // waits for longer than this.
        let slow = Fault::Slow(Duration::from_millis(250));
        trial.dynamodb.set(Plan::Next(1, slow));
        trial.deliver(message, 1..EVENTS + 1).await?;
        drained(&trial.system.stack).await?;

        let mut calls = proxies.map(FaultProxy::calls);
        let mut calls = [0, 1, 2].map(|n| counts(&calls[n].split_off(before[n])));
        let lines = trial.batches().await?.split_off(batches);
        batches += lines.len();
        assert!(
            lines.len() < EVENTS as usize,
            "each batch had only one event"
        );
        // Each event is of another callout, so all of a batch are in one wave.
        let (per_event, waves) = if is_new {
            (calls_of_new, lines.len())
        } else {
            (1, 0)
        };
        // Every ten seconds, a batch may note when AURA delivered last.
        let least = per_event * EVENTS as usize;
        let updates = calls[0].remove(UPDATE).unwrap_or_default();
        assert!(
            (least..=least + lines.len()).contains(&updates),
            "{message}: {updates}"
        );
        // Each batch looks up once which callouts are drills.
        assert_eq!(calls[0], expected([(LOOK_UP, lines.len())]));
        assert_eq!(calls[1], expected([(PUT, waves)]));
        // The queue hides the messages for long enough.
        assert_eq!(calls[2], expected([]));
    }
    let published = trial.published().await?;
    assert_eq!(published.len(), 1 + 2 * EVENTS as usize);
    Ok(())
}

#[tokio::test]
async fn the_time_from_arrival_to_publish_is_logged_for_each_event() -> Result<()> {
    let mut trial = Trial::begin().await?;
    for _ in 0..2 {
        trial.deliver("NEW_CALLOUT", 0..8).await?;
    }
    assert_eq!(trial.published().await?.len(), 8);
    let batches = trial.batches().await?;
    let published: usize = batches.iter().map(|batch| batch.published).sum();
    assert_eq!(published, 8);
    for batch in &batches {
        assert_eq!(batch.latencies(), batch.published as u64, "{batch:?}");
    }
    Ok(())
}

/// Sends twelve callouts of two events each while a service fails for ten seconds in all these
/// ways.
async fn outlives(service: fn(&Trial) -> &FaultProxy, faults: &[Fault]) -> Result<()> {
    const CALLOUTS: u32 = 12;
    let mut trial = Trial::begin().await?;
    trial.deliver("NEW_CALLOUT", 1000..1001).await?;
    drained(&trial.system.stack).await?;
    service(&trial).set(Plan::share(1.0, faults, 4));
    trial.deliver("NEW_CALLOUT", 0..CALLOUTS).await?;
    trial.deliver("CALLOUT_CLOSED", 0..CALLOUTS).await?;
    service(&trial).until_fault().await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    service(&trial).set(Plan::Through);

    let published = trial.published().await?;
    let events = 1 + 2 * CALLOUTS as usize;
    assert_eq!(keys(&published).len(), events, "an event is lost");
    assert_eq!(published.len(), events, "an event is doubled");
    assert!(Leftovers::count(&trial.system.stack).await?.is_none());
    let receives = trial.receives().await?;
    assert!(receives.values().all(|its| its.len() <= 10), "{receives:?}");
    let last = |its: &Vec<Receive>| its.last().map(|last| last.outcome.clone());
    let last: HashSet<_> = receives.values().filter_map(last).collect();
    assert_eq!(last, HashSet::from(["published".to_owned()]));
    // A record that failed comes back after its own pause, about 2 seconds after the end of its
    // batch. The records of a batch that nobody reported come back only after the queue's visibility
    // timeout, which is 30 seconds.
    let failed = receives.values().filter_map(|its| match &its[..] {
        [first, second, ..] if first.outcome == "failed" => {
            Some(second.at.duration_since(first.at))
        }
        _ => None,
    });
    let soonest = failed.min().context("no record failed")?;
    assert!(soonest < SignedDuration::from_secs(7), "{receives:?}");
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_ledger_delays_and_neither_loses_nor_doubles() -> Result<()> {
    let faults = [
        Fault::Throttled,
        Fault::InternalError,
        Fault::ResetBefore,
        Fault::ResetAfter,
    ];
    outlives(|trial| &trial.dynamodb, &faults).await
}

#[tokio::test]
async fn an_outage_of_the_bus_delays_and_neither_loses_nor_doubles() -> Result<()> {
    // A lost answer after the bus has acted is the window that can't be closed.
    let faults = [Fault::Throttled, Fault::InternalError, Fault::ResetBefore];
    outlives(|trial| &trial.eventbridge, &faults).await
}

#[tokio::test]
async fn an_event_that_another_worker_holds_waits_for_its_lease_and_comes_once_more() -> Result<()>
{
    let mut trial = Trial::begin().await?;
    let table = trial.system.stack.output("LedgerTableName")?.to_owned();
    let ledger = EventLedger::new(trial.system.stack.account().dynamodb(), table);
    let now = Timestamp::now();
    let lease_until = now + SignedDuration::from_secs(15);
    let request = ClaimRequest {
        key: LedgerKey {
            partition: entity(1).key(),
            sort: "NEW_CALLOUT".into(),
        },
        digest: "of another worker".into(),
        delivery_id: Uuid::now_v7(),
        received_at: now,
        repeat_window: None,
        origin: Origin::Webhook,
        owner: Uuid::now_v7(),
        now,
        lease_until,
        expires_at: now + SignedDuration::from_hours(24),
    };
    let claim = ledger.claim(&request).await?.ok();
    assert!(claim.is_some());
    trial.deliver("NEW_CALLOUT", 1..2).await?;
    trial.deliver("NEW_CALLOUT", 2..3).await?;

    let published = trial.published().await?;
    assert_eq!((published.len(), keys(&published).len()), (2, 2));
    let outcomes = trial.outcomes().await?;
    let outcomes: HashSet<_> = outcomes.into_values().collect();
    let [held, other] = [&["held", "published"][..], &["published"]];
    let expected = [held, other].map(|its| its.iter().map(ToString::to_string).collect());
    assert_eq!(outcomes, HashSet::from(expected));
    let items = ledger::items(&trial.system.stack).await?;
    let mut attempts = values(&items, "attempt");
    attempts.sort();
    assert_eq!(attempts, ["1", "2"]);
    let published_at = values(&items, "publishedAt");
    let last = published_at
        .iter()
        .max()
        .context("no event has a time of publishing")?;
    assert!(last.parse::<i64>()? >= lease_until.as_millisecond());
    Ok(())
}

#[tokio::test]
async fn an_event_that_a_dead_processor_claimed_is_published_after_the_lease() -> Result<()> {
    let failpoints = tempfile::tempdir()?;
    let folder = failpoints
        .path()
        .to_str()
        .context("the folder's path isn't UTF-8")?;
    let template = Local::shared().await?.template().clone();
    let mut trial = Trial::begin_with(&template, &[("FAILPOINTS", folder)]).await?;
    let armed = failpoints.path().join("after-claim");
    std::fs::write(&armed, "")?;
    trial.deliver("NEW_CALLOUT", 0..3).await?;

    let published = trial.published().await?;
    assert!(!armed.exists(), "the processor didn't reach the failpoint");
    assert_eq!((published.len(), keys(&published).len()), (3, 3));
    assert!(Leftovers::count(&trial.system.stack).await?.is_none());
    let items = ledger::items(&trial.system.stack).await?;
    assert_eq!(values(&items, "state"), ["PUBLISHED"; 3]);
    // Events that were claimed twice came twice, and never while the dead process's lease ran.
    let attempts = values(&items, "attempt");
    assert!(
        attempts.iter().any(|attempt| attempt == "2"),
        "{attempts:?}"
    );
    let outcomes = trial.outcomes().await?;
    assert!(
        outcomes.values().all(|its| its == &["published"]),
        "{outcomes:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_message_that_is_no_envelope_is_quarantined_at_once_and_its_group_goes_on() -> Result<()>
{
    let mut trial = Trial::begin().await?;
    let poison = "not an envelope";
    let message = delivery("NEW_CALLOUT", 1)?;
    let broken = Message {
        body: poison.to_owned(),
        deduplication_id: "broken".to_owned(),
        ..message.clone()
    };
    trial.send(broken).await?;
    trial.send(message).await?;

    assert_eq!(
        keys(&trial.published().await?),
        HashSet::from(["callout#1/NEW_CALLOUT"])
    );
    let outcomes: HashSet<_> = trial.outcomes().await?.into_values().collect();
    let once = ["quarantined", "published"].map(|outcome| vec![outcome.to_owned()]);
    assert_eq!(outcomes, HashSet::from(once));
    let stack = &trial.system.stack;
    let leftovers = Leftovers::count(stack).await?;
    assert_eq!(
        (leftovers.quarantine_depth, leftovers.dead_letter_depth),
        (1, 0)
    );
    let url = stack.output("QuarantineQueueUrl")?;
    let quarantine = Queue::new(stack.account().sqs(), url);
    assert_eq!(quarantine.receive().await?, [poison]);
    Ok(())
}

#[tokio::test]
async fn without_its_bus_nothing_counts_as_published_and_all_of_it_comes_back() -> Result<()> {
    const EVENTS: usize = 3;
    let mut trial = Trial::begin().await?;
    trial.point_at_bus("absent").await?;
    trial.deliver("NEW_CALLOUT", 0..3).await?;
    trial.until_received(2).await?;

    let stack = &trial.system.stack;
    let queue = Queue::new(stack.account().sqs(), stack.output("IngestQueueUrl")?);
    assert_eq!(queue.depth().await?, EVENTS as u64);
    assert_eq!(
        values(&ledger::items(stack).await?, "state"),
        ["CLAIMED"; EVENTS]
    );
    let sent = trial.eventbridge.calls();
    assert!(!sent.iter().any(|call| call.operation == PUT));
    let published =
        |batches: &[trial::Batch]| -> usize { batches.iter().map(|batch| batch.published).sum() };
    assert_eq!(published(&trial.batches().await?), 0);

    // This second bus has no consumers.
    let bus = stack.account().eventbridge().create_event_bus();
    bus.name("absent").send().await?;
    assert!(trial.published().await?.is_empty());
    let stack = &trial.system.stack;
    assert_eq!(
        values(&ledger::items(stack).await?, "state"),
        ["PUBLISHED"; EVENTS]
    );
    assert_eq!(published(&trial.batches().await?), EVENTS);
    assert!(Leftovers::count(stack).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_new_process_connects_before_its_first_batch_and_works_even_if_that_fails() -> Result<()>
{
    const FUNCTION: &str = "ProcessorFunctionName";
    /// How many times the SDK tries a call.
    const ATTEMPTS: usize = 3;
    let mut trial = Trial::begin().await?;
    for (id, failures) in [(1, 0), (2, ATTEMPTS)] {
        let stack = &trial.system.stack;
        if !processes::pids(stack, FUNCTION)?.is_empty() {
            processes::gone(&processes::kill(stack, FUNCTION)?).await?;
        }
        let before = trial.dynamodb.calls().len();
        let fault = Plan::Next(failures, Fault::InternalError);
        trial.dynamodb.set(fault);
        let payload = format!(r#"{{"message":"CREATED_CUSTOMER","customer":{{"id":{id}}}}}"#);
        let payload = RawValue::from_string(payload)?;
        let customer = Entity {
            kind: "customer".into(),
            id: id.to_string(),
        };
        let (delivery, now) = (Uuid::now_v7(), Timestamp::now());
        let envelope = Envelope::new(delivery, now, Origin::Webhook, payload);
        trial.send(envelope.message(&customer)).await?;
        assert_eq!(trial.published().await?.len(), 1);
        let calls = trial.dynamodb.calls().split_off(before);
        let calls: Vec<_> = calls.iter().map(|call| call.operation.as_str()).collect();
        let (start, batch) = calls.split_at(failures.max(1));
        assert!(start.iter().all(|call| *call == LOOK_UP), "{calls:?}");
        // No callout in the batch needs the list of drills.
        assert!(batch.iter().all(|call| *call == UPDATE), "{calls:?}");
    }
    let stack = &trial.system.stack;
    let lines = function_logs::lines(stack, "ProcessorLogGroupName").await?;
    let told = |line: &&String| line.contains("no connection to DynamoDB yet");
    assert_eq!(lines.iter().filter(told).count(), 1);
    Ok(())
}

/// This was the limit everywhere until EventBridge took a million bytes.
#[tokio::test]
async fn where_the_bus_takes_256_kb_all_is_published_and_what_is_larger_without_its_payload()
-> Result<()> {
    let mut trial = Trial::begin().await?;
    trial.eventbridge.set(Plan::Larger(256 * 1024));
    let text = "x".repeat(300_000);
    let payload = format!(r#"{{"message":"NEW_CALLOUT","callout":{{"id":7}},"text":"{text}"}}"#);
    let envelope = Envelope::new(
        Uuid::now_v7(),
        Timestamp::now(),
        Origin::Webhook,
        RawValue::from_string(payload.clone())?,
    );
    trial.send(envelope.message(&entity(7))).await?;
    trial.deliver("NEW_CALLOUT", 0..5).await?;
    let published = trial.published().await?;
    assert_eq!((published.len(), keys(&published).len()), (6, 6));
    for event in &published {
        let is_large = event.detail.key == "callout#7/NEW_CALLOUT";
        assert_eq!(event.detail.payload.is_null(), is_large, "{event:?}");
    }
    let stack = &trial.system.stack;
    let quarantine = Queue::new(stack.account().sqs(), stack.output("QuarantineQueueUrl")?);
    assert!(
        quarantine.receive().await? == [payload],
        "the quarantine doesn't have the whole payload"
    );
    let leftovers = Leftovers::count(stack).await?;
    assert_eq!(leftovers.dead_letter_depth, 0);
    let outcomes = trial.outcomes().await?;
    assert!(
        outcomes.values().all(|its| its == &["published"]),
        "{outcomes:?}"
    );
    Ok(())
}
