//! The line that each batch leaves behind.

use jiff::Timestamp;
use metrique::timers::Timer;
use metrique::unit::Millisecond;
use metrique::unit_of_work::metrics;
use std::time::SystemTime;

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
    duplicates: usize,
    conflicts: usize,
    quarantined: usize,
    /// Reported to SQS as failed, for whatever reason.
    failed: usize,
    held: usize,
    panicked: usize,
    /// Per record: SQS's message id and its outcome.
    outcomes: Vec<String>,
    #[metrics(unit = Millisecond)]
    time: Timer,
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
            duplicates: 0,
            conflicts: 0,
            quarantined: 0,
            failed: 0,
            held: 0,
            panicked: 0,
            outcomes: Vec::new(),
            time: Timer::start_now(),
        }
    }

    /// Counts one record.
    pub fn record(&mut self, message_id: &str, outcome: Outcome) {
        self.records += 1;
        match outcome {
            Outcome::Published => self.published += 1,
            Outcome::Unmarked => {
                self.published += 1;
                self.unmarked += 1;
            }
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Conflict => self.conflicts += 1,
            Outcome::Quarantined => self.quarantined += 1,
            Outcome::Held => self.held += 1,
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
