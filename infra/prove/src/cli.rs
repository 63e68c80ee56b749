//! The command line of `cargo prove`.

mod help;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, value_parser};
use stack::package::Profile;
use stack::progress::Progress;
use stack::signals::Signals;
use stack::workspace::Workspace;

use crate::capacity::findings::{Changes, Question, RATES};
use crate::capacity::load::USUAL_SKEW;
use crate::latency::{MOST_DELIVERIES, Series};
use crate::soak::order::{
    LONGEST_SCHEDULE, MOST_MINUTES, Order, SHORTEST_SCHEDULE, USUAL_SCHEDULE, read_plan,
};
use crate::torture::campaign::{Campaign, MOST_EVENTS, MOST_KILLS};
use crate::{capacity, cost, latency, ledger, soak, torture};

use self::help::{LATENCY_JSON, SOAK_JSON, TORTURE_JSON};

/// Tries to make the system lose or double an event, and says how long an event takes, what it costs, and how
/// many the system can bear
#[derive(Debug, Parser)]
#[command(name = "cargo prove", bin_name = "cargo prove", max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill the processor again and again on busy days while the ledger and the bus fail, and count
    ///
    /// Exits with 0 only if every event that AURA sent was published, and every extra copy is
    /// explained. Two things explain an extra copy: the processor was killed, or it never got the
    /// bus's answer. Either must come after the publish and before the mark.
    ///
    /// The same seed makes the same events, the same kills in the same order and the same series of
    /// faults. Which call meets which fault, and which events a processor holds when it dies,
    /// depends on timing and differs from run to run.
    #[command(after_help = TORTURE_JSON)]
    Torture(Torture),
    /// Play a long day with an unreliable AURA, and check what the system finds out by asking
    ///
    /// Exits with 0 only if the system kept its promises. The opening and the closing of every
    /// callout are on the bus once. The last published state of every callout is AURA's. No
    /// delivery that ingest accepted is missing. Of the openings and closings that AURA did not
    /// deliver, nineteen in twenty are recovered in time: an opening within two runs of the
    /// reconciler, a closing within five.
    ///
    /// The same seed makes the same events and the same faults. Which run finds out what, and what
    /// a run was doing when it was killed, depends on timing and differs from run to run.
    #[command(after_help = SOAK_JSON)]
    Soak(Soak),
    /// Measure how long a delivery takes from AURA's POST to the consumer's queue, hop by hop
    ///
    /// Exits with 0 only if every delivery reached the consumer's queue. Figures are not judged.
    #[command(after_help = LATENCY_JSON)]
    Latency(Latency),
    /// Explore every order of events that workers, queue, ledger and bus can produce for two
    /// deliveries of one event
    ///
    /// The model uses the real rules. The command also checks that the model checker catches each
    /// design that is wrong on purpose.
    Ledger {
        /// Print one JSON object, with every counter-example in full
        #[arg(long)]
        json: bool,
    },
    /// Simulate a mass incident on AWS: when is the last event published, which quota is met first,
    /// and what has to be raised?
    ///
    /// The same options give the same figures. docs/capacity.md explains them.
    Capacity(Capacity),
    /// Print what events cost on AWS, from counted calls and dated prices
    Cost(cost::Options),
}

#[derive(Debug, Args)]
struct Capacity {
    /// Seed of the deliveries
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Deliveries a second, for a minute [default: 10, 100, 1000 and 10000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=20_000))]
    rate: Vec<u32>,
    /// The only region [default: all that the model knows]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// How unevenly entities share the deliveries: the exponent of Zipf's law, 0 for evenly
    #[arg(long, default_value_t = USUAL_SKEW, value_name = "EXPONENT")]
    skew: f64,
    /// The account's Lambda concurrency [default: the region's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    lambda_concurrency: Option<u32>,
    /// The parameter `IngestConcurrency` [default: the template's]
    #[arg(long, value_name = "N")]
    ingest_concurrency: Option<u32>,
    /// The parameter `ProcessorConcurrency` [default: the template's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(2..=1000))]
    processor_concurrency: Option<u32>,
    /// Warm throughput of the ledger's table, in writes a second [default: a new table's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    ledger_writes: Option<u32>,
    /// Write the plots as SVG into this folder
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Compare the model with the local stack instead, which takes about three minutes
    #[arg(long, conflicts_with = "plots")]
    check: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Capacity {
    fn question(&self) -> Question {
        Question {
            seed: self.seed,
            skew: self.skew,
            rates: if self.rate.is_empty() {
                RATES.to_vec()
            } else {
                self.rate.clone()
            },
            region: self.region.clone(),
            changes: Changes {
                lambda_concurrency: self.lambda_concurrency,
                ingest_concurrency: self.ingest_concurrency,
                processor_concurrency: self.processor_concurrency,
                ledger_writes: self.ledger_writes,
            },
        }
    }
}

#[derive(Debug, Args)]
struct Torture {
    /// Seed of the events, kills and faults [default: a random one]
    #[arg(long, value_name = "S")]
    seed: Option<u32>,
    /// How often a processor is killed
    #[arg(long, default_value_t = 30, value_name = "N",
        value_parser = value_parser!(u32).range(1..=i64::from(MOST_KILLS)))]
    kills: u32,
    /// How many distinct events AURA has, at least one for each kill; duplicates are added to them
    #[arg(long, default_value_t = 1000, value_name = "M",
        value_parser = value_parser!(u64).range(1..=MOST_EVENTS))]
    events: u64,
    /// Print the result as one JSON object, the last line of standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Soak {
    /// Seed of the events, faults and kills [default: a random one]
    #[arg(long, value_name = "S")]
    seed: Option<u32>,
    /// How long the day lasts; the command ends about a minute later
    #[arg(long, default_value_t = 10, value_name = "N",
        value_parser = value_parser!(u32).range(1..=i64::from(MOST_MINUTES)))]
    minutes: u32,
    /// A JSON file with the faults to play, in the form that `POST /_sim/plan` of the AURA stand-in
    /// takes [default: a fifth of the deliveries dropped, a tenth doubled, a tenth out of order,
    /// and nothing sent for two minutes in ten]
    #[arg(long, value_name = "PLAN")]
    faults: Option<PathBuf>,
    /// Seconds from one run of the reconciler to the next
    #[arg(long, default_value_t = USUAL_SCHEDULE, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(SHORTEST_SCHEDULE..=LONGEST_SCHEDULE))]
    schedule: u64,
    /// How often the reconciler is killed; at most every second run can be killed
    #[arg(long, default_value_t = 0, value_name = "K")]
    kills: u32,
    /// Print the result as one JSON object, the last line of standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Latency {
    /// How many deliveries are sent, one after the other
    #[arg(long, default_value_t = 200, value_name = "N",
        value_parser = value_parser!(u32).range(1..=i64::from(MOST_DELIVERIES)))]
    deliveries: u32,
    /// How many deliveries begin in a second
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = value_parser!(u32).range(1..=20))]
    per_second: u32,
    /// How many first deliveries are measured: before each, both functions are ended
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = value_parser!(u32).range(1..=100))]
    first: u32,
    /// Build the functions as for AWS: slower to build, but as fast as they are there
    #[arg(long)]
    release: bool,
    /// Print the result as one JSON object, the last line of standard output
    #[arg(long)]
    json: bool,
}

impl Latency {
    fn series(&self) -> Series {
        Series {
            deliveries: self.deliveries,
            per_second: self.per_second,
            first: self.first,
            profile: if self.release {
                Profile::Release
            } else {
                Profile::Dev
            },
        }
    }
}

impl Soak {
    fn order(&self) -> Result<Order> {
        let plan = self.faults.as_deref().map(read_plan).transpose()?;
        let schedule = Duration::from_secs(self.schedule);
        let seed = self.seed.unwrap_or_else(rand::random);
        Order::new(seed, self.minutes, schedule, self.kills, plan)
    }
}

impl Torture {
    fn campaign(&self) -> Result<Campaign> {
        ensure!(
            self.events >= u64::from(self.kills),
            "--events must be at least --kills, because each kill needs an event to interrupt; raise \
             --events or lower --kills"
        );
        let seed = self.seed.unwrap_or_else(rand::random);
        Ok(Campaign::new(seed, self.kills, self.events))
    }
}

impl Cli {
    /// Runs the command that the command line names.
    ///
    /// # Errors
    ///
    /// Fails if a promise isn't kept or the test could not be carried out. Returns
    /// [`Interrupted`](stack::signals::Interrupted) if a signal ended it.
    pub async fn run(self) -> Result<()> {
        let progress = Progress::to_stderr();
        match self.command {
            Command::Torture(torture) => {
                let (workspace, mut signals) = (Workspace::here()?, Signals::listen()?);
                let campaign = torture.campaign()?;
                let torture = torture::torture(&workspace, &campaign, torture.json, progress);
                signals.unless_one_comes(Box::pin(torture)).await
            }
            Command::Soak(soak) => {
                let (workspace, mut signals) = (Workspace::here()?, Signals::listen()?);
                let order = soak.order()?;
                let soak = soak::soak(&workspace, &order, soak.json, progress);
                signals.unless_one_comes(Box::pin(soak)).await
            }
            Command::Capacity(asked) if asked.check => {
                let (workspace, mut signals) = (Workspace::here()?, Signals::listen()?);
                let check = capacity::check::check(&workspace, asked.json, asked.seed, progress);
                signals.unless_one_comes(Box::pin(check)).await
            }
            Command::Capacity(asked) => {
                capacity::simulate(&asked.question(), asked.json, asked.plots.as_deref())
            }
            Command::Latency(latency) => {
                let (workspace, mut signals) = (Workspace::here()?, Signals::listen()?);
                let series = latency.series();
                let latency = latency::latency(&workspace, series, latency.json, progress);
                signals.unless_one_comes(Box::pin(latency)).await
            }
            // The model checker leaves nothing behind, so a signal may end the process at once.
            Command::Ledger { json } => ledger::prove(json, progress),
            Command::Cost(options) => cost::cost(&options),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_kill_needs_an_event() {
        let torture = |arguments: &[&str]| {
            let arguments = ["cargo prove", "torture"].iter().chain(arguments);
            match Cli::try_parse_from(arguments)?.command {
                Command::Torture(torture) => torture.campaign(),
                other => anyhow::bail!("{other:?}"),
            }
        };
        assert!(torture(&[]).is_ok());
        assert!(torture(&["--kills", "9", "--events", "9"]).is_ok());
        assert!(torture(&["--kills", "9", "--events", "8"]).is_err());
        assert!(torture(&["--kills", "0"]).is_err());
        assert!(torture(&["--kills", "1001", "--events", "10000"]).is_err());
        assert!(torture(&["--events", "100001"]).is_err());
    }

    #[test]
    fn the_tables_of_the_costs_take_no_load() {
        let cost = |arguments: &[&str]| {
            let arguments = ["cargo prove", "cost"].iter().chain(arguments);
            Cli::try_parse_from(arguments)
        };
        for tables in ["--markdown", "--write"] {
            assert!(cost(&[tables]).is_ok());
            for load in [
                ["--events-per-month", "5"],
                ["--burst", "2"],
                ["--seconds-apart", "1"],
                ["--architecture", "arm64"],
            ] {
                assert!(cost(&[load.as_slice(), &[tables]].concat()).is_err());
                assert!(cost(&load).is_ok());
            }
        }
        assert!(cost(&["--markdown", "--write"]).is_err());
    }

    #[test]
    fn a_soak_can_be_short_and_its_kills_are_few() {
        let soak = |arguments: &[&str]| {
            let arguments = ["cargo prove", "soak"].iter().chain(arguments);
            match Cli::try_parse_from(arguments)?.command {
                Command::Soak(soak) => soak.order(),
                other => anyhow::bail!("{other:?}"),
            }
        };
        assert_eq!(soak(&[]).unwrap().length, Duration::from_mins(10));
        assert!(soak(&["--minutes", "1", "--kills", "5"]).is_ok());
        assert!(soak(&["--minutes", "1", "--kills", "6"]).is_err());
        assert!(soak(&["--minutes", "0"]).is_err());
        assert!(soak(&["--schedule", "5"]).is_err());
        assert!(soak(&["--faults", "/no/such/plan.json"]).is_err());
    }
}
