//! The canary: a delivery of our own that takes the same way as AURA's, from the public URL to the
//! bus.
//!
//! The registrar sends one before it points AURA at an endpoint, and then by schedule. `ingest` recognises it by its
//! body, and gives it the origin `canary`, which no rule of the template matches. So it proves the
//! path and reaches no consumer. It needs the secret, like any delivery. It doesn't have to come
//! from one of AURA's addresses.

use uuid::Uuid;

use crate::event::{self, Entity, Event};

/// The canary's event name. AURA has no such name.
const MESSAGE: &str = "AURA_WEBHOOKS_CANARY";
/// The kind of the canary's entity.
const KIND: &str = "canary";
/// The longest body of a canary, in bytes.
const MAX_BYTES: usize = 256;

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
