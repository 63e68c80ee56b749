//! Figures over many samples: on a shared machine, single samples and means say nothing.

use std::time::Duration;

use serde::Serialize;
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

/// The median of some figures, with the lowest and the highest of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lowest figure.
    pub lowest: f64,
    /// The highest figure.
    pub highest: f64,
}

impl Spread {
    /// The spread of these figures; zeros if there are none.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len().saturating_sub(1) / 2;
        let at = |figure: Option<&f64>| figure.copied().unwrap_or_default();
        Self {
            median: at(sorted.get(middle)),
            lowest: at(sorted.first()),
            highest: at(sorted.last()),
        }
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

    #[test]
    fn a_spread_is_of_figures_whatever_the_order() {
        let spread = |median, lowest, highest| Spread {
            median,
            lowest,
            highest,
        };
        assert_eq!(Spread::of([9.0, 1.0, 5.0]), spread(5.0, 1.0, 9.0));
        assert_eq!(Spread::of([2.0, 1.0]), spread(1.0, 1.0, 2.0));
        assert_eq!(Spread::of([]), spread(0.0, 0.0, 0.0));
    }
}
