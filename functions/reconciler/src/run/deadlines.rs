//! Deadlines of the parts of a run.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Limits of the time that is reserved for the end of a run (the webhook's health, the run's state,
/// the lock): a duration, and a share of the run's time. The smaller one counts.
const MOST_ENDING: Duration = Duration::from_secs(5);
const ENDING_SHARE: f64 = 0.25;
/// Limits of the time that is reserved for the lock's release: a duration, and a share of the run's
/// time. The smaller one counts.
const MOST_RELEASING: Duration = Duration::from_secs(1);
const RELEASING_SHARE: f64 = 0.1;
/// Time that is reserved for the run's log line.
const TELLING: Duration = Duration::from_millis(100);

/// Deadlines of the parts of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// When the run began.
    pub began_at: Timestamp,
    /// When Lambda ends the run.
    pub lambda: Timestamp,
    /// When the main work must stop and the end of the run begins.
    pub end: Instant,
    /// When the run must release the lock.
    pub release: Instant,
    /// When the run must be over.
    pub over: Instant,
}

impl Deadlines {
    /// Divides the time from now until Lambda ends the run.
    pub fn until(lambda: Timestamp) -> Self {
        let (now, began_at) = (Instant::now(), Timestamp::now());
        let whole = Duration::try_from(lambda.duration_since(began_at)).unwrap_or_default();
        let ending = whole.mul_f64(ENDING_SHARE).min(MOST_ENDING);
        let releasing = whole.mul_f64(RELEASING_SHARE).min(MOST_RELEASING);
        Self {
            began_at,
            lambda,
            end: now + whole.saturating_sub(ending),
            release: now + whole.saturating_sub(releasing),
            over: now + whole.saturating_sub(TELLING),
        }
    }
}
