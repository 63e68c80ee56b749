//! The log line of each request, which carries its metrics. Only what an alarm reads is a metric;
//! see [`shared::telemetry::levels`].

use std::time::SystemTime;

use jiff::Timestamp;
use metrique::emf::flags::NoMetric;
use metrique::timers::{Stopwatch, Timer};
use metrique::unit::{Byte, Millisecond};
use metrique::unit_of_work::metrics;
use shared::catalogue;
use shared::event::{Event, Unreadable};
use shared::telemetry::levels::Counter;
use uuid::Uuid;

use crate::answer::{Answer, Refusal};
use crate::request::UnverifiedRequest;
use crate::store::Kept;

/// The log line and the metrics of one request. It holds nothing of the payload except documented
/// names.
#[metrics(rename_all = "PascalCase", default_flags(NoMetric))]
#[derive(Debug)]
pub struct IngestMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    /// The id given to an authentic delivery.
    delivery_id: Option<String>,
    /// SQS's id of the message that holds the delivery. Absent if the delivery is in the spill.
    message_id: Option<String>,
    /// The answer; see [`Answer::name`].
    answer: &'static str,
    /// Why the delivery was quarantined.
    reason: Option<String>,
    message: Option<&'static str>,
    entity_kind: Option<&'static str>,
    test: bool,
    accepted: bool,
    #[metrics(no_close, flags(skip(NoMetric)))]
    into_quarantine: Counter,
    /// The queue could not be reached, and the delivery waits in the spill.
    #[metrics(no_close, flags(skip(NoMetric)))]
    spilled: Counter,
    /// The request was refused because of its address or its secret: it is forbidden, unauthorized
    /// or undecided.
    #[metrics(no_close, flags(skip(NoMetric)))]
    refused: Counter,
    /// The request was refused though it carried the secret: `wrong_address` or `too_large`.
    #[metrics(no_close, flags(skip(NoMetric)))]
    refused_with_secret: Counter,
    #[metrics(no_close)]
    forbidden: Counter,
    /// The address was forbidden, though the request carried the secret.
    #[metrics(no_close)]
    pub wrong_address: Counter,
    #[metrics(no_close)]
    unauthorized: Counter,
    /// The secret could not be read, and the value that was sent matches no known value.
    #[metrics(no_close)]
    secret_undecided: Counter,
    #[metrics(no_close)]
    too_large: Counter,
    #[metrics(no_close)]
    unavailable: Counter,
    /// How many headers were ignored, because HTTP doesn't allow them.
    #[metrics(no_close)]
    dropped_headers: Counter,
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
            message_id: None,
            // This value stays if the handler panics.
            answer: "panicked",
            reason: None,
            message: None,
            entity_kind: None,
            test: false,
            accepted: false,
            into_quarantine: Counter::default(),
            spilled: Counter::default(),
            refused: Counter::default(),
            refused_with_secret: Counter::default(),
            forbidden: Counter::default(),
            wrong_address: Counter::default(),
            unauthorized: Counter::default(),
            secret_undecided: Counter::default(),
            too_large: Counter::default(),
            unavailable: true.into(),
            dropped_headers: Counter::default(),
            size: 0,
            time: Timer::start_now(),
            store_time: Stopwatch::new(),
        }
    }

    /// Notes the request's size and dropped headers.
    pub fn request(&mut self, request: &UnverifiedRequest) {
        self.size = request.body.len();
        self.dropped_headers.add(request.dropped_headers);
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

    /// Notes where the delivery is stored.
    pub(crate) fn kept(&mut self, kept: Kept) {
        match kept {
            Kept::OnQueue { message_id } => self.message_id = message_id,
            Kept::InSpill => self.spilled = true.into(),
        }
    }

    /// Notes the answer.
    pub fn answered(&mut self, answer: Answer) {
        self.answer = answer.name();
        self.unavailable = Counter::default();
        match answer {
            Answer::Accepted(_) => self.accepted = true,
            Answer::Quarantined(_) => self.into_quarantine = true.into(),
            Answer::Refused(Refusal::Forbidden) => {
                self.forbidden = true.into();
                self.refused = true.into();
                self.refused_with_secret = self.wrong_address;
            }
            Answer::Refused(Refusal::Unauthorized) => {
                self.unauthorized = true.into();
                self.refused = true.into();
            }
            Answer::Refused(Refusal::TooLarge) => {
                self.too_large = true.into();
                self.refused_with_secret = true.into();
            }
            Answer::Refused(Refusal::SecretUnavailable) => {
                self.secret_undecided = true.into();
                self.refused = true.into();
                self.unavailable = true.into();
            }
            Answer::Refused(Refusal::StoreUnavailable) => self.unavailable = true.into(),
            Answer::Healthy
            | Answer::Refused(Refusal::NotFound | Refusal::MethodNotAllowed { .. }) => {}
        }
    }
}
