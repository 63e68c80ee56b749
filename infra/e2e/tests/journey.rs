//! Tests of the path of AURA's events from the endpoint to the consumers.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aura_sim::client::{Controller, Day, Delivery};
use e2e::Local;
use prove::contract;
use serde_json::{Value, json};
use stack::consumers::PATIENCE;
use stack::consumers::{Consumers, Published};
use stack::ledger;
use stack::settled::all_published;
use stack::system::{Leftovers, System};
use stack::tally::Tally;

fn callout(message: &str, id: u32, n: u32) -> Vec<u8> {
    json!({"message": message, "callout": {"id": id, "n": n}})
        .to_string()
        .into_bytes()
}

/// The sequence number of an event; SQS's sequence numbers have 20 digits.
fn sequence(event: &Published) -> u128 {
    event.detail.sequence.parse().unwrap_or_default()
}

#[tokio::test]
async fn one_emergency_is_published_event_by_event() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let aura = system.aura().await?;
    let customer = aura.create_customer("+27000000001").await?;
    let callout = aura.create_callout(&customer).await?;
    for action in [Controller::Own, Controller::Acknowledge, Controller::Arrive] {
        aura.control(&callout, action).await?;
    }
    aura.chat(&callout, "on my way down").await?;
    for action in [Controller::Complete, Controller::Close] {
        aura.control(&callout, action).await?;
    }
    let deliveries = aura.all_answered().await?;
    let published = all_published(&system.stack, &mut consumers).await?;

    let tally = Tally::of(&deliveries, &published);
    assert!(tally.is_each_once(), "{tally:?}");
    let mut of_callout: Vec<_> = published
        .iter()
        .filter(|event| event.detail.entity.kind == "callout")
        .collect();
    of_callout.sort_by_key(|event| sequence(event));
    let story: Vec<_> = of_callout
        .iter()
        .map(|event| event.detail_type.as_str())
        .collect();
    assert_eq!(
        story,
        [
            "NEW_CALLOUT",
            "CALLOUT_OWNED",
            "RESPONDER_ACKNOWLEDGED_CALLOUT",
            "RESPONDER_ARRIVED_ON_SCENE",
            "CALLOUT_EVENTS_CHANGED",
            "RESPONDER_COMPLETED",
            "CALLOUT_CLOSED",
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_published_event_says_what_consumers_are_promised() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let webhook = system.webhook().await?;
    let body = include_str!("../../events/internal-test.json");
    let answer = webhook
        .post(&shared::http_client::build()?, body.into())
        .await?;
    let mut published = all_published(&system.stack, &mut consumers).await?;
    let event = published.pop().context("nothing was published")?;

    assert_eq!(
        (event.source.as_str(), event.detail_type.as_str()),
        ("aura", "NEW_CALLOUT")
    );
    let detail = event.detail;
    assert_eq!(detail.key, "callout#5004/NEW_CALLOUT");
    assert_eq!(
        (detail.entity.kind.as_str(), detail.entity.id.as_str()),
        ("callout", "5004")
    );
    assert_eq!(Some(detail.delivery_id.as_str()), answer.delivery_id());
    assert_eq!(detail.origin, "webhook");
    assert!(detail.test, "AURA's test traffic must be marked");
    assert_eq!(detail.payload, serde_json::from_str::<Value>(body)?);
    Ok(())
}

/// Reading a published event checks it against the contract.
#[tokio::test]
async fn every_sample_is_published_by_the_contract() -> Result<()> {
    let samples = [
        include_str!("../../events/callout-closed.json"),
        include_str!("../../events/callout-events-changed.json"),
        include_str!("../../events/created-customer.json"),
        include_str!("../../events/internal-test.json"),
        include_str!("../../events/new-callout.json"),
        include_str!("../../events/responder-arrived.json"),
        include_str!("../../events/subscription-created.json"),
        include_str!("../../events/test-classification.json"),
        include_str!("../../events/unknown-kind.json"),
    ];
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let webhook = system.webhook().await?;
    let http = shared::http_client::build()?;
    for body in samples {
        assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    }
    let published = all_published(&system.stack, &mut consumers).await?;
    let payloads: Vec<_> = published
        .iter()
        .map(|event| &event.detail.payload)
        .collect();
    for body in samples {
        assert!(payloads.contains(&&serde_json::from_str(body)?), "{body}");
    }
    assert_eq!(published.len(), samples.len());
    Ok(())
}

#[tokio::test]
async fn a_duplicate_is_accepted_and_dropped() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let aura = system.aura().await?;
    aura.create_customer("+27000000002").await?;
    let sent = aura.all_answered().await?;
    for delivery in &sent {
        aura.resend(delivery.n).await?;
    }
    let deliveries = aura.all_answered().await?;
    let published = all_published(&system.stack, &mut consumers).await?;

    let tally = Tally::of(&deliveries, &published);
    assert!(tally.is_each_once(), "{tally:?}");
    assert_eq!(
        (tally.published, tally.duplicates),
        (sent.len(), sent.len()),
        "{tally:?}"
    );
    Ok(())
}

#[tokio::test]
async fn each_kind_of_entity_has_its_queue() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let webhook = system.webhook().await?;
    let http = shared::http_client::build()?;
    let bodies = [
        include_str!("../../events/new-callout.json"),
        include_str!("../../events/created-customer.json"),
        include_str!("../../events/subscription-created.json"),
        include_str!("../../events/unknown-kind.json"),
    ];
    for body in bodies {
        assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    }
    let expected = [
        ("CalloutEventsQueueUrl", "callout"),
        ("CustomerEventsQueueUrl", "customer"),
        ("SubscriptionEventsQueueUrl", "subscription"),
        ("OtherEventsQueueUrl", "patrol"),
    ];
    for (output, kind) in expected {
        let queue = stack::consumers::Queue::new(
            system.stack.account().sqs(),
            system.stack.output(output)?,
        );
        let received = async {
            loop {
                let bodies = queue.receive().await?;
                if !bodies.is_empty() {
                    return anyhow::Ok(bodies);
                }
            }
        };
        let bodies = tokio::time::timeout(PATIENCE, received).await??;
        assert_eq!(bodies.len(), 1, "{output}");
        let event: Value = serde_json::from_str(&bodies[0])?;
        contract::check(&event)?;
        assert_eq!(event["detail"]["entity"]["kind"], kind, "{output}");
    }
    Ok(())
}

#[tokio::test]
async fn events_of_one_callout_keep_their_order_beside_another_callouts() -> Result<()> {
    const EACH: u32 = 20;
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let webhook = system.webhook().await?;
    let in_order = async |id: u32| {
        let http = shared::http_client::build()?;
        for n in 0..EACH {
            let body = callout("RESPONDER_ARRIVED_ON_SCENE", id, n);
            assert_eq!(webhook.post(&http, body).await?.status, 202);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(in_order(1), in_order(2))?;
    let mut published = all_published(&system.stack, &mut consumers).await?;

    published.sort_by_key(sequence);
    for id in ["1", "2"] {
        let order: Vec<_> = published
            .iter()
            .filter(|event| event.detail.entity.id == id)
            .map(|event| event.detail.payload["callout"]["n"].as_u64())
            .collect();
        assert_eq!(
            order,
            (0..EACH).map(|n| Some(n.into())).collect::<Vec<_>>(),
            "callout {id}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_random_day_is_published_once_and_in_order() -> Result<()> {
    const EVENTS: usize = 500;
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let aura = system.aura().await?;
    let day = Day {
        seed: 2026,
        events: EVENTS as u64,
        per_second: 25.0,
        duplicates: 0.2,
        closing_after: 0,
    };
    aura.play(&day).await?;
    let deliveries = aura.all_answered().await?;
    let published = all_published(&system.stack, &mut consumers).await?;

    let tally = Tally::of(&deliveries, &published);
    assert!(tally.is_each_once(), "{tally:?}");
    assert_eq!(tally.published, EVENTS, "{tally:?}");
    assert_eq!(tally.duplicates, EVENTS / 5, "{tally:?}");
    assert_in_order_of_arrival(&deliveries, published)?;
    assert!(Leftovers::count(&system.stack).await?.is_none());
    assert_one_item_per_event(&system, EVENTS).await
}

/// Asserts that within each entity, the order by `sequence` is the order in which AURA sent.
fn assert_in_order_of_arrival(
    deliveries: &[Delivery],
    mut published: Vec<Published>,
) -> Result<()> {
    let sent: HashMap<_, _> = deliveries
        .iter()
        .filter_map(|sent| Some((sent.delivery_id()?, sent.n)))
        .collect();
    published.sort_by_key(sequence);
    let mut last: HashMap<String, u64> = HashMap::new();
    for event in published {
        let n = *sent
            .get(event.detail.delivery_id.as_str())
            .context("AURA never sent this event")?;
        let entity = format!("{}#{}", event.detail.entity.kind, event.detail.entity.id);
        let before = last.insert(entity, n);
        assert!(
            before.is_none_or(|before| before < n),
            "{} is out of order",
            event.detail.key
        );
    }
    Ok(())
}

async fn assert_one_item_per_event(system: &System, events: usize) -> Result<()> {
    let items = ledger::items(&system.stack).await?;
    assert_eq!(items.len(), events);
    let published = |state: &&str| *state == "PUBLISHED";
    let states = items
        .iter()
        .filter_map(|item| item.get("state")?.as_s().ok());
    assert_eq!(states.map(String::as_str).filter(published).count(), events);
    Ok(())
}
