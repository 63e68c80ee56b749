//! What is to go wrong with AURA's answers: the stand-in's faults, as its documentation has them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

/// The call for a token, as [`Fault`] and [`Call`](super::Call) name it.
pub const TOKEN: &str = "POST /oauth/token";
/// The registration of the webhook, as [`Fault`] and [`Call`](super::Call) name it.
pub const REGISTER: &str = "POST /notifiers/webhooks";

/// What goes wrong with the next calls of AURA's API. Those of one call happen in the order in
/// which they were ordered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fault {
    /// Which call: method and path below `/panic-api/v2`, as the routes write it, such as
    /// [`REGISTER`] or `GET /callouts/{id}`.
    pub call: String,
    /// How many of them.
    pub times: u32,
    /// Whether the call is done although its answer is another.
    pub done: bool,
    /// What the caller gets.
    pub answer: FaultyAnswer,
}

/// What is answered to a call that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultyAnswer {
    /// This one.
    Reply(Reply),
    /// The stand-in's own, changed by a JSON merge patch (RFC 7396). The call is done.
    Patch(Value),
    /// Half of the stand-in's own. The call is done.
    BreakOff,
    /// None, until the caller gives up.
    Hang,
    /// None: the connection is closed.
    HangUp,
}

/// An answer of the test's choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reply {
    /// From 200.
    pub status: u16,
    /// Such as a `location`.
    pub headers: BTreeMap<String, String>,
    /// A string goes as it is, so that it need not be JSON; `null` is no body.
    pub body: Value,
}

impl Fault {
    /// The next call is answered like this, and not done.
    #[must_use]
    pub fn once(call: &str, answer: FaultyAnswer) -> Self {
        Self {
            call: call.to_owned(),
            times: 1,
            done: false,
            answer,
        }
    }

    /// The next call is done, and its answer lost.
    #[must_use]
    pub fn lost_answer(call: &str) -> Self {
        Self {
            done: true,
            ..Self::once(call, FaultyAnswer::HangUp)
        }
    }
}

impl FaultyAnswer {
    /// AURA's form of a refusal: a status and a `message`.
    #[must_use]
    pub fn refusal(status: u16, message: &str) -> Self {
        Self::Reply(Reply {
            status,
            headers: BTreeMap::new(),
            body: json!({"message": message}),
        })
    }
}
