//! Tests of the stand-in's reports: events, callouts, and a crowd of callouts.

use anyhow::Result;
use aura_sim::client::{EventName, Fate};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::harness::{Partner, Receiver};

/// An entry of the log of events.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    n: u64,
    message: String,
    entity: Value,
    at: Timestamp,
    fate: String,
    deliveries: Vec<u64>,
}

#[tokio::test]
async fn every_event_is_listed_with_its_fate_and_its_deliveries() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::new().await?;
    let begun = Timestamp::now();
    let id = partner.callout().await?;
    let registration = json!({"url": receiver.url,
        "events": ["CALLOUT_CLOSED", "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA"]});
    // This registration is from before the name was deprecated.
    let path = "/_sim/registration";
    partner.call(Method::PUT, path, Some(registration)).await?;
    for act in ["own", "acknowledge", "close"] {
        partner.act(id, act).await?;
    }
    // Sends the closing again, and then the repeat again.
    for n in [2, 3] {
        partner.control(&format!("/resend/{n}"), json!({})).await?;
    }

    let events: Vec<Entry> = serde_json::from_value(partner.told("/events").await?)?;
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let (message, fate) = (event.message.as_str(), event.fate.as_str());
            (event.n, message, fate, event.deliveries.as_slice())
        })
        .collect();
    let expected: [(u64, &str, &str, &[u64]); 4] = [
        (1, "NEW_CALLOUT", "unregistered", &[]),
        (2, "CALLOUT_OWNED", "unlisted", &[]),
        (3, "RESPONDER_ACKNOWLEDGED_CALLOUT", "sent", &[1]),
        (4, "CALLOUT_CLOSED", "sent", &[2, 3, 4]),
    ];
    assert_eq!(told, expected);
    assert!(events.is_sorted_by_key(|event| event.at));
    assert!(begun <= events[0].at && events[3].at <= Timestamp::now());
    let entity = json!({"kind": "callout", "id": id});
    assert!(events.iter().all(|event| event.entity == entity));
    assert_eq!(partner.deliveries().await?.len(), 4);
    Ok(())
}

#[tokio::test]
async fn every_callout_is_listed_in_its_true_state_also_under_a_plan() -> Result<()> {
    let partner = Partner::new().await?;
    let (open, closed) = (partner.callout().await?, partner.callout().await?);
    partner
        .plan(json!({"seed": 1, "polls": {"fail": 1}}))
        .await?;
    partner.act(open, "dispatch").await?;
    partner.act(closed, "close").await?;
    let told = partner.told("/callouts").await?;
    let created_at = |n: usize| -> Result<Timestamp> {
        Ok(serde_json::from_value(told[n]["createdAt"].clone())?)
    };
    assert!(created_at(0)? <= created_at(1)? && created_at(1)? <= Timestamp::now());
    let expected = json!([
        {"id": open, "status": "Responder Dispatched", "closed": false,
            "createdAt": told[0]["createdAt"]},
        {"id": closed, "status": "closed", "closed": true, "createdAt": told[1]["createdAt"]},
    ]);
    assert_eq!(told, expected);
    Ok(())
}

#[tokio::test]
async fn a_crowd_is_active_for_a_long_time_and_has_no_events() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    // The crowd is older than any time that a plan can look back to.
    let stale = json!({"share": 1, "mostMs": 600_000});
    partner
        .plan(json!({"seed": 1, "polls": {"stale": stale}}))
        .await?;
    let (status, raised) = partner.control("/crowd", json!({"callouts": 2000})).await?;
    assert_eq!((status, raised), (200, json!({"raised": 2000})));
    assert_eq!(partner.fates().await?, []);
    assert_eq!(partner.deliveries().await?.len(), 0);

    let (_, active) = partner.get("/callouts/activeCallouts").await?;
    assert_eq!(active.as_array().map(Vec::len), Some(2000));
    let one = active[1999]["id"].as_u64().unwrap();
    assert_eq!(partner.get(&format!("/callouts/{one}")).await?.0, 200);
    let created_at: Timestamp = serde_json::from_value(active[1999]["createdAt"].clone())?;
    assert!(created_at.duration_until(Timestamp::now()) > SignedDuration::from_hours(24));
    let locations = partner.told("/locations").await?;
    assert_eq!(
        active[1999]["predefinedLocationId"],
        locations["crowd"]["id"]
    );

    partner.aura.end_plan().await?;
    partner.act(one, "close").await?;
    let (_, active) = partner.get("/callouts/activeCallouts").await?;
    assert_eq!(active.as_array().map(Vec::len), Some(1999));
    let closed = [(EventName::CalloutClosed, Fate::Sent, vec![1])];
    assert_eq!(partner.fates().await?, closed);
    for size in [0, 100_001] {
        let (status, answer) = partner.control("/crowd", json!({"callouts": size})).await?;
        let message = json!("callouts must be between 1 and 100000");
        assert_eq!((status, &answer["message"]), (400, &message));
    }
    Ok(())
}
