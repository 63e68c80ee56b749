//! Figures over many samples: on a shared machine, single samples and means say nothing.

use std::time::Duration;

use stack::report::percentile;

/// Samples of one duration.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds a sample.
    pub fn push(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sample that `percent` percent of the samples don't exceed; zero if there are no samples.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        percentile(&sorted, percent).unwrap_or_default()
    }

    /// The median of the samples.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A duration in microseconds.
#[must_use]
pub fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_whatever_the_order() {
        let mut samples = Samples::default();
        for number in [3, 1, 2, 5, 4] {
            samples.push(Duration::from_secs(number));
        }
        assert_eq!(samples.median(), Duration::from_secs(3));
        assert_eq!(samples.percentile(95), Duration::from_secs(5));
        assert_eq!(Samples::default().median(), Duration::ZERO);
    }
}
