//! Tests of functions that die, and of services that don't answer, at the worst moment.

use std::collections::HashSet;

use anyhow::Result;
use aura_sim::client::Day;
use e2e::Local;
use prove::contract;
use serde_json::json;
use stack::consumers::PATIENCE;
use stack::consumers::{Consumers, Published};
use stack::ledger;
use stack::processes;
use stack::proxy::{Fault, FaultProxy, Plan};
use stack::settled::all_published;
use stack::stack::Stack;
use stack::system::Leftovers;
use stack::tally::Tally;

#[tokio::test]
async fn a_processor_killed_between_claim_and_publish_leads_to_a_publish_later() -> Result<()> {
    let local = Local::shared().await?;
    let bus = FaultProxy::before(local.new_account().endpoint())?;
    let template = local
        .template()
        .with_processor_behind(&[("EVENTBRIDGE", &bus)], &[])?;
    let system = local.system_from(template).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let webhook = system.webhook().await?;
    let http = shared::http_client::build()?;
    // The processor's first event: after it, the processor has seen that the bus exists.
    let body = json!({"message": "CREATED_CUSTOMER", "customer": {"id": 1}}).to_string();
    assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    let first = all_published(&system.stack, &mut consumers).await?;
    assert_eq!(first.len(), 1);
    bus.set(Plan::Always(Fault::Hang));
    // Two events each of three callouts. When the process dies, some of them are claimed and about
    // to be published; the others wait behind them.
    for (n, message) in (0..6).zip(["NEW_CALLOUT", "CALLOUT_CLOSED"].into_iter().cycle()) {
        let body = json!({"message": message, "callout": {"id": n / 2}}).to_string();
        assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    }
    bus.until_fault().await?;
    let claimed = with_state(&system.stack, "CLAIMED").await?;
    assert!(claimed > 0);
    assert_eq!(with_state(&system.stack, "PUBLISHED").await?, 1);
    processes::kill(&system.stack, "ProcessorFunctionName")?;
    bus.set(Plan::Through);

    let published = all_published(&system.stack, &mut consumers).await?;
    assert_eq!(keys(&published).len(), 6, "an event is lost");
    assert_eq!(published.len(), 6, "an event is doubled");
    assert_eq!(with_state(&system.stack, "PUBLISHED").await?, 7);
    let claimed_again = ledger::items(&system.stack)
        .await?
        .into_iter()
        .filter(|item| {
            let attempt = item.get("attempt").and_then(|attempt| attempt.as_n().ok());
            attempt.is_some_and(|attempt| attempt == "2")
        });
    assert!(claimed_again.count() >= claimed);
    Ok(())
}

async fn with_state(stack: &Stack, state: &str) -> Result<usize> {
    let items = ledger::items(stack).await?;
    let states = items
        .iter()
        .filter_map(|item| item.get("state")?.as_s().ok());
    Ok(states.filter(|its| *its == state).count())
}

fn keys(published: &[Published]) -> HashSet<&str> {
    published
        .iter()
        .map(|event| event.detail.key.as_str())
        .collect()
}

#[tokio::test]
async fn kill_9_in_the_middle_of_the_day_loses_nothing() -> Result<()> {
    const EVENTS: usize = 200;
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let aura = system.aura().await?;
    let day = Day {
        seed: 9,
        events: EVENTS as u64,
        // At a higher rate, a busy machine starts more processes of `ingest` than get the secret in time.
        per_second: 25.0,
        duplicates: 0.0,
        closing_after: 0,
    };
    let kill = async {
        // Some events are on the bus, so the processor is at work.
        let first = consumers.take(20, PATIENCE).await?;
        processes::kill(&system.stack, "ProcessorFunctionName")?;
        anyhow::Ok(first)
    };
    let ((), mut published) = tokio::try_join!(aura.play(&day), kill)?;
    // AURA's deliveries that are still to come aren't queued yet.
    let deliveries = aura.all_answered().await?;
    let refused: Vec<_> = deliveries
        .iter()
        .filter(|its| !its.was_answered("accepted"))
        .map(|its| (its.n, its.status, &its.answer, &its.error))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    published.extend(all_published(&system.stack, &mut consumers).await?);

    let tally = Tally::of(&deliveries, &published);
    assert_eq!((tally.published, tally.lost), (EVENTS, 0), "{tally:?}");
    assert_eq!(keys(&published).len(), EVENTS);
    // A kill between publish and mark doubles at most what was in flight: one batch.
    assert!(tally.doubled <= 10, "{tally:?}");
    assert!(Leftovers::count(&system.stack).await?.is_none());
    Ok(())
}
