//! The result of a command as text for people and as JSON for programs, and where it is printed.

use std::fmt::Display;

use anyhow::{Result, bail};
use serde::Serialize;

/// The result of a command that tests the system. `--json` prints it as one object.
pub trait Report: Serialize {
    /// The error of a command whose report is not a success.
    const FAILURE: &'static str;

    /// True if every promise was kept.
    fn is_success(&self) -> bool;

    /// The findings, the counts and the verdict: one line each.
    fn summary(&self) -> Vec<String>;
}

/// The least of some sorted figures that `percent` of them don't exceed; `None` if there are none.
#[must_use]
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// A whole number with a comma between thousands.
#[must_use]
pub fn grouped(number: impl Display) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints a command's lines: to standard output, unless that is for the JSON.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// Whether only one JSON object goes to standard output.
    pub json: bool,
}

impl Out {
    /// Prints a line.
    pub fn line(self, line: &str) {
        if self.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    /// Prints a report, after an empty line.
    ///
    /// # Errors
    ///
    /// The report is not a success.
    pub fn conclude<R: Report>(self, report: &R) -> Result<()> {
        self.line("");
        for line in report.summary() {
            self.line(&line);
        }
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        }
        if !report.is_success() {
            bail!(R::FAILURE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let numbers = [0, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(numbers, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let figures: Vec<_> = (1..=20).collect();
        let found = [0, 50, 95, 100].map(|percent| percentile(&figures, percent));
        assert_eq!(found, [Some(1), Some(10), Some(19), Some(20)]);
        assert_eq!(percentile::<u8>(&[], 50), None);
    }
}
