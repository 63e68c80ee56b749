//! The five dead-letter queues: what is in them, and how it goes back or is deleted.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use crate::consent::Consent;
use crate::quarantine::Done;
use crate::stack::Stack;

/// A dead-letter queue, by the queue that its messages came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Letters {
    /// The ingest queue: deliveries that couldn't be published in fifty tries.
    Ingest,
    /// The queue of events about callouts.
    Callout,
    /// The queue of events about customers.
    Customer,
    /// The queue of events about subscriptions.
    Subscription,
    /// The queue of events about everything else.
    Other,
}

/// What is in the dead letters, by queue, each the oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetters {
    /// The messages.
    pub messages: Vec<DeadLetter>,
    /// How many more there are, which this look couldn't see.
    pub more: u64,
}

/// A message in a dead-letter queue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// The queue that it came from.
    pub queue: Letters,
    /// The id that the commands take: the delivery id if there is one, otherwise the message id.
    pub id: String,
    /// SQS's id of the message.
    pub message_id: String,
    /// Why it is here, in a sentence.
    pub reason: String,
    /// When the delivery arrived.
    pub received_at: Option<Timestamp>,
    /// When it came into the dead letters.
    pub since: Option<Timestamp>,
    /// The event's name, if it can be read.
    pub message: Option<String>,
    /// The entity's key, such as `callout#5003`, if it can be read.
    pub entity: Option<String>,
    /// Whether AURA marked it as a drill; `None` if only the ledger knows.
    pub test: Option<bool>,
    /// What AURA sent, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// Lists what is in the dead letters of one queue, or of all.
///
/// # Errors
///
/// SQS refuses a call.
pub async fn list(_stack: &Stack, _queue: Option<Letters>) -> Result<DeadLetters> {
    todo!()
}

/// Shows one message.
///
/// # Errors
///
/// It isn't there, or SQS refuses a call.
pub async fn show(_stack: &Stack, _id: &str, _with_payload: bool) -> Result<DeadLetter> {
    todo!()
}

/// Puts messages back: those with these ids, or all. Without a consent, it only says what it would do.
///
/// # Errors
///
/// One of them isn't there, or an earlier event of its entity would stay behind; nobody agreed; or SQS refuses
/// a call.
pub async fn redrive(
    _stack: &Stack,
    _queue: Option<Letters>,
    _ids: Option<Vec<String>>,
    _consent: Option<Consent>,
) -> Result<Done> {
    todo!()
}

/// Deletes messages: those with these ids, or all.
///
/// # Errors
///
/// One of them isn't there, nobody agreed, or SQS refuses a call.
pub async fn discard(
    _stack: &Stack,
    _queue: Option<Letters>,
    _ids: Option<Vec<String>>,
    _consent: Consent,
) -> Result<Done> {
    todo!()
}

impl Display for DeadLetters {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl Display for DeadLetter {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
