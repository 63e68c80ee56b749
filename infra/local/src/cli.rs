//! The command line of `cargo local`.

mod help;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, value_parser};

use crate::env::Reader;
use crate::package::Profile;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::soak::order::{
    LONGEST_SCHEDULE, MOST_MINUTES, Order, SHORTEST_SCHEDULE, USUAL_SCHEDULE, read_plan,
};
use crate::torture::campaign::{Campaign, MOST_EVENTS, MOST_KILLS};
use crate::workspace::Workspace;
use crate::{bridge, demo, env, events, fill, rotate, send, soak, torture, up};

use self::help::{DEMO_JSON, ROTATE_JSON, SOAK_JSON, TORTURE_JSON};

/// The whole system on this machine: the real template and functions on a local AWS, driven by a
/// stand-in for AURA.
#[derive(Debug, Parser)]
#[command(name = "cargo local", bin_name = "cargo local", max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring everything up and stay until Ctrl-C; deploy the code as it is now if it is up already
    Up {
        #[command(flatten)]
        build: Build,
        /// Port of the local AWS [default: 4566]
        #[arg(long)]
        port: Option<u16>,
        /// Listen on this address, too: that of a bridge of this machine, such as Docker's, lets
        /// containers in
        #[arg(long, value_name = "ADDRESS", value_parser = bridge::address)]
        also_on: Option<Ipv4Addr>,
    },
    /// Play one emergency, show what each stage did, and take everything down again
    ///
    /// Exits with 0 only if every event that AURA sent was published exactly once.
    #[command(after_help = DEMO_JSON)]
    Demo {
        #[command(flatten)]
        build: Build,
        /// Print the result as one JSON object, the last line of standard output
        #[arg(long)]
        json: bool,
    },
    /// Kill the processor again and again on busy days, with the ledger and the bus failing, and count
    ///
    /// Exits with 0 only if every event that AURA sent was published, and every copy beyond the first
    /// of one is explained: the processor was killed, or the bus's answer kept from it, after the
    /// publish and before the mark. The same seed makes the same events, the same kills in the same
    /// order and the same series of faults; which call meets which fault, and which events die with
    /// a processor, depends on timing and differs from run to run.
    #[command(after_help = TORTURE_JSON)]
    Torture(Torture),
    /// Play a long day at an AURA that is unreliable, and find out what it didn't tell
    ///
    /// Exits with 0 only if the opening and the closing of every callout is on the bus once, every
    /// callout's last published state is AURA's, nothing that was delivered is missing, and nineteen
    /// in twenty of the openings and closings that AURA told nobody of were found out within two
    /// runs of the reconciler. The same seed makes the same events and the same faults; which run
    /// finds out what, and what a killed one was at, depends on timing and differs.
    #[command(after_help = SOAK_JSON)]
    Soak(Soak),
    /// Post payload files to the running stack, with the right secret
    Send {
        /// Post all files this many times
        #[arg(long, default_value_t = 1, value_name = "N")]
        repeat: u32,
        /// Payloads, one a file
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print what was published since `cargo local up`, as JSON lines
    Events {
        /// Go on printing as events come, until the stack goes down
        #[arg(long)]
        follow: bool,
    },
    /// Print what points other tools at the running stack
    Env {
        /// Who is to read it
        #[arg(
            long = "for",
            value_enum,
            default_value = "shell",
            value_name = "READER"
        )]
        reader: Reader,
    },
    /// Print a sample event from infra/events/lambda with the running stack's values in it
    Fill {
        /// The event
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Give AURA and ingest a new secret on the running stack, while deliveries go on
    ///
    /// Secrets Manager does it, so Ctrl-C only ends the watching. The value before stays valid until
    /// the next rotation. A rotation that failed or was not finished is tried again instead of a new
    /// one.
    #[command(after_help = ROTATE_JSON)]
    Rotate {
        /// Print the result as one JSON object, the last line of standard output
        #[arg(long)]
        json: bool,
    },
    /// End the stack of `cargo local up`, or remove what a killed one left behind
    Down,
}

#[derive(Debug, Args)]
struct Build {
    /// Build the functions as for AWS: slow to build, small and fast
    #[arg(long)]
    release: bool,
}

#[derive(Debug, Args)]
struct Torture {
    /// What events, kills and faults are drawn from [default: another one each time]
    #[arg(long, value_name = "S")]
    seed: Option<u32>,
    /// How often a processor dies
    #[arg(long, default_value_t = 30, value_name = "N",
        value_parser = value_parser!(u32).range(1..=i64::from(MOST_KILLS)))]
    kills: u32,
    /// How many distinct events AURA has, at least one for each kill; duplicates come on top
    #[arg(long, default_value_t = 1000, value_name = "M",
        value_parser = value_parser!(u64).range(1..=MOST_EVENTS))]
    events: u64,
    /// Print the result as one JSON object, the last line of standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Soak {
    /// What events, faults and kills are drawn from [default: another one each time]
    #[arg(long, value_name = "S")]
    seed: Option<u32>,
    /// How long the day is; the end of it all comes about a minute later
    #[arg(long, default_value_t = 10, value_name = "N",
        value_parser = value_parser!(u32).range(1..=i64::from(MOST_MINUTES)))]
    minutes: u32,
    /// A JSON file with what goes wrong meanwhile, as `POST /_sim/plan` of AURA's stand-in takes it
    /// [default: a fifth of the deliveries dropped, a tenth doubled, a tenth out of order, and
    /// nothing sent for two minutes in ten]
    #[arg(long, value_name = "PLAN")]
    faults: Option<PathBuf>,
    /// Seconds from one run of the reconciler to the next
    #[arg(long, default_value_t = USUAL_SCHEDULE, value_name = "SECONDS",
        value_parser = value_parser!(u64).range(SHORTEST_SCHEDULE..=LONGEST_SCHEDULE))]
    schedule: u64,
    /// How often the reconciler is killed, at most every second run
    #[arg(long, default_value_t = 0, value_name = "K")]
    kills: u32,
    /// Print the result as one JSON object, the last line of standard output
    #[arg(long)]
    json: bool,
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
            "--events must be at least --kills: each kill needs work to come into"
        );
        let seed = self.seed.unwrap_or_else(rand::random);
        Ok(Campaign::new(seed, self.kills, self.events))
    }
}

impl Build {
    fn profile(&self) -> Profile {
        if self.release {
            Profile::Release
        } else {
            Profile::Dev
        }
    }
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    ///
    /// Says what went wrong and what to do about it;
    /// [`Interrupted`](crate::signals::Interrupted) if a signal ended it.
    pub async fn run(self) -> Result<()> {
        let workspace = Workspace::here()?;
        let progress = Progress::to_stderr();
        let mut signals = Signals::listen()?;
        match self.command {
            Command::Up {
                build,
                port,
                also_on,
            } => {
                let profile = build.profile();
                up::up(&workspace, profile, port, also_on, &mut signals, progress).await
            }
            Command::Demo { build, json } => {
                let demo = demo::demo(&workspace, build.profile(), json, progress);
                signals.unless_one_comes(Box::pin(demo)).await
            }
            Command::Torture(torture) => {
                let (campaign, json) = (torture.campaign()?, torture.json);
                let torture = torture::torture(&workspace, &campaign, json, progress);
                signals.unless_one_comes(Box::pin(torture)).await
            }
            Command::Soak(soak) => {
                let (order, json) = (soak.order()?, soak.json);
                let soak = soak::soak(&workspace, &order, json, progress);
                signals.unless_one_comes(Box::pin(soak)).await
            }
            Command::Send { repeat, files } => {
                signals
                    .unless_one_comes(send::send(&workspace, &files, repeat))
                    .await
            }
            Command::Events { follow } => {
                signals
                    .unless_one_comes(events::events(&workspace, follow))
                    .await
            }
            Command::Env { reader } => {
                let env = env::env(&workspace, reader);
                signals.unless_one_comes(Box::pin(env)).await
            }
            Command::Fill { file } => {
                let fill = fill::fill(&workspace, &file);
                signals.unless_one_comes(Box::pin(fill)).await
            }
            Command::Rotate { json } => {
                let rotate = rotate::rotate_running(&workspace, json, progress);
                signals.unless_one_comes(Box::pin(rotate)).await
            }
            Command::Down => {
                signals
                    .unless_one_comes(up::down(&workspace, progress))
                    .await
            }
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
            let arguments = ["cargo local", "torture"].iter().chain(arguments);
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
    fn a_soak_can_be_short_and_its_kills_are_few() {
        let soak = |arguments: &[&str]| {
            let arguments = ["cargo local", "soak"].iter().chain(arguments);
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

    #[test]
    fn the_stack_is_never_opened_to_the_world() {
        for open in ["0.0.0.0", "127.0.0.1", "203.0.113.1", "docker0"] {
            let up = ["cargo local", "up", "--also-on", open];
            Cli::try_parse_from(up).unwrap_err();
        }
    }

    #[test]
    fn send_needs_a_file() {
        assert!(Cli::try_parse_from(["cargo local", "send"]).is_err());
    }
}
