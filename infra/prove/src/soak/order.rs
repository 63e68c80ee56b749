//! Draws what a soak does from one seed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::soak::killer::Strike;
use aura_sim::client::Day;
use aura_sim::plan::{Dark, DeliveryFaults, Plan};
use stack::stack::Parameters;

/// The longest soak, in minutes; the stand-in can play that as one day.
pub const MOST_MINUTES: u32 = 720;
/// The shortest time between two runs of the reconciler, in seconds. A killed run blocks other runs
/// until 2 s after its deadline, so the next one must begin later than that.
pub const SHORTEST_SCHEDULE: u64 = TIMEOUT + 3;
/// The default time between two runs, in seconds.
pub const USUAL_SCHEDULE: u64 = SHORTEST_SCHEDULE;
/// The longest time between two runs, in seconds, so that there are some runs in a minute.
pub const LONGEST_SCHEDULE: u64 = 20;

/// Timeout of a run, in seconds: the shortest that the template allows.
const TIMEOUT: u64 = 3;
/// How many seconds AURA's answers may be behind its events. The stand-in's answers never are, but
/// a delivery that it has just sent is still on its way.
const LAG: u64 = 1;
/// Number of events a second.
const PER_SECOND: u32 = 2;
/// How many calls a run may make to AURA: the template's default, for the template's run of a
/// minute.
const CALLS_OF_A_RUN: u64 = 300;
/// How many runs at least see a callout open. A callout that opens and closes between two runs,
/// with both events lost, can't be found by asking.
const RUNS_IN_A_LIFE: u32 = 4;
/// Number of runs without an event of a callout after which the reconciler asks about it.
const RUNS_OF_SILENCE: u32 = 2;
/// The template's parameters for the time of silence, one for each stage of a callout.
const SILENCES: [&str; 5] = [
    "SilenceAfterCreated",
    "SilenceAfterDispatched",
    "SilenceAfterArrived",
    "SilenceAfterCompleted",
    "SilenceAfterCancelled",
];
/// Time from one dark window to the next.
const DARK_EVERY: Duration = Duration::from_mins(10);
/// [`DARK_EVERY`] divided by the length of a dark window.
const DARK_PART: u32 = 5;

/// A soak: a day of emergencies, what goes wrong meanwhile, and how often AURA is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Seed of the order.
    pub seed: u32,
    /// How long the day is.
    pub length: Duration,
    /// Time from one run of the reconciler to the next.
    pub schedule: Duration,
    /// The faults of AURA during the day.
    pub plan: Plan,
    /// When the reconciler is killed.
    pub strikes: Vec<Strike>,
}

impl Order {
    /// Draws an order. Without a plan, AURA has the faults that the system must bear: a fifth of
    /// the deliveries dropped, a tenth doubled, a tenth out of order, and nothing sent for two
    /// minutes in ten, or for a fifth of a shorter day.
    ///
    /// # Errors
    ///
    /// Fails if there are too many kills: between two of them there must be time for a run.
    pub fn new(
        seed: u32,
        minutes: u32,
        schedule: Duration,
        kills: u32,
        plan: Option<Plan>,
    ) -> Result<Self> {
        let length = Duration::from_mins(minutes.into());
        let most = length.as_secs() / (2 * schedule.as_secs()).max(1);
        ensure!(
            u64::from(kills) <= most,
            "--kills is too high: in {minutes} min with a run every {} s the reconciler can be \
             killed {most} times at most",
            schedule.as_secs()
        );
        Ok(Self {
            seed,
            length,
            schedule,
            plan: plan.unwrap_or_else(|| usual_plan(seed, length)),
            strikes: strikes(seed, kills, length),
        })
    }

    /// Number of events of the day.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.length.as_secs() * u64::from(PER_SECOND)
    }

    /// The day as the stand-in plays it.
    #[must_use]
    pub fn day(&self) -> Day {
        let life = self.schedule * RUNS_IN_A_LIFE;
        Day {
            seed: self.seed,
            events: self.events(),
            per_second: PER_SECOND.into(),
            // The plan makes the duplicates.
            duplicates: 0.0,
            closing_after: life.as_secs() * u64::from(PER_SECOND),
        }
    }

    /// How long nothing is heard of a callout before the reconciler asks about it.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.schedule * RUNS_OF_SILENCE
    }

    /// The template's parameters for a schedule of seconds.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let silence = self.silence().as_secs();
        let calls = CALLS_OF_A_RUN * 60 / self.schedule.as_secs().max(1);
        let silences = SILENCES.map(|name| (name, silence));
        let others = [
            ("ReconcilerTimeout", TIMEOUT),
            ("AuraLagSeconds", LAG),
            ("AuraCallsPerMinute", calls),
        ];
        let all = others.into_iter().chain(silences);
        all.map(|(name, value)| (name.to_owned(), value.to_string()))
            .collect()
    }
}

/// Reads a plan from a file.
///
/// # Errors
///
/// Fails if the file can't be read, holds no plan, or holds a plan that is impossible.
pub fn read_plan(path: &Path) -> Result<Plan> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    let plan: Plan =
        serde_json::from_str(&text).with_context(|| format!("{name} is not a plan of faults"))?;
    plan.check()
        .with_context(|| format!("{name} is a plan that can't be played"))?;
    Ok(plan)
}

fn usual_plan(seed: u32, length: Duration) -> Plan {
    let every = length.min(DARK_EVERY);
    let dark = every / DARK_PART;
    Plan {
        seed: seed.into(),
        deliveries: DeliveryFaults {
            drop: 0.2,
            duplicate: 0.1,
            reorder: 0.1,
            ..DeliveryFaults::default()
        },
        dark: Some(Dark {
            every_seconds: Some(every.as_secs_f64()),
            for_seconds: dark.as_secs_f64(),
            // The dark window is in the middle.
            first_after_seconds: (dark * (DARK_PART / 2)).as_secs_f64(),
        }),
        ..Plan::default()
    }
}

/// Draws the kills: one in each of `kills` equal parts of the day.
fn strikes(seed: u32, kills: u32, length: Duration) -> Vec<Strike> {
    let mut random = ChaCha8Rng::seed_from_u64(seed.into());
    let part = length / kills.max(1);
    let strikes = (0..kills).map(|n| Strike {
        after: part * n + part.mul_f64(random.random_range(0.0..1.0)),
        share: random.random_range(0.0..1.0),
    });
    strikes.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn order(seed: u32, minutes: u32, kills: u32) -> Order {
        Order::new(seed, minutes, 6 * SECOND, kills, None).unwrap()
    }

    #[test]
    fn the_seed_makes_the_day_its_faults_and_the_kills() {
        assert_eq!(order(1, 10, 5), order(1, 10, 5));
        let (one, two) = (order(1, 10, 5), order(2, 10, 5));
        assert_ne!(one.day(), two.day());
        assert_ne!(one.plan, two.plan);
        assert_ne!(one.strikes, two.strikes);
    }

    #[test]
    fn the_usual_plan_is_dark_for_a_fifth_in_the_middle() {
        let windows = |minutes| {
            let dark = order(1, minutes, 0).plan.dark.unwrap();
            (
                dark.every_seconds.unwrap(),
                dark.for_seconds,
                dark.first_after_seconds,
            )
        };
        assert_eq!(windows(10), (600.0, 120.0, 240.0));
        assert_eq!(windows(60), windows(10));
        assert_eq!(windows(1), (60.0, 12.0, 24.0));
        assert_eq!(order(1, 1, 0).plan.check(), Ok(()));
    }

    #[test]
    fn each_part_of_the_day_has_its_kill() {
        let kills = order(3, 10, 20).strikes;
        assert_eq!(kills.len(), 20);
        for (n, strike) in (0..).zip(kills) {
            let part = 30 * SECOND;
            assert!((part * n..part * (n + 1)).contains(&strike.after));
            assert!((0.0..1.0).contains(&strike.share));
        }
    }

    #[test]
    fn there_is_time_for_a_run_between_two_kills() {
        let kill = |kills| Order::new(1, 1, 6 * SECOND, kills, None);
        assert!(kill(5).is_ok());
        let refused = kill(6).unwrap_err().to_string();
        assert!(refused.contains("5 times at most"), "{refused}");
    }

    #[test]
    fn every_callout_stays_open_for_several_runs() {
        let order = order(1, 10, 0);
        let life = order.day().closing_after / u64::from(PER_SECOND);
        assert!(life > 3 * order.schedule.as_secs());
        assert_eq!(order.day().events, 1200);
        assert_eq!(order.parameters()["SilenceAfterArrived"], "12");
    }

    #[test]
    fn a_run_may_make_the_calls_of_a_minute_on_every_schedule() {
        let calls = |seconds| {
            let order = Order::new(1, 10, SECOND * seconds, 0, None).unwrap();
            order.parameters()["AuraCallsPerMinute"].clone()
        };
        assert_eq!((calls(6), calls(20)), ("3000".into(), "900".into()));
    }

    #[test]
    fn a_plan_is_read_and_a_wrong_one_refused_by_its_member() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        let read = |plan: serde_json::Value| {
            fs::write(&path, plan.to_string()).unwrap();
            read_plan(&path).map_err(|error| format!("{error:#}"))
        };
        let plan = read(json!({"seed": 4, "deliveries": {"drop": 0.5}})).unwrap();
        assert_eq!((plan.seed, plan.deliveries.drop), (4, 0.5));
        let wrong = [
            (json!({"seed": 4, "polls": {"fails": 1}}), "fails"),
            (
                json!({"seed": 4, "deliveries": {"drop": 2}}),
                "deliveries.drop",
            ),
        ];
        for (plan, member) in wrong {
            let refused = read(plan).unwrap_err();
            assert!(
                refused.contains(member) && refused.contains("plan.json"),
                "{refused}"
            );
        }
        assert!(read_plan(&folder.path().join("none")).is_err());
    }
}
