//! How the time of an invocation is spent: what a wave has to be done with by when.

use std::time::Duration;

use jiff::Timestamp;

/// How far two workers' clocks may be apart. AWS keeps its hosts' within milliseconds; a lease
/// that is this much longer than its owner can live is safe even on a bad day.
pub const CLOCK_SKEW: Duration = Duration::from_secs(2);

/// Kept back at the end of an invocation to report, so that Lambda doesn't end it first.
const REPORTING_TIME: Duration = Duration::from_millis(500);

/// Kept back before that to mark what was published, and to give back what wasn't.
const ENDING_TIME: Duration = Duration::from_secs(1);

/// A wave isn't started with less time left for claiming and publishing.
pub const LEAST_TIME: Duration = Duration::from_secs(1);

/// A call to the bus isn't started with less time left: it would be cut off unheard, and repeated.
pub(crate) const LEAST_CALL: Duration = Duration::from_millis(300);

/// Claiming may take that much of the time for claiming and publishing: what isn't granted by
/// then doesn't hold up the others.
const SHARE_OF_CLAIMING: f64 = 0.6;

/// From the end of a lease until its record comes back, so that clocks needn't agree to the
/// millisecond.
pub(crate) const AFTER_LEASE: Duration = Duration::from_secs(1);

/// When each part of a wave has to be over.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// What isn't granted by then is given up.
    pub claimed_by: Timestamp,
    /// Nothing is sent to the bus after this.
    pub published_by: Timestamp,
    /// Nothing is marked or given back after this.
    pub ended_by: Timestamp,
    /// The function doesn't live to see it, by anybody's clock.
    pub lease_until: Timestamp,
}

impl Schedule {
    /// The schedule of a wave that starts now; none if it might not be over by the deadline.
    #[must_use]
    pub fn new(now: Timestamp, deadline: Timestamp) -> Option<Self> {
        let left = publishing_time(between(now, deadline));
        (left >= LEAST_TIME).then(|| Self {
            claimed_by: after(now, left.mul_f64(SHARE_OF_CLAIMING)),
            published_by: after(now, left),
            ended_by: before(deadline, REPORTING_TIME),
            lease_until: lease_until(deadline),
        })
    }
}

/// How much of the time that is left until the deadline claiming and publishing may take.
#[must_use]
pub fn publishing_time(left: Duration) -> Duration {
    left.saturating_sub(REPORTING_TIME + ENDING_TIME)
}

/// Until when a batch that begins now may ask for what its waves need: then there is still time for
/// one.
#[must_use]
pub fn asked_by(now: Timestamp, deadline: Timestamp) -> Timestamp {
    let left = publishing_time(between(now, deadline));
    after(now, left.saturating_sub(LEAST_TIME))
}

/// When the lease ends of what is claimed by a function that ends at `deadline`.
#[must_use]
pub fn lease_until(deadline: Timestamp) -> Timestamp {
    after(deadline, CLOCK_SKEW)
}

/// How long a batch's records are hidden from other workers, with so much time left until the
/// deadline: if nobody reports them, they come back a moment after their leases have ended.
#[must_use]
pub fn hidden_for(left: Duration) -> Duration {
    left + CLOCK_SKEW + AFTER_LEASE
}

pub(crate) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

fn before(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// Nothing, if the end comes first.
pub(crate) fn between(begin: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(begin)).unwrap_or_default()
}
