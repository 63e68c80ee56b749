//! Tests of the deployed reconciler with an AURA that doesn't deliver everything.

pub mod trial;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aura_sim::client::Controller::{Acknowledge, Arrive, Close, Complete};
use aura_sim::client::{Fault, FaultyAnswer, Reply, TOKEN};
use e2e::from_environment;
use serde_json::{Value, json};
use shared::envelope::Origin;
use shared::ledger::spill::Spill;
use shared::ledger::{Claim, ClaimRequest, EventLedger, LedgerKey};
use shared::queue::{Destination, Message, Outgoing};
use shared::telemetry::lines::metrics_of;
use stack::processes;
use stack::reconciler::Run;
use stack::system::Leftovers;
use uuid::Uuid;

use self::trial::Trial;

const ACTIVE: &str = "GET /callouts/activeCallouts";
const GET: &str = "GET /callouts/{id}";

fn opening(id: &str) -> String {
    format!("callout#{id}/NEW_CALLOUT")
}

fn closing(id: &str) -> String {
    format!("callout#{id}/CALLOUT_CLOSED")
}

/// A fault that gives the next `times` calls this answer; AURA doesn't carry them out.
fn reply(call: &str, times: u32, status: u16, body: Value) -> Fault {
    let reply = Reply {
        status,
        headers: [].into(),
        body,
    };
    Fault {
        times,
        ..Fault::once(call, FaultyAnswer::Reply(reply))
    }
}

#[tokio::test]
async fn a_missed_opening_is_recovered_and_what_comes_late_is_dropped() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    trial.deafen().await?;
    let id = trial.callout().await?;
    trial.undeafen().await?;
    assert!(trial.published().await?.is_empty());

    let line = trial.run().await?;
    assert_eq!(
        (&line["Active"], &line["OpeningsRecovered"]),
        (&json!(1), &json!(1))
    );
    let published = trial.published().await?;
    let [found] = published.as_slice() else {
        panic!("{published:?}");
    };
    assert_eq!(found.told(), (opening(&id).as_str(), "reconciler"));
    // The payload has the whole callout, as AURA answers it.
    assert_eq!(found.payload()["callout"]["status"], "created");
    assert!(found.payload()["callout"]["incidentInformation"].is_array());
    assert_eq!(trial.open().await?.len(), 1);

    // AURA's own delivery of the opening comes late. Its payload is another one, and yet it is no
    // conflict.
    let late = json!({"message": "NEW_CALLOUT", "callout": {"id": id.parse::<u64>()?}});
    let http = shared::http_client::build()?;
    let webhook = trial.system.webhook().await?;
    let answer = webhook.post(&http, late.to_string().into()).await?;
    assert_eq!(answer.status, 202);
    let line = trial.run().await?;
    assert_eq!(line["OpeningsRecovered"], 0);
    assert!(trial.published().await?.is_empty());
    assert!(Leftovers::count(trial.stack()).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_missed_closing_is_recovered_once() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    let id = trial.told_callout().await?;
    trial.run().await?;
    trial.secretly(&id, &[Close]).await?;
    let line = trial.run().await?;
    assert_eq!(line["ClosingsRecovered"], 1);
    let published = trial.published().await?;
    let [found] = published.as_slice() else {
        panic!("{published:?}");
    };
    assert_eq!(found.told(), (closing(&id).as_str(), "reconciler"));
    assert_eq!(found.payload()["callout"]["status"], "closed");
    assert!(found.payload().get("gone").is_none());
    let line = trial.run().await?;
    assert_eq!(line["ClosingsRecovered"], 0, "{line}");
    assert!(trial.open().await?.is_empty());
    assert!(trial.published().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_callout_that_aura_no_longer_knows_or_calls_closed_is_closed() -> Result<()> {
    for (status, gone) in [(404, true), (285, false)] {
        let mut trial = Trial::begin(&[]).await?;
        let id = trial.told_callout().await?;
        trial.secretly(&id, &[Close]).await?;
        let refusal = json!({"message": "no"});
        trial.aura.order(&reply(GET, 1, status, refusal)).await?;
        let line = trial.run().await?;
        assert_eq!(line["ClosingsRecovered"], 1, "{line}");
        assert_eq!(line["AuraFailures"], 0, "{line}");
        let published = trial.published().await?;
        let payload = published
            .first()
            .context("no closing was published")?
            .payload();
        assert_eq!(payload["callout"], json!({"id": id.parse::<u64>()?}));
        assert_eq!(payload.get("gone").is_some(), gone, "{payload}");
    }
    Ok(())
}

#[tokio::test]
async fn callouts_that_aura_knows_nothing_of_any_more_are_not_closed_at_once() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    for _ in 0..2 {
        let id = trial.told_callout().await?;
        trial.secretly(&id, &[Close]).await?;
    }
    let refusal = json!({"message": "no"});
    trial.aura.order(&reply(GET, 2, 404, refusal)).await?;
    let line = trial.run().await?;
    assert_eq!(
        (&line["Held"], &line["ClosingsRecovered"]),
        (&json!(2), &json!(0)),
        "{line}"
    );
    // In the next run AURA knows the callouts again, and calls them closed.
    let line = trial.run().await?;
    assert_eq!(
        (&line["Held"], &line["ClosingsRecovered"]),
        (&json!(0), &json!(2)),
        "{line}"
    );
    Ok(())
}

#[tokio::test]
async fn an_active_callout_is_not_closed_by_a_list_that_lacks_it_once() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    let id = trial.told_callout().await?;
    trial.run().await?;
    let listed = json!([{"id": id, "status": "created"}]);
    let unreadable = json!([{"status": "created"}]);
    let not_closed_by = async |lists: Vec<Value>| {
        for list in lists {
            trial.aura.order(&reply(ACTIVE, 1, 200, list)).await?;
        }
        let line = trial.run().await?;
        assert_eq!(line["ClosingsRecovered"], 0, "{line}");
        trial.aura.forget_faults().await
    };
    // AURA calls the callout active when asked.
    not_closed_by(vec![json!([]), json!([])]).await?;
    // When asked, AURA answers with an undocumented status; but the callout is on its list again,
    // or the list has an entry that can't be read.
    trial.secretly(&id, &[Acknowledge, Arrive]).await?;
    not_closed_by(vec![json!([]), listed]).await?;
    not_closed_by(vec![json!([]), unreadable.clone()]).await?;
    not_closed_by(vec![unreadable]).await?;
    assert_eq!(trial.open().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_list_that_may_be_a_page_closes_nothing_that_aura_still_knows() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    let closed = trial.told_callout().await?;
    let mut active = Vec::new();
    for _ in 0..10 {
        active.push(trial.told_callout().await?);
    }
    trial.secretly(&closed, &[Close]).await?;
    let recovered = async |active: u32, closings: u32| {
        let line = trial.run().await?;
        assert_eq!(
            (&line["Active"], &line["ClosingsRecovered"]),
            (&json!(active), &json!(closings)),
            "{line}"
        );
        anyhow::Ok(())
    };
    // The first list has ten entries; a second list would have eleven.
    let entry = |id: &String| json!({"id": id, "status": "created"});
    let ten: Value = active.iter().map(entry).collect();
    let eleven: Value = active.iter().chain(active.first()).map(entry).collect();
    for list in [ten, eleven.clone()] {
        trial.aura.order(&reply(ACTIVE, 1, 200, list)).await?;
    }
    recovered(10, 0).await?;
    trial.aura.forget_faults().await?;
    // The other way round: the first list has eleven entries, the second one is AURA's own.
    trial.aura.order(&reply(ACTIVE, 1, 200, eleven)).await?;
    recovered(11, 0).await?;
    // AURA doesn't know the callout any more.
    let refusal = json!({"message": "no"});
    trial.aura.order(&reply(GET, 1, 404, refusal)).await?;
    recovered(10, 1).await?;
    // A list of nine is no page.
    let next = active.first().context("no callout is active")?;
    trial.secretly(next, &[Close]).await?;
    recovered(9, 1).await?;
    Ok(())
}

#[tokio::test]
async fn a_missed_opening_whose_creation_cannot_be_read_waits_once_for_auras_lag() -> Result<()> {
    let mut trial = Trial::begin(&[("AuraLagSeconds", "4")]).await?;
    trial.deafen().await?;
    let id = trial.callout().await?;
    trial.undeafen().await?;
    let listed = json!([{"id": id, "status": "created", "createdAt": "a while ago"}]);
    trial
        .aura
        .order(&reply(ACTIVE, 1, 200, listed.clone()))
        .await?;
    let line = trial.run().await?;
    assert_eq!(
        (&line["Active"], &line["OpeningsRecovered"]),
        (&json!(1), &json!(0)),
        "{line}"
    );
    // A run that fails doesn't forget the opening.
    let down = reply(ACTIVE, 3, 503, json!({"message": "later"}));
    trial.aura.order(&down).await?;
    let (run, _) = trial.any_run().await?;
    assert!(matches!(run, Run::Failed(_)), "{run:?}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    trial.aura.forget_faults().await?;
    trial.aura.order(&reply(ACTIVE, 1, 200, listed)).await?;
    let line = trial.run().await?;
    assert_eq!(line["OpeningsRecovered"], 1, "{line}");
    assert_eq!(trial.published().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_change_without_a_delivery_is_observed_once() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    let id = trial.told_callout().await?;
    // First a documented status that the last event doesn't explain, then an undocumented one.
    let steps = [
        (vec![Acknowledge], "Responder Dispatched"),
        (vec![Arrive, Complete], "Responder Completed"),
    ];
    for (number, (acts, status)) in (1..).zip(steps) {
        trial.run().await?;
        trial.secretly(&id, &acts).await?;
        let line = trial.run().await?;
        assert_eq!(
            (&line["Observed"], &line["Checked"]),
            (&json!(1), &json!(1)),
            "{line}"
        );
        let published = trial.published().await?;
        let [found] = published.as_slice() else {
            panic!("{published:?}");
        };
        assert_eq!(
            (found.message(), found.told().1),
            ("CALLOUT_OBSERVED", "reconciler")
        );
        assert_eq!(found.payload()["observation"], number);
        assert_eq!(found.payload()["callout"]["status"], status);
        let line = trial.run().await?;
        assert_eq!(line["Checked"], 0, "{line}");
    }
    assert!(trial.published().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_silent_callout_is_observed_once_and_delivered_changes_are_not() -> Result<()> {
    let silence = [
        ("SilenceAfterCreated", "1"),
        ("SilenceAfterDispatched", "3600"),
    ];
    let mut trial = Trial::begin(&silence).await?;
    let id = trial.told_callout().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let line = trial.run().await?;
    assert_eq!(line["Observed"], 1, "{line}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let line = trial.run().await?;
    assert_eq!(
        (&line["Checked"], &line["Observed"]),
        (&json!(1), &json!(0)),
        "{line}"
    );
    let published = trial.published().await?;
    assert_eq!(published.len(), 1, "{published:?}");
    trial.aura.control(&id, Acknowledge).await?;
    let published = trial.published().await?;
    assert_eq!(published[0].told().1, "webhook");
    let line = trial.run().await?;
    assert_eq!(line["Checked"], 0, "{line}");
    Ok(())
}

#[tokio::test]
async fn a_quiet_system_costs_one_call_a_run_and_a_token_an_hour() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    trial.told_callout().await?;
    let first = trial.run().await?;
    assert_eq!(first["AuraCalls"], 2, "{first}");
    for _ in 0..3 {
        let line = trial.run().await?;
        assert_eq!(line["AuraCalls"], 1, "{line}");
    }
    // The run replaces a token that AURA no longer accepts.
    trial.aura.expire_tokens().await?;
    let line = trial.run().await?;
    assert_eq!(line["AuraCalls"], 3, "{line}");
    Ok(())
}

#[tokio::test]
async fn an_aura_that_fails_changes_nothing_and_is_asked_again_after_a_pause() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    trial.deafen().await?;
    trial.callout().await?;
    trial.undeafen().await?;
    let down = || reply(ACTIVE, 1, 503, json!({"message": "later"}));
    trial.aura.order(&down()).await?;
    let line = trial.run().await?;
    assert_eq!(
        (&line["OpeningsRecovered"], &line["AuraFailures"]),
        (&json!(1), &json!(1))
    );
    // The fault lasts longer than a run tries.
    let fault = Fault {
        times: 10,
        ..down()
    };
    trial.aura.order(&fault).await?;
    let (run, line) = trial.any_run().await?;
    assert!(matches!(run, Run::Failed(_)), "{run:?}");
    assert_eq!(
        (&line["AuraCalls"], &line["AuraRefuses"]),
        (&json!(3), &json!(0)),
        "{line}"
    );
    trial.aura.forget_faults().await?;
    trial.run().await?;
    assert_eq!(trial.published().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_run_waits_as_long_as_aura_asks_if_it_has_the_time() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    trial.told_callout().await?;
    let busy = |retry_after: &str| {
        let reply = Reply {
            status: 429,
            headers: [("retry-after".to_owned(), retry_after.to_owned())].into(),
            body: json!({"message": "slower"}),
        };
        Fault::once(ACTIVE, FaultyAnswer::Reply(reply))
    };
    trial.aura.order(&busy("2")).await?;
    let begun = Instant::now();
    let line = trial.run().await?;
    assert!(begun.elapsed() >= Duration::from_secs(2), "{line}");
    assert_eq!(
        (&line["AuraFailures"], &line["AuraRefuses"]),
        (&json!(1), &json!(0)),
        "{line}"
    );
    // An hour is longer than a run has. The run ends instead of waiting, and the next run asks
    // again.
    trial.aura.order(&busy("3600")).await?;
    let begun = Instant::now();
    let (run, line) = trial.any_run().await?;
    assert!(begun.elapsed() < Duration::from_secs(15), "{line}");
    let Run::Failed(told) = run else {
        panic!("{run:?}");
    };
    assert!(told.contains("asks to wait for 3600 s"), "{told}");
    assert_eq!(
        (&line["AuraFailures"], &line["AuraRefuses"]),
        (&json!(1), &json!(0)),
        "{line}"
    );
    trial.run().await?;
    Ok(())
}

#[tokio::test]
async fn a_refusal_ends_the_asking_at_once_and_raises_its_metric() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    for _ in 0..4 {
        trial.told_callout().await?;
    }
    for (call, status) in [(TOKEN, 401), (ACTIVE, 403)] {
        let refusal = reply(call, 1, status, json!({"message": "no"}));
        trial.aura.order(&refusal).await?;
        let calls = trial.aura.calls().await?.len();
        let (run, line) = trial.any_run().await?;
        assert!(matches!(run, Run::Failed(_)), "{run:?}");
        assert_eq!(line["AuraRefuses"], 1, "{line}");
        let calls = trial.aura.calls().await?.split_off(calls);
        assert_eq!(calls.last().and_then(|call| call.status), Some(status));
        // The credentials may have been corrected meanwhile.
        let line = trial.run().await?;
        assert_eq!(line["AuraRefuses"], 0, "{line}");
        // The alarm is told once that it is over.
        assert_eq!(metrics_of(&line), ["AuraRefuses"]);
        assert_eq!(metrics_of(&trial.run().await?), [""; 0]);
    }
    Ok(())
}

#[tokio::test]
async fn what_aura_refuses_about_one_callout_stops_no_other_closing() -> Result<()> {
    // AURA is asked one call at a time, so that the refusals come in a row.
    let mut trial = Trial::begin(&[("AuraCallsAtOnce", "1")]).await?;
    for status in [403, 400] {
        for _ in 0..5 {
            let id = trial.told_callout().await?;
            trial.secretly(&id, &[Close]).await?;
        }
        let refusal = json!({"message": "no"});
        trial.aura.order(&reply(GET, 4, status, refusal)).await?;
        let line = trial.run().await?;
        assert_eq!(
            (&line["ClosingsRecovered"], &line["Unsettled"]),
            (&json!(1), &json!(4)),
            "{line}"
        );
        let forbidden = if status == 403 { json!(4) } else { Value::Null };
        assert_eq!(
            (&line["Forbidden"], &line["AuraRefuses"]),
            (&forbidden, &json!(0)),
            "{line}"
        );
        let line = trial.run().await?;
        assert_eq!(line["ClosingsRecovered"], 4, "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn no_minute_has_more_calls_of_a_process_than_allowed() -> Result<()> {
    let limits = [("AuraCallsPerMinute", "10"), ("ReconcilerTimeout", "4")];
    let mut trial = Trial::begin(&limits).await?;
    trial.deafen().await?;
    for _ in 0..12 {
        trial.callout().await?;
    }
    trial.undeafen().await?;
    let line = trial.run().await?;
    // The calls are a token, the list and seven callouts; two calls are reserved for lists.
    assert_eq!(line["AuraCalls"], 9, "{line}");
    assert_eq!(
        (&line["OpeningsRecovered"], &line["Unsettled"]),
        (&json!(7), &json!(5)),
        "{line}"
    );
    let (_, line) = trial.any_run().await?;
    assert_eq!(line["AuraCalls"], 1, "{line}");
    Ok(())
}

#[tokio::test]
async fn an_opening_is_recovered_though_the_closing_was_delivered() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    trial.deafen().await?;
    let id = trial.callout().await?;
    trial.undeafen().await?;
    trial.aura.control(&id, Close).await?;
    let published = trial.published().await?;
    assert_eq!(published.len(), 1);
    let line = trial.run().await?;
    assert_eq!(
        (&line["Active"], &line["OpeningsRecovered"]),
        (&json!(0), &json!(1)),
        "{line}"
    );
    let published = trial.published().await?;
    assert_eq!(published[0].told(), (opening(&id).as_str(), "reconciler"));
    trial.run().await?;
    assert!(trial.open().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn closings_are_confirmed_however_much_else_there_is_to_do() -> Result<()> {
    // Each answer takes a while, so a run has time for only some callouts.
    let limits = [
        ("AuraCallsAtOnce", "1"),
        ("AuraCallsPerMinute", "10"),
        ("ReconcilerTimeout", "4"),
    ];
    let mut trial = Trial::begin(&limits).await?;
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(trial.told_callout().await?);
    }
    for id in &ids {
        trial.secretly(id, &[Close]).await?;
    }
    trial.deafen().await?;
    for _ in 0..9 {
        trial.callout().await?;
    }
    trial.undeafen().await?;
    let line = trial.run().await?;
    // A run asks for the list, for seven callouts of which some are closed, and for the list again.
    assert!(line["ClosingsRecovered"].as_u64() > Some(0), "{line}");
    Ok(())
}

#[tokio::test]
async fn an_answer_without_a_status_is_no_change() -> Result<()> {
    let mut trial = Trial::begin(&[("SilenceAfterCreated", "1")]).await?;
    trial.told_callout().await?;
    let patch = FaultyAnswer::Patch(json!({"callout": {"status": null}}));
    let fault = Fault {
        times: 9,
        done: true,
        ..Fault::once(GET, patch)
    };
    trial.aura.order(&fault).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let line = trial.run().await?;
    assert_eq!(line["Observed"], 1, "{line}");
    let line = trial.run().await?;
    assert_eq!(
        (&line["Checked"], &line["Observed"]),
        (&json!(0), &json!(0)),
        "{line}"
    );
    Ok(())
}

#[tokio::test]
async fn what_was_spilled_is_put_back_and_what_cannot_be_read_hides_nothing() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    let table = trial.stack().output("LedgerTableName")?;
    let dynamodb = trial.stack().account().dynamodb();
    let spill = Spill::new(dynamodb.clone(), table.to_owned());
    for id in 1..=20 {
        let payload = json!({"message": "NEW_CALLOUT", "callout": {"id": id}});
        let delivery_id = Uuid::now_v7();
        let body = json!({"version": 1, "deliveryId": delivery_id, "origin": "webhook",
            "receivedAt": "2026-11-22T08:00:00Z", "payload": payload});
        let message = Message {
            body: body.to_string(),
            group_id: format!("callout#{id}"),
            deduplication_id: delivery_id.to_string(),
            attributes: [].into(),
        };
        let destination = Destination::Ingest;
        spill
            .put(&Outgoing {
                delivery_id,
                destination,
                message,
            })
            .await?;
    }
    for shard in 0..8 {
        dynamodb
            .put_item()
            .table_name(table)
            .item("pk", text(&format!("spill/{shard}")))
            .item("sk", text("0"))
            .send()
            .await?;
    }
    let line = trial.run().await?;
    assert_eq!(
        (&line["SpillRedriven"], &line["SpillUnreadable"]),
        (&json!(20), &json!(8)),
        "{line}"
    );
    // AURA knows none of these callouts. If one is published before the run looks, the run closes
    // it.
    let mut published = trial.published().await?;
    published.retain(|its| its.message() == "NEW_CALLOUT");
    assert_eq!(published.len(), 20);
    assert_eq!(Leftovers::count(trial.stack()).await?.spill_depth, 8);
    Ok(())
}

fn text(value: &str) -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::S(value.to_owned())
}

/// Takes the reconciler's lock for `seconds` seconds.
async fn lock(trial: &Trial, seconds: i64) -> Result<Claim> {
    let table = trial.stack().output("LedgerTableName")?.to_owned();
    let ledger = EventLedger::new(trial.stack().account().dynamodb(), table);
    let now = jiff::Timestamp::now();
    let owner = Uuid::now_v7();
    let request = ClaimRequest {
        key: LedgerKey {
            partition: "reconciler".to_owned(),
            sort: "lock".to_owned(),
        },
        digest: String::new(),
        delivery_id: owner,
        received_at: now,
        repeat_window: None,
        origin: Origin::Reconciler,
        owner,
        now,
        lease_until: now + jiff::SignedDuration::from_secs(seconds),
        expires_at: now + jiff::SignedDuration::from_hours(1),
    };
    ledger
        .claim(&request)
        .await?
        .ok()
        .context("the lock was not granted")
}

#[tokio::test]
async fn one_run_at_a_time_has_the_lock_and_the_lock_of_a_dead_run_expires() -> Result<()> {
    let mut trial = Trial::begin(&[]).await?;
    trial.deafen().await?;
    trial.callout().await?;
    trial.undeafen().await?;
    let dead = lock(&trial, 3).await?;
    let line = trial.run().await?;
    assert_eq!(
        (&line["Skipped"], &line["AuraCalls"]),
        (&json!(1), &json!(0)),
        "{line}"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    let line = trial.run().await?;
    assert_eq!(
        (&line["Skipped"], &line["OpeningsRecovered"]),
        (&json!(0), &json!(1)),
        "{line}"
    );
    assert_eq!(line["Run"], dead.attempt + 1);
    // A run gives the lock back, so the next run needn't wait for the lease.
    let line = trial.run().await?;
    assert_eq!(
        (&line["Skipped"], &line["Run"]),
        (&json!(0), &json!(dead.attempt + 2))
    );
    assert_eq!(trial.published().await?.len(), 1);
    Ok(())
}

/// Registers another webhook with AURA, as the portal does, without telling the stack.
async fn replace_webhook(trial: &Trial) -> Result<()> {
    let url = "https://127.0.0.1:1/elsewhere";
    trial
        .aura
        .register(url, &["NEW_CALLOUT"], &[].into())
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_webhook_that_was_replaced_is_noticed_within_three_runs_and_healed() -> Result<()> {
    let mut trial = Trial::begin(&[("SelfHeal", "true")]).await?;
    let id = trial.told_callout().await?;
    let line = trial.run().await?;
    assert_eq!(line["WebhookDown"], 0, "{line}");
    let told = line["SinceDelivery"]
        .as_f64()
        .context("the line has no time since the last delivery")?;
    assert!(told < 60.0, "{line}");
    replace_webhook(&trial).await?;
    let mut down = Vec::new();
    for act in [Acknowledge, Arrive, Complete] {
        trial.aura.control(&id, act).await?;
        let line = trial.run().await?;
        down.push((line["WebhookDown"].clone(), line["Healing"].clone()));
    }
    assert!(down.iter().any(|(down, _)| *down == 1), "{down:?}");
    let healings = down.iter().filter(|(_, healing)| *healing == 1);
    assert_eq!(healings.count(), 1, "{down:?}");

    let url = trial.stack().output("WebhookUrl")?.to_owned();
    let healed = async {
        while trial
            .aura
            .registration()
            .await?
            .current
            .is_none_or(|its| its.url != url)
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(100), healed)
        .await
        .context("the webhook was not registered again in time")??;
    trial.published().await?;
    // The processor notes AURA's deliveries at most every ten seconds.
    tokio::time::sleep(Duration::from_secs(10)).await;
    trial.aura.control(&id, Close).await?;
    let published = trial.published().await?;
    let told: Vec<_> = published.iter().map(trial::Seen::told).collect();
    assert_eq!(told, [(closing(&id).as_str(), "webhook")]);
    let line = trial.run().await?;
    assert_eq!(line["WebhookDown"], 0, "{line}");
    Ok(())
}

/// The environment variable that sets how many callouts are active at once:
/// `CROWD=10000 cargo test -p e2e -- crowd`.
const COUNT: &str = "CROWD";
const DEFAULT_COUNT: u32 = 400;

#[tokio::test]
async fn a_crowd_of_active_callouts_takes_several_runs_and_is_told_once_each() -> Result<()> {
    let count = from_environment(COUNT, DEFAULT_COUNT)?;
    let calls = (count / 4).to_string();
    let changes = [
        ("ReconcilerTimeout", "5"),
        ("AuraCallsAtOnce", "8"),
        // One run can't do everything, however fast this machine is.
        ("AuraCallsPerMinute", &calls),
        // The local AWS keeps only ten thousand log lines.
        ("LogLevel", "warn"),
    ];
    let mut trial = Trial::begin(&changes).await?;
    trial.aura.crowd(count.into()).await?;
    let mut runs = 0;
    loop {
        let line = trial.run().await?;
        assert_eq!(line["Active"], count, "{line}");
        if line["OpeningsRecovered"] == 0 && line["Unsettled"] == 0 {
            break;
        }
        runs += 1;
        assert!(runs <= count, "the runs make no progress");
        // The next process has a minute's calls of its own.
        let killed = processes::kill(trial.stack(), "ReconcilerFunctionName")?;
        processes::gone(&killed).await?;
    }
    assert!(runs > 1, "one run did it all");
    let published = trial.published().await?;
    let keys: std::collections::HashSet<_> = published.iter().map(|its| its.told().0).collect();
    assert_eq!(
        (published.len(), keys.len()),
        (count as usize, count as usize)
    );
    Ok(())
}
