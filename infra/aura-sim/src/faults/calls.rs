//! The calls of AURA's API: how they are named, and which came.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

/// The calls, as faults and the log of calls name them.
pub(crate) const CALLS: [&str; 10] = [
    "POST /oauth/token",
    "POST /notifiers/webhooks",
    "POST /customers",
    "POST /customers/{id}/callouts",
    "POST /predefinedLocations/externalRef/{ref}/callouts",
    "GET /callouts/activeCallouts",
    "GET /callouts/{id}",
    "POST /callouts/{id}/cancel",
    "GET /callouts/{id}/events",
    "POST /callouts/{id}/events",
];

/// Those of them that read callouts.
pub(crate) const POLLS: [&str; 3] = [
    "GET /callouts/activeCallouts",
    "GET /callouts/{id}",
    "GET /callouts/{id}/events",
];

/// One call. Nothing of its headers and its body is kept.
#[derive(Serialize)]
pub(crate) struct Call {
    /// Method and path below `/panic-api/v2`: the route's pattern, if there is a route.
    #[serde(rename = "call")]
    name: String,
    at: Timestamp,
    /// The status that was answered; none if nothing was.
    status: Option<u16>,
}

/// Every call so far, oldest first.
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
