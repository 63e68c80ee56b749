//! Processes that die at the worst moment.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::gate::Gate;
use e2e::{Local, ledger_items, processes};
use local::aura::Day;
use local::consumers::Consumers;
use local::system::Leftovers;
use local::tally::Tally;
use local::template::Template;

/// A killed batch comes back after the queue's visibility timeout (30 s on the local stack).
const PATIENCE: Duration = Duration::from_mins(2);
const QUIET: Duration = Duration::from_secs(2);

/// The real template, but the processor reaches EventBridge through `url`.
fn with_event_bridge_at(template: &Template, url: &str) -> Result<Template> {
    let line = "          EVENT_BUS_NAME: !Ref EventBus\n";
    ensure!(
        template.text().matches(line).count() == 1,
        "the template has changed"
    );
    let added = format!("{line}          AWS_ENDPOINT_URL_EVENTBRIDGE: {url}\n");
    Ok(Template::from_text(template.text().replace(line, &added)))
}

#[tokio::test]
async fn a_processor_killed_between_claim_and_publish_leads_to_a_publish_later() -> Result<()> {
    let local = Local::shared().await?;
    let gate = Gate::before(local.new_account().endpoint()).await?;
    let template = with_event_bridge_at(&local.bundle().template, &gate.url())?;
    let system = local.system_from(template).await?;
    let mut consumers = Consumers::read(&system.stack);
    let webhook = system.webhook().await?;

    let body = include_str!("../../events/new-callout.json");
    let http = shared::http_client::build()?;
    assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    gate.arrival().await?;
    assert_eq!(
        state_and_attempt(&system.stack).await?,
        ("CLAIMED".into(), "1".into())
    );
    processes::kill(system.stack.output("ProcessorFunctionName")?)?;
    gate.open();

    let published = consumers.take(1, PATIENCE).await?;
    assert_eq!(published.len(), 1, "the event is lost");
    assert!(
        consumers.until_quiet(QUIET).await?.is_empty(),
        "the event is doubled"
    );
    assert_eq!(
        state_and_attempt(&system.stack).await?,
        ("PUBLISHED".into(), "2".into())
    );
    Ok(())
}

/// Of the ledger's one item.
async fn state_and_attempt(stack: &local::stack::Stack) -> Result<(String, String)> {
    let items = ledger_items(stack).await?;
    ensure!(items.len() == 1, "the ledger has {} items", items.len());
    let item = items.first().context("no item")?;
    let state = item
        .get("state")
        .and_then(|state| state.as_s().ok())
        .context("no state")?;
    let attempt = item.get("attempt").and_then(|attempt| attempt.as_n().ok());
    Ok((state.clone(), attempt.context("no attempt")?.clone()))
}

#[tokio::test]
async fn kill_9_in_the_middle_of_the_day_loses_nothing() -> Result<()> {
    const EVENTS: usize = 200;
    let system = Local::shared().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack);
    let aura = system.aura().await?;
    let processor = system.stack.output("ProcessorFunctionName")?.to_owned();
    let day = Day {
        seed: 9,
        events: EVENTS as u64,
        per_second: 100.0,
        duplicates: 0.0,
    };
    let kill = async {
        // Some events are on the bus, so the processor is at work.
        let first = consumers.take(20, PATIENCE).await?;
        processes::kill(&processor)?;
        anyhow::Ok(first)
    };
    let ((), mut published) = tokio::try_join!(aura.play(&day), kill)?;
    published.extend(consumers.take(EVENTS - published.len(), PATIENCE).await?);
    published.extend(consumers.until_quiet(QUIET).await?);

    let deliveries = aura.deliveries().await?;
    let tally = Tally::of(&deliveries.deliveries, &published);
    assert_eq!((tally.published, tally.lost), (EVENTS, 0), "{tally:?}");
    // A kill between publish and mark doubles at most what was in flight: one batch.
    assert!(tally.doubled <= 10, "{tally:?}");
    assert!(Leftovers::count(&system.stack).await?.is_none());
    Ok(())
}
