//! When a record comes back that couldn't be settled, and how often it may.
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

use std::time::Duration;

use jiff::Timestamp;

use crate::record::Outcome;
use crate::schedule::AFTER_LEASE;

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
pub fn pause(outcome: Outcome, receives: u32, now: Timestamp, random: f64) -> Duration {
    match outcome {
        Outcome::Held { lease_until } => {
            let left = Duration::try_from(lease_until.duration_since(now)).unwrap_or_default();
            left + AFTER_LEASE
        }
        Outcome::Panicked | Outcome::Postponed => doubled(SHORT_PAUSE, receives),
        Outcome::Failed => {
            doubled(FIRST_PAUSE, receives).mul_f64(1.0 - JITTER * random.clamp(0.0, 1.0))
        }
        // Settled: it doesn't come back.
        Outcome::Published(_) | Outcome::Duplicate | Outcome::Conflict | Outcome::Quarantined => {
            Duration::ZERO
        }
    }
}

fn doubled(first: Duration, receives: u32) -> Duration {
    let times = 2_u32.saturating_pow(receives.saturating_sub(1));
    first.saturating_mul(times).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    /// From the first try to the move to the dead letters, if every try fails at once.
    fn patience(outcome: Outcome, random: f64) -> Duration {
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
        let least = patience(Outcome::Failed, 1.0);
        assert!(least > Duration::from_hours(1), "{least:?}");
        assert_eq!(least.as_secs() / 60, 67);
        assert_eq!(patience(Outcome::Failed, 0.0).as_secs() / 60, 90);
    }

    #[test]
    fn after_an_outage_nothing_waits_for_more_than_two_minutes() {
        for receives in 1..=MOST_RECEIVES {
            assert!(pause(Outcome::Failed, receives, NOW, 0.0) <= Duration::from_mins(2));
        }
    }

    #[test]
    fn the_first_pause_is_short_and_the_next_ones_longer() {
        let pauses = [1, 2, 3, 7].map(|receives| pause(Outcome::Failed, receives, NOW, 0.0));
        assert_eq!(pauses.map(|pause| pause.as_secs()), [2, 4, 8, 120]);
        let least = pause(Outcome::Failed, 1, NOW, 1.0);
        assert_eq!(least, Duration::from_millis(1500));
    }

    #[test]
    fn a_panicking_record_is_out_of_the_way_in_seconds() {
        let until_quarantine: Duration = (1..MOST_PANICS)
            .map(|receives| pause(Outcome::Panicked, receives, NOW, 0.5))
            .sum();
        assert_eq!(until_quarantine, Duration::from_secs(15));
    }

    #[test]
    fn a_held_record_comes_back_when_the_lease_has_ended_however_often_it_came() {
        let lease_until = NOW + Duration::from_secs(12);
        for receives in [1, MOST_RECEIVES] {
            let pause = pause(Outcome::Held { lease_until }, receives, NOW, 0.5);
            assert_eq!(pause, Duration::from_secs(13));
        }
        let passed = NOW + Duration::from_mins(1);
        let pause = pause(Outcome::Held { lease_until }, 1, passed, 0.5);
        assert_eq!(pause, AFTER_LEASE);
    }
}
