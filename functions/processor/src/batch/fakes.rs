//! Services in memory, and helpers for tests.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::pending;
use std::sync::Mutex;

use aws_lambda_events::event::sqs::SqsMessage;
use jiff::SignedDuration;
use metrique::writer::sink::DevNullSink;
use shared::aws::CallError;
use shared::envelope::Origin;
use shared::ledger::notes::{Note, NoteLookup};
use shared::ledger::{
    Claim, ClaimRefusal, ClaimRequest, Item, LedgerError, LedgerKey, Occurrences, RULES, Transition,
};
use shared::quarantine::{QuarantineId, Quarantined};
use uuid::Uuid;

use super::*;
use crate::bus::{BusEntry, BusError};
use crate::timing::Deliveries;

pub const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// How long another worker's lease lasts from [`NOW`].
pub const THEIR_LEASE: SignedDuration = SignedDuration::from_secs(10);

thread_local! {
    /// The test's clock. A test runs in one thread.
    static CLOCK: Cell<Timestamp> = const { Cell::new(NOW) };
}

/// Sets the test's clock.
pub fn set_clock(now: Timestamp) {
    CLOCK.set(now);
}

/// What goes wrong with an event at the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerFault {
    ClaimFails,
    ClaimPanics,
    /// The claim is granted after this time has passed.
    Stall(SignedDuration),
    /// Another owner has claimed the event before it is marked.
    MarkIsStale,
    MarkPanics,
    MarkHangs,
    ReleaseHangs,
    /// The callout can't be noted as opened, or as closed.
    NoteFails,
}

/// A ledger that follows the rules, a bus and queues, all in memory. They remember their calls, and
/// fail as a test orders.
#[derive(Default)]
pub struct Fakes {
    pub items: Mutex<HashMap<LedgerKey, Occurrences>>,
    /// What goes wrong at the ledger, by the event's key.
    pub faults: HashMap<String, LedgerFault>,
    /// The callouts that were noted: `opened 1`, `closed 1`.
    pub callouts: Mutex<BTreeSet<String>>,
    pub delivered: Mutex<Vec<Timestamp>>,
    /// The notes, and when each expires.
    pub noted: Mutex<HashMap<Note, Timestamp>>,
    /// The notes that each call looked up.
    pub look_ups: Mutex<Vec<Vec<Note>>>,
    /// Notes that can't be read.
    pub unread: HashSet<Note>,
    /// The details of each call to the bus, and whether the bus accepted each.
    pub calls: Mutex<Vec<Vec<(serde_json::Value, bool)>>>,
    /// The code with which the bus refuses an event, by the event's key.
    pub refuses: HashMap<String, &'static str>,
    /// The code with which the bus refuses an event with its payload, by the event's key.
    pub refuses_payloads: HashMap<String, &'static str>,
    pub quarantined: Mutex<Vec<PutAside>>,
    /// The receipt handles and the seconds of each call that changes visibility.
    pub hidden: Mutex<Vec<Vec<(String, u64)>>>,
    pub service_fault: Option<ServiceFault>,
}

/// What goes wrong with one kind of call, for every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFault {
    LookUpFails,
    LookUpHangs,
    LookUpPanics,
    NotingFails,
    BusHangs,
    BusPanics,
    QuarantineFails,
    QuarantineHangs,
}

impl Fakes {
    pub fn refusing(key: &str, code: &'static str) -> Self {
        Self {
            refuses: [(key.to_owned(), code)].into(),
            ..Self::default()
        }
    }

    /// The keys that the bus accepted, by call.
    pub fn taken(&self) -> Vec<Vec<String>> {
        let calls = self.calls.lock().unwrap();
        let keys = |call: &Vec<(serde_json::Value, bool)>| {
            let taken = call.iter().filter(|(_, is_taken)| *is_taken);
            taken.map(|(detail, _)| key_of(detail)).collect()
        };
        calls.iter().map(keys).collect()
    }

    pub fn with_service_fault(fault: ServiceFault) -> Self {
        Self {
            service_fault: Some(fault),
            ..Self::default()
        }
    }

    pub fn with_fault(key: &str, fault: LedgerFault) -> Self {
        Self {
            faults: [(key.to_owned(), fault)].into(),
            ..Self::default()
        }
    }

    /// The first occurrence of an event.
    pub fn item(&self, key: &str) -> Option<Item> {
        let items = self.items.lock().unwrap();
        items.get(&ledger_key(key))?.0.get(&1).cloned()
    }

    /// Claims an event as another worker.
    pub fn claim_elsewhere(&self, key: &str, digest: &str) -> Claim {
        let request = ClaimRequest {
            key: ledger_key(key),
            digest: digest.to_owned(),
            delivery_id: Uuid::nil(),
            received_at: NOW,
            repeat_window: None,
            origin: Origin::Webhook,
            owner: Uuid::nil(),
            now: NOW,
            lease_until: NOW + THEIR_LEASE,
            expires_at: NOW + SignedDuration::from_hours(1),
        };
        self.grant(&request).unwrap().unwrap()
    }

    /// Publishes an event as another worker.
    pub fn publish_elsewhere(&self, key: &str, digest: &str) {
        let claim = self.claim_elsewhere(key, digest);
        let step = RULES.complete(&claim, "bus", NOW);
        self.take(&ledger_key(key), &step).unwrap();
    }

    fn grant(&self, request: &ClaimRequest) -> Result<Result<Claim, ClaimRefusal>, LedgerError> {
        let mut items = self.items.lock().unwrap();
        Ok(items
            .entry(request.key.clone())
            .or_default()
            .claim(request)?)
    }

    /// Applies a step that completes or releases.
    fn take(&self, key: &LedgerKey, step: &Transition) -> Result<(), LedgerError> {
        let mut items = self.items.lock().unwrap();
        let item = items.get_mut(key).ok_or(LedgerError::Stale)?;
        *item = item.after(step).ok_or(LedgerError::Stale)?;
        Ok(())
    }

    fn note_of(&self, id: &str, message: &str) -> Result<(), CallError> {
        let key = ledger_key(&format!("callout#{id}/{message}"));
        if self.fault(&key) == Some(LedgerFault::NoteFails) {
            return Err(told());
        }
        Ok(())
    }

    fn fault(&self, key: &LedgerKey) -> Option<LedgerFault> {
        self.faults.get(&key.to_string()).copied()
    }
}

pub fn ledger_key(key: &str) -> LedgerKey {
    let (partition, sort) = key.split_once('/').unwrap();
    LedgerKey {
        partition: partition.into(),
        sort: sort.into(),
    }
}

fn told() -> CallError {
    CallError::refused("fake", "Fail", "fails, as the test orders".to_owned())
}

pub fn key_of(detail: &serde_json::Value) -> String {
    detail["key"].as_str().unwrap().to_owned()
}

/// A message that was put into the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAside {
    pub reason: String,
    /// The id of the delivery or of the message.
    pub id: String,
    pub body: String,
}

impl Services for Fakes {
    async fn claim(
        &self,
        request: &ClaimRequest,
    ) -> Result<Result<Claim, ClaimRefusal>, LedgerError> {
        match self.fault(&request.key) {
            Some(LedgerFault::ClaimFails) => {
                return Err(told().into());
            }
            Some(LedgerFault::ClaimPanics) => panic!("as the test orders"),
            Some(LedgerFault::Stall(time)) => CLOCK.set(CLOCK.get() + time),
            _ => {}
        }
        self.grant(request)
    }

    async fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        match self.fault(key) {
            Some(LedgerFault::MarkIsStale) => return Err(LedgerError::Stale),
            Some(LedgerFault::MarkPanics) => panic!("as the test orders"),
            Some(LedgerFault::MarkHangs) => pending().await,
            _ => {}
        }
        let step = RULES.complete(claim, bus_event_id, now);
        self.take(key, &step)
    }

    async fn release(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        if self.fault(key) == Some(LedgerFault::ReleaseHangs) {
            pending::<()>().await;
        }
        let step = RULES.release(claim, now);
        self.take(key, &step)
    }

    async fn callout_opened(&self, id: &str, _at: Timestamp) -> Result<(), CallError> {
        self.note_of(id, "NEW_CALLOUT")?;
        self.callouts.lock().unwrap().insert(format!("opened {id}"));
        Ok(())
    }

    async fn callout_closed(&self, id: &str, _at: Timestamp) -> Result<(), CallError> {
        self.note_of(id, "CALLOUT_CLOSED")?;
        self.callouts.lock().unwrap().insert(format!("closed {id}"));
        Ok(())
    }

    async fn delivered(&self, at: Timestamp) -> Result<(), CallError> {
        self.delivered.lock().unwrap().push(at);
        Ok(())
    }

    async fn note(&self, note: &Note, expires_at: Timestamp) -> Result<(), CallError> {
        if self.service_fault == Some(ServiceFault::NotingFails) {
            return Err(told());
        }
        let mut noted = self.noted.lock().unwrap();
        noted.insert(note.clone(), expires_at);
        Ok(())
    }

    async fn noted(&self, notes: &[Note]) -> Result<NoteLookup, CallError> {
        self.look_ups.lock().unwrap().push(notes.to_vec());
        match self.service_fault {
            Some(ServiceFault::LookUpFails) => return Err(told()),
            Some(ServiceFault::LookUpHangs) => pending().await,
            Some(ServiceFault::LookUpPanics) => panic!("as the test orders"),
            _ => {}
        }
        let there = self.noted.lock().unwrap();
        let read = notes.iter().filter(|note| !self.unread.contains(note));
        Ok(read
            .map(|note| (note.clone(), there.contains_key(note)))
            .collect())
    }

    async fn publish(
        &self,
        entries: &[&BusEntry],
        time: Duration,
    ) -> Vec<Result<String, BusError>> {
        match self.service_fault {
            Some(ServiceFault::BusPanics) => panic!("as the test orders"),
            Some(ServiceFault::BusHangs) => {
                tokio::time::sleep(time).await;
                return vec![Err(BusError::TimedOut); entries.len()];
            }
            _ => {}
        }
        let details = entries.iter().map(|entry| &entry.detail);
        let details: Vec<serde_json::Value> = details
            .map(|detail| serde_json::from_str(detail).unwrap())
            .collect();
        let result = |detail: &serde_json::Value| {
            let key = key_of(detail);
            let of_payload = self.refuses_payloads.get(&key);
            let of_payload = of_payload.filter(|_| !detail["payload"].is_null());
            match self.refuses.get(&key).or(of_payload) {
                Some(code) => Err(BusError::Entry {
                    code: (*code).to_owned(),
                }),
                None => Ok(format!("bus-id-of-{key}")),
            }
        };
        let results: Vec<_> = details.iter().map(result).collect();
        let taken = results.iter().map(Result::is_ok);
        let call = details.into_iter().zip(taken).collect();
        self.calls.lock().unwrap().push(call);
        results
    }

    async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), CallError> {
        match self.service_fault {
            Some(ServiceFault::QuarantineFails) => {
                return Err(told());
            }
            Some(ServiceFault::QuarantineHangs) => pending().await,
            _ => {}
        }
        let item = PutAside {
            reason: item.reason.to_owned(),
            id: match item.id {
                QuarantineId::Delivery(id) => id.to_string(),
                QuarantineId::Message(id) => id.to_owned(),
            },
            body: String::from_utf8(item.body.to_vec()).unwrap(),
        };
        self.quarantined.lock().unwrap().push(item);
        Ok(())
    }

    async fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<(), CallError> {
        let hidden = changes
            .iter()
            .map(|change| (change.receipt_handle.clone(), change.time.as_secs()));
        self.hidden.lock().unwrap().push(hidden.collect());
        Ok(())
    }
}

pub type FakeProcessor = Processor<Fakes>;

pub fn processor(services: Fakes) -> FakeProcessor {
    CLOCK.set(NOW);
    Processor {
        services,
        deliveries: Deliveries::default(),
        retention: Duration::from_hours(35 * 24),
        repeat_window: Some(Duration::from_mins(5)),
        now: || CLOCK.get(),
        new_owner: Uuid::now_v7,
        random: || 0.0,
        metrics: DevNullSink::boxed(),
    }
}

/// AURA's payload of a message about callout `id`.
pub fn payload(message: &str, id: usize) -> String {
    format!(r#"{{"message":"{message}","callout":{{"id":{id}}}}}"#)
}

/// A delivery of an event of callout `id`. Each has a new delivery id.
pub fn envelope(message: &str, id: usize) -> String {
    envelope_of(Uuid::now_v7(), &payload(message, id))
}

pub fn envelope_of(delivery_id: Uuid, payload: &str) -> String {
    format!(
        r#"{{"version":1,"deliveryId":"{delivery_id}","receivedAt":"1970-01-01T00:00:00Z",
            "origin":"webhook","payload":{payload}}}"#
    )
}

/// A message of the ingest queue.
pub fn message(id: &str, group: &str, receives: u32, body: String) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.message_id = Some(id.to_owned());
    message.receipt_handle = Some(format!("handle-{id}"));
    message.body = Some(body);
    message.attributes = [
        ("MessageGroupId".into(), group.to_owned()),
        ("ApproximateReceiveCount".into(), receives.to_string()),
        (
            "ApproximateFirstReceiveTimestamp".into(),
            NOW.as_millisecond().to_string(),
        ),
    ]
    .into();
    message
}

pub fn event(messages: Vec<SqsMessage>) -> SqsEvent {
    let mut event = SqsEvent::default();
    event.records = messages;
    event
}

/// Processes messages with this much time left. Returns the ids that were reported failed, sorted.
pub async fn failures(
    time: SignedDuration,
    processor: &FakeProcessor,
    messages: Vec<SqsMessage>,
) -> Vec<String> {
    let response = process(processor, event(messages), NOW + time).await;
    let failures = response.batch_item_failures.into_iter();
    let mut failed: Vec<_> = failures.map(|failure| failure.item_identifier).collect();
    failed.sort();
    failed
}
