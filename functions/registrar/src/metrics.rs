//! The line that each request of CloudFormation leaves behind.

use std::time::SystemTime;

use jiff::Timestamp;
use metrique::timers::Timer;
use metrique::unit::Millisecond;
use metrique::unit_of_work::metrics;

/// One request: its log line and its metrics.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug)]
pub struct RegistrationMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    /// `Create`, `Update` or `Delete`.
    request_type: &'static str,
    /// CloudFormation's id of the request.
    request_id: String,
    succeeded: bool,
    failed: bool,
    /// Why it failed.
    reason: Option<String>,
    /// Whether CloudFormation took the answer.
    answered: bool,
    #[metrics(unit = Millisecond)]
    time: Timer,
}

impl RegistrationMetrics {
    /// Starts the clock.
    #[must_use]
    pub fn start(request_type: &'static str, request_id: &str) -> Self {
        Self {
            timestamp: Timestamp::now().into(),
            function: "registrar",
            request_type,
            request_id: request_id.to_owned(),
            succeeded: false,
            failed: false,
            reason: None,
            answered: false,
            time: Timer::start_now(),
        }
    }

    /// Notes the outcome.
    pub fn outcome<T>(&mut self, outcome: &Result<T, String>) {
        self.succeeded = outcome.is_ok();
        self.failed = outcome.is_err();
        self.reason = outcome.as_ref().err().cloned();
    }

    /// Notes that CloudFormation has the answer.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}
