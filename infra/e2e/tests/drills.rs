//! Tests of drills: once AURA has marked a callout as a test, every event of it says so to
//! consumers.

use anyhow::Result;
use aura_sim::client::Controller::{Acknowledge, Arrive, Close, Complete, Own};
use aura_sim::client::{Fault, FaultyAnswer, Reply};
use aura_sim::plan::{DeliveryFaults, Plan};
use serde_json::json;

use crate::reconciler::trial::{Seen, Trial};

/// AURA's connectivity test for callout 5004.
const INTERNAL_TEST: &str = include_str!("../../events/internal-test.json");

/// Makes AURA send the later events of a callout with only a name and an id.
async fn say_little(trial: &Trial) -> Result<()> {
    let deliveries = DeliveryFaults {
        bare: 1.0,
        ..DeliveryFaults::default()
    };
    let plan = Plan {
        seed: 1,
        deliveries,
        ..Plan::default()
    };
    trial.aura.plan(&plan).await?;
    Ok(())
}

/// The events of a callout, each with whether it went out as a test.
fn tests<'a>(published: &'a [Seen], id: &str) -> Vec<(&'a str, bool)> {
    let its =
        |seen: &&Seen| seen.0.detail.entity.kind == "callout" && seen.0.detail.entity.id == id;
    let of_callout = published.iter().filter(its);
    of_callout
        .map(|seen| (seen.message(), seen.0.detail.test))
        .collect()
}

#[tokio::test]
async fn every_event_of_a_drill_is_marked_as_a_test_and_no_event_of_another_callout() -> Result<()>
{
    let mut trial = Trial::begin(&[]).await?;
    say_little(&trial).await?;
    let drilled = trial.aura.create_customer("+27830000001").await?;
    let drill = trial.aura.create_drill(&drilled).await?;
    let real = trial.callout().await?;
    for act in [Own, Acknowledge, Arrive, Complete] {
        for id in [&drill, &real] {
            trial.aura.control(id, act).await?;
            trial.aura.chat(id, "Still here.").await?;
        }
    }
    for id in [&drill, &real] {
        trial.aura.control(id, Close).await?;
    }
    let published = trial.published().await?;
    for (id, is_drill) in [(&drill, true), (&real, false)] {
        let tests = tests(&published, id);
        assert_eq!(tests.len(), 10, "{tests:?}");
        assert!(
            tests.iter().all(|(_, test)| *test == is_drill),
            "{id}: {tests:?}"
        );
    }
    // Only the ledger knows which of the two is a drill.
    let marked = published.iter().filter(|seen| {
        let callout = &seen.payload()["callout"];
        callout.get("calloutClassification").is_some()
    });
    assert_eq!(marked.count(), 2);
    Ok(())
}

#[tokio::test]
async fn the_closing_of_a_drill_that_the_reconciler_finds_is_marked_as_a_test() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    // AURA doesn't know the callout, so the closing that the reconciler finds has only the id.
    let webhook = trial.system.webhook().await?;
    let http = shared::http_client::build()?;
    let answer = webhook.post(&http, INTERNAL_TEST.into()).await?;
    assert_eq!(answer.status, 202);
    assert_eq!(
        tests(&trial.published().await?, "5004"),
        [("NEW_CALLOUT", true)]
    );
    let line = trial.run().await?;
    assert_eq!(line["ClosingsRecovered"], 1, "{line}");
    let published = trial.published().await?;
    assert_eq!(tests(&published, "5004"), [("CALLOUT_CLOSED", true)]);
    let [found] = published.as_slice() else {
        panic!("{published:?}");
    };
    assert_eq!(found.told().1, "reconciler");
    assert_eq!(found.payload()["callout"], json!({"id": 5004}));

    // AURA forgets a real callout in the same way.
    let real = trial.told_callout().await?;
    trial.secretly(&real, &[Close]).await?;
    let reply = Reply {
        status: 404,
        headers: [].into(),
        body: json!({"message": "no"}),
    };
    let forgotten = Fault::once("GET /callouts/{id}", FaultyAnswer::Reply(reply));
    trial.aura.order(&forgotten).await?;
    let line = trial.run().await?;
    assert_eq!(line["ClosingsRecovered"], 1, "{line}");
    let published = trial.published().await?;
    assert_eq!(tests(&published, &real), [("CALLOUT_CLOSED", false)]);
    Ok(())
}

#[tokio::test]
async fn a_drill_that_the_reconciler_found_first_stays_a_drill_in_auras_deliveries() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    trial.deafen().await?;
    let customer = trial.aura.create_customer("+27830000002").await?;
    let drill = trial.aura.create_drill(&customer).await?;
    trial.undeafen().await?;
    let line = trial.run().await?;
    assert_eq!(line["OpeningsRecovered"], 1, "{line}");
    let found = trial.published().await?;
    // AURA's answer about the callout has the test mark.
    assert_eq!(tests(&found, &drill), [("NEW_CALLOUT", true)]);
    assert_eq!(found[0].told().1, "reconciler");
    say_little(&trial).await?;
    trial.aura.control(&drill, Own).await?;
    let told = trial.published().await?;
    assert_eq!(tests(&told, &drill), [("CALLOUT_OWNED", true)]);
    assert_eq!(told[0].told().1, "webhook");
    Ok(())
}
