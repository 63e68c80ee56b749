//! The log line of one request. Every caller's request gets one. Only the time of a canary that the
//! schedule or an operator asked for is a metric: the alarm about failed requests reads Lambda's
//! own count of errors.

use std::time::{Duration, SystemTime};

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
    /// `Create`, `Update` or `Delete`; the step of a rotation; `Reregister`; or `Canary`.
    request: &'static str,
    /// The caller's id of the request, the version id of the secret, or the canary's id.
    request_id: String,
    /// The steps, with outcomes and durations.
    steps: Vec<String>,
    succeeded: bool,
    failed: bool,
    /// Why the request failed.
    reason: Option<String>,
    /// Whether CloudFormation accepted the response.
    answered: bool,
    /// How long a canary of the schedule or of an operator took until it was published; 0 if it failed.
    /// Absent for all other requests. A failure is a value, because CloudWatch is slow to notice values
    /// that are missing.
    #[metrics(unit = Millisecond, flags(skip(NoMetric)))]
    canary_time: Option<Duration>,
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
            canary_time: None,
            time: Timer::start_now(),
        }
    }

    /// Records the steps and, after a failure, its reason.
    pub fn ended(&mut self, journal: &Journal, failure: Option<&String>) {
        self.steps = journal.lines();
        self.succeeded = failure.is_none();
        self.failed = failure.is_some();
        self.reason = failure.cloned();
    }

    /// Records the time of a canary of the schedule or of an operator, or zero if it failed.
    pub fn canary(&mut self, time: Duration) {
        self.canary_time = Some(time);
    }

    /// Records that CloudFormation has accepted the response.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}
