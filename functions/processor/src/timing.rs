//! Decides when something happens: how the time of an invocation is spent, when a record that could
//! not be settled comes back, and how often the last delivery is noted.
//!
//! # When a record comes back
//!
//! SQS counts how often it hands a message over. After [`MOST_RECEIVES`] times, it moves the
//! message to the dead letters, whatever the reasons were. So the pauses between tries decide how
//! long a failure may last:
//!
//! | what happened | back after | ends |
//! | --- | --- | --- |
//! | a service failed, throttled, or wasn't in time | 2 s, 4 s, 8 s, … 64 s, then 2 min, each less up to a quarter at random | when the service works again, or in the dead letters after 67 to 90 min |
//! | another worker holds the event | 1 s after the lease, which ends 2 s after that function's deadline. This counts as one of the 50 times | when the event is published, or free |
//! | it panicked | 1 s, 2 s, 4 s, 8 s | in the quarantine, if it has been handed over five times by then, for whatever reasons |
//! | it wasn't tried, because no time was left | 1 s, 2 s, 4 s, … | with a try |
//! | it can never be published | | in the quarantine, at once |
//! | it kills the process | the queue's visibility timeout, the first time: six times the function's timeout. Later 3 s after the function's deadline, and up to 10 s more at random (see [`crate::batch`]) | in the dead letters after 50 times: 12 to 20 min at a timeout of 10 s, 30 to 38 min at 30 s |
//!
//! So an outage of DynamoDB, of EventBridge or of both sends nothing to the dead letters in its
//! first hour: the fifty tries take at least 3/4 × (2 + 4 + … + 64 + 44 × 120) s = 67 min. The
//! pauses are set through SQS. If SQS fails too, a record comes back like one whose process died.
//! After the outage, everything is tried again within two minutes.
//!
//! A group waits as a whole. The records behind a failed record come back with it, are counted with
//! it, and keep their order. If that record ends in the dead letters, the records behind it may end
//! there too, without a try. A redrive brings all of them back.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use crate::outcome::RecordOutcome;

/// How far two workers' clocks may differ. AWS keeps the clocks of its hosts within milliseconds. A
/// lease that is this much longer than its owner can live is safe even on a bad day.
pub const CLOCK_SKEW: Duration = Duration::from_secs(2);

/// The time kept free at the end of an invocation for the report, so that Lambda doesn't end the
/// function first.
const REPORTING_TIME: Duration = Duration::from_millis(500);

/// The time kept free before [`REPORTING_TIME`], to mark published events and to give back the others.
const ENDING_TIME: Duration = Duration::from_secs(1);

/// The least time for claiming and publishing. With less, no wave is started.
pub const LEAST_TIME: Duration = Duration::from_secs(1);

/// The least time for a call to the bus. With less, the call would be cut off before its answer,
/// and repeated.
pub(crate) const LEAST_CALL: Duration = Duration::from_millis(300);

/// The share of the time for claiming and publishing that claiming may take. A claim that isn't
/// granted by then doesn't delay the others.
const SHARE_OF_CLAIMING: f64 = 0.6;

/// The time from the end of a lease until its record comes back, because clocks don't agree to the
/// millisecond.
pub(crate) const AFTER_LEASE: Duration = Duration::from_secs(1);

/// When each part of a wave must be over.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// A claim that isn't granted by then is given up.
    pub claimed_by: Timestamp,
    /// Nothing is sent to the bus after this.
    pub published_by: Timestamp,
    /// Nothing is marked or given back after this.
    pub ended_by: Timestamp,
    /// When the lease ends. By every clock, the function has ended before.
    pub lease_until: Timestamp,
}

impl Schedule {
    /// The schedule of a wave that starts now. `None` if it might not be over by the deadline.
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

/// The part of the time until the deadline that claiming and publishing may take.
#[must_use]
pub fn publishing_time(left: Duration) -> Duration {
    left.saturating_sub(REPORTING_TIME + ENDING_TIME)
}

/// The part of [`publishing_time`] in which a batch may ask for what its waves need. It leaves enough
/// time for one wave.
pub(crate) fn asking_time(left: Duration) -> Duration {
    publishing_time(left).saturating_sub(LEAST_TIME)
}

/// The end of a lease that is claimed by a function that ends at `deadline`.
#[must_use]
pub fn lease_until(deadline: Timestamp) -> Timestamp {
    after(deadline, CLOCK_SKEW)
}

/// The queue's visibility timeout, as a multiple of the function's timeout: `ProcessorTimeout` in
/// template.yaml's mappings.
pub const QUEUE_HIDES: u32 = 6;

/// Whether the queue hides a record until after its lease. SQS handed it over for the first time this
/// long ago, and this much time is left until the deadline.
pub(crate) fn queue_hides_until_lease_ends(waited: Duration, left: Duration) -> bool {
    waited.saturating_add(hidden_for(left)) <= left.saturating_mul(QUEUE_HIDES)
}

/// How long a batch's records are hidden anew from other workers, with this much time left until the
/// deadline. If nobody reports the records, they come back a moment after their leases have ended.
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

/// The time from `begin` to `end`. Zero if `end` comes first.
pub(crate) fn between(begin: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(begin)).unwrap_or_default()
}

/// Why a piece of work has no result.
pub(crate) enum Interruption {
    /// Its time ran out.
    Late,
    /// It panicked. The panic hook has logged the place.
    Panicked,
}

/// Runs work for at most this time, and catches its panic. What a panic leaves half done is dropped
/// with the work.
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

/// How often a record is handed over before it goes to the quarantine because it panics.
pub const MOST_PANICS: u32 = 5;

/// The first pause after a service's failure. Each later pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause: how late an event may be after an outage.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// The share of a pause that is random, so that records that failed together don't come back
/// together.
const JITTER: f64 = 0.25;

/// The first pause if no service has to be spared.
const SHORT_PAUSE: Duration = Duration::from_secs(1);

/// The pause until a record comes back that was handed over `receives` times so far. `random` is
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
        // A settled record doesn't come back.
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

/// A delivery is noted if it is at least this much later than the last noted one. The reconciler
/// runs at most once a minute, and calls the webhook down after two runs without a new note. A delivery
/// that isn't noted is missing in one run's time only, because the next one is noted.
const STEP: SignedDuration = SignedDuration::from_secs(10);

/// The last delivery that this process has seen, and the last that it has noted. Both are in
/// milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Deliveries {
    seen: AtomicI64,
    noted: AtomicI64,
}

impl Deliveries {
    /// Remembers that a delivery from AURA arrived.
    pub fn see(&self, arrived: Timestamp) {
        let arrived = arrived.as_millisecond();
        self.seen.fetch_max(arrived, Ordering::Relaxed);
    }

    /// The arrival to note now, if one is due.
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

    /// The time from the first try to the move to the dead letters, if every try fails at once.
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
        let timeouts = template
            .split("\n  ProcessorTimeout:\n    \"")
            .nth(1)
            .unwrap();
        let timeouts = timeouts.lines().map_while(|line| {
            let (timeout, hidden) = line.split_once("\": {VisibilityTimeout: ")?;
            let timeout: u32 = timeout.trim_start().trim_start_matches('"').parse().ok()?;
            Some((timeout, hidden.trim_end_matches('}').parse().ok()?))
        });
        let expected = [5, 10, 30].map(|timeout| (timeout, timeout * QUEUE_HIDES));
        assert_eq!(timeouts.collect::<Vec<(u32, u32)>>(), expected);
    }

    #[test]
    fn a_batch_that_waited_for_nearly_the_queues_timeout_is_not_hidden_by_the_queue_alone() {
        let hides = |waited, timeout| {
            let [waited, timeout] = [waited, timeout].map(Duration::from_secs);
            queue_hides_until_lease_ends(waited, timeout)
        };
        for (timeout, longest) in [(5, 22), (10, 47), (30, 147)] {
            assert!(hides(0, timeout) && hides(longest, timeout));
            assert!(!hides(longest + 1, timeout));
        }
    }

    #[test]
    fn what_kills_each_process_is_in_the_dead_letters_when_the_docs_say() {
        let minutes = |timeout: u64, more: u64| {
            let timeout = Duration::from_secs(timeout);
            let later = hidden_for(timeout) + Duration::from_secs(more);
            let all = timeout * QUEUE_HIDES + later * (MOST_RECEIVES - 1);
            (all.as_secs() + 30) / 60
        };
        for (timeout, more, expected) in [(10, 0, 12), (10, 10, 20), (30, 0, 30), (30, 10, 38)] {
            assert_eq!(minutes(timeout, more), expected, "{timeout}, {more}");
        }
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
    fn the_last_delivery_is_noted_every_ten_seconds() {
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).unwrap();
        let deliveries = Deliveries::default();
        assert_eq!(deliveries.to_note(), None);
        deliveries.see(at(500));
        deliveries.see(at(0));
        assert_eq!(deliveries.to_note(), Some(at(500)));
        deliveries.noted(at(500));
        deliveries.see(at(10_499));
        assert_eq!(deliveries.to_note(), None);
        deliveries.see(at(10_500));
        assert_eq!(deliveries.to_note(), Some(at(10_500)));
    }
}
