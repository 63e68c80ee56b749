//! What became of one delivery.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::stack::Stack;
use crate::timeline::Happening;

/// What became of one delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The delivery's id.
    pub id: Uuid,
    /// What became of it, in a sentence.
    pub verdict: String,
    /// When it arrived, by its id.
    pub received_at: Option<Timestamp>,
    /// The entity's key, such as `callout#5003`, if the ledger knows the delivery.
    pub entity: Option<String>,
    /// What the ledger knows of it.
    pub events: Vec<Happening>,
    /// Where it waits now: `ingest dead letters`, `quarantine (conflict)`, `spill` and so on.
    pub waits_in: Vec<String>,
    /// What the logs say of it, in order.
    pub steps: Vec<Step>,
}

/// A line of a log about the delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The function that wrote it.
    pub function: String,
    /// What it says, such as `accepted` or `published`.
    pub what: String,
}

/// Reads what became of a delivery.
///
/// # Errors
///
/// AWS refuses a call.
pub async fn read(_stack: &Stack, _id: Uuid) -> Result<Delivery> {
    todo!()
}

impl Display for Delivery {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
