//! What waits in the spill, and why.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::stack::Stack;

/// What waits in the spill, the oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spill {
    /// The deliveries.
    pub deliveries: Vec<Spilled>,
    /// Why they wait, in a sentence.
    pub why: String,
}

/// A delivery in the spill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spilled {
    /// The delivery's id, or the item's sort key if it can't be read.
    pub id: String,
    /// The queue that it is for: `ingest` or `quarantine`.
    pub destination: Option<String>,
    /// When it arrived.
    pub received_at: Option<Timestamp>,
    /// The message group: the entity's key, such as `callout#5003`.
    pub entity: Option<String>,
    /// Why the reconciler can't put it back, if it can't.
    pub fault: Option<String>,
}

/// Lists what waits in the spill.
///
/// # Errors
///
/// DynamoDB refuses a call.
pub async fn list(_stack: &Stack) -> Result<Spill> {
    todo!()
}

impl Display for Spill {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
