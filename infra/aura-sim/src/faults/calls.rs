//! The calls of AURA's API: how they are named, and which came.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The call for a token, as faults and the log of calls name it.
pub const TOKEN: &str = "POST /oauth/token";

/// The registration of the webhook, as faults and the log of calls name it.
pub const REGISTER: &str = "POST /notifiers/webhooks";

/// The calls, as faults and the log of calls name them.
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

/// The calls that read callouts.
pub(crate) const POLLS: [&str; 3] = [
    "GET /callouts/activeCallouts",
    "GET /callouts/{id}",
    "GET /callouts/{id}/events",
];

/// A call of AURA's API that the stand-in received. Its headers and its body are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Method and path below `/panic-api/v2`: the route's pattern, if there is a route.
    #[serde(rename = "call")]
    pub name: String,
    /// When it arrived.
    pub at: Timestamp,
    /// The status that was answered; `None` if nothing was.
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

    /// Writes a call down, and answers its place in the log.
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
