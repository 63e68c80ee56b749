use std::collections::HashMap;
use std::future::pending;
use std::sync::Mutex;

use aws_lambda_events::event::sqs::SqsMessage;
use aws_sdk_sqs::error::BuildError;
use jiff::SignedDuration;
use metrique::writer::sink::DevNullSink;
use shared::ledger::{self, Claim, Item, LedgerKey, Refusal, State};
use shared::quarantine::Quarantined;
use shared::queue::QueueError;
use uuid::Uuid;

use super::*;
use crate::bus::{BusError, Detail};
use crate::ledger::{ClaimRequest, LedgerError};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A ledger in memory, by the pure rules.
#[derive(Default)]
struct FakeLedger {
    items: Mutex<HashMap<LedgerKey, Item>>,
    completing_hangs: bool,
}

impl FakeLedger {
    fn holding(key: &str, state: State, digest: &str) -> Self {
        let (partition, sort) = key.split_once('/').unwrap();
        let key = LedgerKey {
            partition: partition.into(),
            sort: sort.into(),
        };
        let item = Item {
            digest: digest.into(),
            state,
        };
        Self {
            items: Mutex::new(HashMap::from([(key, item)])),
            completing_hangs: false,
        }
    }

    fn change(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        change: impl FnOnce(&mut Item),
    ) -> Result<(), LedgerError> {
        let mut items = self.items.lock().unwrap();
        let item = items.get_mut(key);
        if !ledger::holds(item.as_deref(), claim) {
            return Err(LedgerError::Stale);
        }
        change(item.unwrap());
        Ok(())
    }
}

impl Ledger for FakeLedger {
    async fn claim(&self, request: &ClaimRequest) -> Result<Result<Claim, Refusal>, LedgerError> {
        let mut items = self.items.lock().unwrap();
        let known = items.get(&request.key);
        let claim = ledger::claim(known, &request.digest, request.owner, request.now);
        if let Ok(claim) = claim {
            let state = State::Claimed {
                claim,
                lease_until: request.lease_until,
            };
            items.insert(
                request.key.clone(),
                Item {
                    digest: request.digest.clone(),
                    state,
                },
            );
        }
        Ok(claim)
    }

    async fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        _bus_event_id: &str,
        _now: Timestamp,
    ) -> Result<(), LedgerError> {
        if self.completing_hangs {
            pending::<()>().await;
        }
        self.change(key, claim, |item| item.state = State::Published)
    }

    async fn release(&self, key: &LedgerKey, claim: &Claim) -> Result<(), LedgerError> {
        let state = State::Claimed {
            claim: *claim,
            lease_until: NOW,
        };
        self.change(key, claim, |item| item.state = state)
    }
}

/// A bus that remembers, and that stumbles over the events it is told to.
#[derive(Default)]
struct FakeBus {
    published: Mutex<Vec<String>>,
    refuses: Option<&'static str>,
    /// What it says when it refuses.
    code: &'static str,
    panics_at: Option<&'static str>,
    hangs: bool,
}

impl Bus for FakeBus {
    async fn publish(&self, detail: &Detail<'_>) -> Result<String, BusError> {
        if self.hangs {
            pending::<()>().await;
        }
        assert_ne!(self.panics_at, Some(detail.key.as_str()), "as told");
        if self.refuses == Some(detail.key.as_str()) {
            return Err(BusError::Entry {
                code: self.code.into(),
            });
        }
        self.published.lock().unwrap().push(detail.key.clone());
        Ok("bus-event-id".into())
    }
}

#[derive(Default)]
struct FakeQuarantine {
    reasons: Mutex<Vec<String>>,
    bodies: Mutex<Vec<String>>,
    broken: bool,
}

impl QuarantineStore for FakeQuarantine {
    async fn put(&self, item: &Quarantined<'_>) -> Result<(), QueueError> {
        if self.broken {
            return Err(BuildError::other("broken, as told").into());
        }
        let body = String::from_utf8(item.body.to_vec()).unwrap();
        self.reasons.lock().unwrap().push(item.reason.to_owned());
        self.bodies.lock().unwrap().push(body);
        Ok(())
    }
}

type FakeProcessor = Processor<FakeLedger, FakeBus, FakeQuarantine>;

fn processor(ledger: FakeLedger, bus: FakeBus) -> Arc<FakeProcessor> {
    Arc::new(Processor {
        ledger,
        bus,
        quarantine: FakeQuarantine::default(),
        now: || NOW,
        new_owner: Uuid::now_v7,
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
    let mut published = processor.bus.published.lock().unwrap().clone();
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
        refuses: Some("callout#1/NEW_CALLOUT"),
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
        refuses: Some("callout#1/NEW_CALLOUT"),
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
    assert_eq!(
        failures(&processor, &[("1", "a", envelope("NEW_CALLOUT", 1))]).await,
        ["1"]
    );
    let items = processor.ledger.items.lock().unwrap();
    let State::Claimed { lease_until, .. } = items.values().next().unwrap().state else {
        panic!("not claimed");
    };
    assert_eq!(lease_until, NOW);
}

#[tokio::test]
async fn a_panic_fails_its_group_alone() {
    let bus = FakeBus {
        panics_at: Some("callout#1/NEW_CALLOUT"),
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
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
    let mut reasons = processor.quarantine.reasons.lock().unwrap().clone();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "envelope-version-unknown",
            "message-invalid",
            "not-an-envelope"
        ]
    );
}

#[tokio::test]
async fn an_event_that_another_worker_holds_is_reported_failed() {
    let claim = Claim {
        owner: Uuid::nil(),
        attempt: 1,
    };
    let state = State::Claimed {
        claim,
        lease_until: NOW + SignedDuration::from_secs(1),
    };
    let ledger = FakeLedger::holding("callout#1/NEW_CALLOUT", state, "digest");
    let processor = processor(ledger, FakeBus::default());
    assert_eq!(
        failures(&processor, &[("1", "a", envelope("NEW_CALLOUT", 1))]).await,
        ["1"]
    );
    assert!(published(&processor).is_empty());
}

#[tokio::test]
async fn a_once_event_with_another_payload_is_quarantined_as_a_conflict() {
    let ledger = FakeLedger::holding("callout#1/NEW_CALLOUT", State::Published, "other digest");
    let processor = processor(ledger, FakeBus::default());
    assert!(
        failures(&processor, &[("1", "a", envelope("NEW_CALLOUT", 1))])
            .await
            .is_empty()
    );
    assert!(published(&processor).is_empty());
    assert_eq!(*processor.quarantine.reasons.lock().unwrap(), ["conflict"]);
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
        refuses: Some("callout#1/NEW_CALLOUT"),
        code: "MalformedDetail",
        ..FakeBus::default()
    };
    let processor = processor(FakeLedger::default(), bus);
    let records = [
        ("1", "a", envelope("NEW_CALLOUT", 1)),
        ("2", "a", envelope("CALLOUT_CLOSED", 1)),
    ];
    assert!(failures(&processor, &records).await.is_empty());
    assert_eq!(published(&processor), ["callout#1/CALLOUT_CLOSED"]);
    assert_eq!(
        *processor.quarantine.reasons.lock().unwrap(),
        ["unpublishable"]
    );
    // What AURA sent, and not our envelope around it.
    let bodies = processor.quarantine.bodies.lock().unwrap().clone();
    assert_eq!(bodies, [r#"{"message":"NEW_CALLOUT","callout":{"id":1}}"#]);
}

#[tokio::test]
async fn what_the_quarantine_does_not_take_comes_again() {
    let mut processor = processor(FakeLedger::default(), FakeBus::default());
    Arc::get_mut(&mut processor).unwrap().quarantine.broken = true;
    let records = [("1", "a", "not an envelope".to_owned())];
    assert_eq!(failures(&processor, &records).await, ["1"]);
}
