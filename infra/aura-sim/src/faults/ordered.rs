//! Faults that are ordered for the next calls of AURA's API.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    faults::calls::CALLS,
    world::{refusal::Refusal, registration::checked_headers},
};

/// The message for an order that can't be read.
const SHAPE: &str = r#"a fault is {"call": "POST /customers", "times": 1, "done": false, "answer": …}, where the answer is {"reply": {"status": 500, "headers": {}, "body": {}}}, {"patch": {}}, "breakOff", "hang" or "hangUp""#;

/// A fault of the next calls of one kind. Faults of one call happen in the order in which they were
/// ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Method and path below `/panic-api/v2`, as the routes write it, such as
    /// [`REGISTER`](super::REGISTER) or `GET /callouts/{id}`.
    pub call: String,
    /// Number of calls that have the fault.
    #[serde(default = "once")]
    pub times: u32,
    /// Whether the stand-in still does the call.
    #[serde(default)]
    pub done: bool,
    /// The answer that the caller gets.
    pub answer: FaultyAnswer,
}

/// The answer to a call with a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultyAnswer {
    /// Sends this reply in place of the stand-in's own answer.
    Reply(Reply),
    /// Sends the stand-in's own answer, changed by a JSON merge patch (RFC 7396). The call is done.
    Patch(Value),
    /// Sends the first half of the stand-in's own answer. The call is done.
    BreakOff,
    /// Sends nothing for as long as the caller waits.
    Hang,
    /// Closes the connection without an answer.
    HangUp,
}

/// An answer that the test chooses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// HTTP status, from 200 to 999.
    pub status: u16,
    /// HTTP headers, such as `location`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body. A string is sent as plain text, so it need not be JSON. `null` means no body.
    #[serde(default)]
    pub body: Value,
}

/// The ordered faults that have not happened yet, oldest first.
#[derive(Default)]
pub(crate) struct Faults {
    waiting: Vec<Fault>,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// Makes a fault for the next call: it is not done, and gets this answer.
    #[must_use]
    pub fn once(call: &str, answer: FaultyAnswer) -> Self {
        Self {
            call: call.to_owned(),
            times: 1,
            done: false,
            answer,
        }
    }

    /// Makes a fault for the next call: it is done, and its answer is lost.
    #[must_use]
    pub fn lost_answer(call: &str) -> Self {
        Self {
            done: true,
            ..Self::once(call, FaultyAnswer::HangUp)
        }
    }

    /// Reads and checks an order. A refusal says what is allowed.
    pub(crate) fn read(order: Value) -> Result<Self, Refusal> {
        let fault: Self = serde_json::from_value(order)
            .map_err(|error| Refusal::Malformed(format!("{error}: {SHAPE}")))?;
        if !CALLS.contains(&fault.call.as_str()) {
            let (call, known) = (fault.call, CALLS.join(", "));
            let message = format!("call {call} is unknown: the calls are {known}");
            return Err(Refusal::Malformed(message));
        }
        if fault.times == 0 {
            return Err(Refusal::Malformed("times is at least 1".to_owned()));
        }
        if let FaultyAnswer::Reply(reply) = &fault.answer {
            reply.clone().response()?;
        }
        Ok(fault)
    }

    /// Whether the stand-in still does the call. It does so if it needs its own answer.
    pub(crate) fn is_done(&self) -> bool {
        let own = matches!(self.answer, FaultyAnswer::Patch(_) | FaultyAnswer::BreakOff);
        self.done || own
    }
}

impl FaultyAnswer {
    /// Makes a refusal in AURA's form: a status and a `message`.
    #[must_use]
    pub fn refusal(status: u16, message: &str) -> Self {
        Self::Reply(Reply {
            status,
            headers: BTreeMap::new(),
            body: json!({"message": message}),
        })
    }
}

impl Reply {
    /// Makes the HTTP response. A refusal names the part that HTTP can't carry.
    pub(crate) fn response(self) -> Result<Response, Refusal> {
        let status = StatusCode::from_u16(self.status)
            .ok()
            // A status below 200 is never the final answer of a call.
            .filter(|status| status.as_u16() >= 200)
            .ok_or_else(|| Refusal::Malformed("status is 200 to 999".to_owned()))?;
        let mut response = match self.body {
            Value::Null => ().into_response(),
            Value::String(text) => text.into_response(),
            json => Json(json).into_response(),
        };
        *response.status_mut() = status;
        response
            .headers_mut()
            .extend(checked_headers(&self.headers)?);
        Ok(response)
    }
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    /// Takes the oldest fault that waits for this call.
    pub(crate) fn take(&mut self, call: &str) -> Option<Fault> {
        let n = self.waiting.iter().position(|fault| fault.call == call)?;
        let fault = self.waiting.get_mut(n)?;
        fault.times -= 1;
        if fault.times == 0 {
            return Some(self.waiting.remove(n));
        }
        Some(fault.clone())
    }

    /// Removes every fault, and returns their number.
    pub(crate) fn clear(&mut self) -> usize {
        self.waiting.drain(..).count()
    }

    /// Number of faults that wait.
    pub(crate) fn count(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(call: &str, times: u32) -> Fault {
        Fault::read(json!({"call": call, "times": times, "answer": "hang"})).unwrap()
    }

    #[test]
    fn faults_are_taken_oldest_first_each_as_often_as_ordered() {
        let mut faults = Faults::default();
        faults.add(fault("POST /customers", 2));
        faults.add(fault("POST /oauth/token", 1));
        let mut last = fault("POST /customers", 1);
        last.done = true;
        faults.add(last);
        let mut take = |call| faults.take(call).map(|fault| fault.done);
        assert_eq!(take("GET /callouts/{id}"), None);
        assert_eq!(take("POST /customers"), Some(false));
        assert_eq!(take("POST /customers"), Some(false));
        assert_eq!(take("POST /customers"), Some(true));
        assert_eq!(take("POST /customers"), None);
        assert_eq!(take("POST /oauth/token"), Some(false));
        assert_eq!(faults.count(), 0);
    }
}
