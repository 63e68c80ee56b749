//! Tests of the seeded day.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use aura_sim::client::{Delivery, EventName};
use serde_json::{Value, json};

use crate::harness::{Partner, Receiver};

fn order(seed: u32) -> Value {
    json!({"seed": seed, "events": 500, "perSecond": 5000, "duplicates": 0.2})
}

/// Plays a day with this seed. Lists number, original and body of its deliveries in order.
async fn day(seed: u32) -> Result<Vec<(u64, Option<u64>, String)>> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner.control("/day", order(seed)).await?;
    let sent = partner.deliveries().await?.into_iter();
    Ok(sent.map(|it| (it.n, it.duplicate_of, it.body)).collect())
}

#[tokio::test]
async fn a_day_has_exactly_its_events_and_its_duplicates() -> Result<()> {
    let receiver = Receiver::answering([500]).await?;
    let partner = Partner::registered_at(&receiver).await?;
    let (status, report) = partner.control("/day", order(1)).await?;
    assert_eq!(status, 200);
    let counts = ["events", "duplicates", "accepted", "failed"].map(|key| &report[key]);
    assert_eq!(counts, [500, 100, 599, 1]);
    assert!(report["seconds"].as_f64() > Some(0.0));

    let deliveries = partner.deliveries().await?;
    assert_eq!(receiver.received().len(), 600);
    let (originals, duplicates): (Vec<_>, Vec<_>) = deliveries
        .iter()
        .partition(|delivery| delivery.duplicate_of.is_none());
    let signal = |delivery: &Delivery| delivery.message == EventName::CalloutEventsChanged;
    let bodies: BTreeMap<_, _> = originals
        .iter()
        .map(|original| (original.n, &original.body))
        .collect();
    let told: Vec<_> = originals.iter().filter(|one| !signal(one)).collect();
    let distinct: BTreeSet<_> = told.iter().map(|one| &one.body).collect();
    assert_eq!(distinct.len(), told.len());
    for duplicate in duplicates {
        assert!(!signal(duplicate));
        let original = duplicate.duplicate_of.unwrap();
        assert_eq!(&duplicate.body, bodies[&original]);
    }
    Ok(())
}

#[tokio::test]
async fn the_same_seed_is_the_same_day() -> Result<()> {
    let (first, again, other) = (day(1).await?, day(1).await?, day(2).await?);
    assert_eq!(first, again);
    assert_ne!(first, other);
    Ok(())
}

#[tokio::test]
async fn a_days_callouts_are_alive_in_the_api() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner.control("/day", order(1)).await?;
    let count = |message: &str| {
        let posts = receiver.received();
        let named = posts.iter().filter(|one| one.body.contains(message));
        named
            .map(|one| one.body.clone())
            .collect::<BTreeSet<_>>()
            .len()
    };
    let open = count("NEW_CALLOUT") - count("CALLOUT_CLOSED");
    let (_, active) = partner.get("/callouts/activeCallouts").await?;
    assert_eq!(active.as_array().map(Vec::len), Some(open));
    Ok(())
}

#[tokio::test]
async fn a_day_needs_a_registration_and_is_played_only_once() -> Result<()> {
    let partner = Partner::new().await?;
    assert_eq!(partner.control("/day", order(1)).await?.0, 409);
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    assert_eq!(partner.control("/day", order(1)).await?.0, 200);
    assert_eq!(partner.control("/day", order(1)).await?.0, 409);
    assert_eq!(partner.control("/day", order(2)).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn callouts_of_a_day_can_stay_open_for_a_number_of_events() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    let mut order = order(1);
    order["closingAfter"] = json!(100);
    partner.control("/day", order).await?;
    let events = partner.aura.events().await?;
    let mut raised = BTreeMap::new();
    let mut closed = 0;
    for (n, event) in events.iter().enumerate() {
        let id = event.entity.id;
        if event.message == EventName::NewCallout {
            raised.insert(id, n);
        }
        if event.message == EventName::CalloutClosed {
            assert!(n - raised[&id] > 100);
            closed += 1;
        }
    }
    assert!(closed > 10, "{closed}");
    Ok(())
}
