//! Reads `Retry-After`: how long AURA asks to wait before the next call.

use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Reads the header: seconds, or an HTTP date. A date is compared with the answer's own `Date`, so
/// that clocks may differ. If the answer has no `Date`, it is compared with `now`.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that is too large for the type is too long for every caller.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = date(value)?;
    let now = text(headers, DATE).and_then(date).unwrap_or(now);
    Some(until.duration_since(now).try_into().unwrap_or_default())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// Reads a date. HTTP's preferred form is also a form of RFC 2822.
fn date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    /// Reads a value in an answer with this `Date`.
    fn read(value: &str, date_header: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        if let Some(date) = date_header {
            headers.insert(DATE, date.parse().unwrap());
        }
        retry_after(&headers, date(NOW).unwrap())
    }

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let cases = [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("Sun, 99 Nov 1994 08:50:07 GMT", None),
        ];
        for (value, expected) in cases {
            let read = read(value, None);
            assert_eq!(read, expected.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::now()), None);
    }

    #[test]
    fn a_date_counts_from_auras_own_clock() {
        let until = "Sun, 06 Nov 1994 09:00:00 GMT";
        let at_auras = read(until, Some("Sun, 06 Nov 1994 08:59:50 GMT"));
        assert_eq!(at_auras, Some(Duration::from_secs(10)));
        let unreadable = read(until, Some("just now"));
        assert_eq!(unreadable, Some(Duration::from_secs(623)));
    }
}
