//! The log line of each request, whoever sends it.

use std::time::SystemTime;

use jiff::Timestamp;
use metrique::timers::Timer;
use metrique::unit::Millisecond;
use metrique::unit_of_work::metrics;

use crate::journal::Journal;

/// One request: its log line and its metrics.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug)]
pub struct RegistrarMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    /// `Create`, `Update` or `Delete`; the step of a rotation; or `Reregister`.
    request: &'static str,
    /// CloudFormation's or the reconciler's id of the request; or the version of the secret.
    request_id: String,
    /// What was done, with times.
    steps: Vec<String>,
    succeeded: bool,
    failed: bool,
    /// Why it failed.
    reason: Option<String>,
    /// Whether CloudFormation took the answer.
    answered: bool,
    #[metrics(unit = Millisecond)]
    time: Timer,
}

impl RegistrarMetrics {
    /// Starts the clock.
    #[must_use]
    pub fn start(request: &'static str, request_id: &str) -> Self {
        Self {
            timestamp: Timestamp::now().into(),
            function: "registrar",
            request,
            request_id: request_id.to_owned(),
            steps: Vec::new(),
            succeeded: false,
            failed: false,
            reason: None,
            answered: false,
            time: Timer::start_now(),
        }
    }

    /// Notes what was done, and why it failed, if it did.
    pub fn ended(&mut self, journal: &Journal, failure: Option<&String>) {
        self.steps = journal.entries().iter().map(ToString::to_string).collect();
        self.succeeded = failure.is_none();
        self.failed = failure.is_some();
        self.reason = failure.cloned();
    }

    /// Notes that CloudFormation has the answer.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}
