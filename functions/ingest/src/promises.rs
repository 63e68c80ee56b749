//! Checks what must hold for every event, however strange: the bodies of the table, events with odd
//! values everywhere, and whatever the fuzz target makes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a broken promise is a panic, here as in any test"
)]

mod input;
mod sent;

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Response};
use serde_json::Value;
use shared::aws::{MAX_QUEUED_BYTES, is_queueable};
use shared::envelope::{Envelope, Origin};
use shared::event::{self, Event};
use shared::queue::{Destination, Message, MessageAttribute, Outgoing};
use tokio::runtime::Runtime;

use crate::fakes::{self, FakeSecret, FakeStore};
use crate::handler::Ingest;
use crate::request::GatewayEvent;

pub use sent::{SentRequest, StoreState};

/// The size of the largest message that SQS accepts: the body, and the attributes' names, types and
/// values.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The function from its event to its stores, without Lambda and AWS.
#[derive(Debug)]
pub struct Harness {
    runtime: Runtime,
    ingest: Ingest<FakeSecret, FakeStore>,
}

/// What became of a request.
#[derive(Debug)]
pub struct RequestOutcome {
    /// The answer.
    pub response: Response<Body>,
    /// What was sent to the queues.
    pub queued: Vec<Outgoing>,
    /// What was put into the spill.
    pub spilled: Vec<Outgoing>,
}

/// The meaning of an outcome that was checked.
#[derive(Debug)]
pub enum Disposition {
    /// The request was not stored. It was answered with this status.
    Refused(u16),
    /// The request was a health check.
    Healthy,
    /// The delivery is on its way to the processor.
    Accepted {
        /// The event that was read.
        event: Event,
        /// The delivery's message group.
        group_id: String,
    },
    /// The delivery is in the quarantine.
    Quarantined {
        /// Why the delivery is in the quarantine.
        reason: String,
    },
}

impl Default for Harness {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let mut ingest = runtime.block_on(fakes::ingest());
        ingest.allowed_sources = sent::ALLOWED_SOURCES.parse().expect("a range");
        Self { runtime, ingest }
    }
}

impl Harness {
    /// Handles an event while the stores are in this state.
    #[must_use]
    pub fn handle(&self, event: GatewayEvent, state: StoreState) -> RequestOutcome {
        let store = &self.ingest.store;
        store.queues_down.store(!state.queues, Ordering::Relaxed);
        store.spill_down.store(!state.spill, Ordering::Relaxed);
        let response = self.runtime.block_on(self.ingest.handle(event));
        RequestOutcome {
            response,
            queued: store.take_queued(),
            spilled: store.take_spilled(),
        }
    }

    /// Handles a request and checks the outcome.
    #[must_use]
    pub fn check(&self, sent: &SentRequest) -> Disposition {
        self.handle(sent.event(), sent.store).check(sent)
    }

    /// Checks a fuzzer's input: an event, or [the description of one](SentRequest::from_input).
    pub fn check_input(&self, input: &[u8]) {
        if input.starts_with(b"{") {
            self.check_any(input);
        } else {
            let _ = self.check(&SentRequest::from_input(input));
        }
    }

    /// Handles any text as if it were an event. Checks that the answer is one of ours, and that
    /// nothing is stored without the secret.
    pub fn check_any(&self, text: &[u8]) {
        // Lambda never sends text that isn't JSON or isn't Unicode. If two members have one name,
        // other readers see only the last.
        if let Ok(event) = serde_json::from_slice::<Value>(text) {
            let has_secret = event["headers"].as_object().is_some_and(sent::is_authentic);
            let outcome = self.handle(sent::event(&event), StoreState::GOOD);
            outcome.assert_ours();
            assert!(has_secret || outcome.queued.is_empty());
        }
        let event = serde_json::from_slice(text).unwrap_or_else(|_| sent::event(&Value::Null));
        self.handle(event, StoreState::GOOD).assert_ours();
    }
}

impl RequestOutcome {
    /// Asserts that the request has the outcome that it must have.
    #[must_use]
    pub fn check(&self, sent: &SentRequest) -> Disposition {
        if sent.method == "HEAD" {
            assert!(self.response.body().is_empty());
        } else {
            self.assert_well_formed();
        }
        let status = self.response.status().as_u16();
        if let Some(expected) = sent.expected_without_storing() {
            assert_eq!(status, expected);
        } else if status == 202 {
            return self.check_stored(sent);
        } else {
            assert_may_be_lost(sent, status);
        }
        assert!(self.queued.is_empty() && self.spilled.is_empty());
        match status {
            200 => Disposition::Healthy,
            _ => Disposition::Refused(status),
        }
    }

    /// Asserts that the answer is one of ours. All stores work, and must hold what was accepted and
    /// nothing else.
    fn assert_ours(&self) {
        let status = self.response.status().as_u16();
        assert!(
            [200, 202, 401, 403, 404, 405, 413].contains(&status),
            "{status}"
        );
        assert_eq!(self.queued.len(), usize::from(status == 202));
        assert!(self.spilled.is_empty());
        if !self.response.body().is_empty() {
            self.assert_well_formed();
        }
    }

    fn check_stored(&self, sent: &SentRequest) -> Disposition {
        let stored = self.stored(sent.store);
        assert_sqs_takes(&stored.message);
        let delivery_id = stored.delivery_id.to_string();
        let deduplication_id = &stored.message.deduplication_id;
        assert_eq!(deduplication_id.split('/').next(), Some(&*delivery_id));
        let (status, read) = match stored.destination {
            Destination::Ingest => ("accepted", check_accepted(stored, &sent.body)),
            Destination::Quarantine => ("quarantined", check_quarantined(stored, &sent.body)),
        };
        let answer = self.answer();
        assert_eq!(answer["status"], status);
        assert_eq!(answer["deliveryId"], delivery_id);
        read
    }

    /// The only copy of a delivery, in the store where it belongs.
    fn stored(&self, state: StoreState) -> &Outgoing {
        let (stored, empty) = if state.queues {
            (&self.queued, &self.spilled)
        } else {
            (&self.spilled, &self.queued)
        };
        assert!(empty.is_empty());
        assert_eq!(stored.len(), 1);
        &stored[0]
    }

    fn assert_well_formed(&self) {
        let status = self.response.status();
        let content_type = &self.response.headers()[CONTENT_TYPE];
        let answer = self.answer();
        if status.is_success() {
            assert_eq!(content_type, "application/json");
        } else {
            assert_eq!(content_type, "application/problem+json");
            assert_eq!(answer["status"], status.as_u16());
        }
    }

    fn answer(&self) -> Value {
        serde_json::from_slice(self.response.body()).expect("JSON")
    }
}

/// Asserts that no store could keep an authentic delivery.
fn assert_may_be_lost(sent: &SentRequest, status: u16) {
    if status == 413 {
        // As base64 a body is a third larger.
        assert!(sent.body.len() > MAX_QUEUED_BYTES / 4 * 3);
    } else {
        assert_eq!(status, 503);
        assert!(!sent.store.queues && !sent.store.spill);
    }
}

/// SQS's rules for a message, from its API reference.
fn assert_sqs_takes(message: &Message) {
    assert!(!message.body.is_empty() && is_queueable(&message.body));
    for id in [&message.group_id, &message.deduplication_id] {
        assert!((1..=128).contains(&id.len()));
        assert!(id.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert!(message.attributes.len() <= 10);
    let attributes = message.attributes.iter().map(|(name, attribute)| {
        let (kind, value) = match attribute {
            MessageAttribute::Text(value) => ("String", value),
            MessageAttribute::Number(value) => ("Number", value),
        };
        assert!(!value.is_empty() && is_queueable(value));
        name.len() + kind.len() + value.len()
    });
    assert!(message.body.len() + attributes.sum::<usize>() <= MAX_MESSAGE_BYTES);
}

fn check_accepted(stored: &Outgoing, body: &[u8]) -> Disposition {
    let message = &stored.message;
    let envelope = Envelope::parse(&message.body).expect("an envelope");
    assert_eq!(envelope.delivery_id, stored.delivery_id);
    assert_eq!(envelope.received_at, Timestamp::UNIX_EPOCH);
    assert_eq!(envelope.origin, Origin::Webhook);
    let payload = &envelope.payload;
    assert_eq!(payload.get().as_bytes(), without_surroundings(body));

    let event = event::parse_payload(payload).expect("an event");
    let (sent, _) = event::parse(body).expect("an event");
    assert_eq!(event, sent);
    assert_eq!(event.entity.group_id(), message.group_id);
    assert_others_read(&event, payload.get());
    Disposition::Accepted {
        event,
        group_id: message.group_id.clone(),
    }
}

/// The JSON value alone. A payload is kept without the white space and the byte order mark around
/// it.
fn without_surroundings(body: &[u8]) -> &[u8] {
    let body = body.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(body);
    let is_value = |byte: &u8| !b" \t\n\r".contains(byte);
    let start = body.iter().position(is_value).unwrap_or(body.len());
    let end = body
        .iter()
        .rposition(is_value)
        .map_or(start, |last| last + 1);
    &body[start..end]
}

/// Asserts that a consumer who reads the payload with any JSON library finds the same in it.
fn assert_others_read(event: &Event, payload: &str) {
    // Libraries that build a tree limit its depth.
    let Ok(payload) = serde_json::from_str::<Value>(payload) else {
        return;
    };
    assert_eq!(payload["message"], event.message);
    let entity = &payload[&event.entity.kind];
    // If a name is given twice, libraries take the last value, which may not be an object.
    if !entity.is_object() {
        return;
    }
    match &entity["id"] {
        Value::String(id) => assert_eq!(*id, event.entity.id),
        // A library turns an integer that is too large for it into a float.
        Value::Number(id) if !id.is_f64() => assert_eq!(id.to_string(), event.entity.id),
        id => assert!(id.is_f64()),
    }
    // An emergency is never taken for a test. The table checks the opposite.
    let marked =
        entity["internalTest"] == true || entity["calloutClassification"]["value"] == "TEST";
    assert!(marked || !event.test);
}

fn check_quarantined(stored: &Outgoing, body: &[u8]) -> Disposition {
    assert!(event::parse(body).is_err());
    let message = &stored.message;
    assert_eq!(text(message, "deliveryId"), stored.delivery_id.to_string());
    assert_eq!(text(message, "receivedAt"), "1970-01-01T00:00:00.000Z");
    let size = MessageAttribute::Number(body.len().to_string());
    assert_eq!(message.attributes.get("size"), Some(&size));
    let kept = match text(message, "encoding") {
        "text" => message.body.clone().into_bytes(),
        "base64" => STANDARD.decode(&message.body).expect("base64"),
        encoding => {
            assert_eq!(encoding, "empty");
            Vec::new()
        }
    };
    assert!(kept == body, "the body is kept whole");
    Disposition::Quarantined {
        reason: text(message, "reason").to_owned(),
    }
}

fn text<'a>(message: &'a Message, name: &str) -> &'a str {
    match message.attributes.get(name) {
        Some(MessageAttribute::Text(value)) => value,
        other => panic!("{name} is {other:?}"),
    }
}

#[cfg(test)]
mod tests;
