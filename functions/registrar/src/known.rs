//! When `ingest` takes a new value of the secret: AURA must not be told of it before.

use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};

use crate::journal::{Journal, Step};

/// On top of the [interval](shared::webhook::refresh_interval) of `ingest`: for the reading itself, for the time that a new value takes to
/// be the same for all readers of Secrets Manager, and because a value's age is told in seconds.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// Waits until every instance of `ingest` knows a value that was made then, or may read it.
pub async fn until_known(interval: SignedDuration, made_at: Timestamp, journal: &Journal) {
    let wait = wait(interval, made_at, Timestamp::now()).unsigned_abs();
    let work = async {
        tokio::time::sleep(wait).await;
        Ok::<_, Infallible>(())
    };
    let told = |(): &()| "ingest takes the value".to_owned();
    let _ = journal.step(Step::Wait, work, told).await;
}

/// No longer than for a value of this moment, whatever the clocks say.
fn wait(interval: SignedDuration, made_at: Timestamp, now: Timestamp) -> SignedDuration {
    let whole = interval + MARGIN;
    (whole - now.duration_since(made_at)).clamp(SignedDuration::ZERO, whole)
}

#[cfg(test)]
mod tests {
    use shared::webhook::REFRESH_INTERVAL;

    use super::*;

    #[test]
    fn a_value_is_waited_for_until_it_is_old_enough() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let cases = [(100, 35), (101, 34), (135, 0), (10_000, 0), (50, 35)];
        for (now, expected) in cases {
            let waited = wait(REFRESH_INTERVAL, second(100), second(now));
            assert_eq!(waited, SignedDuration::from_secs(expected), "at {now}");
        }
    }
}
