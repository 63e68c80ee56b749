//! The envelope: the form in which a delivery travels on the ingest queue.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::Entity;
use crate::queue::Message;

/// The version that this code writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// One delivery on its way from the endpoint to the ledger.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    version: u32,
    /// The delivery's id, a UUIDv7 that `ingest` makes. It is also the queue's deduplication id, so
    /// that a retried send is one message.
    pub delivery_id: Uuid,
    /// When the delivery arrived.
    pub received_at: Timestamp,
    /// Who put it on the queue.
    pub origin: Origin,
    /// AURA's JSON value, byte for byte as it came, without the white space around it.
    pub payload: Box<RawValue>,
}

/// Who reported an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Origin {
    /// AURA posted it to the endpoint.
    Webhook,
    /// The reconciler found it in AURA's answer, before AURA posted it.
    Reconciler,
    /// The registrar sent it to prove that the path works. The rules of the template never match
    /// it.
    Canary,
    /// A person published it as a correction: it is an event that happens once, and AURA had posted
    /// it before with another payload.
    Operator,
}

/// A message that can never be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEnvelope {
    /// The body isn't JSON, or fields are missing.
    #[error("not-an-envelope")]
    Malformed,
    /// Another version of this system wrote it, and this version can't read it.
    #[error("envelope-version-unknown")]
    UnknownVersion,
}

impl Envelope {
    /// Makes an envelope of the current version.
    #[must_use]
    pub fn new(
        delivery_id: Uuid,
        received_at: Timestamp,
        origin: Origin,
        payload: Box<RawValue>,
    ) -> Self {
        Self {
            version: VERSION,
            delivery_id,
            received_at,
            origin,
            payload,
        }
    }

    /// Reads a queue message's body. The version is read first, so that a message of a newer
    /// version is named as such and not as broken.
    ///
    /// # Errors
    ///
    /// The body can never be processed, now or later; see [`NotAnEnvelope`].
    pub fn parse(body: &str) -> Result<Self, NotAnEnvelope> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let versioned: Versioned =
            serde_json::from_str(body).map_err(|_| NotAnEnvelope::Malformed)?;
        if versioned.version != VERSION {
            return Err(NotAnEnvelope::UnknownVersion);
        }
        serde_json::from_str(body).map_err(|_| NotAnEnvelope::Malformed)
    }

    /// The message for the ingest queue. It keeps the order of its entity. Sent repeatedly within
    /// five minutes, it is still one message.
    #[must_use]
    pub fn message(&self, entity: &Entity) -> Message {
        Message {
            body: self.to_json(),
            group_id: entity.group_id(),
            deduplication_id: self.delivery_id.to_string(),
            attributes: BTreeMap::new(),
        }
    }

    /// The queue message's body. It is written by hand, because serde would return an error that
    /// can't occur here but would have to be handled. Only the payload could need escaping, and it
    /// is JSON already.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self {
            version,
            delivery_id,
            received_at,
            origin,
            payload,
        } = self;
        let (origin, payload) = (origin.name(), payload.get());
        format!(
            r#"{{"version":{version},"deliveryId":"{delivery_id}","receivedAt":"{received_at}","origin":"{origin}","payload":{payload}}}"#
        )
    }
}

impl Origin {
    /// The origin's name in an envelope and in published events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Reconciler => "reconciler",
            Self::Canary => "canary",
            Self::Operator => "operator",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD_SPACING: &str = "{ \"message\":\t\"NEW_CALLOUT\",\n\"callout\":{\"id\": 5003e0 } }";

    fn envelope(payload: &str) -> Envelope {
        Envelope::new(
            Uuid::from_u128(7),
            "2026-11-22T08:00:00.123Z".parse().unwrap(),
            Origin::Webhook,
            RawValue::from_string(payload.to_owned()).unwrap(),
        )
    }

    #[test]
    fn the_payload_crosses_the_queue_byte_for_byte() {
        let body = envelope(ODD_SPACING).to_json();
        let read = Envelope::parse(&body).unwrap();
        assert_eq!(read.payload.get(), ODD_SPACING);
        assert_eq!(read.delivery_id, Uuid::from_u128(7));
        assert_eq!(read.received_at, envelope("{}").received_at);
    }

    #[test]
    fn every_origin_is_read_as_it_is_written() {
        for origin in [
            Origin::Webhook,
            Origin::Reconciler,
            Origin::Canary,
            Origin::Operator,
        ] {
            let written = Envelope {
                origin,
                ..envelope("{}")
            };
            let read = Envelope::parse(&written.to_json()).unwrap();
            assert_eq!(read.origin, origin);
            assert_eq!(serde_json::to_value(origin).unwrap(), origin.name());
        }
    }

    #[test]
    fn another_version_is_named_even_when_its_fields_are_unknown() {
        assert_eq!(
            Envelope::parse(r#"{"version": 2, "parts": []}"#).unwrap_err(),
            NotAnEnvelope::UnknownVersion
        );
        assert_eq!(Envelope::parse("{}").unwrap_err(), NotAnEnvelope::Malformed);
        assert_eq!(
            Envelope::parse("nonsense").unwrap_err(),
            NotAnEnvelope::Malformed
        );
    }
}
