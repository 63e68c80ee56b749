//! What the functions do for events, as an end-to-end test has counted it on the local stack.
//!
//! `measured.json` has the counts. The end-to-end test `events_make_the_calls_and_lines_that_the_costs_count`
//! fails if the functions make other calls. The command [`MEASURE`] writes the file anew.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// The command that measures again.
pub const MEASURE: &str = "cargo test --workspace --test e2e -- --ignored measure_what_events_cost";
/// By how many percent the bytes of log lines may differ from one run to the next. A line has
/// numbers of milliseconds, and a busy machine has more digits.
const TOLERANCE: u64 = 10;
/// The largest batch, as in the template.
pub const FULL: u64 = 10;

/// What was counted for the nine events of `cargo local demo`: one emergency with its customer and
/// its subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Measured {
    /// Date of the measurement.
    pub date: String,
    /// Nine batches of one event.
    pub alone: Counts,
    /// Nine batches of ten events of ten entities.
    pub full: Counts,
}

/// Calls of the functions, and bytes that were logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Batches of the processor.
    pub batches: u64,
    /// Messages that `ingest` sent to the ingest queue.
    pub sent: u64,
    /// Calls to SQS that hid a batch's messages.
    pub hidden: u64,
    /// Writes of an event's item in the ledger: claims and marks.
    pub event_writes: u64,
    /// Writes of the note that a callout is open or closed.
    pub open_writes: u64,
    /// Items that were read to learn which callouts are drills.
    pub note_reads: u64,
    /// Events on the bus.
    pub published: u64,
    /// Bytes that `ingest` logged.
    pub ingest_bytes: u64,
    /// Bytes that the processor logged.
    pub processor_bytes: u64,
    /// Bytes of Lambda's own lines in both logs: `START`, `END` and `REPORT`.
    pub lambda_bytes: u64,
}

impl Counts {
    fn bytes(&self) -> [u64; 3] {
        [self.ingest_bytes, self.processor_bytes, self.lambda_bytes]
    }

    fn without_bytes(self) -> Self {
        Self {
            ingest_bytes: 0,
            processor_bytes: 0,
            lambda_bytes: 0,
            ..self
        }
    }

    /// Whether the calls are the same, and the bytes nearly.
    fn agree(&self, other: &Self) -> bool {
        let near = |(one, other): (u64, u64)| one.abs_diff(other) * 100 <= one * TOLERANCE;
        let mut bytes = self.bytes().into_iter().zip(other.bytes());
        self.without_bytes() == other.without_bytes() && bytes.all(near)
    }
}

impl Measured {
    /// Reads `measured.json`.
    ///
    /// # Errors
    ///
    /// A count is missing, or the batches are not those that were to be measured.
    pub fn read() -> Result<Self> {
        let measured: Self = serde_json::from_str(include_str!("measured.json"))
            .context("cannot read infra/prove/src/cost/measured.json")?;
        measured.check()?;
        Ok(measured)
    }

    fn check(&self) -> Result<()> {
        let (alone, full) = (&self.alone, &self.full);
        ensure!(
            alone.batches > 0
                && alone.events == alone.batches
                && full.batches == alone.batches
                && full.events == full.batches * FULL,
            "a batch was not of one event, or not of ten: {self:?}"
        );
        Ok(())
    }

    /// Writes `measured.json` of the checkout at `root`.
    ///
    /// # Errors
    ///
    /// The batches are not those that were to be measured, or the file can't be written.
    pub fn write(&self, root: &Path) -> Result<()> {
        self.check()?;
        let path: PathBuf = root.join("infra/prove/src/cost/measured.json");
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Compares with another measurement, whatever its date.
    ///
    /// # Errors
    ///
    /// A count differs, or bytes differ by more than a tenth.
    pub fn agrees_with(&self, other: &Self) -> Result<()> {
        ensure!(
            self.alone.agree(&other.alone) && self.full.agree(&other.full),
            "the costs count {self:?}, and the functions did {other:?}. This measures again:\n    \
             {MEASURE}"
        );
        Ok(())
    }

    /// A count for a million events in batches of `burst`. A batch between one and ten costs on
    /// the straight line between the two.
    #[must_use]
    pub fn per_million(&self, burst: u64, count: impl Fn(&Counts) -> u64) -> u64 {
        let of_batches =
            count(&self.alone) * (FULL - burst) + count(&self.full) * (burst.saturating_sub(1));
        divided(
            of_batches * 1_000_000,
            (FULL - 1) * self.alone.batches * burst,
        )
    }
}

/// The quotient, rounded to the nearest integer.
#[must_use]
pub fn divided(number: u64, by: u64) -> u64 {
    (number + by / 2) / by.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_five_costs_what_lies_between_one_and_ten() {
        let counts = |events, processor_bytes| Counts {
            events,
            batches: 9,
            event_writes: 2 * events,
            processor_bytes,
            ..Counts::default()
        };
        let measured = Measured {
            date: String::new(),
            alone: counts(9, 9 * 1000),
            full: counts(90, 9 * 4600),
        };
        measured.check().unwrap();
        for burst in 1..=FULL {
            let writes = measured.per_million(burst, |counts| counts.event_writes);
            assert_eq!(writes, 2_000_000);
        }
        let bytes = [1, 5, 10].map(|burst| measured.per_million(burst, |its| its.processor_bytes));
        assert_eq!(bytes, [1_000_000_000, 520_000_000, 460_000_000]);
    }

    #[test]
    fn another_call_is_a_difference_and_a_few_bytes_are_none() {
        let measured = Measured::read().unwrap();
        let mut other = measured.clone();
        other.date = "another day".into();
        other.alone.processor_bytes += measured.alone.processor_bytes / 11;
        measured.agrees_with(&other).unwrap();
        other.alone.processor_bytes += measured.alone.processor_bytes / 11;
        assert!(measured.agrees_with(&other).is_err());
        let mut other = measured.clone();
        other.full.hidden += 1;
        assert!(measured.agrees_with(&other).is_err());
    }
}
