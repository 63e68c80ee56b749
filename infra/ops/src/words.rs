//! How times, durations and lists are written for people.

use std::fmt::{self, Display, Formatter};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time in the reader's zone and in UTC, such as `2026-11-28 21:04:05 SAST (19:04:05Z)`.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Timestamp);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let zone = TimeZone::system();
        let here = self.0.to_zoned(zone.clone());
        let utc = self.0.to_zoned(TimeZone::UTC);
        let text = if here.offset() == utc.offset() {
            utc.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
        } else {
            format!(
                "{} ({})",
                here.strftime("%Y-%m-%d %H:%M:%S %Z"),
                utc.strftime("%H:%M:%SZ")
            )
        };
        f.pad(&text)
    }
}

/// A time span in its two largest units, such as `3 min 20 s`, `250 ms` or `2 d 4 h`.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub SignedDuration);

impl Span {
    /// The time from `then` until now.
    #[must_use]
    pub fn since(then: Timestamp) -> Self {
        Self(Timestamp::now().duration_since(then))
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis().max(0);
        let seconds = milliseconds / 1000;
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        let text = match () {
            () if milliseconds < 1000 => format!("{milliseconds} ms"),
            () if seconds < 10 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
            () if minutes == 0 => format!("{seconds} s"),
            () if hours == 0 => format!("{minutes} min {} s", seconds % 60),
            () if days == 0 => format!("{hours} h {} min", minutes % 60),
            () => format!("{days} d {} h", hours % 24),
        };
        f.pad(&text)
    }
}

/// A text without control characters, which could change what a terminal shows.
#[must_use]
pub fn harmless(text: &str) -> String {
    text.replace(char::is_control, "\u{FFFD}")
}

/// A number and what it counts, such as `2 deliveries`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A time, or `unknown`.
pub(crate) fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "unknown".to_owned(), |at| Time(at).to_string())
}

/// How long ago a time is, or `unknown`.
pub(crate) fn ago(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "unknown".to_owned(), |at| Span::since(at).to_string())
}

/// Writes names and values in two columns, and the payload below, if there is one.
pub(crate) fn write_lines(
    f: &mut Formatter<'_>,
    lines: &[(&str, String)],
    payload: Option<&str>,
) -> fmt::Result {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", harmless(value)));
    f.write_str(&lines.collect::<Vec<_>>().join("\n"))?;
    match payload {
        Some(payload) => write!(f, "\n\n{payload}"),
        None => Ok(()),
    }
}

/// Says how much a look couldn't see.
pub(crate) fn unseen(f: &mut Formatter<'_>, more: u64) -> fmt::Result {
    if more == 0 {
        return Ok(());
    }
    let text = "can't be seen now: somebody else looks at them, or they wait behind others of \
        their entity.";
    write!(f, "\n\n{more} more {text}")
}

/// Lines in columns, each as wide as its widest cell.
#[must_use]
pub fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let heads = heads.map(str::to_owned);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| harmless(cell)))
        .collect();
    let rows = &rows;
    let all = || std::iter::once(&heads).chain(rows);
    let widths: Vec<_> = (0..N)
        .map(|column| {
            all()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_two_largest_units() {
        let spans = [
            (250, "250 ms"),
            (2_403, "2.4 s"),
            (59_000, "59 s"),
            (200_000, "3 min 20 s"),
            (187_200_000, "2 d 4 h"),
        ];
        for (milliseconds, text) in spans {
            assert_eq!(
                Span(SignedDuration::from_millis(milliseconds)).to_string(),
                text
            );
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [
            ["a".to_owned(), "bcd".to_owned()],
            ["efgh".to_owned(), "i".to_owned()],
        ];
        assert_eq!(table(["k", "v"], &rows), "k     v\na     bcd\nefgh  i");
    }
}
