//! When something happens: how the time of an invocation is spent, when a record that could not be
//! settled comes back, and how often the last delivery is noted.
//!
//! # When a record comes back
//!
//! SQS counts how often it hands a message over and after [`MOST_RECEIVES`] times moves it to the
//! dead letters, whatever the reasons were. So the time between two tries is what decides how long
//! trouble may last:
//!
//! | what happened | back after | ends |
//! | --- | --- | --- |
//! | a service failed, throttled, or wasn't in time | 2 s, 4 s, 8 s, … 64 s, then 2 min, each less up to a quarter at random | with the service's trouble, or in the dead letters after 67 to 90 min |
//! | another worker holds the event | a second after its lease, which ends 2 s after that function's deadline; one of the 50 times | then it is published, or free |
//! | it panicked | 1 s, 2 s, 4 s, 8 s | in the quarantine, if it has been handed over five times by then, for whatever reasons |
//! | it wasn't tried: no time was left | 1 s, 2 s, 4 s, … | with a try |
//! | it can never be published | | in the quarantine, at once |
//! | it kills the process | the first time, if it does so at once, the queue's visibility timeout; after that 3 s after the function's deadline, and up to 10 s more at random (see [`crate::batch`]) | in the dead letters after 50 times that: 11 to 20 min at a timeout of 10 s, 28 to 36 min at 30 s |
//!
//! So an outage of DynamoDB, of EventBridge or of both sends nothing to the dead letters in its
//! first hour: after the fiftieth try 3/4 × (2 + 4 + … + 64 + 44 × 120) s = 67 min have passed at
//! least. That needs SQS, which has to be told of the pauses; without them a record comes back
//! like one whose process died. After the outage everything is tried again within two minutes.
//!
//! A group waits as a whole: what stands behind a failed record comes back with it, is counted
//! with it, and is in its order then. If that record ends in the dead letters, those behind it
//! may, too, without ever having been tried. A redrive brings all of them back.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use crate::outcome::RecordOutcome;

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

/// How much of that time a batch may take to ask for what its waves need, so that there is still
/// time for one.
pub(crate) fn asking_time(left: Duration) -> Duration {
    publishing_time(left).saturating_sub(LEAST_TIME)
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

/// The time from `begin` to `end`; zero if the end comes first.
pub(crate) fn between(begin: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(begin)).unwrap_or_default()
}

/// Why work has no result.
pub(crate) enum Interruption {
    /// Its time ran out.
    Late,
    /// It panicked; the panic hook has logged the place.
    Panicked,
}

/// Does work for this time at most, and ends a panic of it here. What a panic leaves half done is
/// given up with the work.
pub(crate) async fn isolated<T>(
    work: impl Future<Output = T>,
    time: Duration,
) -> Result<T, Interruption> {
    match timeout(time, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(done) => done.map_err(|_panic| Interruption::Panicked),
        Err(_elapsed) => Err(Interruption::Late),
    }
}

/// How often SQS hands over a message before it goes to the dead letters: `maxReceiveCount` in
/// template.yaml.
pub const MOST_RECEIVES: u32 = 50;

/// A record that panics goes to the quarantine if it has been handed over so often.
pub const MOST_PANICS: u32 = 5;

/// The first pause after a service's failure. Each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause: how late an event may be after an outage.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// How much of a pause is random, so that what failed together doesn't come back together.
const JITTER: f64 = 0.25;

/// The first pause where no service is to be spared.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// After how long a record comes back that was handed over `receives` times so far. `random` is
/// from 0 to 1.
#[must_use]
pub fn pause(outcome: RecordOutcome, receives: u32, now: Timestamp, random: f64) -> Duration {
    match outcome {
        RecordOutcome::Held { lease_until } => {
            let left = Duration::try_from(lease_until.duration_since(now)).unwrap_or_default();
            left + AFTER_LEASE
        }
        RecordOutcome::Panicked | RecordOutcome::Postponed => doubled(SHORT_PAUSE, receives),
        RecordOutcome::Failed => {
            doubled(FIRST_PAUSE, receives).mul_f64(1.0 - JITTER * random.clamp(0.0, 1.0))
        }
        // Settled: it doesn't come back.
        RecordOutcome::Published(_)
        | RecordOutcome::Duplicate
        | RecordOutcome::Conflict
        | RecordOutcome::Quarantined => Duration::ZERO,
    }
}

fn doubled(first: Duration, receives: u32) -> Duration {
    let times = 2_u32.saturating_pow(receives.saturating_sub(1));
    first.saturating_mul(times).min(LONGEST_PAUSE)
}

/// How much later than the last one that was noted a delivery must be to be noted.
const STEP: SignedDuration = SignedDuration::from_secs(1);

/// The last delivery that this process has seen, and the last that it has noted, in milliseconds
/// since 1970.
#[derive(Debug, Default)]
pub struct Deliveries {
    seen: AtomicI64,
    noted: AtomicI64,
}

impl Deliveries {
    /// Remembers that a delivery of AURA's arrived.
    pub fn see(&self, arrived: Timestamp) {
        let arrived = arrived.as_millisecond();
        self.seen.fetch_max(arrived, Ordering::Relaxed);
    }

    /// The arrival that is to be noted now, if one is due.
    #[must_use]
    pub fn to_note(&self) -> Option<Timestamp> {
        let seen = self.seen.load(Ordering::Relaxed);
        let noted = self.noted.load(Ordering::Relaxed);
        let is_due = i128::from(seen) - i128::from(noted) >= STEP.as_millis();
        Timestamp::from_millisecond(seen).ok().filter(|_| is_due)
    }

    /// Remembers that this arrival is noted.
    pub fn noted(&self, arrived: Timestamp) {
        let arrived = arrived.as_millisecond();
        self.noted.fetch_max(arrived, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// From the first try to the move to the dead letters, if every try fails at once.
    fn patience(outcome: RecordOutcome, random: f64) -> Duration {
        let pauses = (1..=MOST_RECEIVES).map(|receives| pause(outcome, receives, NOW, random));
        pauses.sum()
    }

    #[test]
    fn the_template_says_the_same() {
        let template = include_str!("../../../template.yaml");
        let ingest_queue = template.split("  IngestQueue:\n").nth(1).unwrap();
        let receives = ingest_queue.split("maxReceiveCount: ").nth(1).unwrap();
        let receives = receives.lines().next().unwrap().parse();
        assert_eq!(receives, Ok(MOST_RECEIVES));
    }

    #[test]
    fn an_outage_of_an_hour_sends_nothing_to_the_dead_letters() {
        let least = patience(RecordOutcome::Failed, 1.0);
        assert!(least > Duration::from_hours(1), "{least:?}");
        assert_eq!(least.as_secs() / 60, 67);
        assert_eq!(patience(RecordOutcome::Failed, 0.0).as_secs() / 60, 90);
    }

    #[test]
    fn after_an_outage_nothing_waits_for_more_than_two_minutes() {
        for receives in 1..=MOST_RECEIVES {
            assert!(pause(RecordOutcome::Failed, receives, NOW, 0.0) <= Duration::from_mins(2));
        }
    }

    #[test]
    fn the_first_pause_is_short_and_the_next_ones_longer() {
        let pauses = [1, 2, 3, 7].map(|receives| pause(RecordOutcome::Failed, receives, NOW, 0.0));
        assert_eq!(pauses.map(|pause| pause.as_secs()), [2, 4, 8, 120]);
        let least = pause(RecordOutcome::Failed, 1, NOW, 1.0);
        assert_eq!(least, Duration::from_millis(1500));
    }

    #[test]
    fn a_panicking_record_is_out_of_the_way_in_seconds() {
        let until_quarantine: Duration = (1..MOST_PANICS)
            .map(|receives| pause(RecordOutcome::Panicked, receives, NOW, 0.5))
            .sum();
        assert_eq!(until_quarantine, Duration::from_secs(15));
    }

    #[test]
    fn a_held_record_comes_back_when_the_lease_has_ended_however_often_it_came() {
        let lease_until = NOW + Duration::from_secs(12);
        for receives in [1, MOST_RECEIVES] {
            let pause = pause(RecordOutcome::Held { lease_until }, receives, NOW, 0.5);
            assert_eq!(pause, Duration::from_secs(13));
        }
        let passed = NOW + Duration::from_mins(1);
        let pause = pause(RecordOutcome::Held { lease_until }, 1, passed, 0.5);
        assert_eq!(pause, AFTER_LEASE);
    }

    #[test]
    fn the_last_delivery_is_noted_once_a_second() {
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).unwrap();
        let deliveries = Deliveries::default();
        assert_eq!(deliveries.to_note(), None);
        deliveries.see(at(500));
        deliveries.see(at(0));
        assert_eq!(deliveries.to_note(), Some(at(500)));
        deliveries.noted(at(500));
        deliveries.see(at(1499));
        assert_eq!(deliveries.to_note(), None);
        deliveries.see(at(1500));
        assert_eq!(deliveries.to_note(), Some(at(1500)));
    }
}
