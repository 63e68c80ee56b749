//! The command line of `cargo local`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, value_parser};

use crate::package::Profile;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::torture::campaign::{Campaign, MOST_EVENTS, MOST_KILLS};
use crate::workspace::Workspace;
use crate::{demo, events, rotate, send, torture, up};

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

const TORTURE_JSON: &str = "\
The JSON object:
  seed         what all was drawn from
  planned      distinct events of the campaign
  events       distinct events that AURA sent
  kills        how often the processor died, by where it was hit
  faults       calls to the ledger and the bus that went wrong
  sent, accepted, published, duplicates, quarantined, lost, doubled, strangers
  quarantineDepth, spillDepth, deadLetterDepth
               as in `cargo local demo --json`
  doubles      every copy beyond the first: key, when the copy before it was published and when
               this one, and the reason: killed (with moment and at), answerLost; or, none of
               which may be, marked (with at), notPublished, receivedTwice, unexplained
  unexplained  how many of the doubles have one of the last four reasons
  differences  where the ledger isn't as it must be after what consumers received
  violations   where consumers received something else than AURA sent, or not in its order
  seconds      from the first event to the last count";

const ROTATE_JSON: &str = "\
The JSON object:
  versionId    the version of the secret that is current now
  steps        the rotation's steps in order: step, and how many seconds the registrar took
  seconds      from the call to the end of the last step";

const DEMO_JSON: &str = "\
The JSON object:
  sent         deliveries that AURA made
  accepted     deliveries that ingest answered 202 accepted
  published    deliveries that the consumers' queues received, each counted once
  duplicates   deliveries not published because another one of the same event was
  quarantined  deliveries that ingest answered 202 quarantined
  lost         deliveries in none of the last three classes
  doubled      copies that consumers received beyond the first of each event
  strangers    events that consumers received and AURA never sent
  quarantineDepth, spillDepth, deadLetterDepth
               what waits in the quarantine queue, in the spill and in all dead letter queues
  seconds      from the story's first call to the last count
  setupSeconds from the command's start to the story's first call
  zipBytes     size of each function's zip";

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
        let workspace = Workspace::here();
        let progress = Progress::to_stderr();
        let mut signals = Signals::listen()?;
        match self.command {
            Command::Up { build, port } => {
                up::up(&workspace, build.profile(), port, &mut signals, progress).await
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
    fn send_needs_a_file() {
        assert!(Cli::try_parse_from(["cargo local", "send"]).is_err());
    }
}
