//! Whether anything is wrong, on one screen.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::stack::Stack;

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
    /// What needs a person, the most urgent first.
    pub needs: Vec<Need>,
    /// What AURA was told.
    pub registration: Registration,
    /// The queues on the event's path, in its order.
    pub queues: Vec<Depth>,
    /// Deliveries in the spill.
    pub spill: Spill,
    /// When AURA's last delivery arrived; `None` if there was none.
    pub last_delivery: Option<Timestamp>,
    /// The reconciler's last run; `None` if there was none within an hour.
    pub reconciler: Option<Run>,
    /// The last scheduled canary; `None` if there was none within an hour.
    pub canary: Option<LastCanary>,
}

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Need {
    /// What is wrong, in a sentence.
    pub what: String,
    /// The alarm whose section of the runbook says what to do, such as `DeadLettersAlarm`.
    pub alarm: String,
    /// The address of that section.
    pub runbook: String,
    /// Since when, as far as it is known.
    pub since: Option<Timestamp>,
}

/// What AURA was told about this endpoint.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// The URL that AURA delivers to.
    pub url: String,
    /// The events that AURA sends: names, or `ALL`.
    pub events: String,
    /// When it was registered last.
    pub at: Option<Timestamp>,
    /// How it was proven: the steps of that registration, and their times.
    pub proof: String,
    /// When the secret was rotated last; `None` if it never was, or isn't known.
    pub rotated_at: Option<Timestamp>,
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
    /// Seconds since the oldest message came; `None` if CloudWatch doesn't know yet, or the queue is empty.
    pub oldest_seconds: Option<u64>,
}

/// The spill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spill {
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

/// A scheduled canary.
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
pub async fn read(_stack: &Stack) -> Result<Status> {
    todo!()
}

/// Shows the status again and again, until Ctrl-C. Returns the last one.
///
/// # Errors
///
/// AWS refuses a call.
pub async fn watch(_stack: &Stack) -> Result<Status> {
    todo!()
}

impl Display for Status {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
