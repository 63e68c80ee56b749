//! Tests what a batch does, except for the outcomes of its records, which [`super::cases`] tests.

use std::iter;
use std::sync::Mutex;

use aws_lambda_events::event::sqs::SqsMessage;
use futures::future::join_all;
use jiff::SignedDuration;
use serde_json::value::RawValue;
use shared::envelope::{Envelope, Origin};
use shared::ledger::State;
use shared::ledger::notes::Note;
use shared::telemetry::lines::{WrittenLines, metrics_of};
use uuid::Uuid;

use super::fakes::*;
use super::*;

/// Plenty of time to start a record.
const TIME: SignedDuration = SignedDuration::from_secs(10);

/// Little time, but enough to start a record.
const LITTLE_TIME: SignedDuration = SignedDuration::from_millis(2600);

const KEY: &str = "callout#1/NEW_CALLOUT";

/// A new event of callout 1.
fn new_callout() -> SqsMessage {
    message("1", "a", 1, envelope("NEW_CALLOUT", 1))
}

/// The next event of the same group.
fn callout_closed() -> SqsMessage {
    message("2", "a", 1, envelope("CALLOUT_CLOSED", 1))
}

/// Calls [`failures`], which has to end before the invocation does.
async fn failures_in_time(
    time: SignedDuration,
    processor: &FakeProcessor,
    messages: Vec<SqsMessage>,
) -> Vec<String> {
    let failures = failures(time, processor, messages);
    timeout(time.unsigned_abs(), failures).await.unwrap()
}

/// When the lease of the event's claim ends.
fn lease_until(processor: &FakeProcessor, key: &str) -> Timestamp {
    match processor.services.item(key).unwrap().state() {
        Ok(State::Claimed { lease_until, .. }) => lease_until,
        state => panic!("not claimed: {state:?}"),
    }
}

/// The detail that is published for this payload, and everything that was put into the quarantine.
async fn published(payload: &str) -> (serde_json::Value, Vec<PutAside>) {
    let processor = processor(Fakes::default());
    let body = envelope_of(Uuid::from_u128(7), payload);
    let messages = vec![message("1", "a", 1, body)];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    let (detail, _) = processor.services.calls.lock().unwrap()[0][0].clone();
    let aside = processor.services.quarantined.lock().unwrap().clone();
    (detail, aside)
}

#[tokio::test]
async fn the_same_event_twice_in_a_batch_is_published_once() {
    let processor = processor(Fakes::default());
    let again = message("2", "a", 1, envelope("NEW_CALLOUT", 1));
    let messages = vec![new_callout(), again];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    assert_eq!(processor.services.taken(), [[KEY]]);
}

#[tokio::test]
async fn two_equal_signals_are_two_events() {
    let processor = processor(Fakes::default());
    let signal = |id| message(id, "a", 1, envelope("CALLOUT_EVENTS_CHANGED", 1));
    let messages = vec![signal("1"), signal("2")];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    assert_eq!(processor.services.taken().concat().len(), 2);
}

/// Tries each kind of record that can never be processed.
#[tokio::test]
async fn what_can_never_be_processed_is_quarantined_with_its_reason() {
    let newer = envelope("NEW_CALLOUT", 1).replace("\"version\":1", "\"version\":2");
    let cases = [
        ("", "not-an-envelope"),
        ("not an envelope", "not-an-envelope"),
        ("{}", "not-an-envelope"),
        (newer.as_str(), "envelope-version-unknown"),
        (&envelope("", 1), "message-invalid"),
    ];
    for (body, reason) in cases {
        let processor = processor(Fakes::default());
        let messages = vec![message("1", "a", 1, body.to_owned()), callout_closed()];
        assert!(failures(TIME, &processor, messages).await.is_empty());
        let aside = processor.services.quarantined.lock().unwrap().clone();
        let reasons: Vec<_> = aside.into_iter().map(|item| item.reason).collect();
        assert_eq!(reasons, [reason], "{body}");
        assert_eq!(processor.services.taken(), [["callout#1/CALLOUT_CLOSED"]]);
    }
}

#[tokio::test]
async fn what_the_bus_will_never_take_even_without_its_payload_is_quarantined_as_aura_sent_it() {
    let processor = processor(Fakes::refusing(KEY, "MalformedDetail"));
    let body = envelope_of(Uuid::from_u128(7), &payload("NEW_CALLOUT", 1));
    let other = message("3", "b", 1, envelope("NEW_CALLOUT", 2));
    let messages = vec![message("1", "a", 1, body), other];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    let expected = ["payload-omitted", "unpublishable"].map(|reason| PutAside {
        reason: reason.into(),
        id: Uuid::from_u128(7).to_string(),
        body: payload("NEW_CALLOUT", 1),
    });
    assert_eq!(*processor.services.quarantined.lock().unwrap(), expected);
    assert_eq!(processor.services.taken()[0], ["callout#2/NEW_CALLOUT"]);
}

#[tokio::test]
async fn what_the_bus_refuses_for_good_is_published_without_its_payload() {
    let processor = processor(Fakes {
        refuses_payloads: [(KEY.to_owned(), "MalformedDetail")].into(),
        ..Fakes::default()
    });
    let body = envelope_of(Uuid::from_u128(7), &payload("NEW_CALLOUT", 1));
    let messages = vec![message("1", "a", 1, body), callout_closed()];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    let taken = processor.services.taken();
    assert_eq!(taken.concat(), [KEY, "callout#1/CALLOUT_CLOSED"]);
    let (detail, _) = processor.services.calls.lock().unwrap()[1][0].clone();
    assert_eq!(detail["payload"], serde_json::Value::Null);
    assert_eq!(detail["payloadOmitted"]["reason"], "refused");
    let expected = PutAside {
        reason: "payload-omitted".into(),
        id: Uuid::from_u128(7).to_string(),
        body: payload("NEW_CALLOUT", 1),
    };
    assert_eq!(*processor.services.quarantined.lock().unwrap(), [expected]);
}

/// The payload is kept once, although the bus fails between the tries.
#[tokio::test]
async fn an_omitted_payload_is_kept_once_however_often_its_event_is_tried() {
    let processor = processor(Fakes::refusing(KEY, "ThrottlingException"));
    let body = envelope_of(Uuid::from_u128(7), &too_large());
    for receives in 1..=3 {
        let messages = vec![message("1", "a", receives, body.clone())];
        assert_eq!(failures(TIME, &processor, messages).await, ["1"]);
    }
    assert_eq!(processor.services.quarantined.lock().unwrap().len(), 1);
    // Another delivery's payload is looked for under another id.
    let other = envelope_of(Uuid::from_u128(8), &too_large());
    let messages = vec![message("2", "a", 1, other)];
    assert_eq!(failures(TIME, &processor, messages).await, ["2"]);
    assert_eq!(processor.services.quarantined.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_omitted_payload_is_stored_again_if_the_first_copy_is_not_known() {
    for fault in [ServiceFault::LookUpFails, ServiceFault::NotingFails] {
        let processor = processor(Fakes {
            service_fault: Some(fault),
            ..Fakes::refusing("customer#1/CREATED_CUSTOMER", "ThrottlingException")
        });
        let payload = too_large().replace("NEW_CALLOUT", "CREATED_CUSTOMER");
        let payload = payload.replace("callout", "customer");
        let body = envelope_of(Uuid::from_u128(7), &payload);
        for receives in 1..=2 {
            let messages = vec![message("1", "a", receives, body.clone())];
            assert_eq!(failures(TIME, &processor, messages).await, ["1"]);
        }
        assert_eq!(processor.services.quarantined.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_record_that_the_quarantine_does_not_take_comes_back() {
    let processor = processor(Fakes::with_service_fault(ServiceFault::QuarantineFails));
    let messages = vec![
        message("1", "a", 1, "not an envelope".to_owned()),
        callout_closed(),
    ];
    assert_eq!(failures(TIME, &processor, messages).await, ["1", "2"]);
    assert!(processor.services.taken().is_empty());
}

/// A payload that makes the event too large for the bus.
fn too_large() -> String {
    let text = "x".repeat(1_000_000);
    format!(r#"{{"message":"NEW_CALLOUT","callout":{{"id":1}},"text":"{text}"}}"#)
}

#[tokio::test]
async fn a_payload_that_the_bus_cannot_take_is_omitted_and_kept_under_the_delivery_id() {
    let surrogate = r#"{"message":"NEW_CALLOUT","callout":{"id":1},"text":"\ud83d"}"#;
    for (payload, reason) in [
        (too_large().as_str(), "too-large"),
        (surrogate, "not-unicode"),
    ] {
        let (detail, aside) = published(payload).await;
        let delivery_id = Uuid::from_u128(7).to_string();
        assert_eq!(detail["key"], KEY);
        assert_eq!(detail["payload"], serde_json::Value::Null);
        assert_eq!(detail["deliveryId"], delivery_id);
        let omitted = &detail["payloadOmitted"];
        assert_eq!(omitted["reason"], reason);
        assert_eq!(omitted["bytes"], payload.len());
        let payload = payload.to_owned();
        let raw = serde_json::value::RawValue::from_string(payload.clone()).unwrap();
        assert_eq!(omitted["digest"], shared::event::payload_digest(&raw));
        let expected = PutAside {
            reason: "payload-omitted".into(),
            id: delivery_id,
            body: payload,
        };
        assert!(
            aside == [expected],
            "{reason}: the payload is not kept unchanged"
        );
    }
}

#[tokio::test]
async fn a_payload_that_fits_is_published_byte_for_byte_and_is_not_omitted() {
    let (detail, aside) = published(&payload("NEW_CALLOUT", 1)).await;
    assert_eq!(detail["payload"]["callout"]["id"], 1);
    assert_eq!(detail.get("payloadOmitted"), None);
    assert!(aside.is_empty());
}

#[tokio::test]
async fn an_event_whose_payload_cannot_be_kept_is_given_back_and_not_published() {
    let processor = processor(Fakes::with_service_fault(ServiceFault::QuarantineFails));
    let body = envelope_of(Uuid::from_u128(7), &too_large());
    let messages = vec![message("1", "a", 1, body)];
    assert_eq!(failures(TIME, &processor, messages).await, ["1"]);
    assert!(processor.services.taken().is_empty());
    assert_eq!(lease_until(&processor, KEY), NOW);
}

#[tokio::test]
async fn a_panic_of_the_bus_fails_its_wave_and_gives_the_claims_back() {
    let processor = processor(Fakes::with_service_fault(ServiceFault::BusPanics));
    assert_eq!(failures(TIME, &processor, vec![new_callout()]).await, ["1"]);
    assert_eq!(lease_until(&processor, KEY), NOW);
}

#[tokio::test]
async fn nothing_is_started_that_may_not_finish() {
    let processor = processor(Fakes::default());
    let too_little = LITTLE_TIME - SignedDuration::from_millis(200);
    assert_eq!(
        failures(too_little, &processor, vec![new_callout()]).await,
        ["1"]
    );
    assert!(processor.services.item(KEY).is_none());
    assert!(
        failures(LITTLE_TIME, &processor, vec![new_callout()])
            .await
            .is_empty()
    );
}

/// A lease that has ended may belong to another worker.
#[tokio::test]
async fn after_a_stall_past_the_deadline_nothing_is_sent_and_all_is_given_back() {
    let stall = LedgerFault::Stall(TIME);
    let processor = processor(Fakes::with_fault(KEY, stall));
    let other = message("3", "b", 1, envelope("NEW_CALLOUT", 2));
    let messages = vec![new_callout(), callout_closed(), other];
    let failed = failures(TIME, &processor, messages).await;
    assert_eq!(failed, ["1", "2", "3"]);
    assert!(processor.services.calls.lock().unwrap().is_empty());
    for key in [KEY, "callout#2/NEW_CALLOUT"] {
        assert!(lease_until(&processor, key) <= NOW + TIME);
    }
}

#[tokio::test]
async fn a_publish_that_hangs_is_reported_failed_in_time() {
    let processor = processor(Fakes::with_service_fault(ServiceFault::BusHangs));
    let failed = failures_in_time(LITTLE_TIME, &processor, vec![new_callout()]).await;
    assert_eq!(failed, ["1"]);
}

#[tokio::test]
async fn what_is_published_is_settled_even_if_the_mark_hangs() {
    let processor = processor(Fakes::with_fault(KEY, LedgerFault::MarkHangs));
    let failed = failures_in_time(LITTLE_TIME, &processor, vec![new_callout()]).await;
    assert!(failed.is_empty());
    assert_eq!(processor.services.taken(), [[KEY]]);
}

/// If the invocation ended before the report, published records would come back too.
#[tokio::test]
async fn a_claim_whose_giving_back_hangs_is_reported_failed_in_time() {
    let processor = processor(Fakes {
        faults: [(KEY.to_owned(), LedgerFault::ReleaseHangs)].into(),
        ..Fakes::refusing(KEY, "ThrottlingException")
    });
    let other = message("3", "b", 1, envelope("NEW_CALLOUT", 2));
    let messages = vec![new_callout(), other];
    let failed = failures_in_time(LITTLE_TIME, &processor, messages).await;
    assert_eq!(failed, ["1"]);
}

#[tokio::test]
async fn a_quarantine_that_hangs_fails_its_record_in_time_and_no_other() {
    let other = || message("3", "b", 1, envelope("NEW_CALLOUT", 2));
    let poison = message("1", "a", 1, "not an envelope".to_owned());
    let panics = message("1", "a", timing::MOST_PANICS, envelope("NEW_CALLOUT", 1));
    let refused = new_callout();
    for hanging in [poison, panics.clone(), refused] {
        let mut services = Fakes::refusing(KEY, "MalformedDetail");
        services.service_fault = Some(ServiceFault::QuarantineHangs);
        if hanging == panics {
            let fault = LedgerFault::ClaimPanics;
            services.faults.insert(KEY.to_owned(), fault);
        }
        let processor = processor(services);
        let messages = vec![hanging, other()];
        let failed = failures_in_time(LITTLE_TIME, &processor, messages).await;
        assert_eq!(failed, ["1"]);
        assert_eq!(processor.services.taken(), [["callout#2/NEW_CALLOUT"]]);
    }
}

/// The calls that hide a new callout and its closing.
async fn hiding(opening: SqsMessage) -> Vec<Vec<(String, u64)>> {
    let processor = processor(Fakes::default());
    let messages = vec![opening, callout_closed()];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    processor.services.hidden.lock().unwrap().clone()
}

/// Both records are hidden. Ten seconds are left. Two more are for the clocks, and one is a reserve.
fn until_after_the_leases() -> Vec<Vec<(String, u64)>> {
    let both = ["handle-1", "handle-2"].map(|handle| (handle.to_owned(), 13));
    vec![both.to_vec()]
}

#[tokio::test]
async fn a_batch_that_comes_for_the_first_time_is_not_hidden_anew() {
    assert_eq!(hiding(new_callout()).await, [[]; 0]);
}

#[tokio::test]
async fn a_batch_whose_process_dies_again_comes_back_after_its_leases() {
    let again = message("1", "a", 2, envelope("NEW_CALLOUT", 1));
    assert_eq!(hiding(again).await, until_after_the_leases());
}

/// It may have waited while Lambda refused to run the function.
#[tokio::test]
async fn a_batch_that_would_come_back_before_its_leases_end_is_hidden_anew() {
    const NAME: &str = "ApproximateFirstReceiveTimestamp";
    let handed_over = |ago: i64| {
        let at = NOW - SignedDuration::from_secs(ago);
        let mut message = new_callout();
        let at = at.as_millisecond().to_string();
        message.attributes.insert(NAME.into(), at);
        message
    };
    assert_eq!(hiding(handed_over(47)).await, [[]; 0]);
    assert_eq!(hiding(handed_over(48)).await, until_after_the_leases());
    let mut at_an_unknown_time = new_callout();
    at_an_unknown_time.attributes.remove(NAME);
    assert_eq!(hiding(at_an_unknown_time).await, until_after_the_leases());
}

/// A function that is invoked by hand may get a message that was never in a queue.
#[tokio::test]
async fn a_failed_record_without_a_handle_is_reported_and_not_hidden() {
    let processor = processor(Fakes::refusing(KEY, "ThrottlingException"));
    let mut handleless = new_callout();
    handleless.receipt_handle = None;
    let messages = vec![handleless, callout_closed()];
    assert_eq!(failures(TIME, &processor, messages).await, ["1", "2"]);
    let hidden = processor.services.hidden.lock().unwrap();
    assert_eq!(hidden.last().unwrap(), &[("handle-2".to_owned(), 2)]);
}

/// The pause grows with the receives of the record that failed, not with those of later records.
#[tokio::test]
async fn a_group_comes_back_when_its_first_failure_does() {
    let processor = processor(Fakes::refusing(KEY, "ThrottlingException"));
    let third_time = message("1", "a", 3, envelope("NEW_CALLOUT", 1));
    let messages = vec![third_time, callout_closed()];
    assert_eq!(failures(TIME, &processor, messages).await, ["1", "2"]);
    let hidden = processor.services.hidden.lock().unwrap();
    let both = ["handle-1", "handle-2"].map(|handle| (handle.to_owned(), 8));
    assert_eq!(hidden.last().unwrap(), &both);
}

#[tokio::test]
async fn the_opening_and_the_closing_of_a_callout_are_noted_and_nothing_else() {
    let processor = processor(Fakes::default());
    let customer = envelope_of(
        Uuid::now_v7(),
        r#"{"message":"NEW_CALLOUT","customer":{"id":7}}"#,
    );
    let messages = vec![
        message("3", "a", 1, envelope("RESPONDER_COMPLETED", 1)),
        message("4", "b", 1, customer),
    ];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    assert!(processor.services.callouts.lock().unwrap().is_empty());
    let messages = vec![new_callout(), callout_closed()];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    let notes = processor.services.callouts.lock().unwrap().clone();
    assert_eq!(notes, ["closed 1".to_owned(), "opened 1".to_owned()].into());
}

#[tokio::test]
async fn what_cannot_be_noted_is_given_back_and_not_published() {
    for message in [new_callout(), callout_closed()] {
        let id = message.message_id.clone().unwrap();
        let key = if id == "1" {
            KEY
        } else {
            "callout#1/CALLOUT_CLOSED"
        };
        let processor = processor(Fakes::with_fault(key, LedgerFault::NoteFails));
        assert_eq!(failures(TIME, &processor, vec![message]).await, [id]);
        assert!(processor.services.taken().is_empty());
        assert_eq!(lease_until(&processor, key), NOW);
    }
}

/// An opening of callout 1 with another payload than AURA's.
fn recovered() -> SqsMessage {
    let envelope = Envelope::new(
        Uuid::now_v7(),
        NOW,
        Origin::Reconciler,
        RawValue::from_string(payload("NEW_CALLOUT", 1).replace('}', r#","a":1}"#)).unwrap(),
    );
    message("9", "a", 1, envelope.to_json())
}

#[tokio::test]
async fn an_event_that_is_delivered_and_recovered_is_published_once_without_a_conflict() {
    for order in [[new_callout(), recovered()], [recovered(), new_callout()]] {
        let processor = processor(Fakes::default());
        for message in order {
            assert!(failures(TIME, &processor, vec![message]).await.is_empty());
        }
        assert_eq!(processor.services.taken(), [[KEY]]);
        assert!(processor.services.quarantined.lock().unwrap().is_empty());
    }
}

/// A delivery that arrived this many seconds after [`NOW`].
fn arrived(id: &str, second: i64, origin: Origin, message_name: &str) -> SqsMessage {
    let payload = RawValue::from_string(payload(message_name, 1)).unwrap();
    let at = NOW + SignedDuration::from_secs(second);
    let envelope = Envelope::new(Uuid::now_v7(), at, origin, payload);
    message(id, "a", 1, envelope.to_json())
}

#[tokio::test]
async fn content_that_arrives_again_after_the_window_has_its_own_key() {
    const NAME: &str = "RESPONDER_ARRIVED_ON_SCENE";
    let processor = processor(Fakes::default());
    let arrivals = [("1", 0), ("2", 300), ("3", 301), ("4", 100)];
    let messages = arrivals.map(|(id, second)| arrived(id, second, Origin::Webhook, NAME));
    assert!(failures(TIME, &processor, messages.into()).await.is_empty());
    let taken = processor.services.taken().concat();
    let [first, second] = taken.as_slice() else {
        panic!("{taken:?}");
    };
    assert!(first.starts_with("callout#1/RESPONDER_ARRIVED_ON_SCENE#"));
    assert_eq!(*second, format!("{first}#2"));
}

/// The reconciler numbers its observations, so the same number is the same event. An event that
/// happens once never recurs, whenever it arrives.
#[tokio::test]
async fn observations_and_events_that_happen_once_never_recur() {
    let again =
        |origin, name| [("1", 0), ("2", 9000)].map(|(id, at)| arrived(id, at, origin, name));
    for (origin, name) in [
        (Origin::Reconciler, "CALLOUT_OBSERVED"),
        (Origin::Webhook, "NEW_CALLOUT"),
    ] {
        let processor = processor(Fakes::default());
        let messages = again(origin, name).into();
        assert!(failures(TIME, &processor, messages).await.is_empty());
        assert_eq!(processor.services.taken().concat().len(), 1, "{name}");
    }
}

/// A correction has other content than what was published, arrives later, and may be released twice.
#[tokio::test]
async fn a_correction_is_published_beside_the_event_that_it_corrects_and_only_once() {
    let processor = processor(Fakes::default());
    let delivery_id = Uuid::now_v7();
    let payload = RawValue::from_string(payload("NEW_CALLOUT", 1).replace('}', r#","a":1}"#));
    let correction = Envelope::new(delivery_id, NOW, Origin::Operator, payload.unwrap());
    let again = ["2", "3"].map(|id| message(id, "a", 1, correction.to_json()));
    let messages = [vec![new_callout()], again.into()].concat();
    assert!(failures(TIME, &processor, messages).await.is_empty());
    let expected = [KEY.to_owned(), format!("{KEY}#{delivery_id}")];
    assert_eq!(processor.services.taken().concat(), expected);
    assert!(processor.services.quarantined.lock().unwrap().is_empty());
}

#[tokio::test]
async fn only_what_aura_delivered_counts_as_delivered() {
    let processor = processor(Fakes::default());
    assert!(
        failures(TIME, &processor, vec![recovered()])
            .await
            .is_empty()
    );
    assert!(processor.services.delivered.lock().unwrap().is_empty());
    let body = new_callout()
        .body
        .unwrap()
        .replace("1970-01-01", "2026-11-22");
    let again = message("1", "a", 1, body);
    assert!(failures(TIME, &processor, vec![again]).await.is_empty());
    let arrived: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    assert_eq!(*processor.services.delivered.lock().unwrap(), [arrived]);
}

/// Each batch has two groups, so two records claim the event at once, and many batches run at once.
/// A record whose event another worker holds comes again, as with SQS.
#[tokio::test]
async fn a_hundred_thousand_duplicates_of_one_event_leave_one_item_and_one_publish() {
    const BATCHES: usize = 10_000;
    const AT_ONCE: usize = 50;
    let processor = processor(Fakes::default());
    let settle = async || {
        let ids: Vec<_> = (0..10).map(|id| id.to_string()).collect();
        let record = |id: &String| {
            let group = if id.as_str() < "5" { "a" } else { "b" };
            message(id, group, 1, envelope("NEW_CALLOUT", 1))
        };
        let mut open = ids;
        while !open.is_empty() {
            let records = open.iter().map(record).collect();
            open = failures(TIME, &processor, records).await;
        }
    };
    for _ in 0..BATCHES / AT_ONCE {
        join_all((0..AT_ONCE).map(|_| settle())).await;
    }
    assert_eq!(processor.services.items.lock().unwrap().len(), 1);
    assert_eq!(processor.services.taken(), [[KEY]]);
}

/// A callout's event whose payload marks it as a test, in one of the two ways.
fn marked(id: &str, group: &str, message_name: &str, callout: usize) -> SqsMessage {
    let payload = format!(
        r#"{{"message":"{message_name}","callout":{{"id":{callout},"internalTest":true}}}}"#
    );
    message(id, group, 1, envelope_of(Uuid::now_v7(), &payload))
}

fn bare(id: &str, group: &str, message_name: &str, callout: usize) -> SqsMessage {
    message(id, group, 1, envelope(message_name, callout))
}

/// The key of each event that the bus took, and whether it went out as a test.
fn tests(processor: &FakeProcessor) -> Vec<(String, bool)> {
    let calls = processor.services.calls.lock().unwrap();
    let taken = calls.iter().flatten().filter(|(_, is_taken)| *is_taken);
    let test = |detail: &serde_json::Value| detail["test"].as_bool().unwrap();
    let mut tests: Vec<_> = taken
        .map(|(detail, _)| (key_of(detail), test(detail)))
        .collect();
    tests.sort();
    tests
}

#[tokio::test]
async fn a_marked_callout_is_a_drill_in_every_later_batch_and_no_other_callout_is() {
    let processor = processor(Fakes::default());
    let batches = [
        vec![
            marked("1", "a", "NEW_CALLOUT", 1),
            bare("2", "b", "NEW_CALLOUT", 2),
        ],
        vec![
            bare("3", "a", "CALLOUT_OWNED", 1),
            bare("4", "b", "CALLOUT_OWNED", 2),
        ],
        vec![
            recovered_closing("5", "a", 1),
            recovered_closing("6", "b", 2),
        ],
    ];
    for batch in batches {
        assert!(failures(TIME, &processor, batch).await.is_empty());
    }
    let tests = tests(&processor);
    assert_eq!(tests.len(), 6);
    for (key, test) in tests {
        assert_eq!(test, key.starts_with("callout#1/"), "{key}");
    }
}

/// The reconciler's closing of a callout that AURA no longer knows.
fn recovered_closing(id: &str, group: &str, callout: usize) -> SqsMessage {
    let payload =
        format!(r#"{{"message":"CALLOUT_CLOSED","gone":true,"callout":{{"id":{callout}}}}}"#);
    let envelope = Envelope::new(
        Uuid::now_v7(),
        NOW,
        Origin::Reconciler,
        RawValue::from_string(payload).unwrap(),
    );
    message(id, group, 1, envelope.to_json())
}

#[tokio::test]
async fn a_mark_counts_for_its_whole_batch_even_if_its_event_is_a_conflict() {
    let ledger = Fakes::default();
    // This is a conflict. It isn't published, but its mark counts.
    ledger.publish_elsewhere("callout#2/NEW_CALLOUT", "another");
    let processor = processor(ledger);
    let messages = vec![
        bare("1", "a", "CALLOUT_OWNED", 1),
        marked("2", "a", "NEW_CALLOUT", 1),
        bare("3", "a", "CALLOUT_CLOSED", 1),
        marked("4", "b", "NEW_CALLOUT", 2),
        bare("5", "b", "CALLOUT_CLOSED", 2),
    ];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    let tests = tests(&processor);
    assert_eq!(tests.len(), 4);
    assert!(tests.iter().all(|(_, test)| *test), "{tests:?}");
    // A batch doesn't look up what its own payloads mark.
    assert!(processor.services.look_ups.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_asks_once_for_each_callout_that_it_does_not_mark_and_for_nothing_else() {
    let processor = processor(Fakes::default());
    let customer = r#"{"message":"CREATED_CUSTOMER","customer":{"id":3}}"#;
    let messages = vec![
        bare("1", "a", "NEW_CALLOUT", 1),
        bare("2", "a", "CALLOUT_OWNED", 1),
        bare("3", "b", "NEW_CALLOUT", 2),
        message("4", "c", 1, envelope_of(Uuid::now_v7(), customer)),
        message("5", "d", 1, "not an envelope".to_owned()),
        marked("6", "e", "NEW_CALLOUT", 4),
    ];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    let asked = ["1", "2"].map(Note::drill);
    assert_eq!(*processor.services.look_ups.lock().unwrap(), [asked]);
    let messages = vec![message("4", "c", 1, envelope_of(Uuid::now_v7(), customer))];
    assert!(failures(TIME, &processor, messages).await.is_empty());
    assert_eq!(processor.services.look_ups.lock().unwrap().len(), 1);
}

/// A deployment's canary takes the same way as callouts.
#[tokio::test]
async fn a_canary_is_looked_up_and_comes_back_if_that_fails() {
    let canary = || {
        let body = shared::canary::body(Uuid::nil());
        message("1", "a", 1, envelope_of(Uuid::now_v7(), &body))
    };
    let healthy = processor(Fakes::default());
    assert!(failures(TIME, &healthy, vec![canary()]).await.is_empty());
    assert_eq!(healthy.services.look_ups.lock().unwrap().len(), 1);
    assert!(!tests(&healthy)[0].1);
    let broken = processor(Fakes::with_service_fault(ServiceFault::LookUpFails));
    assert_eq!(failures(TIME, &broken, vec![canary()]).await, ["1"]);
}

/// Somebody else who has the secret can send canaries. They are published, and reach no consumer.
#[tokio::test]
async fn a_canary_that_nobody_announced_is_published_and_counted() {
    let [ours, foreign, unread] = [1, 2, 3].map(Uuid::from_u128);
    let note = |id: Uuid| Note::canary(&id.to_string());
    let lines = WrittenLines::default();
    let mut processor = processor(Fakes {
        noted: Mutex::new([(note(ours), NOW)].into()),
        unread: [note(unread)].into(),
        ..Fakes::default()
    });
    processor.metrics = lines.sink();
    let canary = |number: &str, id| {
        let body = shared::canary::body(id);
        message(number, number, 1, envelope_of(Uuid::now_v7(), &body))
    };
    let messages = vec![
        canary("1", ours),
        canary("2", foreign),
        canary("3", unread),
        new_callout(),
    ];
    assert_eq!(failures(TIME, &processor, messages).await, ["3"]);
    assert_eq!(processor.services.look_ups.lock().unwrap().len(), 1);
    assert_eq!(tests(&processor).len(), 3);
    let batch = lines.take().pop().unwrap();
    assert_eq!(batch["ForeignCanaries"], 1, "{batch}");
    assert_eq!(metrics_of(&batch), ["ForeignCanaries"]);

    // What claims to be a test is looked up as well.
    let test = r#"{"message":"AURA_WEBHOOKS_CANARY","canary":{"id":"4","internalTest":true}}"#;
    let test = message("4", "4", 1, envelope_of(Uuid::now_v7(), test));
    assert!(failures(TIME, &processor, vec![test]).await.is_empty());
    assert_eq!(lines.take().pop().unwrap()["ForeignCanaries"], 1);
}

/// A drill that goes out as an emergency would send guards.
#[tokio::test]
async fn an_event_comes_back_unclaimed_if_it_is_not_known_whether_it_is_a_drill() {
    let unread = Fakes {
        unread: [Note::drill("1")].into(),
        ..Fakes::default()
    };
    let faults = [
        ServiceFault::LookUpFails,
        ServiceFault::LookUpHangs,
        ServiceFault::LookUpPanics,
    ];
    let others = faults.map(Fakes::with_service_fault);
    for ledger in iter::once(unread).chain(others) {
        let processor = processor(ledger);
        let customer = r#"{"message":"CREATED_CUSTOMER","customer":{"id":3}}"#;
        let messages = vec![
            bare("1", "a", "CALLOUT_OWNED", 1),
            marked("2", "b", "NEW_CALLOUT", 2),
            message("3", "c", 1, envelope_of(Uuid::now_v7(), customer)),
        ];
        let failed = failures_in_time(LITTLE_TIME, &processor, messages).await;
        assert_eq!(failed, ["1"]);
        let keys: Vec<_> = tests(&processor).into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            ["callout#2/NEW_CALLOUT", "customer#3/CREATED_CUSTOMER"]
        );
        assert_eq!(processor.services.items.lock().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_drill_that_cannot_be_remembered_is_not_published() {
    let processor = processor(Fakes::with_service_fault(ServiceFault::NotingFails));
    let messages = vec![
        marked("1", "a", "NEW_CALLOUT", 1),
        bare("2", "b", "NEW_CALLOUT", 2),
    ];
    assert_eq!(failures(TIME, &processor, messages).await, ["1"]);
    assert_eq!(processor.services.taken(), [["callout#2/NEW_CALLOUT"]]);
}

/// The mark also outlives an event that was claimed long after it.
#[tokio::test]
async fn a_drill_is_remembered_for_longer_than_any_event_of_it() {
    let processor = processor(Fakes::default());
    for (name, days) in [
        ("NEW_CALLOUT", 0),
        ("CALLOUT_OWNED", 30),
        ("CALLOUT_CLOSED", 60),
    ] {
        set_clock(NOW + SignedDuration::from_hours(days * 24));
        let event = match name {
            "NEW_CALLOUT" => marked("1", "a", name, 1),
            _ => bare("1", "a", name, 1),
        };
        let time = SignedDuration::from_hours(days * 24) + TIME;
        assert!(failures(time, &processor, vec![event]).await.is_empty());
        let noted = processor.services.noted.lock().unwrap();
        let drill = noted[&Note::drill("1")];
        let items = processor.services.items.lock().unwrap();
        for item in items
            .values()
            .flat_map(|occurrences| occurrences.0.values())
        {
            assert_eq!(item.has_expired(drill), Ok(true), "{name}");
        }
    }
    assert_eq!(tests(&processor).len(), 3);
    assert!(tests(&processor).iter().all(|(_, test)| *test));
}
