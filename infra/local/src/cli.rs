//! The command line of `cargo local`.

mod help;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::env::Reader;
use crate::{bridge, demo, drill, env, events, fill, rotate, send, up};
use stack::package::Profile;
use stack::progress::Progress;
use stack::signals::Signals;
use stack::workspace::Workspace;

use self::help::{DEMO_JSON, DRILL_JSON, ROTATE_JSON};

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
    /// Bring everything up and stay until Ctrl-C; if it is up already, deploy the current code
    Up {
        #[command(flatten)]
        build: Build,
        /// Port of the local AWS [default: 4566]
        #[arg(long)]
        port: Option<u16>,
        /// Also listen on this address of a bridge of this machine, such as Docker's, so that
        /// containers reach the stack
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
        /// Start the page of `aura-ops console`, too, and keep everything up until Enter
        #[arg(long)]
        console: bool,
    },
    /// Break something, wait for its alarm, mend it as the runbook says, and count every event
    ///
    /// Each drill has a stack of its own. Exits with 0 only if each alarm was raised and ended, each
    /// command of the runbook worked, and every event was counted where it belongs. The alarms' periods
    /// are divided by 20.
    #[command(after_help = DRILL_JSON)]
    Drill {
        #[command(flatten)]
        build: Build,
        /// The drill; `all` runs all of them
        #[arg(default_value = "all", value_name = "NAME")]
        name: String,
        /// How many drills run at once
        #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
        at_once: u8,
        /// Print the result as one JSON object, the last line of standard output
        #[arg(long)]
        json: bool,
    },
    /// Post payload files to the running stack, with the right secret
    Send {
        /// Post all files this many times
        #[arg(long, default_value_t = 1, value_name = "N")]
        repeat: u32,
        /// Files with one payload each
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print what was published since `cargo local up`, as JSON lines
    Events {
        /// Keep printing new events until the stack goes down
        #[arg(long)]
        follow: bool,
    },
    /// Print the variables that point other tools at the running stack
    Env {
        /// The tool that reads the variables
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
        /// The sample event
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Give AURA and ingest a new secret on the running stack, while deliveries go on
    ///
    /// Secrets Manager does the rotation, so Ctrl-C only stops showing it. The old value stays valid
    /// until the next rotation. If the last rotation failed or was not finished, that one is tried
    /// again.
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
    /// Build the functions as for AWS: slower to build, but smaller and faster
    #[arg(long)]
    release: bool,
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
    /// Says what went wrong and what to do about it. [`Interrupted`](stack::signals::Interrupted) if
    /// a signal ended the command.
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
            Command::Demo {
                build,
                json,
                console,
            } => {
                let demo = demo::demo(&workspace, build.profile(), json, console, progress);
                signals.unless_one_comes(Box::pin(demo)).await
            }
            Command::Drill {
                build,
                name,
                at_once,
                json,
            } => {
                let drills = drill::named(&name)?;
                let (at_once, profile) = (at_once.into(), build.profile());
                let drill = drill::drill(&workspace, drills, at_once, profile, json, progress);
                signals.unless_one_comes(Box::pin(drill)).await
            }
            Command::Send { repeat, files } => {
                let send = send::send(&workspace, &files, repeat);
                signals.unless_one_comes(send).await
            }
            Command::Events { follow } => {
                let events = events::events(&workspace, follow);
                signals.unless_one_comes(events).await
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
                let down = up::down(&workspace, progress);
                signals.unless_one_comes(down).await
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
