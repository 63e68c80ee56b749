//! The command line of `cargo local`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::package::Profile;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::workspace::Workspace;
use crate::{demo, events, send, up};

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
    /// End the stack of `cargo local up`, or remove what a killed one left behind
    Down,
}

#[derive(Debug, Args)]
struct Build {
    /// Build the functions as for AWS: slow to build, small and fast
    #[arg(long)]
    release: bool,
}

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
    fn send_needs_a_file() {
        assert!(Cli::try_parse_from(["cargo local", "send"]).is_err());
    }
}
