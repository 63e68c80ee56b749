//! The deadline of an invocation.

use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

/// No invocation lasts this long, and no deadline lies within a day of 1970.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// Computes the deadline of an invocation from what the Runtime API gives as the deadline.
pub fn deadline(given: SystemTime, now: Timestamp) -> Result<Timestamp, jiff::Error> {
    let given = Timestamp::try_from(given)?;
    let since_1970 = given.duration_since(Timestamp::UNIX_EPOCH);
    // cargo-lambda's emulator gives the time that is left instead.
    if since_1970 < LONGEST {
        now.checked_add(since_1970)
    } else {
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn deadline_of(milliseconds: u64) -> String {
        let given = SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        let now = "2026-11-22T08:00:00Z".parse().unwrap();
        deadline(given, now).unwrap().to_string()
    }

    #[test]
    fn a_deadline_is_taken_as_it_is() {
        assert_eq!(deadline_of(1_795_334_410_000), "2026-11-22T08:00:10Z");
        assert_eq!(deadline_of(1_795_334_390_000), "2026-11-22T07:59:50Z");
    }

    #[test]
    fn time_that_is_left_counts_from_now() {
        assert_eq!(deadline_of(600_000), "2026-11-22T08:10:00Z");
    }
}
