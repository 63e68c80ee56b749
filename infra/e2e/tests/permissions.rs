//! Tests of what the functions' roles permit, with IAM deciding.

use std::time::Duration;

use anyhow::{Result, ensure};
use aura_sim::client::{Controller, Day};
use e2e::Local;
use local::rotate::rotate;
use prove::contract;
use stack::consumers::Consumers;
use stack::function_logs;
use stack::progress::Progress;
use stack::reconciler::{self, Run};
use stack::settled::all_published;
use stack::system::{Leftovers, System};
use stack::tally::Tally;

/// A delivery that can't be read.
const UNREADABLE: &str = "unreadable";

async fn send_unreadable(system: &System) -> Result<()> {
    let http = shared::http_client::build()?;
    let answer = system.webhook().await?;
    let answer = answer.post(&http, UNREADABLE.into()).await?;
    assert_eq!(answer.status, 202, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn every_function_may_do_what_it_has_to() -> Result<()> {
    const EVENTS: usize = 50;
    let system = Local::with_iam().await?.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let aura = system.aura().await?;
    let day = Day {
        seed: 5,
        events: EVENTS as u64,
        per_second: 25.0,
        duplicates: 0.1,
        closing_after: 0,
    };
    aura.play(&day).await?;
    send_unreadable(&system).await?;
    let deliveries = aura.all_answered().await?;
    let published = all_published(&system.stack, &mut consumers).await?;
    let tally = Tally::of(&deliveries, &published);
    assert_eq!((tally.published, tally.lost), (EVENTS, 0), "{tally:?}");
    let leftovers = Leftovers::count(&system.stack).await?;
    let expected = Leftovers {
        quarantine_depth: 1,
        spill_depth: 0,
        dead_letter_depth: 0,
    };
    assert_eq!(leftovers, expected);
    rotate(&system.stack, Progress::to_stderr()).await?;
    Ok(())
}

#[tokio::test]
async fn the_reconciler_may_do_what_it_has_to() -> Result<()> {
    let local = Local::with_iam().await?;
    let changes = [
        ("SelfHeal", "true"),
        ("AuraLagSeconds", "0"),
        ("SilenceAfterCreated", "1"),
    ];
    let system = local.system(&changes).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let aura = system.aura().await?;
    // AURA delivers nothing, from the first event on, because it is registered elsewhere.
    aura.register(
        "https://127.0.0.1:1/elsewhere",
        &["NEW_CALLOUT"],
        &[].into(),
    )
    .await?;
    let mut told = Vec::new();
    for n in 0..3 {
        let customer = aura.create_customer(&format!("+27820000{n}")).await?;
        let callout = aura.create_callout(&customer).await?;
        ensure!(reconciler::invoke(&system.stack).await? == Run::Done);
        told.extend(all_published(&system.stack, &mut consumers).await?);
        aura.control(&callout, Controller::Close).await?;
    }
    ensure!(reconciler::invoke(&system.stack).await? == Run::Done);
    told.extend(all_published(&system.stack, &mut consumers).await?);
    let count = |message| {
        told.iter()
            .filter(|its| its.detail.message == message)
            .count()
    };
    let counts = ["NEW_CALLOUT", "CALLOUT_CLOSED"].map(count);
    assert_eq!(counts, [3, 3]);
    let lines = function_logs::lines(&system.stack, "ReconcilerLogGroupName").await?;
    assert!(lines.iter().any(|line| line.contains(r#""Healing":1"#)));
    let registered = async {
        let url = system.stack.output("WebhookUrl")?;
        while aura
            .registration()
            .await?
            .current
            .is_none_or(|its| its.url != url)
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(100), registered).await??;
    Ok(())
}

#[tokio::test]
async fn what_ingest_may_not_send_it_spills_and_the_reconciler_puts_it_back() -> Result<()> {
    let local = Local::with_iam().await?;
    let template = local
        .template()
        .without_permission("IngestRole", "QuarantineUnreadableDeliveries")?;
    let system = local.system_from(template).await?;
    send_unreadable(&system).await?;
    let leftovers = Leftovers::count(&system.stack).await?;
    assert_eq!((leftovers.quarantine_depth, leftovers.spill_depth), (0, 1));
    ensure!(reconciler::invoke(&system.stack).await? == Run::Done);
    let leftovers = Leftovers::count(&system.stack).await?;
    assert_eq!((leftovers.quarantine_depth, leftovers.spill_depth), (1, 0));
    Ok(())
}
