//! Shows figures, and compares them with their bars.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use stack::signals::Signals;

/// Measures, and prints the result for people or for programs.
///
/// # Errors
///
/// Fails if the measuring fails; the error says why. Returns
/// [`Interrupted`](stack::signals::Interrupted) if a signal ended it.
pub async fn print<R: fmt::Display + Serialize>(
    measuring: impl Future<Output = Result<R>>,
    json: bool,
) -> Result<()> {
    let mut signals = Signals::listen()?;
    let report = signals.unless_one_comes(Box::pin(measuring)).await?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// Names of the figures that have a bar, each with whether it meets the bar.
#[derive(Debug, Serialize)]
pub struct Bars(Vec<Bar>);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Bar {
    figure: &'static str,
    met: bool,
}

impl Bars {
    /// Makes the bars from the figures' names and whether each meets its bar.
    #[must_use]
    pub fn new(figures: impl IntoIterator<Item = (&'static str, bool)>) -> Self {
        let bar = |(figure, met)| Bar { figure, met };
        Self(figures.into_iter().map(bar).collect())
    }

    /// Whether a figure meets its bar, as text for people; empty if it has no bar.
    #[must_use]
    pub fn verdict(&self, figure: &str) -> &'static str {
        let bar = self.0.iter().find(|bar| bar.figure == figure);
        match bar.map(|bar| bar.met) {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

/// A count in thousands, rounded up.
#[must_use]
pub fn in_thousands(count: u64) -> String {
    format!("{} k", count.div_ceil(1000))
}

/// Writes one line of a table: a name, its figures, and the bar with its verdict.
///
/// # Errors
///
/// Fails if `f` can't be written.
pub fn row<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    figures: [impl fmt::Display; N],
    bar: &str,
    verdict: &str,
) -> fmt::Result {
    let figures = figures.map(|figure| format!(" {figure:>13}")).concat();
    let line = format!("{name:<40}{figures}  {bar:<16} {verdict}");
    writeln!(f, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_that_is_missed_stands_out() {
        let bars = Bars::new([("memory", true), ("start", false)]);
        assert_eq!(bars.verdict("memory"), "met");
        assert_eq!(bars.verdict("start"), "MISSED");
        assert_eq!(bars.verdict("zip"), "");
    }
}
