//! The deliveries of a mass incident: when each comes, and which entity it is about.

use anyhow::{Context as _, Result};
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

/// Microseconds of a second.
pub const SECOND: u64 = 1_000_000;
/// Deliveries for each entity on average: a callout has about eight events.
const PER_ENTITY: usize = 8;
/// The exponent of the skew (Zipf): the busiest entity of 75,000 has about 1,100 of 600,000 events.
pub const USUAL_SKEW: f64 = 0.5;

/// A mass incident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incident {
    /// The seed of times and entities.
    pub seed: u64,
    /// Deliveries in a second.
    pub rate: u32,
    /// How long deliveries come, in seconds.
    pub seconds: u32,
    /// The exponent of the skew: the share of the n-th entity is as 1 to n to the power of this.
    pub skew: f64,
}

/// One delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When it comes, in microseconds since the first one could.
    pub at: u64,
    /// The entity's number. Lower numbers are busier.
    pub entity: usize,
}

impl Incident {
    /// The incident with the usual skew, for a minute.
    #[must_use]
    pub fn of_a_minute(seed: u64, rate: u32) -> Self {
        Self {
            seed,
            rate,
            seconds: 60,
            skew: USUAL_SKEW,
        }
    }

    /// Draws the deliveries, in order of time. They come at random times (a Poisson process of which
    /// the number is given), at the same rate throughout.
    ///
    /// # Errors
    ///
    /// Fails if the skew is no number.
    pub fn deliveries(&self) -> Result<Vec<Delivery>> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let count = self.rate as usize * self.seconds as usize;
        let length = u64::from(self.seconds) * SECOND;
        let mut times: Vec<_> = (0..count).map(|_| random.random_range(0..length)).collect();
        times.sort_unstable();
        let entities = count.div_ceil(PER_ENTITY).max(1);
        let weights = (1..=u32::try_from(entities)?).map(|n| f64::from(n).powf(-self.skew));
        let shares = WeightedIndex::new(weights).context("the skew must be a number")?;
        let delivery = |at| Delivery {
            at,
            entity: shares.sample(&mut random),
        };
        Ok(times.into_iter().map(delivery).collect())
    }
}
