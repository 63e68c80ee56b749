//! Whether anything is wrong, on one screen: `sources` reads it, `queues` names the queues, `needs`
//! decides what needs a person, and `text` writes it.

mod needs;
mod queues;
mod sources;
mod text;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::stack::Stack;

/// The time between two looks of [`watch`].
const PAUSE: Duration = Duration::from_secs(5);
/// Clears a terminal, and goes to its first line.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// What a person wants to know first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The stack's name.
    pub stack: String,
    /// The region.
    pub region: String,
    /// When this was read.
    pub at: Timestamp,
    /// Whether the stack was made within the last half an hour: then two of its alarms ring until its
    /// schedules have done something.
    pub is_new: bool,
    /// What needs a person, the most urgent first.
    pub needs: Vec<Need>,
    /// The stack's alarms.
    pub alarms: Alarms,
    /// What AURA was told.
    pub registration: Registration,
    /// The queues on the event's path, in its order.
    pub queues: Vec<Depth>,
    /// Deliveries in the spill.
    pub spill: SpillDepth,
    /// When AURA's last delivery arrived; `None` if there was none.
    pub last_delivery: Option<Timestamp>,
    /// Whether the reconciler runs by schedule.
    pub reconciler_scheduled: bool,
    /// The reconciler's last run; `None` if there was none within an hour.
    pub reconciler: Option<Run>,
    /// Whether the registrar sends canaries by schedule.
    pub canary_scheduled: bool,
    /// The last canary of the schedule or of an operator; `None` if there was none within an hour.
    pub canary: Option<LastCanary>,
}

/// How many alarms the stack has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alarms {
    /// All of them.
    pub count: usize,
    /// Those in the state `ALARM`.
    pub ringing: usize,
    /// Those that had no data yet.
    pub without_data: usize,
}

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Need {
    /// What is wrong, in a sentence or two.
    pub what: String,
    /// The alarm whose section of the runbook says what to do, such as `DeadLettersAlarm`.
    pub alarm: String,
    /// Whether that alarm rings. If not, this look has found out what the alarm doesn't say yet.
    pub rings: bool,
    /// The address of that section.
    pub runbook: String,
    /// The command that looks closer, if there is one. It changes nothing.
    pub command: Option<&'static str>,
    /// Since when, as far as it is known.
    pub since: Option<Timestamp>,
}

/// What AURA was told about this endpoint.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Whether no deployment of the stack registers it.
    pub is_standby: bool,
    /// The stack's URL. AURA delivers to it, unless the stack is a standby.
    pub url: String,
    /// The events that AURA sends: names, or `ALL`.
    pub events: String,
    /// When it was registered last; `None` for a standby that nobody has registered within a day.
    pub at: Option<Timestamp>,
    /// How it was proven: the steps of that registration, and their times.
    pub proof: String,
    /// When the secret was rotated last; `None` if it wasn't within a day.
    pub rotated_at: Option<Timestamp>,
}

impl Registration {
    /// Where AURA delivers, in words.
    #[must_use]
    pub fn address(&self) -> String {
        if self.is_standby && self.at.is_none() {
            return format!(
                "unknown: this stack is a standby (Register is false), and has not registered {} \
                 within a day",
                self.url
            );
        }
        self.url.clone()
    }
}

/// How many messages wait in a queue.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Depth {
    /// The queue in this system's words, such as `ingest` or `callout dead letters`.
    pub name: String,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that somebody works on, or that failed and wait for their next try.
    pub hidden: u64,
    /// Seconds since the oldest message came; `None` if CloudWatch doesn't know yet, or the queue is
    /// empty.
    pub oldest_seconds: Option<u64>,
}

/// The spill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpillDepth {
    /// Deliveries that wait.
    pub waiting: usize,
    /// When the oldest of them arrived.
    pub oldest: Option<Timestamp>,
}

/// A run of the reconciler.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// When it ended.
    pub at: Timestamp,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Openings, closings and states of callouts that AURA hadn't delivered.
    pub found: u64,
    /// Callouts that it left to the next run.
    pub unsettled: u64,
}

/// A canary of the schedule or of an operator.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastCanary {
    /// When it ended.
    pub at: Timestamp,
    /// Milliseconds from its request until it was published; `None` if it failed.
    pub milliseconds: Option<u64>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// Reads the status.
///
/// # Errors
///
/// AWS refuses a call.
pub async fn read(stack: &Stack) -> Result<Status> {
    sources::read(stack, Timestamp::now()).await
}

/// Shows the status again and again, until Ctrl-C. Returns the last one.
///
/// # Errors
///
/// AWS refuses a call of the first look. Later, the screen shows the error, and the status before
/// it.
pub async fn watch(stack: &Stack) -> Result<Status> {
    // From here on, so that a Ctrl-C during the first look isn't lost.
    let mut stop = signal(SignalKind::interrupt()).context("Ctrl-C can't be heard")?;
    let mut last = read(stack).await?;
    let mut failure = String::new();
    loop {
        show(&format!("{last}\n{failure}\nCtrl-C ends this."));
        let next = async {
            tokio::time::sleep(PAUSE).await;
            read(stack).await
        };
        tokio::select! {
            _ = stop.recv() => break,
            next = next => match next {
                Ok(status) => (last, failure) = (status, String::new()),
                Err(error) => failure = format!("\nIt couldn't be read again: {error:#}\n"),
            }
        }
    }
    show("");
    Ok(last)
}

/// Shows a text on an empty screen. If nobody reads it, there is nothing to do.
fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{CLEAR}{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status of a stack on which nothing is wrong.
    pub(super) fn healthy() -> Status {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let depth = |queue: &queues::Queue| Depth {
            name: queue.name.to_owned(),
            waiting: 0,
            hidden: 0,
            oldest_seconds: None,
        };
        Status {
            stack: "aura-webhooks".to_owned(),
            region: "eu-west-1".to_owned(),
            at: time("2026-11-28T21:00:00Z"),
            is_new: false,
            needs: Vec::new(),
            alarms: Alarms {
                count: 36,
                ringing: 0,
                without_data: 4,
            },
            registration: Registration {
                is_standby: false,
                url: "https://example.com/aura/events".to_owned(),
                events: "ALL".to_owned(),
                at: Some(time("2026-11-28T20:55:00Z")),
                proof: "Token: granted (3 ms); Canary: published (312 ms); Registration: done (20 ms); \
                        Confirmation: as asked (0 ms)"
                    .to_owned(),
                rotated_at: None,
            },
            queues: queues::QUEUES.iter().map(depth).collect(),
            spill: SpillDepth {
                waiting: 0,
                oldest: None,
            },
            last_delivery: Some(time("2026-11-28T20:59:00Z")),
            reconciler_scheduled: true,
            reconciler: Some(Run {
                at: time("2026-11-28T20:59:30Z"),
                failure: None,
                found: 0,
                unsettled: 0,
            }),
            canary_scheduled: true,
            canary: Some(LastCanary {
                at: time("2026-11-28T20:58:00Z"),
                milliseconds: Some(312),
                failure: None,
            }),
        }
    }
}
