//! When AURA delivered last, noted for the reconciler: not for each delivery, which would cost a
//! call more, but once a second at most.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// How much later than the last one that was noted a delivery must be to be noted.
const STEP: SignedDuration = SignedDuration::from_secs(1);

/// The last delivery that this process has seen, and the last that it has noted, in milliseconds
/// since 1970.
#[derive(Debug, Default)]
pub struct Deliveries {
    seen: AtomicI64,
    noted: AtomicI64,
}

impl Deliveries {
    /// A delivery of AURA's arrived.
    pub fn see(&self, arrived: Timestamp) {
        let arrived = arrived.as_millisecond();
        self.seen.fetch_max(arrived, Ordering::Relaxed);
    }

    /// What is to be noted now, if anything.
    #[must_use]
    pub fn to_note(&self) -> Option<Timestamp> {
        let seen = self.seen.load(Ordering::Relaxed);
        let noted = self.noted.load(Ordering::Relaxed);
        let is_due = i128::from(seen) - i128::from(noted) >= STEP.as_millis();
        Timestamp::from_millisecond(seen).ok().filter(|_| is_due)
    }

    /// It is noted.
    pub fn noted(&self, arrived: Timestamp) {
        let arrived = arrived.as_millisecond();
        self.noted.fetch_max(arrived, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_delivery_is_noted_once_a_second() {
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).unwrap();
        let deliveries = Deliveries::default();
        assert_eq!(deliveries.to_note(), None);
        deliveries.see(at(500));
        deliveries.see(at(0));
        assert_eq!(deliveries.to_note(), Some(at(500)));
        deliveries.noted(at(500));
        deliveries.see(at(1499));
        assert_eq!(deliveries.to_note(), None);
        deliveries.see(at(1500));
        assert_eq!(deliveries.to_note(), Some(at(1500)));
    }
}
