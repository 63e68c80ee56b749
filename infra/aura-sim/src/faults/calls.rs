//! The calls of AURA's API: their names, and the log of received calls.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Name of the call for a token, in faults and in the log of calls.
pub const TOKEN: &str = "POST /oauth/token";

/// Name of the call that registers a webhook, in faults and in the log of calls.
pub const REGISTER: &str = "POST /notifiers/webhooks";

/// Names of all calls, in faults and in the log of calls.
pub(crate) const CALLS: [&str; 10] = [
    TOKEN,
    REGISTER,
    "POST /customers",
    "POST /customers/{id}/callouts",
    "POST /predefinedLocations/externalRef/{ref}/callouts",
    "GET /callouts/activeCallouts",
    "GET /callouts/{id}",
    "POST /callouts/{id}/cancel",
    "GET /callouts/{id}/events",
    "POST /callouts/{id}/events",
];

/// Names of the calls that read callouts.
pub(crate) const POLLS: [&str; 3] = [
    "GET /callouts/activeCallouts",
    "GET /callouts/{id}",
    "GET /callouts/{id}/events",
];

/// A call of AURA's API that the stand-in received, without its headers and its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Method and path below `/panic-api/v2`. If there is a route, the path is the route's pattern.
    #[serde(rename = "call")]
    pub name: String,
    /// When the call arrived.
    pub at: Timestamp,
    /// Status of the answer; `None` if there was no answer.
    pub status: Option<u16>,
}

/// The log of calls, oldest first.
#[derive(Default)]
pub(crate) struct CallLog {
    log: Vec<Call>,
}

impl CallLog {
    pub(crate) fn all(&self) -> &[Call] {
        &self.log
    }

    /// Records a call, and returns its index in the log.
    pub(crate) fn begin(&mut self, name: String, at: Timestamp) -> usize {
        let status = None;
        self.log.push(Call { name, at, status });
        self.log.len() - 1
    }

    pub(crate) fn finish(&mut self, n: usize, status: StatusCode) {
        if let Some(call) = self.log.get_mut(n) {
            call.status = Some(status.as_u16());
        }
    }
}
