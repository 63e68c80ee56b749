//! Callouts: what is asked for, and what is known of each.
//!
//! A callout is active until it is closed. The documentation doesn't say whether a cancelled
//! callout still counts as active; here it does, because only `CALLOUT_CLOSED` says the end.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::location::Position;

/// The body of `POST /customers/{customerId}/callouts`.
#[derive(Deserialize)]
pub(crate) struct NewCallout {
    pub(crate) location: Position,
    #[serde(flatten)]
    pub(crate) emergency: Emergency,
}

/// What kind of help is asked for. It is all that the body of
/// `POST /predefinedLocations/externalRef/{ref}/callouts` may say, and an absent number is 1.
#[derive(Clone, Copy, Deserialize)]
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
    /// The classification that is a test here; every other number is a real emergency.
    pub(crate) const TEST: u64 = 2;

    pub(crate) fn is_test(self) -> bool {
        self.callout_classification_id == Self::TEST
    }
}

/// The body of `POST /callouts/{id}/cancel`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cancellation {
    pub(crate) safe_code: Option<String>,
}

/// The body of `POST /callouts/{id}/events`.
#[derive(Deserialize)]
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

/// What the control room can do with a callout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Controller {
    Dispatch,
    Acknowledge,
    Arrive,
    Complete,
    Own,
    Close,
}

/// A responder on one callout, and how far the response is.
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
    /// The one who acted last stands last.
    pub(crate) responders: Vec<Responder>,
    pub(crate) owner: Option<u64>,
    pub(crate) cancelled: bool,
    pub(crate) closed: bool,
    /// What was added to it, oldest first.
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
    /// AURA's free text. `created`, `Responder Dispatched` and `Responder Cancelled` are
    /// documented; the others exist there too, under names that are not known.
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
