//! The log line of each request, which carries its metrics.

use std::time::SystemTime;

use jiff::Timestamp;
use metrique::timers::{Stopwatch, Timer};
use metrique::unit::{Byte, Millisecond};
use metrique::unit_of_work::metrics;
use shared::catalogue;
use shared::event::{Event, Unreadable};
use uuid::Uuid;

use crate::answer::{Answer, Refusal};
use crate::request::UnverifiedRequest;

/// The log line and the metrics of one request. It holds nothing of the payload except documented
/// names.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug)]
pub struct IngestMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    /// The id given to an authentic delivery.
    delivery_id: Option<String>,
    /// The answer; see [`Answer::name`].
    answer: &'static str,
    /// Why the delivery was quarantined.
    reason: Option<String>,
    message: Option<&'static str>,
    entity_kind: Option<&'static str>,
    test: bool,
    accepted: bool,
    quarantined: bool,
    /// The queue could not be reached, and the delivery waits in the spill.
    pub spilled: bool,
    forbidden: bool,
    /// The address was forbidden, though the request carried the secret.
    pub wrong_address: bool,
    unauthorized: bool,
    /// The secret could not be read, and the value that was sent matches no known value.
    secret_undecided: bool,
    too_large: bool,
    unavailable: bool,
    /// How many headers were ignored, because HTTP doesn't allow them.
    dropped_headers: usize,
    #[metrics(unit = Byte)]
    size: usize,
    /// The time from the start of the handler to its answer.
    #[metrics(unit = Millisecond)]
    time: Timer,
    /// The part of `time` that was spent on the queue and the spill.
    #[metrics(unit = Millisecond)]
    store_time: Stopwatch,
}

impl IngestMetrics {
    /// Starts the clock.
    #[must_use]
    pub fn start(now: Timestamp) -> Self {
        Self {
            timestamp: now.into(),
            function: "ingest",
            delivery_id: None,
            // This value stays if the handler panics.
            answer: "panicked",
            reason: None,
            message: None,
            entity_kind: None,
            test: false,
            accepted: false,
            quarantined: false,
            spilled: false,
            forbidden: false,
            wrong_address: false,
            unauthorized: false,
            secret_undecided: false,
            too_large: false,
            unavailable: true,
            dropped_headers: 0,
            size: 0,
            time: Timer::start_now(),
            store_time: Stopwatch::new(),
        }
    }

    /// Notes the request's size and dropped headers.
    pub fn request(&mut self, request: &UnverifiedRequest) {
        self.size = request.body.len();
        self.dropped_headers = request.dropped_headers;
    }

    /// Notes an authentic delivery, and its event if it could be read.
    pub fn delivery(&mut self, delivery_id: Uuid, event: Result<&Event, &Unreadable>) {
        self.delivery_id = Some(delivery_id.to_string());
        match event {
            Ok(event) => {
                self.message = Some(catalogue::loggable_name(&event.message));
                self.entity_kind = Some(event.entity.loggable_kind());
                self.test = event.test;
            }
            Err(reason) => self.reason = Some(reason.to_string()),
        }
    }

    /// Starts the clock of the store. It stops when the guard is dropped.
    pub fn storing(&mut self) -> impl Drop + use<'_> {
        self.store_time.start()
    }

    /// Notes the answer.
    pub fn answered(&mut self, answer: Answer) {
        self.answer = answer.name();
        self.unavailable = false;
        match answer {
            Answer::Accepted(_) => self.accepted = true,
            Answer::Quarantined(_) => self.quarantined = true,
            Answer::Refused(Refusal::Forbidden) => self.forbidden = true,
            Answer::Refused(Refusal::Unauthorized) => self.unauthorized = true,
            Answer::Refused(Refusal::TooLarge) => self.too_large = true,
            Answer::Refused(Refusal::SecretUnavailable) => {
                self.secret_undecided = true;
                self.unavailable = true;
            }
            Answer::Refused(Refusal::StoreUnavailable) => self.unavailable = true,
            Answer::Healthy
            | Answer::Refused(Refusal::NotFound | Refusal::MethodNotAllowed { .. }) => {}
        }
    }
}
