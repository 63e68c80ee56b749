//! Callouts: their requests and their state.
//!
//! A callout is active until it is closed. The documentation doesn't say whether a cancelled
//! callout still counts as active. Here it does, because only `CALLOUT_CLOSED` announces the end.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::location::Position;

/// The body of `POST /customers/{customerId}/callouts`.
#[derive(Serialize, Deserialize)]
pub(crate) struct NewCallout {
    pub(crate) location: Position,
    #[serde(flatten)]
    pub(crate) emergency: Emergency,
}

/// The kind of help that a callout needs. The body of `POST
/// /predefinedLocations/externalRef/{ref}/callouts` has only these members. An absent number is 1.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Emergency {
    #[serde(default = "first")]
    pub(crate) response_type_id: u64,
    #[serde(default = "first")]
    pub(crate) callout_classification_id: u64,
}

fn first() -> u64 {
    1
}

impl Emergency {
    /// The classification of a real emergency.
    pub(crate) const REAL: u64 = 1;
    /// The classification of a test. Here, every other number is a real emergency.
    pub(crate) const TEST: u64 = 2;

    pub(crate) fn is_test(self) -> bool {
        self.callout_classification_id == Self::TEST
    }
}

/// The body of `POST /callouts/{id}/cancel`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cancellation {
    pub(crate) safe_code: Option<String>,
}

/// The body of `POST /callouts/{id}/events`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Remark {
    pub(crate) message: String,
}

/// One entry of a callout's event stream.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StreamEntry {
    pub(crate) id: u64,
    pub(crate) callout_id: u64,
    pub(crate) message: String,
    pub(crate) created_at: Timestamp,
}

/// An act of the control room on a callout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Controller {
    /// Dispatches a responder by hand.
    Dispatch,
    /// Records that a responder acknowledges, with an estimated time of arrival.
    Acknowledge,
    /// Records that a responder arrives on the scene.
    Arrive,
    /// Records that a responder is done.
    Complete,
    /// Takes ownership of the callout.
    Own,
    /// Closes the callout.
    Close,
}

/// Writes the name in the path of the call.
impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A responder on one callout, and the responder's progress.
#[derive(Clone)]
pub(crate) struct Responder {
    pub(crate) id: u64,
    pub(crate) dispatched_at: Timestamp,
    pub(crate) estimated_arrival_at: Option<Timestamp>,
    pub(crate) arrived_at: Option<Timestamp>,
    pub(crate) completed_at: Option<Timestamp>,
}

/// A callout: one emergency.
#[derive(Clone)]
pub(crate) struct Callout {
    pub(crate) id: u64,
    pub(crate) customer_id: Option<u64>,
    pub(crate) predefined_location_id: Option<u64>,
    pub(crate) position: Position,
    pub(crate) emergency: Emergency,
    pub(crate) created_at: Timestamp,
    /// The responders. The one who acted last is last.
    pub(crate) responders: Vec<Responder>,
    pub(crate) owner: Option<u64>,
    pub(crate) cancelled: bool,
    pub(crate) closed: bool,
    /// The event stream, oldest first.
    pub(crate) stream: Vec<StreamEntry>,
}

impl Responder {
    pub(crate) fn is_on_the_way(&self) -> bool {
        self.arrived_at.is_none() && self.completed_at.is_none()
    }

    pub(crate) fn is_on_scene(&self) -> bool {
        self.arrived_at.is_some() && self.completed_at.is_none()
    }
}

impl Callout {
    /// AURA's `status`, which is free text. `created`, `Responder Dispatched` and `Responder
    /// Cancelled` are documented. AURA has others too, but their texts are unknown.
    pub(crate) fn status(&self) -> &'static str {
        match self.responders.last() {
            _ if self.closed => "closed",
            Some(_) if self.cancelled => "Responder Cancelled",
            None if self.cancelled => "cancelled",
            None => "created",
            Some(last) if last.completed_at.is_some() => "Responder Completed",
            Some(last) if last.arrived_at.is_some() => "Responder Arrived",
            Some(_) => "Responder Dispatched",
        }
    }
}

/// A short form of a callout's state. No plan changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalloutState {
    /// Id of the callout.
    pub id: u64,
    /// AURA's `status`, which is free text.
    pub status: Cow<'static, str>,
    /// Whether the callout is closed.
    pub closed: bool,
    /// When the callout was raised. For a day's callouts, it is a time of the day's own clock.
    pub created_at: Timestamp,
}

impl CalloutState {
    pub(crate) fn of(callout: &Callout) -> Self {
        Self {
            id: callout.id,
            status: callout.status().into(),
            closed: callout.closed,
            created_at: callout.created_at,
        }
    }
}
