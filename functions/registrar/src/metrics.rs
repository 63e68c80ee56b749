//! The log line of one request. Every caller's request gets one. None of its numbers is a metric,
//! because the alarm reads Lambda's own count of errors.

use std::time::SystemTime;

use jiff::Timestamp;
use metrique::emf::flags::NoMetric;
use metrique::timers::Timer;
use metrique::unit::Millisecond;
use metrique::unit_of_work::metrics;

use crate::journal::Journal;

/// The log line of one request.
#[metrics(rename_all = "PascalCase", default_flags(NoMetric))]
#[derive(Debug)]
pub struct RegistrarMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    /// `Create`, `Update` or `Delete`; the step of a rotation; or `Reregister`.
    request: &'static str,
    /// CloudFormation's or the reconciler's id of the request, or the version id of the secret.
    request_id: String,
    /// The steps, with outcomes and durations.
    steps: Vec<String>,
    succeeded: bool,
    failed: bool,
    /// Why the request failed.
    reason: Option<String>,
    /// Whether CloudFormation accepted the response.
    answered: bool,
    #[metrics(unit = Millisecond)]
    time: Timer,
}

impl RegistrarMetrics {
    /// Starts the record of a request, and its clock.
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

    /// Records the steps and, after a failure, its reason.
    pub fn ended(&mut self, journal: &Journal, failure: Option<&String>) {
        self.steps = journal.entries().iter().map(ToString::to_string).collect();
        self.succeeded = failure.is_none();
        self.failed = failure.is_some();
        self.reason = failure.cloned();
    }

    /// Records that CloudFormation has accepted the response.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}
