//! Draws what a campaign does from one seed.

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use aura_sim::client::Day;
use stack::proxy::{Fault, Plan};

/// The most kills of one campaign.
pub const MOST_KILLS: u32 = 1_000;
/// The most events of one campaign.
pub const MOST_EVENTS: u64 = 100_000;
/// Share of events of which AURA sends a duplicate too.
const DUPLICATES: f64 = 0.2;
/// The most days that AURA plays at once; they have more entities than one batch holds.
const DAYS_AT_ONCE: u64 = 4;
/// The fewest events of a day; a shorter day has hardly begun.
const EVENTS_PER_DAY: u64 = 8;
/// Deliveries a second of a day: all at once, or as fast as AURA is at its busiest.
const PACES: [f64; 3] = [10_000.0, 200.0, 50.0];
/// The longest time from when the processor is seen at work to a kill at a random moment. It is
/// somewhat longer than a batch takes.
const LONGEST_PAUSE: Duration = Duration::from_millis(150);
/// Share of the processor's calls to the ledger that fail. Some batches make dozens of calls.
const LEDGER_FAULTS: f64 = 0.05;
/// Share of the processor's calls to the bus, one a wave, at which a series of failures begins.
const BUS_FAULTS: f64 = 0.05;
/// The longest series of failing calls to the bus. From three failures in a row on, a wave fails
/// for good, and its events come back.
const LONGEST_OUTAGE: usize = 8;
/// Faults of the ledger.
const LEDGER_KINDS: [Fault; 4] = [
    Fault::Throttled,
    Fault::InternalError,
    Fault::ResetBefore,
    Fault::ResetAfter,
];
/// Faults of the bus, all equally likely. A lost answer always leads to a double, so it is rare.
const BUS_KINDS: [Fault; 10] = [
    Fault::Throttled,
    Fault::Throttled,
    Fault::Throttled,
    Fault::InternalError,
    Fault::InternalError,
    Fault::InternalError,
    Fault::ResetBefore,
    Fault::ResetBefore,
    Fault::ResetBefore,
    Fault::ResetAfter,
];

/// Moment at which a processor is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// A random moment, by SIGKILL from outside.
    Random,
    /// After a claim was granted, before its event is published.
    AfterClaim,
    /// After the bus has answered, before anything is marked.
    AfterPublish,
    /// Before an event is marked; others that were published with it may be marked already.
    BeforeComplete,
}

impl Moment {
    /// All moments.
    pub const ALL: [Self; 4] = [
        Self::Random,
        Self::AfterClaim,
        Self::AfterPublish,
        Self::BeforeComplete,
    ];

    /// Name of the moment in reports. For a named step of the processor it is also the name of its
    /// failpoint.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::AfterClaim => "after-claim",
            Self::AfterPublish => "after-publish",
            Self::BeforeComplete => "before-complete",
        }
    }
}

/// One kill, and the load during which it comes.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When the processor is killed.
    pub moment: Moment,
    /// For a random moment: the time from when the processor is seen at work to the kill.
    pub pause: Duration,
    /// The days that AURA plays meanwhile.
    pub days: Vec<Day>,
}

/// A campaign: kills one after the other, each with its share of the load.
///
/// The same seed makes the same events, the same kills in the same order and the same series of
/// faults. Which call meets which fault, and which events a processor holds when it dies, depends
/// on timing and differs from run to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Seed of the campaign.
    pub seed: u32,
    /// The kills, in order.
    pub steps: Vec<Step>,
    /// Seed of the ledger's faults.
    ledger_seed: u64,
    /// Seed of the bus's faults.
    bus_seed: u64,
}

impl Campaign {
    /// Draws `kills` kills among `events` distinct events: at least one for each kill.
    #[must_use]
    pub fn new(seed: u32, kills: u32, events: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed.into());
        let (ledger_seed, bus_seed) = (random.random(), random.random());
        let mut days = Days::starting_at(random.random_range(0..u32::MAX / 2));
        let steps = moments(&mut random, kills)
            .into_iter()
            .zip(shares(events, kills.into()))
            .map(|(moment, events)| Step {
                moment,
                pause: random.random_range(Duration::ZERO..LONGEST_PAUSE),
                days: days.with(events, &mut random),
            });
        Self {
            seed,
            steps: steps.collect(),
            ledger_seed,
            bus_seed,
        }
    }

    /// Number of distinct events of the campaign.
    #[must_use]
    pub fn events(&self) -> u64 {
        let days = self.steps.iter().flat_map(|step| &step.days);
        days.map(|day| day.events).sum()
    }

    /// Plan of the faults of the ledger.
    #[must_use]
    pub fn ledger_faults(&self) -> Plan {
        Plan::share(LEDGER_FAULTS, &LEDGER_KINDS, self.ledger_seed)
    }

    /// Plan of the faults of the bus.
    #[must_use]
    pub fn bus_faults(&self) -> Plan {
        Plan::bursts(BUS_FAULTS, LONGEST_OUTAGE, &BUS_KINDS, self.bus_seed)
    }
}

/// Draws the moments of the kills: each moment about as often as the others, in random order.
fn moments(random: &mut ChaCha8Rng, kills: u32) -> Vec<Moment> {
    let mut moments = Vec::new();
    for _ in 0..kills.div_ceil(4) {
        let mut round = Moment::ALL;
        round.shuffle(random);
        moments.extend(round);
    }
    moments.into_iter().take(kills as usize).collect()
}

/// Splits `total` into `parts` parts that differ by one at most, the greater ones first.
fn shares(total: u64, parts: u64) -> impl Iterator<Item = u64> {
    (0..parts).map(move |part| total / parts + u64::from(part < total % parts))
}

/// Makes days, each with its own seed: the AURA stand-in plays each seed only once.
struct Days {
    next_seed: u32,
}

impl Days {
    fn starting_at(next_seed: u32) -> Self {
        Self { next_seed }
    }

    /// Makes days with `events` events together, to be played at once.
    fn with(&mut self, events: u64, random: &mut ChaCha8Rng) -> Vec<Day> {
        let count = (events / EVENTS_PER_DAY).clamp(1, DAYS_AT_ONCE);
        let days = shares(events, count).map(|events| {
            let seed = self.next_seed;
            self.next_seed += 1;
            Day {
                seed,
                events,
                per_second: PACES.choose(random).copied().unwrap_or(PACES[0]),
                duplicates: DUPLICATES,
                closing_after: 0,
            }
        });
        days.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_seed_makes_the_campaign() {
        assert_eq!(Campaign::new(1, 30, 1000), Campaign::new(1, 30, 1000));
        let (one, two) = (Campaign::new(1, 30, 1000), Campaign::new(2, 30, 1000));
        let moments = |campaign: &Campaign| -> Vec<_> {
            campaign.steps.iter().map(|step| step.moment).collect()
        };
        assert_ne!(moments(&one), moments(&two));
        assert_ne!(one.steps[0].days, two.steps[0].days);
        assert_ne!(one.ledger_seed, two.ledger_seed);
        assert_ne!(one.bus_seed, two.bus_seed);
    }

    #[test]
    fn there_are_as_many_kills_and_events_as_were_asked_for() {
        for (kills, events) in [(1, 1), (20, 500), (300, 10_000), (7, 7), (7, 1001)] {
            let campaign = Campaign::new(3, kills, events);
            assert_eq!(campaign.steps.len(), kills as usize);
            assert_eq!(campaign.events(), events);
            let days = campaign.steps.iter().flat_map(|step| &step.days);
            assert!(days.clone().all(|day| day.events > 0));
            let seeds: HashSet<_> = days.clone().map(|day| day.seed).collect();
            assert_eq!(seeds.len(), days.count(), "a day can be played once");
        }
    }

    #[test]
    fn a_dozen_kills_are_of_every_kind() {
        for seed in 0..20 {
            let steps = Campaign::new(seed, 12, 200).steps;
            for moment in Moment::ALL {
                let count = steps.iter().filter(|step| step.moment == moment).count();
                assert_eq!(count, 3, "{moment:?}");
            }
        }
    }
}
