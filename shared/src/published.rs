//! The `detail` of every event on the bus, which consumers get.
//!
//! This is an API. `docs/schema` holds its JSON Schema and the rule for changing it. `cargo schema`
//! writes the schema from these types and their comments.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::envelope::Origin;
use crate::event::Entity;
#[cfg(test)]
use crate::event::MAX_MESSAGE_CHARS;

/// The `Source` of every event that is published.
pub const SOURCE: &str = "aura";

/// The `detail` of an event: what happened to which callout, customer or subscription, who reported
/// it, and what AURA said. Members may be added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "What happened at AURA"))]
pub struct Detail<'a> {
    /// The event's identity. Every copy of the event has the same key. It consists of the entity,
    /// the event name and, if the event may happen again, a part that tells it from others of its
    /// name. If the same content happens again, the key ends in a number: `#2`, `#3`. Remember the
    /// key where a double would hurt.
    #[cfg_attr(test, schemars(regex(pattern = "^[^#/]*#[^#/]+/")))]
    pub key: String,
    /// AURA's event name, or `CALLOUT_OBSERVED`, which is a name of this system. It is also the
    /// event's `detail-type`. AURA may have names that aren't documented.
    #[cfg_attr(test, schemars(length(min = 1, max = MAX_MESSAGE_CHARS)))]
    #[cfg_attr(test, schemars(extend("examples" = schema::event_names())))]
    pub message: &'a str,
    /// The entity that it happened to.
    pub entity: &'a Entity,
    /// The id of the delivery that was published. This system makes it, and the endpoint's answer
    /// to AURA has it.
    pub delivery_id: Uuid,
    /// When that delivery arrived, in UTC, to the millisecond. The event's `time` is the same to
    /// the second.
    #[serde(serialize_with = "to_the_millisecond")]
    #[cfg_attr(test, schemars(regex(pattern = schema::TIME)))]
    pub received_at: Timestamp,
    /// Who reported it.
    pub origin: Origin,
    /// Orders the events of one entity: greater is later, except for events that came back from the
    /// spill or the dead letters. It is SQS's sequence number. Its 20 digits are more than a double
    /// holds, so compare by length first, then as text. `null` if SQS gave none.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9]+$")))]
    pub sequence: Option<&'a str>,
    /// Whether AURA marked the callout as a drill (`internalTest`, or classification `TEST`), in
    /// this event or in an earlier one. Keep a drill away from real dispatch.
    pub test: bool,
    /// What AURA sent, byte for byte, or what the reconciler made from AURA's answer. `null` if it
    /// is omitted.
    #[cfg_attr(test, schemars(with = "Option<schema::Payload>"))]
    pub payload: Option<&'a RawValue>,
    /// Present only if the payload is omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Omitted<'a>"))]
    pub payload_omitted: Option<Omitted<'a>>,
}

/// A payload that the bus or its consumers can't take. The whole payload is in the quarantine queue
/// for 14 days, under the event's delivery id. AURA's API has the entity's present state.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Omitted<'a> {
    /// Why the payload is omitted.
    pub reason: Omission,
    /// The payload's size in bytes.
    pub bytes: usize,
    /// The SHA-256 of the payload's canonical form, in hexadecimal, as in the ledger.
    #[cfg_attr(test, schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub digest: &'a str,
}

/// Why a payload isn't published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(transform = schema::more_may_come))]
pub enum Omission {
    /// With the payload, the event is larger than EventBridge accepts in any region (1 MB).
    TooLarge,
    /// The payload has half of a surrogate pair, as in `"\ud83d"`. Some parsers accept that as
    /// JSON, others don't.
    NotUnicode,
    /// EventBridge refused the event with the payload, and doesn't say why.
    Refused,
}

/// Writes a time as it is published: in UTC, with three digits behind the point, because some
/// parsers accept no more, and some expect all three.
#[must_use]
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn to_the_millisecond<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time(*at))
}

#[cfg(test)]
mod schema;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Tries any time up to the year 9999.
        #[test]
        fn a_time_goes_out_with_three_digits_behind_the_point_and_is_the_same_millisecond(
            seconds in 0..253_402_300_800_i64,
            nanoseconds in prop_oneof![Just(0), Just(999_999_999), 0..1_000_000_000_i32],
        ) {
            let at = Timestamp::new(seconds, nanoseconds).unwrap();
            let entity = Entity::callout("1");
            let detail = Detail {
                key: String::new(),
                message: "NEW_CALLOUT",
                entity: &entity,
                delivery_id: Uuid::nil(),
                received_at: at,
                origin: Origin::Webhook,
                sequence: None,
                test: false,
                payload: None,
                payload_omitted: None,
            };
            let detail = serde_json::to_value(&detail).unwrap();
            let text = detail["receivedAt"].as_str().unwrap();
            prop_assert_eq!(text.len(), "2026-11-22T08:00:00.123Z".len(), "{}", text);
            prop_assert_eq!(text.find('.'), Some(19), "{}", text);
            let read: Timestamp = text.parse().unwrap();
            prop_assert_eq!(read.as_millisecond(), at.as_millisecond());
            prop_assert_eq!(read.subsec_nanosecond() % 1_000_000, 0);
        }
    }
}
