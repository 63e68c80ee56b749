use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    AuraSim, Options,
    plan::{DeliveryFaults, Plan},
};

async fn start() -> AuraSim {
    AuraSim::start(Options::default()).await.unwrap()
}

/// URL where nothing listens, because of port 0.
const NOWHERE: &str = "http://127.0.0.1:0/aura/events";

#[tokio::test]
async fn a_plan_can_be_begun_refused_and_ended() {
    let sim = start().await;
    let aura = Aura::connect(&sim.url()).await.unwrap();
    let deliveries = DeliveryFaults {
        reorder: 1.0,
        ..DeliveryFaults::default()
    };
    let plan = Plan {
        seed: 1,
        deliveries,
        ..Plan::default()
    };
    let headers = BTreeMap::from([("x-key".to_owned(), "k".to_owned())]);
    aura.register(NOWHERE, &["NEW_CALLOUT"], &headers)
        .await
        .unwrap();
    let before = Timestamp::now();
    assert!(aura.plan(&plan).await.unwrap() >= before);
    let customer = aura.create_customer("1").await.unwrap();
    aura.create_callout(&customer).await.unwrap();
    assert_eq!(aura.end_plan().await.unwrap(), 1);
    assert_eq!(aura.end_plan().await.unwrap(), 0);
    let mut wrong = plan;
    wrong.deliveries.reorder = 2.0;
    let refused = aura.plan(&wrong).await.unwrap_err().to_string();
    let problem = wrong.check().unwrap_err().to_string();
    assert!(refused.contains(&problem), "{refused}");
}

#[tokio::test]
async fn the_client_reads_events_and_callouts_as_the_stand_in_has_them() {
    let sim = start().await;
    let aura = Aura::connect(&sim.url()).await.unwrap();
    let customer = aura.create_customer("1").await.unwrap();
    let callout = aura.create_callout(&customer).await.unwrap();
    let events = ["CALLOUT_SOFT_CANCELLED_BY_CUSTOMER", "CALLOUT_CLOSED"];
    aura.register(NOWHERE, &events, &BTreeMap::new())
        .await
        .unwrap();
    aura.cancel(&callout).await.unwrap();
    aura.chat(&callout, "Safe.").await.unwrap();
    aura.crowd(3).await.unwrap();

    let events = aura.events().await.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.message, event.fate, event.deliveries.len()))
        .collect();
    let expected = [
        (EventName::CreatedCustomer, Fate::Unregistered, 0),
        (EventName::SubscriptionCreated, Fate::Unregistered, 0),
        (EventName::NewCallout, Fate::Unregistered, 0),
        (EventName::CalloutSoftCancelledByCustomer, Fate::Sent, 1),
        (EventName::CalloutEventsChanged, Fate::Unlisted, 0),
    ];
    assert_eq!(told, expected);
    assert_eq!(events[2].entity.id.to_string(), callout);
    let callouts = aura.callouts().await.unwrap();
    assert_eq!(callouts.len(), 4);
    assert_eq!(callouts[0].id.to_string(), callout);
    assert_eq!(callouts[0].status, "cancelled");
    assert!(!callouts[0].closed);
    assert!(callouts[1].created_at < callouts[0].created_at);
}

#[tokio::test]
async fn a_days_callouts_stay_open_for_as_long_as_the_day_says() {
    let closed = async |closing_after| {
        let sim = start().await;
        let aura = Aura::connect(&sim.url()).await.unwrap();
        aura.register(NOWHERE, &["CALLOUT_CLOSED"], &BTreeMap::new())
            .await
            .unwrap();
        let day = Day {
            seed: 1,
            events: 100,
            per_second: 5000.0,
            duplicates: 0.0,
            closing_after,
        };
        aura.play(&day).await.unwrap();
        let callouts = aura.callouts().await.unwrap();
        callouts.iter().filter(|callout| callout.closed).count()
    };
    assert!(closed(0).await > 0);
    assert_eq!(closed(100).await, 0);
}

#[tokio::test]
async fn the_client_orders_faults_and_reads_the_log_of_calls() {
    let sim = start().await;
    let aura = Aura::connect(&sim.url()).await.unwrap();
    let reply = Reply {
        status: 302,
        headers: [("location".to_owned(), "/elsewhere".to_owned())].into(),
        body: Value::Null,
    };
    let answers = [
        FaultyAnswer::refusal(503, "later"),
        FaultyAnswer::Reply(reply),
        FaultyAnswer::Patch(json!({"customer": {"id": 7}})),
        FaultyAnswer::BreakOff,
        FaultyAnswer::HangUp,
        FaultyAnswer::Hang,
    ];
    for answer in answers {
        let fault = Fault::once("POST /customers", answer);
        aura.order(&fault).await.unwrap();
    }
    let refused = aura.create_customer("1").await.unwrap_err().to_string();
    assert!(refused.contains("503"), "{refused}");
    let redirected = aura.create_customer("1").await.unwrap_err().to_string();
    assert!(redirected.contains("302"), "{redirected}");
    assert_eq!(aura.create_customer("1").await.unwrap(), "7");
    assert!(aura.create_customer("2").await.is_err());
    assert!(aura.create_customer("3").await.is_err());
    assert_eq!(aura.forget_faults().await.unwrap(), 1);

    aura.order(&Fault::lost_answer("POST /customers"))
        .await
        .unwrap();
    assert!(aura.create_customer("3").await.is_err());
    let again = aura.create_customer("3").await.unwrap_err().to_string();
    assert!(again.contains("409"), "{again}");

    assert_eq!(aura.expire_tokens().await.unwrap(), 1);
    assert!(aura.create_customer("4").await.is_err());
    let calls = aura.calls().await.unwrap();
    let statuses: Vec<_> = calls.iter().map(|call| call.status).collect();
    let expected = [503, 302, 200, 200].map(Some).into_iter();
    let expected = expected.chain([None, None, Some(409), Some(401)]);
    assert_eq!(calls[0].name, TOKEN);
    assert!(calls[1..].iter().all(|call| call.name == "POST /customers"));
    assert_eq!(statuses[1..], expected.collect::<Vec<_>>());
    assert!(
        aura.order(&Fault::once("GET /", FaultyAnswer::Hang))
            .await
            .is_err()
    );
    assert!(aura.order(&Fault::lost_answer(REGISTER)).await.is_ok());
}

#[test]
fn only_a_202_with_the_status_counts_as_answered() {
    let delivery = |status: u16, answer: Value| -> Delivery {
        serde_json::from_value(json!({
            "n": 1, "message": "NEW_CALLOUT", "entity": {"kind": "callout", "id": 1},
            "sentAt": "2026-01-01T00:00:00Z", "answeredAt": null, "status": status,
            "error": null, "answer": answer.to_string(), "duplicateOf": null, "body": "{}",
        }))
        .unwrap()
    };
    let accepted = json!({"deliveryId": "d", "status": "accepted"});
    assert!(delivery(202, accepted.clone()).was_answered("accepted"));
    assert_eq!(delivery(202, accepted.clone()).delivery_id(), Some("d"));
    assert!(!delivery(503, accepted).was_answered("accepted"));
    assert!(!delivery(202, json!({"status": "quarantined"})).was_answered("accepted"));
    assert!(!delivery(202, Value::Null).was_answered("accepted"));
}
