//! Gives batches to all functions by turns, and measures them.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::batch::{Batches, Case};
use super::function::{Function, Side};
use crate::statistics::{Samples, milliseconds};

/// Number of first batches that are in no series, because they run cold code and connect.
const WARM_UP: u32 = 20;
/// Number of batches that one function gets before the next one's turn. It is small, so that other
/// work of the machine affects all alike. It isn't 1, because a function in production doesn't
/// find the caches full of another function's data before each batch.
const TURN: u32 = 10;

/// The fewest samples for a p99: with fewer, the 99th percentile is the slowest one.
const FEWEST_FOR_P99: usize = 101;

/// One value for each side.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Sides<T> {
    /// The value of the function that the benchmark is about.
    pub processor: T,
    /// The value of its peer in Python.
    pub python: T,
    /// The value of its peer in TypeScript.
    pub typescript: T,
}

/// The sides themselves.
pub const SIDES: Sides<Side> = Sides {
    processor: Side::Processor,
    python: Side::Python,
    typescript: Side::TypeScript,
};

impl<T> Sides<T> {
    /// References to all values.
    pub fn as_ref(&self) -> Sides<&T> {
        Sides {
            processor: &self.processor,
            python: &self.python,
            typescript: &self.typescript,
        }
    }

    /// Mutable references to all values.
    pub fn as_mut(&mut self) -> Sides<&mut T> {
        Sides {
            processor: &mut self.processor,
            python: &mut self.python,
            typescript: &mut self.typescript,
        }
    }

    /// Applies `make` to all values.
    pub fn map<U>(self, mut make: impl FnMut(T) -> U) -> Sides<U> {
        Sides {
            processor: make(self.processor),
            python: make(self.python),
            typescript: make(self.typescript),
        }
    }

    /// Applies `make` to all values, until it fails.
    ///
    /// # Errors
    ///
    /// Fails if `make` fails.
    pub fn try_map<U>(self, mut make: impl FnMut(T) -> Result<U>) -> Result<Sides<U>> {
        Ok(Sides {
            processor: make(self.processor)?,
            python: make(self.python)?,
            typescript: make(self.typescript)?,
        })
    }

    /// All values, in the order of their turns.
    pub fn in_turn(self) -> [T; 3] {
        [self.processor, self.python, self.typescript]
    }

    /// Pairs the values of each side.
    pub fn zip<U>(self, other: Sides<U>) -> Sides<(T, U)> {
        Sides {
            processor: (self.processor, other.processor),
            python: (self.python, other.python),
            typescript: (self.typescript, other.typescript),
        }
    }
}

/// Figures of one side for batches of one kind.
#[derive(Debug, Default)]
pub struct Series {
    /// Number of events in the batches.
    pub events: u32,
    /// Number of new events among them.
    pub new: usize,
    /// Processor time for all events.
    pub cpu: Duration,
    /// Time of each batch.
    pub trips: Samples,
    /// Time for which all batches occupied the function, each until it could take the next one.
    pub busy: Duration,
}

impl Series {
    /// Processor time for one event.
    #[must_use]
    pub fn cpu_per_event(&self) -> Duration {
        self.cpu.checked_div(self.events).unwrap_or_default()
    }
}

/// Gives all sides batches that aren't measured.
///
/// # Errors
///
/// Fails if an event failed or a function ended.
pub async fn warm_up(
    functions: &mut Sides<Function>,
    batches: &mut Batches,
) -> Result<Sides<Series>> {
    alternate(functions, batches, Case::Groups, WARM_UP).await
}

/// Gives all sides the same `count` batches, by turns.
///
/// # Errors
///
/// Fails if an event failed or a function ended.
pub async fn alternate(
    functions: &mut Sides<Function>,
    batches: &mut Batches,
    case: Case,
    count: u32,
) -> Result<Sides<Series>> {
    let before = functions.as_ref().try_map(Function::cpu_time)?;
    let mut all = Sides::<Series>::default();
    let mut left = count;
    while left > 0 {
        let turn = left.min(TURN);
        left -= turn;
        let turn: Result<Vec<_>> = (0..turn).map(|_| batches.make(case)).collect();
        let turn = turn?;
        for (function, series) in functions.as_mut().zip(all.as_mut()).in_turn() {
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
    Ok(all.zip(before.zip(after)).map(|(series, (before, after))| {
        let cpu = after.saturating_sub(before);
        Series { cpu, ..series }
    }))
}

/// Times of batches, from the Runtime API and back.
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
    /// Events per second of one instance that is never idle.
    pub events_per_second: f64,
}

impl Times {
    /// Medians of the rounds.
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
        assert!((times.p50_ms - 20.0).abs() < 0.001, "{times:?}");
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
    fn the_cpu_time_per_event_is_zero_without_events() {
        assert_eq!(series(0, &[]).cpu_per_event(), Duration::ZERO);
    }
}
