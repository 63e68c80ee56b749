//! The quarantine: what is in it, and how it goes back or is deleted.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::consent::Consent;
use crate::stack::Stack;

/// What is in the quarantine, the oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// The deliveries.
    pub deliveries: Vec<Quarantined>,
    /// How many more there are.
    pub more: u64,
}

/// A delivery in the quarantine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// The id that the commands take: the delivery id if there is one, otherwise the message id.
    pub id: String,
    /// SQS's id of the message.
    pub message_id: String,
    /// Why it is here, such as `not-json`.
    pub reason: String,
    /// What that means, in a sentence.
    pub meaning: String,
    /// Whether it can go back, and how.
    pub advice: String,
    /// When the delivery arrived.
    pub received_at: Option<Timestamp>,
    /// When it came into the quarantine.
    pub since: Option<Timestamp>,
    /// The event's name, if it can be read.
    pub message: Option<String>,
    /// The entity's key, such as `callout#5003`, if it can be read.
    pub entity: Option<String>,
    /// The size of the payload in bytes.
    pub bytes: Option<u64>,
    /// What AURA sent, if it was asked for: text, or base64 if it isn't text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
}

/// How a delivery goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// As it came.
    AsItIs,
    /// As a correction of an event that was published with another payload.
    AsCorrection,
}

/// What was put back or deleted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// What was done, in a sentence.
    pub what: String,
    /// The ids of the deliveries or messages.
    pub ids: Vec<String>,
}

/// Lists what is in the quarantine.
///
/// # Errors
///
/// SQS refuses a call.
pub async fn list(_stack: &Stack) -> Result<Quarantine> {
    todo!()
}

/// Shows one delivery.
///
/// # Errors
///
/// It isn't there, or SQS refuses a call.
pub async fn show(_stack: &Stack, _id: &str, _with_payload: bool) -> Result<Quarantined> {
    todo!()
}

/// Puts deliveries back into the ingest queue: those with these ids, or all.
///
/// # Errors
///
/// One of them isn't there or can't go back, nobody agreed, or SQS refuses a call.
pub async fn release(
    _stack: &Stack,
    _ids: Option<Vec<String>>,
    _how: Release,
    _consent: Consent,
) -> Result<Done> {
    todo!()
}

/// Deletes deliveries: those with these ids, or all.
///
/// # Errors
///
/// One of them isn't there, nobody agreed, or SQS refuses a call.
pub async fn discard(_stack: &Stack, _ids: Option<Vec<String>>, _consent: Consent) -> Result<Done> {
    todo!()
}

impl Display for Quarantine {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl Display for Quarantined {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

impl Display for Done {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
