//! The command line of `aura-ops`.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::consent::Consent;
use crate::dead_letters::Letters;
use crate::quarantine::Release;
use crate::replay::{Receiver, Request};
use crate::stack::{Place, Stack};
use crate::{
    audit, canary, console, dead_letters, delivery, quarantine, register, replay, spill, status,
    timeline,
};

/// The environment variable with the stack's name.
const STACK: &str = "AURA_STACK";
/// Exit code of `status` if something needs a person.
const NEEDS_A_PERSON: u8 = 1;
/// Exit code of a command that failed.
const FAILED: u8 = 2;

/// Looks into a stack of aura-webhooks, and acts on what waits there.
#[derive(Debug, Parser)]
#[command(name = "aura-ops", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    place: PlaceOptions,
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Region and credentials are those of AWS's usual chain: AWS_REGION and AWS_PROFILE, SSO, or the environment.

Exit codes: 0 done; 1 `status` found something that needs a person; 2 the command failed, and said why.";

#[derive(Debug, Args)]
#[group(required = true)]
struct PlaceOptions {
    /// The stack on AWS
    #[arg(long, global = true, env = STACK, value_name = "NAME")]
    stack: Option<String>,
    /// The stack of `cargo local up`, in this checkout, also if `AURA_STACK` is set
    #[arg(long, global = true)]
    local: bool,
}

impl PlaceOptions {
    fn place(self) -> Place {
        match self.stack {
            Some(name) if !self.local => Place::Aws(name),
            _ => Place::Local,
        }
    }
}

impl Place {
    /// How a command for this stack begins, in a shell with this environment, and behind a backquote.
    fn typed(&self) -> String {
        match self {
            Self::Local => "`aura-ops --local ".to_owned(),
            Self::Aws(name) if std::env::var(STACK).is_ok_and(|stack| stack == *name) => {
                "`aura-ops ".to_owned()
            }
            Self::Aws(name) => format!("`aura-ops --stack {name} "),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show on one screen whether anything is wrong, and what to do about it
    Status {
        /// Show it again every five seconds, until Ctrl-C
        #[arg(long, conflicts_with = "json")]
        watch: bool,
    },
    /// Show everything that the ledger knows about an entity, in order
    Timeline {
        /// `callout`, `customer`, `subscription`, or another kind
        kind: String,
        /// AURA's id of it
        id: String,
    },
    /// Show what became of one delivery
    ///
    /// It reads the logs of the hours around the delivery, the quarantine, the dead letters, the spill, and the
    /// whole ledger.
    Delivery {
        /// The id that ingest gave the delivery
        id: Uuid,
    },
    /// Look into the quarantine, put a delivery back, or delete it
    Quarantine {
        #[command(subcommand)]
        command: Option<QuarantineCommand>,
    },
    /// Look into the dead-letter queues, put their messages back, or delete them
    #[command(alias = "dlq")]
    DeadLetters {
        #[command(subcommand)]
        command: Option<DeadLettersCommand>,
    },
    /// Show what waits in the spill
    Spill {
        #[command(subcommand)]
        command: Option<SpillCommand>,
    },
    /// Send published events to one consumer again, from the archive of the bus
    ///
    /// It says how many events it will send, and follows the replay to its end. Nobody else gets the events. Each
    /// has a `replay-name`, and the same `key` as before: a consumer that still has the key drops the event.
    /// docs/replay.md says how to make a consumer forget.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Replay {
        #[command(flatten)]
        options: Option<ReplayOptions>,
        #[command(subcommand)]
        command: Option<ReplayCommand>,
    },
    /// Send a canary now, and print the time of each hop
    Canary,
    /// Prove this endpoint, and point AURA at it
    Register {
        #[command(flatten)]
        consent: Yes,
    },
    /// Show who changed what with this command
    Audit {
        /// How many entries, the newest first
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// Serve the page of the stack on this machine, until Ctrl-C
    Console {
        /// The port [default: any free one]
        #[arg(
            long,
            default_value_t = 0,
            hide_default_value = true,
            value_name = "PORT"
        )]
        port: u16,
        /// Also offer to release, discard, redrive and register
        #[arg(long)]
        allow_actions: bool,
    },
}

#[derive(Debug, Subcommand)]
enum SpillCommand {
    /// List what waits in the spill, and why
    List,
}

#[derive(Debug, Subcommand)]
enum QuarantineCommand {
    /// List what is in the quarantine, and why, the oldest first
    ///
    /// SQS has no way to look: the messages are received, and given back at once. For the second or more that
    /// this takes, other readers don't see them. If it is killed meanwhile, they come back after 60 seconds.
    List,
    /// Show one delivery
    Show {
        #[command(flatten)]
        one: One,
        /// Also print what AURA sent: personal data
        #[arg(long)]
        payload: bool,
    },
    /// Put deliveries back into the ingest queue, under their own delivery ids
    ///
    /// The ledger drops what was published meanwhile. A delivery that fails again comes back into the quarantine.
    /// With --all, what can't go back stays.
    Release {
        #[command(flatten)]
        which: Which,
        /// Publish a conflict as a correction: with a key of its own, and the origin `operator`
        #[arg(long)]
        as_correction: bool,
        #[command(flatten)]
        consent: Yes,
    },
    /// Delete deliveries for good
    Discard {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        consent: Yes,
    },
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// List what is in the dead letters, and why, the oldest first
    ///
    /// SQS has no way to look: the messages are received, and given back at once. For the second or more that
    /// this takes, other readers don't see them. If it is killed meanwhile, they come back after 60 seconds.
    /// Of the ingest queue's dead letters, SQS shows up to ten of an entity. The list says how many more there are;
    /// SQS's counts may be a minute old.
    List {
        #[command(flatten)]
        queue: QueueOption,
    },
    /// Show one message
    Show {
        #[command(flatten)]
        one: One,
        /// Also print what AURA sent: personal data
        #[arg(long)]
        payload: bool,
    },
    /// Put messages back into the queue that they came from, or send them to the backend again
    ///
    /// The events of one entity keep their order. With --all, those that no look could show follow. Nothing behind
    /// a consumer's queue looks into the ledger, so a consumer that doesn't store keys may act twice.
    Redrive {
        #[command(flatten)]
        queue: QueueOption,
        #[command(flatten)]
        which: Which,
        /// Only say what would be put back
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        consent: Yes,
    },
    /// Delete messages for good
    Discard {
        #[command(flatten)]
        queue: QueueOption,
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        consent: Yes,
    },
}

#[derive(Debug, Subcommand)]
enum ReplayCommand {
    /// Stop a replay, and remove the rule that it had made
    ///
    /// A replay removes its own rule. It can't if it was killed. `aura-ops audit` has the names of replays.
    Stop {
        /// The name of the replay
        name: String,
        #[command(flatten)]
        consent: Yes,
    },
}

#[derive(Debug, Args)]
struct ReplayOptions {
    /// The first second of the events' arrival, such as 2026-11-28T19:00:00Z or 2026-11-28T21:00:00+02:00
    #[arg(long, value_name = "TIME")]
    from: Timestamp,
    /// The end: no event that arrived at this second or later
    #[arg(long, value_name = "TIME")]
    to: Timestamp,
    /// Only events about this kind of entity, such as `callout`; with --to-queue
    #[arg(long)]
    kind: Option<String>,
    /// Only events about the entity with this id
    #[arg(long, requires = "kind")]
    id: Option<String>,
    /// Only events with this name, such as `NEW_CALLOUT`; with --to-queue
    #[arg(long, value_name = "NAME")]
    message: Option<String>,
    /// Send them to the targets of this rule of the bus
    #[arg(
        long,
        value_name = "RULE",
        required_unless_present = "to_queue",
        conflicts_with = "to_queue"
    )]
    to_rule: Option<String>,
    /// Send them to this queue, and of all events only those that the queue's own rule takes
    #[arg(long, value_name = "URL")]
    to_queue: Option<String>,
    /// Seconds to wait until EventBridge knows the replay's rule everywhere, and before the rule is removed
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl ReplayOptions {
    /// What is replayed, and the consent; `None` if nothing shall be changed.
    fn request(self) -> (Request, Option<Consent>) {
        let consent = (!self.dry_run).then(|| Consent::of_option(self.yes));
        let request = Request {
            from: self.from,
            to: self.to,
            kind: self.kind,
            id: self.id,
            message: self.message,
            receiver: match self.to_rule {
                Some(rule) => Receiver::Rule(rule),
                None => Receiver::Queue(self.to_queue.unwrap_or_default()),
            },
            wait: Duration::from_secs(self.wait),
        };
        (request, consent)
    }
}

#[derive(Debug, Args)]
struct QueueOption {
    /// Only the dead letters of this queue
    #[arg(long, value_enum, value_name = "QUEUE")]
    queue: Option<Letters>,
}

/// One message.
#[derive(Debug, Args)]
struct One {
    /// Its delivery id, or its message id if the list shows no delivery id
    id: String,
}

/// Some messages, or all of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Their delivery ids, or their message ids if the list shows no delivery ids
    ids: Vec<String>,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct Yes {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl Yes {
    fn consent(&self) -> Consent {
        Consent::of_option(self.yes)
    }
}

impl Which {
    /// The ids; none stands for all.
    fn ids(self) -> Option<Vec<String>> {
        (!self.all).then_some(self.ids)
    }
}

impl Cli {
    /// Does what the command line says, and returns the exit code.
    pub async fn run(self) -> ExitCode {
        match Box::pin(self.try_to_run()).await {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(FAILED)
            }
        }
    }

    async fn try_to_run(self) -> Result<ExitCode> {
        let Self {
            place,
            json,
            command,
        } = self;
        let place = place.place();
        let out = &Out {
            json,
            typed: place.typed(),
        };
        let stack = &Stack::find(&place).await?;
        match command {
            Command::Status { watch } => {
                let status = if watch {
                    status::watch(stack).await?
                } else {
                    status::read(stack).await?
                };
                out.print(&status)?;
                let code = if status.needs.is_empty() {
                    0
                } else {
                    NEEDS_A_PERSON
                };
                return Ok(ExitCode::from(code));
            }
            Command::Timeline { kind, id } => {
                out.print(&timeline::read(stack, &kind, &id).await?)?;
            }
            Command::Delivery { id } => out.print(&delivery::read(stack, id).await?)?,
            Command::Quarantine { command } => {
                let command = command.unwrap_or(QuarantineCommand::List);
                run_quarantine(stack, command, out).await?;
            }
            Command::DeadLetters { command } => {
                let list = DeadLettersCommand::List {
                    queue: QueueOption { queue: None },
                };
                run_dead_letters(stack, command.unwrap_or(list), out).await?;
            }
            Command::Spill { .. } => out.print(&spill::list(stack).await?)?,
            Command::Replay { options, command } => {
                run_replay(stack, options, command, out).await?;
            }
            Command::Canary => out.print(&canary::send(stack).await?)?,
            Command::Register { consent } => {
                let registered = Box::pin(register::register(stack, consent.consent()));
                out.print(&registered.await?)?;
            }
            Command::Audit { limit } => out.print(&audit::read(stack, limit).await?)?,
            Command::Console {
                port,
                allow_actions,
            } => console::serve(stack, port, allow_actions).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn run_quarantine(stack: &Stack, command: QuarantineCommand, out: &Out) -> Result<()> {
    match command {
        QuarantineCommand::List => out.print(&quarantine::list(stack).await?),
        QuarantineCommand::Show { one, payload } => {
            out.print(&quarantine::show(stack, &one.id, payload).await?)
        }
        QuarantineCommand::Release {
            which,
            as_correction,
            consent,
        } => {
            let release = if as_correction {
                Release::AsCorrection
            } else {
                Release::AsItIs
            };
            let released = quarantine::release(stack, which.ids(), release, consent.consent());
            out.print(&released.await?)
        }
        QuarantineCommand::Discard { which, consent } => {
            out.print(&quarantine::discard(stack, which.ids(), consent.consent()).await?)
        }
    }
}

async fn run_replay(
    stack: &Stack,
    options: Option<ReplayOptions>,
    command: Option<ReplayCommand>,
    out: &Out,
) -> Result<()> {
    if let Some(ReplayCommand::Stop { name, consent }) = command {
        return out.print(&replay::stop(stack, &name, consent.consent()).await?);
    }
    let options = options.context("say which events, with --from and --to")?;
    let (request, consent) = options.request();
    let replayed = Box::pin(replay::replay(stack, &request, consent));
    out.print(&replayed.await?)
}

async fn run_dead_letters(stack: &Stack, command: DeadLettersCommand, out: &Out) -> Result<()> {
    match command {
        DeadLettersCommand::List { queue } => {
            out.print(&dead_letters::list(stack, queue.queue).await?)
        }
        DeadLettersCommand::Show { one, payload } => {
            out.print(&dead_letters::show(stack, &one.id, payload).await?)
        }
        DeadLettersCommand::Redrive {
            queue,
            which,
            dry_run,
            consent,
        } => {
            let consent = (!dry_run).then(|| consent.consent());
            let redriven = dead_letters::redrive(stack, queue.queue, which.ids(), consent);
            out.print(&redriven.await?)
        }
        DeadLettersCommand::Discard {
            queue,
            which,
            consent,
        } => {
            let discarded =
                dead_letters::discard(stack, queue.queue, which.ids(), consent.consent());
            out.print(&discarded.await?)
        }
    }
}

/// Where results are printed, and how.
struct Out {
    json: bool,
    /// How a command for this stack begins, behind the backquote with which texts mark it.
    typed: String,
}

impl Out {
    /// Prints a view to standard output. The commands that it tells are those for this stack.
    fn print(&self, view: &(impl Serialize + Display)) -> Result<()> {
        let text = if self.json {
            serde_json::to_string(view)?
        } else {
            view.to_string().replace("`aura-ops ", &self.typed)
        };
        match writeln!(io::stdout(), "{text}") {
            // The reader has seen enough, as in `aura-ops timeline callout 5003 | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            printed => printed.context("cannot print the result"),
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
    fn a_replay_needs_a_time_and_one_receiver_and_its_stop_needs_neither() {
        let span = [
            "--from",
            "2026-11-28T19:00:00Z",
            "--to",
            "2026-11-28T23:00:00+02:00",
        ];
        let parses = |arguments: &[&str]| {
            let all = [&["aura-ops", "--local", "replay"], arguments].concat();
            match Cli::try_parse_from(all).map(|cli| cli.command) {
                Ok(Command::Replay { options, command }) => options.is_some() != command.is_some(),
                _ => false,
            }
        };
        assert!(parses(&[&span[..], &["--to-rule", "r"]].concat()));
        assert!(parses(
            &[&span[..], &["--to-queue", "q", "--kind", "k", "--id", "1"]].concat()
        ));
        assert!(parses(&["stop", "name", "--yes"]));
        assert!(!parses(&[]));
        assert!(!parses(&span));
        assert!(!parses(&["--to-rule", "r"]));
        assert!(!parses(
            &[&span[..], &["--to-rule", "r", "--to-queue", "q"]].concat()
        ));
        assert!(!parses(
            &[&span[..], &["--to-queue", "q", "--id", "1"]].concat()
        ));
    }
}
