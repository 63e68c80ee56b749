//! Tests of the commands that read the ledger: timeline, delivery, audit.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::types::AttributeValue;
use e2e::Local;
use e2e::sender::Sender;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::ledger::spill::Spill;
use shared::queue::{Destination, Message, Outgoing};
use stack::ledger::Item;
use stack::settled::drained;
use stack::stack::Stack;
use uuid::Uuid;

use super::ops;

/// How wide a list may be for a terminal.
const COLUMNS: usize = 120;

/// Sends an event of a drill, and returns the id that the endpoint answered.
async fn event(sender: &Sender, message: &str, text: &str) -> Result<String> {
    let callout = json!({"id": 5003, "internalTest": true, "text": text});
    let event = json!({"message": message, "callout": callout});
    sender.send(event.to_string()).await
}

/// Runs a command, and returns what it prints for people.
async fn text(stack: &Stack, arguments: &[&str]) -> Result<String> {
    let output = ops().await?.run(stack, arguments).await?;
    let printed = String::from_utf8(output.stdout)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {printed}{errors}");
    Ok(printed)
}

async fn verdict(stack: &Stack, id: &str) -> Result<String> {
    let delivery: Value = ops().await?.json(stack, &["delivery", id]).await?;
    let verdict = delivery.get("verdict").and_then(Value::as_str);
    Ok(verdict.context("no verdict")?.to_owned())
}

/// An item of the ledger: an event of one occurrence.
pub(super) fn item(
    state: &str,
    partition: &str,
    sort: &str,
    delivery_id: Uuid,
    arrived: i64,
) -> Item {
    let text = |text: &dyn ToString| AttributeValue::S(text.to_string());
    let number = |number: i64| AttributeValue::N(number.to_string());
    let attributes = [
        ("pk", text(&partition)),
        ("sk", text(&sort)),
        ("state", text(&state)),
        ("owner", text(&Uuid::now_v7())),
        ("attempt", number(3)),
        ("leaseUntil", number(arrived)),
        ("digest", text(&"digest")),
        ("deliveryId", text(&delivery_id)),
        ("receivedAt", number(arrived)),
        ("occurrence", number(1)),
        ("origin", text(&"webhook")),
    ];
    let named = |(name, value): (&str, _)| (name.to_owned(), value);
    attributes.into_iter().map(named).collect()
}

async fn put(stack: &Stack, item: Item) -> Result<()> {
    let put = stack.account().dynamodb().put_item();
    let put = put.table_name(stack.output("LedgerTableName")?);
    put.set_item(Some(item)).send().await?;
    Ok(())
}

pub(super) async fn put_all(stack: &Stack, items: impl Iterator<Item = Item>) -> Result<()> {
    let puts: Vec<_> = items.map(|item| put(stack, item)).collect();
    stream::iter(puts).buffer_unordered(16).try_collect().await
}

/// Writes an event that was claimed for a delivery, and never published.
async fn claimed(stack: &Stack, id: Uuid) -> Result<()> {
    let ended = (Timestamp::now() - SignedDuration::from_mins(1)).as_millisecond();
    put(
        stack,
        item("CLAIMED", "callout#77", "CALLOUT_CLOSED", id, ended),
    )
    .await
}

async fn spilled(stack: &Stack, id: Uuid) -> Result<()> {
    let table = stack.output("LedgerTableName")?.to_owned();
    let message = Message {
        body: "{}".to_owned(),
        group_id: "callout#78".to_owned(),
        deduplication_id: id.to_string(),
        attributes: [].into(),
    };
    let spill = Spill::new(stack.account().dynamodb(), table);
    let delivery = Outgoing {
        delivery_id: id,
        destination: Destination::Ingest,
        message,
    };
    Ok(spill.put(&delivery).await?)
}

#[tokio::test]
async fn a_timeline_has_the_events_of_its_entity_in_the_order_of_their_arrival() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let (stack, sender) = (&system.stack, Sender::new(&system).await?);
    let names = [
        "NEW_CALLOUT",
        "RESPONDER_ARRIVED_ON_SCENE",
        "CALLOUT_CLOSED",
    ];
    let mut expected = Vec::new();
    for name in names {
        expected.push((name.to_owned(), event(&sender, name, "a").await?));
        // A copy is a duplicate, and no event of its own.
        event(&sender, name, "a").await?;
    }
    claimed(stack, Uuid::now_v7()).await?;
    drained(stack).await?;

    let timeline: Value = ops()
        .await?
        .json(stack, &["timeline", "callout", "5003"])
        .await?;
    assert_eq!(timeline["test"], true, "{timeline}");
    let events = timeline["events"].as_array().context("no events")?;
    let field = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let found = events
        .iter()
        .map(|event| (field(event, "message"), field(event, "deliveryId")));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    for event in events {
        let key = format!("callout#5003/{}", field(event, "message"));
        assert!(field(event, "key").starts_with(&key), "{event}");
        let latency = event["latencyMilliseconds"].as_i64();
        assert!(latency.is_some_and(|its| its >= 0), "{event}");
        assert_eq!(event["state"], "PUBLISHED");
        assert_eq!(event["origin"], "webhook");
        assert_eq!(event["attempts"], 1);
    }

    let printed = text(stack, &["timeline", "callout", "5003"]).await?;
    assert!(printed.starts_with("callout 5003: 3 events, published. AURA marked it as a drill."));
    assert!(
        printed.lines().all(|line| line.chars().count() <= COLUMNS),
        "{printed}"
    );
    let open = text(stack, &["timeline", "callout", "77"]).await?;
    assert!(
        open.starts_with("callout 77: 1 event, 1 NOT published."),
        "{open}"
    );
    assert!(open.contains("it waits for its next try"), "{open}");
    let unknown = text(stack, &["timeline", "callout", "5004"]).await?;
    assert!(
        unknown.starts_with("The ledger knows no callout 5004: "),
        "{unknown}"
    );
    Ok(())
}

#[tokio::test]
async fn a_long_timeline_is_whole_and_in_order() -> Result<()> {
    const EVENTS: i64 = 1000;
    let system = Local::shared().await?.system(&[]).await?;
    let stack = &system.stack;
    let items = (0..EVENTS).map(|number| {
        let id = Uuid::now_v7();
        let sort = format!("CALLOUT_EVENTS_CHANGED#{id}");
        // The keys are in the order of the ids, and the arrivals in the opposite one.
        item("PUBLISHED", "callout#1", &sort, id, EVENTS - number)
    });
    put_all(stack, items).await?;
    let timeline: Value = ops()
        .await?
        .json(stack, &["timeline", "callout", "1"])
        .await?;
    let events = timeline["events"].as_array().context("no events")?;
    let arrivals = events.iter().map(|event| event["receivedAt"].as_str());
    let arrivals: Vec<_> = arrivals.flatten().map(str::parse::<Timestamp>).collect();
    let milliseconds = arrivals
        .into_iter()
        .map(|at| anyhow::Ok(at?.as_millisecond()));
    let expected: Vec<_> = (1..=EVENTS).collect();
    assert_eq!(milliseconds.collect::<Result<Vec<_>>>()?, expected);
    Ok(())
}

#[tokio::test]
async fn a_delivery_is_found_wherever_it_is() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let (stack, sender) = (&system.stack, Sender::new(&system).await?);
    let published = event(&sender, "NEW_CALLOUT", "a").await?;
    let duplicate = event(&sender, "NEW_CALLOUT", "a").await?;
    let conflict = event(&sender, "NEW_CALLOUT", "b").await?;
    let unreadable = sender.send("unreadable".to_owned()).await?;
    let [waiting, in_spill, unknown] = [(); 3].map(|()| Uuid::now_v7());
    claimed(stack, waiting).await?;
    spilled(stack, in_spill).await?;
    drained(stack).await?;

    let fates = [
        (published.clone(), "Published as NEW_CALLOUT at "),
        (duplicate, "Duplicate: "),
        (
            conflict,
            "Not published. It waits in the quarantine (conflict): ",
        ),
        (
            unreadable,
            "Not published. It waits in the quarantine (not-json): ",
        ),
        (
            waiting.to_string(),
            "Not published: CALLOUT_CLOSED was claimed, and the lease of try 3 ended",
        ),
        (
            in_spill.to_string(),
            "Not published. It waits in the spill: ",
        ),
        (unknown.to_string(), "Nothing here knows this delivery."),
    ];
    for (id, fate) in fates {
        let verdict = verdict(stack, &id).await?;
        assert!(verdict.starts_with(fate), "{verdict}, not {fate}");
    }

    let delivery: Value = ops().await?.json(stack, &["delivery", &published]).await?;
    assert_eq!(delivery["entity"], "callout#5003");
    let steps = delivery["steps"].as_array().context("no steps")?;
    let steps = steps.iter().map(|step| (&step["function"], &step["what"]));
    let (ingest, processor) = (json!("ingest"), json!("processor"));
    let (accepted, on_bus) = (json!("accepted"), json!("published"));
    let steps: Vec<_> = steps.collect();
    assert!(steps.contains(&(&ingest, &accepted)), "{delivery}");
    assert!(steps.contains(&(&processor, &on_bus)), "{delivery}");
    let printed = text(stack, &["delivery", &published]).await?;
    assert!(
        printed.contains("`aura-ops timeline callout 5003`"),
        "{printed}"
    );
    Ok(())
}

#[tokio::test]
async fn the_audit_trail_says_who_changed_what() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let (stack, sender) = (&system.stack, Sender::new(&system).await?);
    let none = text(stack, &["audit"]).await?;
    assert!(none.starts_with("Nobody has changed anything"), "{none}");
    let mut discarded = Vec::new();
    for body in ["one", "two"] {
        let id = sender.send(body.to_owned()).await?;
        text(stack, &["quarantine", "discard", &id, "--yes"]).await?;
        discarded.push(id);
    }

    let audit: Value = ops().await?.json(stack, &["audit"]).await?;
    let changes = audit["changes"].as_array().context("no changes")?;
    let subjects = changes.iter().map(|change| change["subjects"][0].as_str());
    let newest_first = discarded.iter().rev().map(|id| Some(id.as_str()));
    assert!(subjects.eq(newest_first), "{audit}");
    let who = format!("arn:aws:iam::{}:root", stack.account().id());
    for change in changes {
        assert_eq!(change["action"], "quarantine discard");
        assert_eq!((&change["who"], &change["count"]), (&json!(who), &json!(1)));
        assert_eq!(change["failure"], Value::Null);
    }
    let newest = text(stack, &["audit", "--limit", "1"]).await?;
    assert_eq!(newest.lines().count(), 2, "{newest}");
    Ok(())
}
