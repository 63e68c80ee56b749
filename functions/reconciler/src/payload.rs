//! Payloads of the events that the reconciler puts on the queue. A payload has an event's name and
//! AURA's whole answer.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use shared::aws;
use shared::catalogue::{CALLOUT_CLOSED, CALLOUT_OBSERVED, NEW_CALLOUT};
use shared::event::{self, Entity};

/// A missed event of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedEvent {
    /// The callout was created.
    Opened,
    /// The callout was closed.
    Closed {
        /// Whether AURA answered 404.
        gone: bool,
    },
    /// AURA described the callout when asked.
    Observed {
        /// Number of the answer, from 1. It makes a later answer with equal content another event.
        number: u32,
        /// Whether AURA answered 404.
        gone: bool,
    },
}

impl MissedEvent {
    /// Name of the event.
    pub fn message(self) -> &'static str {
        match self {
            Self::Opened => NEW_CALLOUT,
            Self::Closed { .. } => CALLOUT_CLOSED,
            Self::Observed { .. } => CALLOUT_OBSERVED,
        }
    }

    /// Makes the payload. It has AURA's description of the callout, byte for byte, if the
    /// description is about this callout and fits into a queue's message. Otherwise it has only the
    /// id, because an opening without a description is better than no opening. Returns `None` if
    /// not even the id can be sent.
    pub fn payload(self, id: &str, described: Option<&RawValue>) -> Option<Box<RawValue>> {
        let whole = described.and_then(|described| self.about(id, &with_id(id, described)?));
        whole.or_else(|| self.about(id, &format!(r#"{{"id":{}}}"#, json_id(id))))
    }

    /// Makes the payload with this description. Returns `None` if the payload is too large, or if
    /// the processor would read it as another event.
    fn about(self, id: &str, callout: &str) -> Option<Box<RawValue>> {
        let message = self.message();
        let number = match self {
            Self::Observed { number, .. } => format!(r#""observation":{number},"#),
            Self::Opened | Self::Closed { .. } => String::new(),
        };
        let gone = match self {
            Self::Closed { gone: true } | Self::Observed { gone: true, .. } => r#""gone":true,"#,
            _ => "",
        };
        let payload = format!(r#"{{"message":"{message}",{number}{gone}"callout":{callout}}}"#);
        if payload.len() > aws::MAX_QUEUED_BYTES {
            return None;
        }
        let (event, _) = event::parse(payload.as_bytes()).ok()?;
        let is_meant = event.message == message && event.entity == Entity::callout(id);
        is_meant.then(|| RawValue::from_string(payload).ok())?
    }
}

/// Adds the id to a description that lacks it, as AURA's nested form may.
fn with_id(id: &str, described: &RawValue) -> Option<String> {
    let body = described.get().strip_prefix('{')?;
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(described.get()).ok()?;
    Some(if fields.contains_key("id") {
        described.get().to_owned()
    } else if fields.is_empty() {
        format!(r#"{{"id":{}}}"#, json_id(id))
    } else {
        format!(r#"{{"id":{},{body}"#, json_id(id))
    })
}

/// Writes an id as AURA does: as a number if it is one, otherwise as a string.
fn json_id(id: &str) -> String {
    match id.parse::<u64>() {
        Ok(number) if number.to_string() == id => id.to_owned(),
        _ => serde_json::Value::from(id).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    fn payload(event: MissedEvent, id: &str, described: Option<&str>) -> String {
        let described = described.map(raw);
        let payload = event.payload(id, described.as_deref()).unwrap();
        payload.get().to_owned()
    }

    #[test]
    fn auras_description_is_kept_byte_for_byte() {
        let described = r#"{ "id":5003,"latitude":-33.90 }"#;
        assert_eq!(
            payload(MissedEvent::Opened, "5003", Some(described)),
            format!(r#"{{"message":"NEW_CALLOUT","callout":{described}}}"#)
        );
        assert_eq!(
            payload(
                MissedEvent::Observed {
                    number: 2,
                    gone: false
                },
                "5003",
                Some(described)
            ),
            format!(r#"{{"message":"CALLOUT_OBSERVED","observation":2,"callout":{described}}}"#)
        );
    }

    #[test]
    fn an_id_that_is_missing_in_auras_description_is_added() {
        let closed = MissedEvent::Closed { gone: false };
        assert_eq!(
            payload(closed, "5003", Some(r#"{"status":"x"}"#)),
            r#"{"message":"CALLOUT_CLOSED","callout":{"id":5003,"status":"x"}}"#
        );
        assert_eq!(
            payload(closed, "c-1", Some("{}")),
            r#"{"message":"CALLOUT_CLOSED","callout":{"id":"c-1"}}"#
        );
    }

    #[test]
    fn a_description_that_cannot_be_queued_is_replaced_by_the_id() {
        let large = format!(r#"{{"id":7,"a":"{}"}}"#, "x".repeat(2 << 20));
        for described in [None, Some(r#"{"id":8}"#), Some("[]"), Some(large.as_str())] {
            assert_eq!(
                payload(MissedEvent::Closed { gone: true }, "7", described),
                r#"{"message":"CALLOUT_CLOSED","gone":true,"callout":{"id":7}}"#
            );
        }
    }

    proptest! {
        #[test]
        fn every_callout_with_a_queueable_id_has_a_payload(id in ".{1,40}", text in ".*") {
            let described = serde_json::json!({"status": text}).to_string();
            let described = raw(&described);
            if let Some(payload) = MissedEvent::Opened.payload(&id, Some(&described)) {
                let event = event::parse_payload(&payload).unwrap();
                prop_assert_eq!(event.entity, Entity::callout(&id));
            } else {
                // Only an id with characters that SQS refuses has no payload.
                prop_assert!(!aws::is_queueable(&id));
            }
        }
    }
}
