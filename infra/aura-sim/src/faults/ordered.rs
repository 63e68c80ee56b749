//! Faults to order: what goes wrong with the next calls of AURA's API.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{faults::calls::CALLS, world::refusal::Refusal, world::registration::checked_headers};

/// What an order that can't be read is told.
const SHAPE: &str = r#"a fault is {"call": "POST /customers", "times": 1, "done": false, "answer": …}, where the answer is {"reply": {"status": 500, "headers": {}, "body": {}}}, {"patch": {}}, "breakOff", "hang" or "hangUp""#;

/// A fault, as it is ordered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    call: String,
    #[serde(default = "once")]
    times: u32,
    #[serde(default)]
    done: bool,
    answer: AnswerOrder,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum AnswerOrder {
    Reply(ReplyOrder),
    Patch(Value),
    BreakOff,
    Hang,
    HangUp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplyOrder {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
}

/// What goes wrong with so many of the next calls of one kind.
#[derive(Clone)]
pub(crate) struct Fault {
    /// Method and path, as in [`CALLS`].
    call: String,
    times: u32,
    done: bool,
    pub(crate) answer: FaultyAnswer,
}

/// What is answered to a call that goes wrong.
#[derive(Clone)]
pub(crate) enum FaultyAnswer {
    /// This, in place of the stand-in's own answer.
    Reply(Reply),
    /// The stand-in's own answer, changed by a JSON merge patch (RFC 7396).
    Patch(Value),
    /// The first half of the stand-in's own answer.
    BreakOff,
    /// Nothing, for as long as the caller waits.
    Hang,
    /// Nothing: the connection is closed.
    HangUp,
}

/// An answer of the test's choice.
#[derive(Clone)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    /// Text goes as it is, so that it need not be JSON; `null` is no body.
    body: Value,
}

/// The faults that wait for their call, oldest first.
#[derive(Default)]
pub(crate) struct Faults {
    waiting: Vec<Fault>,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// Checks an order; a refusal says what is allowed.
    pub(crate) fn check(order: Value) -> Result<Self, Refusal> {
        let order: Order = serde_json::from_value(order)
            .map_err(|error| Refusal::Malformed(format!("{error}: {SHAPE}")))?;
        if !CALLS.contains(&order.call.as_str()) {
            let (call, known) = (order.call, CALLS.join(", "));
            let message = format!("call {call} is unknown: the calls are {known}");
            return Err(Refusal::Malformed(message));
        }
        if order.times == 0 {
            return Err(Refusal::Malformed("times is at least 1".to_owned()));
        }
        Ok(Self {
            call: order.call,
            times: order.times,
            done: order.done,
            answer: FaultyAnswer::check(order.answer)?,
        })
    }

    /// Whether the call is done all the same. It is wherever its own answer is needed.
    pub(crate) fn is_done(&self) -> bool {
        let own = matches!(self.answer, FaultyAnswer::Patch(_) | FaultyAnswer::BreakOff);
        self.done || own
    }
}

impl FaultyAnswer {
    fn check(order: AnswerOrder) -> Result<Self, Refusal> {
        Ok(match order {
            AnswerOrder::Reply(reply) => Self::Reply(Reply::check(reply)?),
            AnswerOrder::Patch(patch) => Self::Patch(patch),
            AnswerOrder::BreakOff => Self::BreakOff,
            AnswerOrder::Hang => Self::Hang,
            AnswerOrder::HangUp => Self::HangUp,
        })
    }
}

impl Reply {
    fn check(order: ReplyOrder) -> Result<Self, Refusal> {
        let status = StatusCode::from_u16(order.status)
            .ok()
            // What is below is never a call's last answer.
            .filter(|status| status.as_u16() >= 200)
            .ok_or_else(|| Refusal::Malformed("status is 200 to 999".to_owned()))?;
        Ok(Self {
            status,
            headers: checked_headers(&order.headers)?,
            body: order.body,
        })
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = match self.body {
            Value::Null => ().into_response(),
            Value::String(text) => text.into_response(),
            json => Json(json).into_response(),
        };
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    /// The fault that is this call's, if one waits: the oldest first.
    pub(crate) fn take(&mut self, call: &str) -> Option<Fault> {
        let n = self.waiting.iter().position(|fault| fault.call == call)?;
        let fault = self.waiting.get_mut(n)?;
        fault.times -= 1;
        if fault.times == 0 {
            return Some(self.waiting.remove(n));
        }
        Some(fault.clone())
    }

    /// Forgets all, and says how many they were.
    pub(crate) fn clear(&mut self) -> usize {
        self.waiting.drain(..).count()
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.waiting.len()
    }
}

/// Changes `target` as RFC 7396 says: what is `null` in the patch goes, objects are changed field
/// by field, and everything else is replaced.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(call: &str, times: u32) -> Fault {
        Fault::check(json!({"call": call, "times": times, "answer": "hang"})).unwrap()
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

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn a_merge_patch_does_what_its_rfc_says() {
        let examples = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!([1, 2]),
                json!({"a": "b", "c": null}),
                json!({"a": "b"}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ];
        for (mut target, patch, expected) in examples {
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{patch}");
        }
    }
}
