//! Time of a run: when each of its parts has to be over.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Kept back from a run's time for its end (the webhook's health, the run's state, the lock): no
/// more than this, and no more than a quarter.
const MOST_ENDING: Duration = Duration::from_secs(5);
const ENDING_SHARE: f64 = 0.25;
/// Kept back for the lock alone: no more than this, and no more than a tenth.
const MOST_RELEASING: Duration = Duration::from_secs(1);
const RELEASING_SHARE: f64 = 0.1;
/// Kept back for the run's log line.
const TELLING: Duration = Duration::from_millis(100);

/// When the parts of a run have to be over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// When the run began.
    pub began_at: Timestamp,
    /// When Lambda ends the run.
    pub lambda: Timestamp,
    /// When the run has to come to its end.
    pub end: Instant,
    /// When the lock has to be given back.
    pub release: Instant,
    /// When the run has to be over.
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
