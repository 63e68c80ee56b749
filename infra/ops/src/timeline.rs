//! Everything that the ledger knows about an entity, in order.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::stack::Stack;

/// The events of an entity.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// The entity's kind.
    pub kind: String,
    /// The entity's id.
    pub id: String,
    /// Whether AURA has marked it as a drill.
    pub test: bool,
    /// Its events, in the order of their arrival.
    pub events: Vec<Happening>,
}

/// One event, or one occurrence of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// The key that each copy of the event carries.
    pub key: String,
    /// AURA's event name.
    pub message: String,
    /// The number of the occurrence, from 1.
    pub occurrence: u32,
    /// `PUBLISHED` or `CLAIMED`.
    pub state: String,
    /// When the delivery arrived.
    pub received_at: Option<Timestamp>,
    /// When it was marked as published.
    pub published_at: Option<Timestamp>,
    /// Milliseconds between the two.
    pub latency_milliseconds: Option<i64>,
    /// When the lease of the last try ends or ended, if the event isn't published.
    pub lease_until: Option<Timestamp>,
    /// Who reported it.
    pub origin: Option<String>,
    /// How often it was claimed.
    pub attempts: Option<i64>,
    /// The delivery that was published, or tried last.
    pub delivery_id: Option<String>,
    /// The bus's id of the event.
    pub bus_event_id: Option<String>,
}

/// Reads the timeline of an entity.
///
/// # Errors
///
/// DynamoDB refuses the call.
pub async fn read(_stack: &Stack, _kind: &str, _id: &str) -> Result<Timeline> {
    todo!()
}

impl Display for Timeline {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
