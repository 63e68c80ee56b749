//! Tests of deliveries: which events are delivered, how often, in which order, and what the log
//! has.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aura_sim::client::EventName;
use serde_json::{Value, json};

use crate::harness::{EVENTS, Partner, Receiver};

/// Plays a whole emergency: a customer raises a callout twice, and the control room does every act.
async fn see_an_emergency_through(partner: &Partner) -> Result<()> {
    let member = partner.customer("+27820004567", true).await?;
    let panic_button = json!({"responseTypeId": 1, "calloutClassificationId": 1,
        "location": {"latitude": 51.5, "longitude": -0.1, "accuracy": 5}});
    let path = format!("/customers/{member}/callouts");
    let (_, raised) = partner.post(&path, panic_button.clone()).await?;
    partner.post(&path, panic_button).await?;
    let id = raised["callout"]["id"].as_u64().context("no id")?;
    for act in ["own", "dispatch", "acknowledge", "arrive", "arrive"] {
        assert_eq!(partner.act(id, act).await?.0, 200);
    }
    let remarks = format!("/callouts/{id}/events");
    partner.post(&remarks, json!({"message": "Safe."})).await?;
    for act in ["complete", "complete", "close"] {
        assert_eq!(partner.act(id, act).await?.0, 200);
    }
    Ok(())
}

#[tokio::test]
async fn an_emergency_is_delivered_once_in_order_and_with_the_header() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    see_an_emergency_through(&partner).await?;

    partner.deliveries().await?;
    let told = partner.told("/deliveries").await?;
    assert_eq!(told["pending"], 0);
    let deliveries = told["deliveries"].as_array().unwrap();
    let expected = [
        "NEW_CALLOUT",
        "CALLOUT_OWNED",
        "RESPONDER_MANUALLY_DISPATCHED",
        "RESPONDER_ACKNOWLEDGED_CALLOUT",
        "RESPONDER_ARRIVED_ON_SCENE",
        "RESPONDER_ARRIVED_ON_SCENE",
        "CALLOUT_EVENTS_CHANGED",
        "RESPONDER_COMPLETED",
        "RESPONDER_COMPLETED",
        "CALLOUT_CLOSED",
    ];
    let about_callouts = deliveries.iter();
    let about_callouts = about_callouts.filter(|one| one["entity"]["kind"] == "callout");
    assert!(about_callouts.map(|one| &one["message"]).eq(&expected));
    assert_eq!(deliveries[0]["message"], "CREATED_CUSTOMER");
    assert_eq!(deliveries[1]["message"], "SUBSCRIPTION_CREATED");
    assert_eq!(deliveries[1]["entity"]["kind"], "subscription");

    let posts = receiver.received();
    assert_eq!(posts.len(), deliveries.len());
    let bodies: Vec<Value> = posts
        .iter()
        .map(|post| serde_json::from_str(&post.body))
        .collect::<Result<_, _>>()?;
    let told = bodies.iter().filter(|body| body.get("callout").is_some());
    assert!(told.map(|body| &body["message"]).eq(&expected));
    let distinct: BTreeSet<_> = posts.iter().map(|post| &post.body).collect();
    assert_eq!(distinct.len(), posts.len());
    for post in &posts {
        assert_eq!(post.headers["authorization"], "Bearer webhook");
        assert_eq!(post.headers["content-type"], "application/json");
    }
    for delivery in deliveries {
        assert_eq!(delivery["status"], 202);
        assert_eq!(delivery["answer"], "noted");
        assert_eq!(delivery["url"], receiver.url);
        let time = |key: &str| delivery[key].as_str().unwrap().parse::<jiff::Timestamp>();
        assert!(time("sentAt")? <= time("answeredAt")?);
    }
    Ok(())
}

#[tokio::test]
async fn only_listed_events_are_sent() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::new().await?;
    let unheard = partner.callout().await?;
    let registration = json!({"url": receiver.url, "events": ["CALLOUT_CLOSED"]});
    partner.post("/notifiers/webhooks", registration).await?;
    partner.act(unheard, "own").await?;
    partner.act(unheard, "close").await?;
    let deliveries = partner.deliveries().await?;
    let messages: Vec<_> = deliveries.iter().map(|one| one.message).collect();
    assert_eq!(messages, [EventName::CalloutClosed]);
    Ok(())
}

#[tokio::test]
async fn a_delivery_waits_only_for_answers_about_its_own_entity() -> Result<()> {
    let receiver = Receiver::closed().await?;
    let partner = Partner::registered_at(&receiver).await?;
    let callouts = [partner.callout().await?, partner.callout().await?];
    for callout in callouts {
        partner.act(callout, "own").await?;
    }
    receiver.until_received(2).await?;
    let report = partner.aura.deliveries().await?;
    assert_eq!(report.pending, 4);
    let sent = report.deliveries.iter();
    let sent = sent.filter(|delivery| delivery.sent_at.is_some());
    let sent = sent.map(|delivery| (delivery.message, delivery.entity.id));
    let expected = callouts.map(|id| (EventName::NewCallout, id));
    assert_eq!(sent.collect::<Vec<_>>(), expected);
    receiver.open();
    partner.deliveries().await?;
    assert_eq!(receiver.received().len(), 4);
    Ok(())
}

#[tokio::test]
async fn an_event_is_lost_if_the_receiver_is_down() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    // Nothing can listen on port 0, so there is no answer.
    let nowhere = json!({"url": "http://127.0.0.1:0/", "events": EVENTS});
    partner.post("/notifiers/webhooks", nowhere).await?;
    partner.callout().await?;
    let deliveries = partner.deliveries().await?;
    assert_eq!(deliveries.len(), 1);
    assert!(deliveries[0].error.is_some());
    assert_eq!(deliveries[0].status, None);

    let back = json!({"url": receiver.url, "events": EVENTS});
    partner.post("/notifiers/webhooks", back).await?;
    partner.callout().await?;
    assert_eq!(partner.deliveries().await?.len(), 2);
    assert_eq!(receiver.received().len(), 1);
    Ok(())
}

#[tokio::test]
async fn neither_an_error_nor_a_redirect_is_tried_again() -> Result<()> {
    let receiver = Receiver::answering([503, 307]).await?;
    let partner = Partner::registered_at(&receiver).await?;
    let id = partner.callout().await?;
    partner.act(id, "own").await?;
    partner.act(id, "close").await?;
    let deliveries = partner.deliveries().await?;
    let statuses: Vec<_> = deliveries.iter().map(|one| one.status).collect();
    assert_eq!(statuses, [503, 307, 202].map(Some));
    assert_eq!(receiver.received().len(), 3);
    Ok(())
}

#[tokio::test]
async fn a_resent_delivery_is_the_same_to_the_byte() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner.callout().await?;
    let (status, resent) = partner.control("/resend/1", json!({})).await?;
    assert_eq!((status, resent), (200, json!({"n": 2})));
    let deliveries = partner.deliveries().await?;
    assert_eq!(deliveries[0].duplicate_of, None);
    assert_eq!(deliveries[1].duplicate_of, Some(1));
    let posts = receiver.received();
    assert_eq!(posts.len(), 2);
    assert_eq!(posts[0].body, posts[1].body);
    assert_eq!(deliveries[1].body, posts[1].body);
    Ok(())
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_deliveries() -> Result<()> {
    let receiver = Receiver::closed().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner.callout().await?;
    receiver.until_received(1).await?;
    let url = partner.sim.url();
    partner.sim.shutdown().await;
    assert!(partner.client.get(url).send().await.is_err());
    Ok(())
}
