//! The line that each batch leaves behind.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use metrique::timers::Timer;
use metrique::unit::Millisecond;
use metrique::unit_of_work::metrics;
use metrique::writer::unit::{NegativeScale, Unit};
use metrique::writer::{MetricFlags, Observation, Value, ValueWriter};

use crate::record::Outcome;

/// One batch: its log line and its metrics.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug)]
pub struct BatchMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    records: usize,
    published: usize,
    /// Of those, how many the ledger could not be told of.
    unmarked: usize,
    /// Of those, how many went out without their payload, which is in the quarantine.
    payloads_omitted: usize,
    duplicates: usize,
    conflicts: usize,
    quarantined: usize,
    /// Reported to SQS as failed, for whatever reason.
    failed: usize,
    held: usize,
    panicked: usize,
    /// Per record: SQS's message id and its outcome.
    outcomes: Vec<String>,
    /// Per published event: from its arrival at ingest until the bus had answered for its wave.
    #[metrics(no_close)]
    arrival_to_publish: Latencies,
    #[metrics(unit = Millisecond)]
    time: Timer,
}

/// Durations of one metric, in milliseconds; the metric is absent if there are none.
#[derive(Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Value for Latencies {
    fn write(&self, writer: impl ValueWriter) {
        let milliseconds = self.0.iter().map(|time| time.as_secs_f64() * 1000.0);
        let unit = Unit::Second(NegativeScale::Milli);
        let observations = milliseconds.map(Observation::Floating);
        writer.metric(observations, unit, [], MetricFlags::empty());
    }
}

impl BatchMetrics {
    /// Starts the clock.
    #[must_use]
    pub fn start(now: Timestamp) -> Self {
        Self {
            timestamp: now.into(),
            function: "processor",
            records: 0,
            published: 0,
            unmarked: 0,
            payloads_omitted: 0,
            duplicates: 0,
            conflicts: 0,
            quarantined: 0,
            failed: 0,
            held: 0,
            panicked: 0,
            outcomes: Vec::new(),
            arrival_to_publish: Latencies::default(),
            time: Timer::start_now(),
        }
    }

    /// Counts one record.
    pub fn record(&mut self, message_id: &str, outcome: Outcome) {
        self.records += 1;
        match outcome {
            Outcome::Published(publication) => {
                self.published += 1;
                self.unmarked += usize::from(!publication.marked);
                self.payloads_omitted += usize::from(publication.payload_omitted);
                self.arrival_to_publish.0.push(publication.latency);
            }
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Conflict => self.conflicts += 1,
            Outcome::Quarantined => self.quarantined += 1,
            Outcome::Held { .. } => self.held += 1,
            Outcome::Panicked => self.panicked += 1,
            Outcome::Failed | Outcome::Postponed => {}
        }
        if !outcome.is_settled() {
            self.failed += 1;
        }
        self.outcomes
            .push(format!("{message_id} {}", outcome.name()));
    }
}
