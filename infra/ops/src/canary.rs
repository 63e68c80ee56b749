//! Has the registrar send a canary now, and follows it.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::stack::Stack;

/// The way of a canary.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryTrip {
    /// Its id.
    pub id: Uuid,
    /// The hops that it made, in order.
    pub hops: Vec<Hop>,
    /// Milliseconds from the request until it was published.
    pub milliseconds: u64,
}

/// One hop of the canary.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// What happened, such as `ingest has it`.
    pub what: String,
    /// When.
    pub at: Timestamp,
    /// Milliseconds since the hop before.
    pub milliseconds: i64,
}

/// Sends a canary.
///
/// # Errors
///
/// The registrar can't be called, or the canary didn't get to the bus. The error says how far it came.
pub async fn send(_stack: &Stack) -> Result<CanaryTrip> {
    todo!()
}

impl Display for CanaryTrip {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
