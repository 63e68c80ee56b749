//! Tests of plans: which events are sent, when and how often, and how polls are answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aura_sim::client::{Delivery, EventName, Fate};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::harness::{EVENTS, Partner, Receiver};

fn time(value: &Value) -> Result<Timestamp> {
    Ok(value.as_str().context("no time")?.parse()?)
}

/// Lists the numbers of the deliveries in the order of their arrival.
fn arrivals(deliveries: &[Delivery], receiver: &Receiver) -> Vec<u64> {
    let numbers: BTreeMap<_, _> = deliveries
        .iter()
        .map(|delivery| (&delivery.body, delivery.n))
        .collect();
    assert_eq!(numbers.len(), deliveries.len());
    let posts = receiver.received();
    posts.iter().map(|post| numbers[&post.body]).collect()
}

#[tokio::test]
async fn an_impossible_plan_is_refused_by_its_member_and_changes_nothing() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner
        .plan(json!({"seed": 1, "deliveries": {"drop": 1}}))
        .await?;
    let wrong = [
        (
            json!({"seed": 1, "deliveries": {"drop": 20}}),
            "deliveries.drop must be between 0 and 1",
        ),
        (
            json!({"seed": 1, "dark": {"everySeconds": 60, "forSeconds": 60}}),
            "dark.everySeconds must be more than dark.forSeconds",
        ),
        (
            json!({"seed": 1, "polls": {"stale": {"share": 0.1, "mostMs": 3_600_000}}}),
            "polls.stale.mostMs must be at most 600000",
        ),
    ];
    for (plan, message) in wrong {
        let (status, answer) = partner.control("/plan", plan).await?;
        assert_eq!((status, &answer["message"]), (400, &json!(message)));
    }
    let shapes = [
        (json!({}), "missing field `seed`"),
        (json!({"seed": 1, "drop": 0.2}), "unknown field `drop`"),
        (json!({"seed": 1, "dark": true}), "invalid type: boolean"),
    ];
    for (plan, problem) in shapes {
        let (status, answer) = partner.control("/plan", plan).await?;
        assert_eq!(status, 400);
        let message = answer["message"].as_str().unwrap();
        assert!(message.starts_with(problem), "{message}");
        assert!(message.contains(r#"a plan is {"seed": 1"#), "{message}");
    }
    partner.callout().await?;
    assert_eq!(partner.fates().await?[0].1, Fate::Dropped);
    Ok(())
}

#[tokio::test]
async fn a_dropped_event_is_logged_without_a_delivery_until_the_plan_ends() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    let begun = Timestamp::now();
    let answer = partner
        .plan(json!({"seed": 1, "deliveries": {"drop": 1}}))
        .await?;
    let started_at = time(&answer["startedAt"])?;
    assert!(begun <= started_at && started_at <= Timestamp::now());
    let id = partner.callout().await?;
    assert_eq!(partner.deliveries().await?.len(), 0);
    assert_eq!(partner.aura.end_plan().await?, 0);
    partner.act(id, "close").await?;
    let deliveries = partner.deliveries().await?;
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].message, EventName::CalloutClosed);
    let expected = [
        (EventName::NewCallout, Fate::Dropped, vec![]),
        (EventName::CalloutClosed, Fate::Sent, vec![1]),
    ];
    assert_eq!(partner.fates().await?, expected);
    assert_eq!(partner.aura.end_plan().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_bare_event_has_only_its_name_and_the_callouts_id_and_an_opening_is_whole() -> Result<()>
{
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner
        .plan(json!({"seed": 1, "deliveries": {"bare": 1}}))
        .await?;
    let id = partner.callout().await?;
    let acts = [
        ("own", "CALLOUT_OWNED"),
        ("arrive", "RESPONDER_ARRIVED_ON_SCENE"),
        ("close", "CALLOUT_CLOSED"),
    ];
    for (act, _) in acts {
        partner.act(id, act).await?;
    }
    partner.deliveries().await?;
    let bodies = receiver.received().into_iter();
    let bodies = bodies.map(|post| serde_json::from_str(&post.body));
    let bodies: Vec<Value> = bodies.collect::<Result<_, _>>()?;
    let (opening, others) = bodies.split_first().context("nothing came")?;
    assert!(opening["callout"]["calloutClassification"].is_object());
    let expected = acts.map(|(_, message)| json!({"message": message, "callout": {"id": id}}));
    assert_eq!(others, expected);
    Ok(())
}

#[tokio::test]
async fn a_duplicated_event_is_one_event_with_two_equal_deliveries() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner
        .plan(json!({"seed": 1, "deliveries": {"duplicate": 1}}))
        .await?;
    let id = partner.callout().await?;
    partner.act(id, "close").await?;
    let deliveries = partner.deliveries().await?;
    let repeats: Vec<_> = deliveries.iter().map(|one| one.duplicate_of).collect();
    assert_eq!(repeats, [None, Some(1), None, Some(3)]);
    let posts = receiver.received();
    assert_eq!(posts.len(), 4);
    for (post, delivery) in posts.iter().zip(&deliveries) {
        assert_eq!(delivery.body, post.body);
    }
    assert_eq!(posts[0].body, posts[1].body);
    assert_eq!(posts[2].body, posts[3].body);
    let numbers: Vec<_> = partner
        .fates()
        .await?
        .into_iter()
        .map(|one| one.2)
        .collect();
    assert_eq!(numbers, [[1, 2], [3, 4]]);
    Ok(())
}

#[tokio::test]
async fn a_reordered_delivery_arrives_behind_a_later_one_or_at_the_end_of_the_plan() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    let delay = json!({"mostMs": 600_000});
    partner
        .plan(json!({"seed": 1, "deliveries": {"reorder": 0.6, "delay": delay}}))
        .await?;
    let id = partner.callout().await?;
    for _ in 0..29 {
        partner.act(id, "own").await?;
    }
    let held_back = partner.aura.end_plan().await?;
    let arrived = arrivals(&partner.deliveries().await?, &receiver);
    assert_eq!(arrived.len(), 30);
    assert!(!arrived.is_sorted());
    // Behind each delivery that overtakes, those that it overtook arrive, the oldest first.
    let mut expected = Vec::new();
    let mut highest = 0;
    for &n in &arrived {
        if n > highest {
            expected.push(n);
            expected.extend(highest + 1..n);
            highest = n;
        }
    }
    assert_eq!(arrived, expected);
    // Deliveries that were not overtaken wait for the end of the plan.
    assert!(held_back > 0);
    let last: Vec<_> = (1..=30).skip(30 - held_back).collect();
    assert!(arrived.ends_with(&last), "{arrived:?}");
    Ok(())
}

#[tokio::test]
async fn a_held_delivery_goes_out_by_itself_at_its_time() -> Result<()> {
    for shares in [
        json!({"delay": {"share": 1, "mostMs": 400}}),
        json!({"reorder": 1, "delay": {"mostMs": 400}}),
    ] {
        let receiver = Receiver::new().await?;
        let partner = Partner::registered_at(&receiver).await?;
        partner
            .plan(json!({"seed": 1, "deliveries": shares}))
            .await?;
        for _ in 0..20 {
            partner.callout().await?;
        }
        assert!(partner.aura.deliveries().await?.pending > 0);
        let events = partner.aura.events().await?;
        let mut waits = Vec::new();
        for (n, delivery) in partner.deliveries().await?.iter().enumerate() {
            let sent_at = delivery.sent_at.context("not sent")?;
            waits.push(events[n].at.duration_until(sent_at).as_millis());
        }
        assert_eq!(waits.len(), 20);
        assert!(waits.iter().any(|&wait| wait >= 200), "{waits:?}");
        if shares["reorder"] == 1 {
            assert!(waits.iter().all(|&wait| wait >= 400), "{waits:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_sent_in_a_dark_window_and_waiting_deliveries_go_out_at_its_end() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    let id = partner.callout().await?;
    partner.deliveries().await?;
    let dark = json!({"everySeconds": 3600, "forSeconds": 2});
    let answer = partner.plan(json!({"seed": 1, "dark": dark})).await?;
    partner.act(id, "own").await?;
    partner.control("/resend/1", json!({})).await?;
    let light = time(&answer["startedAt"])? + Duration::from_secs(2);
    let deliveries = partner.deliveries().await?;
    assert_eq!(deliveries.len(), 2);
    assert!(deliveries[1].sent_at >= Some(light));
    partner.act(id, "close").await?;
    partner.deliveries().await?;
    assert_eq!(receiver.received().len(), 3);
    let fates = partner.fates().await?;
    let fates: Vec<_> = fates.iter().map(|one| one.1).collect();
    assert_eq!(fates, [Fate::Sent, Fate::Dark, Fate::Sent]);
    Ok(())
}

#[tokio::test]
async fn a_plan_replaces_the_registration_once() -> Result<()> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    partner
        .plan(json!({"seed": 1, "loseRegistrationAfterSeconds": 1.5}))
        .await?;
    let before = partner.callout().await?;
    let lost = async {
        loop {
            let report = partner.told("/registration").await?;
            if report["current"]["url"] != receiver.url {
                return anyhow::Ok(report);
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let report = timeout(Duration::from_secs(10), lost).await??;
    assert_eq!(report["history"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["current"]["events"], json!(EVENTS));
    assert_eq!(report["current"]["headers"], json!({}));
    partner.act(before, "close").await?;
    let deliveries = partner.deliveries().await?;
    assert_eq!(deliveries[0].url.as_ref(), Some(&receiver.url));
    assert_eq!(
        deliveries[1].url.as_deref(),
        report["current"]["url"].as_str()
    );
    assert!(deliveries[1].error.is_some());
    assert_eq!(partner.fates().await?[1].1, Fate::Sent);

    let again = json!({"url": receiver.url, "events": EVENTS});
    partner.post("/notifiers/webhooks", again).await?;
    partner.callout().await?;
    assert_eq!(partner.deliveries().await?[2].status, Some(202));
    Ok(())
}

#[tokio::test]
async fn only_polls_fail_by_plan_and_an_ordered_fault_comes_first() -> Result<()> {
    let partner = Partner::new().await?;
    partner
        .plan(json!({"seed": 1, "polls": {"fail": 1}}))
        .await?;
    let id = partner.callout().await?;
    let remark = json!({"message": "Safe."});
    let stream = format!("/callouts/{id}/events");
    assert_eq!(partner.post(&stream, remark).await?.0, 200);
    let reply = json!({"reply": {"status": 401, "body": {}}});
    let fault = json!({"call": "GET /callouts/{id}", "answer": reply});
    partner.control("/faults", fault).await?;
    let path = format!("/callouts/{id}");
    assert_eq!(partner.get(&path).await?.0, 401);
    let mut statuses = BTreeSet::new();
    for path in [&path, "/callouts/activeCallouts", &stream].repeat(10) {
        let (status, answer) = partner.get(path).await?;
        assert_eq!(answer, json!({"message": "AURA fails because of a plan"}));
        statuses.insert(status);
    }
    assert_eq!(statuses, BTreeSet::from([429, 500, 502, 503]));
    let calls = partner.told("/calls").await?;
    let last = calls.as_array().and_then(|calls| calls.last()).unwrap();
    assert_eq!(last["call"], "GET /callouts/{id}/events");
    assert!(statuses.contains(&u16::try_from(last["status"].as_u64().unwrap())?));
    partner.aura.end_plan().await?;
    assert_eq!(partner.get(&path).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn a_stale_poll_gets_the_world_of_an_earlier_time() -> Result<()> {
    let partner = Partner::new().await?;
    let id = partner.callout().await?;
    let path = format!("/callouts/{id}");
    let stream = format!("/callouts/{id}/events");
    let stale = json!({"share": 1, "mostMs": 600_000});
    let plan = json!({"seed": 1, "polls": {"stale": stale}});
    partner.plan(plan.clone()).await?;
    // The callout is younger than nearly every time that the plan picks, so it doesn't exist there.
    assert_eq!(partner.get(&path).await?.0, 404);
    assert_eq!(partner.get(&stream).await?.0, 404);
    let (_, active) = partner.get("/callouts/activeCallouts").await?;
    assert_eq!(active, json!([]));
    partner.aura.end_plan().await?;
    assert_eq!(partner.get(&path).await?.0, 200);

    // For a second and a half, answers may show the state before the change. Then they don't.
    partner
        .plan(json!({"seed": 1, "polls": {"stale": {"share": 1, "mostMs": 1500}}}))
        .await?;
    sleep(Duration::from_millis(1600)).await;
    let (_, found) = partner.get(&path).await?;
    assert_eq!(found["callout"]["status"], "created");
    partner.act(id, "close").await?;
    let mut told = BTreeSet::new();
    for _ in 0..10 {
        let (_, found) = partner.get(&path).await?;
        told.insert(found["callout"]["status"].to_string());
    }
    assert!(told.contains("\"created\""), "{told:?}");
    sleep(Duration::from_millis(1600)).await;
    let (_, found) = partner.get(&path).await?;
    assert_eq!(found["callout"]["status"], "closed");
    Ok(())
}

/// Plays a day under a plan. Lists the name, fate and deliveries of each event.
async fn day(plan_seed: u64, per_second: u32) -> Result<Vec<(EventName, Fate, Vec<u64>)>> {
    let receiver = Receiver::new().await?;
    let partner = Partner::registered_at(&receiver).await?;
    let shares = json!({"drop": 0.2, "duplicate": 0.1, "reorder": 0.1,
        "delay": {"share": 0.1, "mostMs": 50}});
    partner
        .plan(json!({"seed": plan_seed, "deliveries": shares}))
        .await?;
    let order = json!({"seed": 1, "events": 300, "perSecond": per_second});
    let (status, report) = partner.control("/day", order).await?;
    assert_eq!(status, 200);
    let fates = partner.fates().await?;
    let sent = fates.iter().filter(|one| one.1 == Fate::Sent).count();
    assert_eq!(report["events"], sent);
    assert_eq!(report["accepted"], sent);
    let told: usize = fates.iter().map(|one| one.2.len()).sum();
    assert_eq!(partner.deliveries().await?.len(), told);
    assert_eq!(receiver.received().len(), told);
    Ok(fates)
}

#[tokio::test]
async fn the_same_plan_decides_the_same_for_the_same_day_at_any_pace() -> Result<()> {
    let first = day(1, 5000).await?;
    assert_eq!(first.len(), 300);
    assert_eq!(first, day(1, 500).await?);
    assert_ne!(first, day(2, 5000).await?);
    Ok(())
}
