//! Batches for both functions, by turns, and what they took.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::batch::{Batches, Case};
use super::function::{Function, Side};
use crate::statistics::{Samples, milliseconds};

/// The first batches find cold code and connect: they are in no series.
const WARM_UP: u32 = 20;
/// Batches that one function gets before it is the other's turn. Few, so that what else the
/// machine does meets both alike; and some, because a function that works for a living doesn't
/// find its caches full of somebody else's before each batch.
const TURN: u32 = 10;

/// Of fewer batches, the 99th percentile is the slowest one.
const FEWEST_FOR_P99: usize = 101;

/// The same of both sides.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Both<T> {
    /// The function that it is about.
    pub processor: T,
    /// Its peer.
    pub powertools: T,
}

/// Who is who.
pub const SIDES: Both<Side> = Both {
    processor: Side::Processor,
    powertools: Side::Powertools,
};

impl<T> Both<T> {
    /// Both by their reference.
    pub fn as_ref(&self) -> Both<&T> {
        Both {
            processor: &self.processor,
            powertools: &self.powertools,
        }
    }

    /// Both, to be changed.
    pub fn as_mut(&mut self) -> Both<&mut T> {
        Both {
            processor: &mut self.processor,
            powertools: &mut self.powertools,
        }
    }

    /// Makes something of each.
    pub fn map<U>(self, mut make: impl FnMut(T) -> U) -> Both<U> {
        Both {
            processor: make(self.processor),
            powertools: make(self.powertools),
        }
    }

    /// Makes something of each, if it can be made.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn try_map<U>(self, mut make: impl FnMut(T) -> Result<U>) -> Result<Both<U>> {
        Ok(Both {
            processor: make(self.processor)?,
            powertools: make(self.powertools)?,
        })
    }

    /// One after the other, in the order in which they take their turns.
    pub fn in_turn(self) -> [T; 2] {
        [self.processor, self.powertools]
    }

    /// Each with its counterpart.
    pub fn zip<U>(self, other: Both<U>) -> Both<(T, U)> {
        Both {
            processor: (self.processor, other.processor),
            powertools: (self.powertools, other.powertools),
        }
    }
}

/// What one side took for batches of one kind.
#[derive(Debug, Default)]
pub struct Series {
    /// How many events there were in them.
    pub events: u32,
    /// How many of those were new.
    pub new: usize,
    /// Processor time for all of them.
    pub cpu: Duration,
    /// How long each batch took.
    pub trips: Samples,
    /// How long all of them took, each until the next could be taken.
    pub busy: Duration,
}

impl Series {
    /// Processor time for one event.
    #[must_use]
    pub fn cpu_per_event(&self) -> Duration {
        self.cpu.checked_div(self.events).unwrap_or_default()
    }
}

/// Gives both the batches that nobody looks at.
///
/// # Errors
///
/// An event failed, or a function ended.
pub async fn warm_up(
    functions: &mut Both<Function>,
    batches: &mut Batches,
) -> Result<Both<Series>> {
    alternate(functions, batches, Case::Groups, WARM_UP).await
}

/// Gives both the same `count` batches, by turns.
///
/// # Errors
///
/// An event failed, or a function ended.
pub async fn alternate(
    functions: &mut Both<Function>,
    batches: &mut Batches,
    case: Case,
    count: u32,
) -> Result<Both<Series>> {
    let before = functions.as_ref().try_map(Function::cpu_time)?;
    let mut both = Both::<Series>::default();
    let mut left = count;
    while left > 0 {
        let turn = left.min(TURN);
        left -= turn;
        let turn: Result<Vec<_>> = (0..turn).map(|_| batches.make(case)).collect();
        let turn = turn?;
        for (function, series) in functions.as_mut().zip(both.as_mut()).in_turn() {
            for batch in &turn {
                let answer = function.process(batch).await?;
                series.events += batch.records;
                series.new += batch.new;
                series.busy += answer.occupied;
                series.trips.push(answer.took);
            }
        }
    }
    let after = functions.as_ref().try_map(Function::cpu_time)?;
    Ok(both
        .zip(before.zip(after))
        .map(|(series, (before, after))| {
            let cpu = after.saturating_sub(before);
            Series { cpu, ..series }
        }))
}

/// How long batches take, from the Runtime API and back.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Milliseconds that half of the batches don't exceed.
    pub p50_ms: f64,
    /// Milliseconds that 99 of 100 batches don't exceed; `None` if a round has so few that this
    /// would be the slowest.
    pub p99_ms: Option<f64>,
    /// Milliseconds of the slowest batch of all rounds.
    pub slowest_ms: f64,
    /// Of one instance that is never idle.
    pub events_per_second: f64,
}

impl Times {
    /// The medians of some rounds.
    #[must_use]
    pub fn of<'a>(rounds: impl Iterator<Item = &'a Series>) -> Self {
        let mut p50 = Samples::default();
        let mut p99 = Samples::default();
        let mut slowest = Duration::ZERO;
        let mut have_p99 = true;
        let mut per_event = Samples::default();
        for series in rounds {
            p50.push(series.trips.median());
            p99.push(series.trips.percentile(99));
            slowest = slowest.max(series.trips.percentile(100));
            have_p99 &= series.trips.len() >= FEWEST_FOR_P99;
            per_event.push(series.busy.checked_div(series.events).unwrap_or_default());
        }
        Self {
            p50_ms: milliseconds(p50.median()),
            p99_ms: have_p99.then(|| milliseconds(p99.median())),
            slowest_ms: milliseconds(slowest),
            events_per_second: 1.0 / per_event.median().as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(events: u32, trips: &[u64]) -> Series {
        let mut series = Series {
            events,
            ..Series::default()
        };
        for trip in trips {
            let trip = Duration::from_millis(*trip);
            series.trips.push(trip);
            series.busy += trip;
        }
        series
    }

    #[test]
    fn the_middle_round_counts() {
        let rounds = [
            series(20, &[10, 10]),
            series(20, &[20, 30]),
            series(20, &[900, 100]),
        ];
        let times = Times::of(rounds.iter());
        assert!((times.p50_ms - 30.0).abs() < 0.001, "{times:?}");
        assert!((times.slowest_ms - 900.0).abs() < 0.001, "{times:?}");
        assert!((times.events_per_second - 400.0).abs() < 0.001, "{times:?}");
    }

    #[test]
    fn a_p99_is_never_the_slowest_batch() {
        let mut trips = vec![10; FEWEST_FOR_P99];
        trips[0] = 900;
        let p99 = |trips: &[u64]| Times::of([series(10, trips)].iter()).p99_ms;
        assert_eq!(p99(&trips), Some(10.0));
        assert_eq!(p99(&trips[1..]), None);
    }

    #[test]
    fn an_events_share_of_no_events_is_nothing() {
        assert_eq!(series(0, &[]).cpu_per_event(), Duration::ZERO);
    }
}
