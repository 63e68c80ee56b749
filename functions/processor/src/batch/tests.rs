use std::collections::HashMap;
use std::future::pending;
use std::sync::Mutex;

use aws_lambda_events::event::sqs::SqsMessage;
use aws_sdk_sqs::error::BuildError;
use jiff::SignedDuration;
use metrique::writer::sink::DevNullSink;
use shared::ledger::{self, Claim, ClaimRequest, Item, LedgerKey, RULES, Refusal, State, Step};
use shared::quarantine::Quarantined;
use shared::queue::QueueError;
use uuid::Uuid;

use super::*;
use crate::bus::{BusError, Entry};
use crate::ledger::LedgerError;
use crate::queues::VisibilityError;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A ledger in memory, by the rules.
#[derive(Default)]
struct FakeLedger {
    items: Mutex<HashMap<LedgerKey, Item>>,
    panics_at: Option<&'static str>,
    completing_hangs: bool,
}

impl FakeLedger {
    /// What the step makes of the item; or the item that refuses it.
    fn take(&self, key: &LedgerKey, step: &Step) -> Result<Item, Option<Item>> {
        let mut items = self.items.lock().unwrap();
        let item = items.get(key).cloned();
        let changed = step.apply(item.as_ref()).ok_or(item)?;
        items.insert(key.clone(), changed.clone());
        Ok(changed)
    }

    fn item(&self, key: &str) -> Item {
        self.items.lock().unwrap()[&ledger_key(key)].clone()
    }
}

fn ledger_key(key: &str) -> LedgerKey {
    let (partition, sort) = key.split_once('/').unwrap();
    LedgerKey {
        partition: partition.into(),
        sort: sort.into(),
    }
}

impl Ledger for FakeLedger {
    async fn claim(&self, request: &ClaimRequest) -> Result<Result<Claim, Refusal>, LedgerError> {
        assert_ne!(
            self.panics_at,
            Some(request.key.to_string().as_str()),
            "as told"
        );
        Ok(match self.take(&request.key, &RULES.claim(request)) {
            Ok(item) => Ok(item.claim()?),
            Err(item) => ledger::refused(&item.unwrap(), request)?,
        })
    }

    async fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        if self.completing_hangs {
            pending::<()>().await;
        }
        let step = RULES.complete(claim, bus_event_id, now);
        self.take(key, &step).map_err(|_| LedgerError::Stale)?;
        Ok(())
    }

    async fn release(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let step = RULES.release(claim, now);
        self.take(key, &step).map_err(|_| LedgerError::Stale)?;
        Ok(())
    }
}

/// A bus that remembers each call's keys, and that stumbles over the events it is told to.
#[derive(Default)]
struct FakeBus {
    calls: Mutex<Vec<Vec<String>>>,
    /// Keys, and what it says when it refuses them.
    refuses: Vec<(&'static str, &'static str)>,
    hangs: bool,
}

impl Bus for FakeBus {
    async fn publish(&self, entries: &[Entry], time: Duration) -> Vec<Result<String, BusError>> {
        if self.hangs {
            tokio::time::sleep(time).await;
            return vec![Err(BusError::TimedOut); entries.len()];
        }
        let result = |key: &String| match self.refuses.iter().find(|(refused, _)| refused == key) {
            Some((_, code)) => Err(BusError::Entry {
                code: (*code).to_owned(),
            }),
            None => Ok(format!("bus-id-of-{key}")),
        };
        let keys: Vec<_> = entries.iter().map(key_of).collect();
        let results: Vec<_> = keys.iter().map(result).collect();
        let taken = keys.into_iter().zip(&results);
        let taken = taken.filter_map(|(key, result)| result.is_ok().then_some(key));
        self.calls.lock().unwrap().push(taken.collect());
        results
    }
}

fn key_of(entry: &Entry) -> String {
    let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
    detail["key"].as_str().unwrap().to_owned()
}

/// Queues that remember what they were told.
#[derive(Default)]
struct FakeQueues {
    /// Reason and body.
    quarantined: Mutex<Vec<(String, String)>>,
    /// Of each call, the receipt handles and the seconds.
    hidden: Mutex<Vec<Vec<(String, u64)>>>,
    broken: bool,
}

impl Queues for FakeQueues {
    async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), QueueError> {
        if self.broken {
            return Err(BuildError::other("broken, as told").into());
        }
        let body = String::from_utf8(item.body.to_vec()).unwrap();
        let item = (item.reason.to_owned(), body);
        self.quarantined.lock().unwrap().push(item);
        Ok(())
    }

    async fn hide(&self, records: &[Hidden]) -> Result<(), VisibilityError> {
        let hidden = records
            .iter()
            .map(|record| (record.receipt_handle.clone(), record.time.as_secs()));
        self.hidden.lock().unwrap().push(hidden.collect());
        Ok(())
    }
}

type FakeProcessor = Processor<FakeLedger, FakeBus, FakeQueues>;

fn processor(ledger: FakeLedger, bus: FakeBus) -> Arc<FakeProcessor> {
    Arc::new(Processor {
        ledger,
        bus,
        queues: FakeQueues::default(),
        retention: Duration::from_hours(35 * 24),
        now: || NOW,
        new_owner: Uuid::now_v7,
        random: || 0.0,
        metrics: DevNullSink::boxed(),
    })
}

/// An event of callout `id`; the record's id is what tells deliveries apart.
fn envelope(message: &str, id: u32) -> String {
    let payload = format!(r#"{{"message":"{message}","callout":{{"id":{id}}}}}"#);
    format!(
        r#"{{"version":1,"deliveryId":"{}","receivedAt":"1970-01-01T00:00:00Z",
            "origin":"webhook","payload":{payload}}}"#,
        Uuid::now_v7()
    )
}

fn event(records: &[(&str, &str, String)]) -> SqsEvent {
    let record = |(id, group, body): &(&str, &str, String)| {
        let mut message = SqsMessage::default();
        message.message_id = Some((*id).to_owned());
        message.receipt_handle = Some(format!("handle-{id}"));
        message.body = Some(body.clone());
        message
            .attributes
            .insert("MessageGroupId".into(), (*group).to_owned());
        message
    };
    let mut event = SqsEvent::default();
    event.records = records.iter().map(record).collect();
    event
}

/// Processes records with ten seconds to go; the ids that were reported failed, sorted.
async fn failures(processor: &Arc<FakeProcessor>, records: &[(&str, &str, String)]) -> Vec<String> {
    failures_within(SignedDuration::from_secs(10), processor, records).await
}

/// As [`failures`], with so much time to go.
async fn failures_within(
    time: SignedDuration,
    processor: &Arc<FakeProcessor>,
    records: &[(&str, &str, String)],
) -> Vec<String> {
    let response = process(processor, event(records), NOW + time).await;
    let failures = response.batch_item_failures.into_iter();
    let mut failed: Vec<_> = failures.map(|failure| failure.item_identifier).collect();
    failed.sort();
    failed
}

fn published(processor: &FakeProcessor) -> Vec<String> {
    let mut published = processor.bus.calls.lock().unwrap().concat();
    published.sort();
    published
}

#[tokio::test]
async fn each_event_is_published_once_and_a_duplicate_is_settled() {
    let processor = processor(FakeLedger::default(), FakeBus::default());
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "b", envelope("NEW_CALLOUT", 2)),
        ("3", "a", envelope("NEW_CALLOUT", 1)),
    ];
    assert!(failures(&processor, &records).await.is_empty());
    assert_eq!(
        published(&processor),
        ["callout#1/NEW_CALLOUT", "callout#2/NEW_CALLOUT"]
    );
}

#[tokio::test]
async fn two_equal_signals_are_two_events() {
    let processor = processor(FakeLedger::default(), FakeBus::default());
    let signal = || envelope("CALLOUT_EVENTS_CHANGED", 1);
    assert!(
        failures(&processor, &[("1", "a", signal()), ("2", "a", signal())])
            .await
            .is_empty()
    );
    assert_eq!(published(&processor).len(), 2);
}

#[tokio::test]
async fn a_failed_entry_stops_its_group_and_no_other() {
    let bus = FakeBus {
        refuses: vec![("callout#1/NEW_CALLOUT", "ThrottlingException")],
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "b", envelope("NEW_CALLOUT", 2)),
        ("3", "a", envelope("CALLOUT_CLOSED", 1)),
    ];
    assert_eq!(failures(&processor, &records).await, ["1", "3"]);
    assert_eq!(published(&processor), ["callout#2/NEW_CALLOUT"]);
}

#[tokio::test]
async fn a_failed_publish_releases_its_claim() {
    let bus = FakeBus {
        refuses: vec![("callout#1/NEW_CALLOUT", "ThrottlingException")],
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
    assert_eq!(
        failures(&processor, &[("1", "a", envelope("NEW_CALLOUT", 1))]).await,
        ["1"]
    );
    let item = processor.ledger.item("callout#1/NEW_CALLOUT");
    let Ok(State::Claimed { lease_until, .. }) = item.state() else {
        panic!("not claimed: {item:?}");
    };
    assert_eq!(lease_until, NOW);
}

#[tokio::test]
async fn a_panic_fails_its_group_alone() {
    let ledger = FakeLedger {
        panics_at: Some("callout#1/NEW_CALLOUT"),
        ..FakeLedger::default()
    };
    let processor = processor(ledger, FakeBus::default());
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "a", envelope("CALLOUT_CLOSED", 1)),
        ("3", "b", envelope("NEW_CALLOUT", 2)),
    ];
    assert_eq!(failures(&processor, &records).await, ["1", "2"]);
    assert_eq!(published(&processor), ["callout#2/NEW_CALLOUT"]);
}

#[tokio::test]
async fn what_can_never_be_processed_is_quarantined_and_settled() {
    let processor = processor(FakeLedger::default(), FakeBus::default());
    let newer = envelope("NEW_CALLOUT", 1).replace("\"version\":1", "\"version\":2");
    let records = [
        ("1", "a", "not an envelope".to_owned()),
        ("2", "b", newer),
        ("3", "c", envelope("", 1)),
        ("4", "d", envelope("NEW_CALLOUT", 2)),
    ];
    assert!(failures(&processor, &records).await.is_empty());
    assert_eq!(published(&processor), ["callout#2/NEW_CALLOUT"]);
    assert_eq!(
        reasons(&processor),
        [
            "envelope-version-unknown",
            "message-invalid",
            "not-an-envelope"
        ]
    );
}

/// Why records were quarantined, sorted.
fn reasons(processor: &FakeProcessor) -> Vec<String> {
    let quarantined = processor.queues.quarantined.lock().unwrap();
    let mut reasons: Vec<_> = quarantined
        .iter()
        .map(|(reason, _)| reason.clone())
        .collect();
    reasons.sort();
    reasons
}

/// A ledger in which another worker has claimed this event, with this digest, for ten seconds;
/// and its claim.
fn claimed_elsewhere(key: &str, digest: &str) -> (FakeLedger, Claim) {
    let ledger = FakeLedger::default();
    let request = ClaimRequest {
        key: ledger_key(key),
        digest: digest.to_owned(),
        delivery_id: Uuid::nil(),
        owner: Uuid::nil(),
        now: NOW,
        lease_until: NOW + SignedDuration::from_secs(10),
        expires_at: NOW + SignedDuration::from_hours(1),
    };
    let item = ledger.take(&request.key, &RULES.claim(&request)).unwrap();
    (ledger, item.claim().unwrap())
}

#[tokio::test]
async fn an_event_that_another_worker_holds_comes_back_when_its_lease_has_ended() {
    let (ledger, _) = claimed_elsewhere("callout#1/NEW_CALLOUT", "digest");
    let processor = processor(ledger, FakeBus::default());
    assert_eq!(
        failures(&processor, &[("1", "a", envelope("NEW_CALLOUT", 1))]).await,
        ["1"]
    );
    assert!(published(&processor).is_empty());
    let hidden = processor.queues.hidden.lock().unwrap();
    assert_eq!(hidden.last().unwrap(), &[("handle-1".to_owned(), 11)]);
}

#[tokio::test]
async fn a_once_event_with_another_payload_is_quarantined_as_a_conflict() {
    let (ledger, claim) = claimed_elsewhere("callout#1/NEW_CALLOUT", "other digest");
    let key = ledger_key("callout#1/NEW_CALLOUT");
    ledger.complete(&key, &claim, "bus", NOW).await.unwrap();
    let processor = processor(ledger, FakeBus::default());
    assert!(
        failures(&processor, &[("1", "a", envelope("NEW_CALLOUT", 1))])
            .await
            .is_empty()
    );
    assert!(published(&processor).is_empty());
    assert_eq!(reasons(&processor), ["conflict"]);
}

/// Little, but enough to start a record.
const LITTLE_TIME: SignedDuration = SignedDuration::from_millis(2600);

#[tokio::test]
async fn nothing_is_started_that_may_not_finish() {
    let processor = processor(FakeLedger::default(), FakeBus::default());
    let records = [("1", "a", envelope("NEW_CALLOUT", 1))];
    let too_little = LITTLE_TIME - SignedDuration::from_millis(200);
    assert_eq!(
        failures_within(too_little, &processor, &records).await,
        ["1"]
    );
    assert!(published(&processor).is_empty());
    assert!(
        failures_within(LITTLE_TIME, &processor, &records)
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_publish_that_hangs_is_reported_failed_in_time() {
    let bus = FakeBus {
        hangs: true,
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
    let records = [("1", "a", envelope("NEW_CALLOUT", 1))];
    let reported = failures_within(LITTLE_TIME, &processor, &records);
    let in_time = LITTLE_TIME.unsigned_abs();
    let failed = tokio::time::timeout(in_time, reported).await.unwrap();
    assert_eq!(failed, ["1"]);
}

#[tokio::test]
async fn what_is_published_is_settled_even_if_the_mark_hangs() {
    let ledger = FakeLedger {
        completing_hangs: true,
        ..FakeLedger::default()
    };
    let processor = processor(ledger, FakeBus::default());
    let records = [("1", "a", envelope("NEW_CALLOUT", 1))];
    let reported = failures_within(LITTLE_TIME, &processor, &records);
    let in_time = LITTLE_TIME.unsigned_abs();
    let failed = tokio::time::timeout(in_time, reported).await.unwrap();
    assert!(failed.is_empty());
    assert_eq!(published(&processor), ["callout#1/NEW_CALLOUT"]);
}

#[tokio::test]
async fn what_the_bus_will_never_take_is_quarantined_and_holds_nothing_up() {
    let bus = FakeBus {
        refuses: vec![("callout#1/NEW_CALLOUT", "MalformedDetail")],
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "a", envelope("CALLOUT_CLOSED", 1)),
    ];
    assert!(failures(&processor, &records).await.is_empty());
    assert_eq!(published(&processor), ["callout#1/CALLOUT_CLOSED"]);
    // What AURA sent, and not our envelope around it.
    let payload = r#"{"message":"NEW_CALLOUT","callout":{"id":1}}"#;
    let quarantined = processor.queues.quarantined.lock().unwrap().clone();
    assert_eq!(quarantined, [("unpublishable".into(), payload.into())]);
}

#[tokio::test]
async fn what_the_quarantine_does_not_take_comes_again() {
    let mut processor = processor(FakeLedger::default(), FakeBus::default());
    Arc::get_mut(&mut processor).unwrap().queues.broken = true;
    let records = [("1", "a", "not an envelope".to_owned())];
    assert_eq!(failures(&processor, &records).await, ["1"]);
}

#[tokio::test]
async fn the_heads_of_all_groups_go_out_in_one_call_and_each_group_in_order() {
    let processor = processor(FakeLedger::default(), FakeBus::default());
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "a", envelope("CALLOUT_CLOSED", 1)),
        ("3", "b", envelope("NEW_CALLOUT", 2)),
    ];
    assert!(failures(&processor, &records).await.is_empty());
    let calls = processor.bus.calls.lock().unwrap();
    assert_eq!(
        *calls,
        [
            vec!["callout#1/NEW_CALLOUT", "callout#2/NEW_CALLOUT"],
            vec!["callout#1/CALLOUT_CLOSED"]
        ]
    );
}

#[tokio::test]
async fn a_batch_whose_process_dies_comes_back_after_its_leases() {
    let processor = processor(FakeLedger::default(), FakeBus::default());
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "a", envelope("CALLOUT_CLOSED", 1)),
    ];
    assert!(failures(&processor, &records).await.is_empty());
    let hidden = processor.queues.hidden.lock().unwrap();
    // Ten seconds to go, two for the clocks, and one.
    let both = ["handle-1", "handle-2"].map(|handle| (handle.to_owned(), 13));
    assert_eq!(*hidden, [both.to_vec()]);
}

#[tokio::test]
async fn what_stands_behind_a_failed_record_comes_back_with_it() {
    let bus = FakeBus {
        refuses: vec![("callout#1/NEW_CALLOUT", "ThrottlingException")],
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "b", envelope("NEW_CALLOUT", 2)),
        ("3", "a", envelope("CALLOUT_CLOSED", 1)),
    ];
    assert_eq!(failures(&processor, &records).await, ["1", "3"]);
    let hidden = processor.queues.hidden.lock().unwrap();
    let failed = ["handle-1", "handle-3"].map(|handle| (handle.to_owned(), 2));
    assert_eq!(hidden.last().unwrap(), &failed);
}
