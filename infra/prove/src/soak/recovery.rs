//! How long the reconciler took to find out openings and closings that were not delivered.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use shared::catalogue::{CALLOUT_CLOSED, NEW_CALLOUT};
use stack::report::percentile;

use crate::soak::evidence::name;
use crate::soak::loss::{Class, Entry, is_landmark};

/// How many of the slowest are listed.
const SLOWEST: usize = 10;
/// Number of runs within which nineteen in twenty openings must be found out.
const RUNS: u32 = 2;
/// Number of runs for nineteen in twenty closings. While AURA's list may be a page of a longer one,
/// a callout missing from it doesn't count as closed. So a run whose list has ten callouts, or
/// twenty, leaves closings to a later run.
const RUNS_FOR_A_CLOSING: u32 = 5;

/// The figures of the recovery. Delays are seconds from the event until a consumer knew.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// Number of openings and closings that were found out.
    pub count: usize,
    /// Half of the delays are at most this; 0 if there are none.
    pub p50: f64,
    /// Nineteen in twenty of the delays are at most this.
    pub p95: f64,
    /// The longest delay.
    pub max: f64,
    /// The limit that nineteen in twenty openings must stay below.
    pub limit: f64,
    /// The limit that nineteen in twenty closings must stay below.
    pub limit_for_closings: f64,
    /// Number of delays that reached their limit.
    pub late: usize,
    /// The slowest ones, slowest first.
    pub slowest: Vec<Slow>,
}

/// An opening or a closing, and how long it took to find out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Slow {
    /// Name of the event.
    pub event: String,
    /// When the event happened.
    pub at: Timestamp,
    /// Seconds until a consumer knew.
    pub seconds: f64,
}

impl Recovery {
    /// The figures of a loss ledger, with the reconciler's schedule.
    #[must_use]
    pub fn of(ledger: &[Entry], schedule: Duration) -> Self {
        let events = ledger.iter().filter(|entry| entry.repeat.is_none());
        let landmarks = events.filter(|entry| is_landmark(&entry.message.to_string()));
        let recovered = landmarks.filter_map(|entry| match entry.class {
            Class::Recovered { after } => Some((after, entry)),
            _ => None,
        });
        let mut recovered: Vec<_> = recovered.collect();
        recovered.sort_by_key(|(after, entry)| (*after, entry.n));
        let delays: Vec<_> = recovered
            .iter()
            .map(|(after, _)| after.as_secs_f64())
            .collect();
        let at = |percent| percentile(&delays, percent).unwrap_or_default();
        let slowest = recovered.iter().rev().take(SLOWEST);
        let limit_of = |message: &str| match message {
            CALLOUT_CLOSED => schedule * RUNS_FOR_A_CLOSING,
            _ => schedule * RUNS,
        };
        let is_late =
            |(after, entry): &&(Duration, &Entry)| *after >= limit_of(&entry.message.to_string());
        Self {
            count: delays.len(),
            p50: at(50),
            p95: at(95),
            max: at(100),
            limit: limit_of(NEW_CALLOUT).as_secs_f64(),
            limit_for_closings: limit_of(CALLOUT_CLOSED).as_secs_f64(),
            late: recovered.iter().filter(is_late).count(),
            slowest: slowest
                .map(|(after, entry)| Slow::of(entry, *after))
                .collect(),
        }
    }

    /// Whether the reconciler was fast enough. If there was nothing to find out, it was.
    #[must_use]
    pub fn is_in_time(&self) -> bool {
        self.late * 20 <= self.count
    }
}

impl Slow {
    fn of(entry: &Entry, after: Duration) -> Self {
        Self {
            event: name(entry.message, entry.entity),
            at: entry.at,
            seconds: after.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::evidence::Evidence;
    use crate::soak::loss;
    use crate::soak::samples::{at, found_out, happened};

    const SCHEDULE: Duration = Duration::from_secs(5);

    /// The recovery of events, of which the `n`th was found out after `delays[n]` seconds.
    fn recovery(message: &str, delays: &[i64]) -> Recovery {
        let mut evidence = Evidence::default();
        for (n, delay) in (1..).zip(delays) {
            let callout = n.to_string();
            let copy = found_out(message, &callout, n + delay);
            evidence.received.push(copy);
            let n = n.try_into().unwrap();
            let event = happened(n, message, &callout, &[]);
            evidence.happened.push(event);
        }
        Recovery::of(&loss::ledger(&evidence), SCHEDULE)
    }

    #[test]
    fn percentiles_are_delays_that_occurred() {
        let delays: Vec<i64> = (1..=20).rev().collect();
        let recovery = recovery("NEW_CALLOUT", &delays);
        let Recovery {
            count,
            p50,
            p95,
            max,
            ..
        } = recovery;
        assert_eq!((count, p50, p95, max), (20, 10.0, 19.0, 20.0));
        assert_eq!(recovery.slowest.len(), SLOWEST);
        let slowest = Slow {
            event: "NEW_CALLOUT of callout 1".to_owned(),
            at: at(1),
            seconds: 20.0,
        };
        assert_eq!(recovery.slowest[0], slowest);
    }

    #[test]
    fn nineteen_in_twenty_have_to_be_found_out_within_two_runs_or_five_if_they_are_closings() {
        let with = |message, last: [i64; 2]| {
            let delays = [vec![3; 18], last.to_vec()].concat();
            recovery(message, &delays).is_in_time()
        };
        assert!(with("NEW_CALLOUT", [9, 60]));
        assert!(!with("NEW_CALLOUT", [10, 60]));
        assert!(with("CALLOUT_CLOSED", [24, 60]));
        assert!(!with("CALLOUT_CLOSED", [25, 60]));
        assert!(recovery("NEW_CALLOUT", &[]).is_in_time());
    }

    #[test]
    fn only_openings_and_closings_count() {
        assert_eq!(recovery("CALLOUT_OWNED", &[3]).count, 0);
    }
}
