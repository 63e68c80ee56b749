//! The canary: a delivery of our own that takes the same way as AURA's, from the public URL to the
//! bus.
//!
//! The registrar sends one before it points AURA at an endpoint, and then by schedule. `ingest`
//! recognises it by its body, and gives it the origin `canary`, which no rule of the template
//! matches. So it proves the path and reaches no consumer. It needs the secret, like any delivery.
//! It doesn't have to come from one of AURA's addresses.
//!
//! An operator can have the registrar send one, too ([`CanaryRequest`]), and gets a
//! [`CanaryAnswer`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{self, Entity, Event};

/// The canary's event name. AURA has no such name.
const MESSAGE: &str = "AURA_WEBHOOKS_CANARY";
/// The kind of the canary's entity.
const KIND: &str = "canary";
/// The longest body of a canary, in bytes.
const MAX_BYTES: usize = 256;

/// The event with which the schedule or an operator has the registrar send a canary. Its JSON is
/// `{"Canary": {}}` or `{"Canary": {"id": "…"}}`. For the metric and its alarms, both count alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CanaryRequest {
    /// Send a canary through the public URL, once.
    Canary {
        /// The canary's id, a new UUIDv7. The schedule gives none, and the registrar makes one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<Uuid>,
    },
}

/// The registrar's answer: what became of the canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum CanaryAnswer {
    /// The ledger says that it is published.
    Published {
        /// The canary's id.
        id: Uuid,
        /// When the registrar sent the request.
        sent_at: Timestamp,
        /// Milliseconds from the request until the registrar saw the canary as published.
        milliseconds: u64,
    },
    /// It was not published in time, or it couldn't be sent.
    Failed {
        /// The canary's id.
        id: Uuid,
        /// How far it came, and where to look.
        failure: String,
    },
}

/// The body of the canary with this id. Its event is the only one of its entity.
#[must_use]
pub fn body(id: Uuid) -> String {
    format!(r#"{{"message":"{MESSAGE}","{KIND}":{{"id":"{id}"}}}}"#)
}

/// The ledger's partition of the canary with this id. It holds only the canary's item.
#[must_use]
pub fn partition(id: Uuid) -> String {
    let entity = Entity {
        kind: KIND.to_owned(),
        id: id.to_string(),
    };
    entity.key()
}

/// Whether an event is a canary.
#[must_use]
pub fn is_canary(event: &Event) -> bool {
    event.message == MESSAGE && event.entity.kind == KIND
}

/// Whether a body is a canary's.
#[must_use]
pub fn is_canarys_body(body: &[u8]) -> bool {
    body.len() <= MAX_BYTES && event::parse(body).is_ok_and(|(event, _)| is_canary(&event))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_canary_is_known_by_its_body_and_found_by_its_id() {
        let id = Uuid::now_v7();
        let body = body(id);
        assert!(is_canarys_body(body.as_bytes()));
        let (event, _) = event::parse(body.as_bytes()).unwrap();
        assert_eq!(event.entity.key(), partition(id));
        assert!(!event.test);
    }

    #[test]
    fn request_and_answer_are_a_contract_between_the_registrar_and_its_callers() {
        let id = Uuid::nil();
        let nil = "00000000-0000-0000-0000-000000000000";
        let requests = [
            (json!({"Canary": {}}), None),
            (json!({"Canary": {"id": nil}}), Some(id)),
        ];
        for (event, id) in requests {
            let request = CanaryRequest::Canary { id };
            assert_eq!(serde_json::to_value(request).unwrap(), event);
            let read: CanaryRequest = serde_json::from_value(event).unwrap();
            assert_eq!(read, request);
        }
        let (sent_at, failure) = (Timestamp::UNIX_EPOCH, "why".to_owned());
        let published = CanaryAnswer::Published {
            id,
            sent_at,
            milliseconds: 7,
        };
        let answers = [
            (
                json!({"id": nil, "sentAt": "1970-01-01T00:00:00Z", "milliseconds": 7}),
                published,
            ),
            (
                json!({"id": nil, "failure": "why"}),
                CanaryAnswer::Failed { id, failure },
            ),
        ];
        for (event, answer) in answers {
            assert_eq!(serde_json::to_value(&answer).unwrap(), event);
            let read: CanaryAnswer = serde_json::from_value(event).unwrap();
            assert_eq!(read, answer);
        }
    }

    #[test]
    fn what_aura_might_send_is_not_a_canary() {
        let others = [
            r#"{"message":"NEW_CALLOUT","canary":{"id":"1"}}"#,
            r#"{"message":"AURA_WEBHOOKS_CANARY","callout":{"id":"1"}}"#,
            r#"{"message":"AURA_WEBHOOKS_CANARY","canary":{}}"#,
            "AURA_WEBHOOKS_CANARY",
        ];
        for body in others {
            assert!(!is_canarys_body(body.as_bytes()), "{body}");
        }
        let padded = format!("{}{}", body(Uuid::nil()), " ".repeat(MAX_BYTES));
        assert!(!is_canarys_body(padded.as_bytes()));
    }
}
