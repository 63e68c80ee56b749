//! A token bucket, as AWS counts most of its rates.

use crate::capacity::load::SECOND;

/// A bucket that refills at a steady rate.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: f64,
    most: f64,
    tokens: f64,
    at: u64,
}

impl Bucket {
    /// A full bucket that refills with `rate` tokens a second and holds `most`.
    #[must_use]
    pub fn new(rate: f64, most: f64) -> Self {
        Self {
            rate,
            most,
            tokens: most,
            at: 0,
        }
    }

    /// A bucket that holds what refills in a second.
    #[must_use]
    pub fn of_a_second(rate: f64) -> Self {
        Self::new(rate, rate)
    }

    /// Takes tokens at a time, which is not before the last one. Returns whether there were enough.
    pub fn take(&mut self, now: u64, tokens: f64) -> bool {
        let passed = seconds(now.saturating_sub(self.at));
        self.at = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.most);
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }
}

/// Microseconds as seconds.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a simulation lasts for days at most"
)]
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / SECOND as f64
}

/// A count as a number to calculate with.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "no count is that large")]
pub fn float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_takes_more_than_the_burst_and_the_rate() {
        let mut bucket = Bucket::new(100.0, 50.0);
        let taken = |bucket: &mut Bucket, second: u64| {
            let tries = (0..1000).map(|n| second * SECOND + n * 1000);
            tries.filter(|now| bucket.take(*now, 1.0)).count()
        };
        // Fractions of tokens are rounded, so one may come a try later.
        assert!((147..=150).contains(&taken(&mut bucket, 0)));
        assert!((97..=101).contains(&taken(&mut bucket, 1)));
        assert!((147..=150).contains(&taken(&mut bucket, 9)));
    }
}
