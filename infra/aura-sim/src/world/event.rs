//! AURA's events: their names, their entities, and their payloads.
//!
//! The names stand here a second time, beside the catalogue of the client under test. This is on
//! purpose: a stand-in that shared the client's list could not find a mistake in it.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer, value},
};

use crate::{
    world::customer::{Customer, Subscription},
    world::payload::CalloutPayload,
};

/// Every event name that AURA documents. On the wire, names are in capitals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "AURA's documentation says what each means")]
pub enum EventName {
    NewCallout,
    ResponderManuallyDispatched,
    ResponderAcknowledgedCallout,
    ResponderAcknowledgedCalloutWithEta,
    ResponderArrivedOnScene,
    ResponderCompleted,
    CalloutOwned,
    CalloutEventsChanged,
    CalloutSoftCancelledByCustomer,
    CalloutNoLongerRequiresResponse,
    CalloutClosed,
    SubscriptionCreated,
    SubscriptionUpdated,
    SubscriptionCancelled,
    SubscriptionCancelledFailed,
    CreatedCustomer,
}

impl EventName {
    /// Reads an event name. Returns `None` for a name that AURA doesn't list.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let name: value::StrDeserializer<'_, value::Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// Whether this is the old name of another event name. AURA refuses it in a new registration.
    pub(crate) fn is_deprecated(self) -> bool {
        self == Self::ResponderAcknowledgedCalloutWithEta
    }
}

/// Writes the name on the wire.
impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Writes the name on the wire.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// An event in the shape in which AURA posts it: `{"message": "…", "callout": {…}}`, with
/// `customer` or `subscription` for the other kinds.
#[derive(Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) message: EventName,
    #[serde(flatten)]
    pub(crate) subject: Subject,
}

/// The entity of an event, with all its data.
#[derive(Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    Callout(CalloutPayload),
    Customer(Customer),
    Subscription(Subscription),
}

/// The kinds of entities that have events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "AURA names them")]
pub enum Kind {
    Callout,
    Customer,
    Subscription,
}

/// The entity that an event is about. Deliveries about one entity keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// Kind of the entity.
    pub kind: Kind,
    /// Id of the entity at AURA.
    pub id: u64,
}

impl Event {
    pub(crate) fn about_callout(message: EventName, callout: CalloutPayload) -> Self {
        Self {
            message,
            subject: Subject::Callout(callout),
        }
    }

    /// Reduces a status event, which is about an existing callout, to its name and the callout's
    /// id. Returns any other event unchanged.
    pub(crate) fn bare(self) -> Self {
        match &self.subject {
            Subject::Callout(callout) if self.message != EventName::NewCallout => {
                Self::about_callout(self.message, CalloutPayload::bare(callout.id))
            }
            _ => self,
        }
    }

    pub(crate) fn entity(&self) -> Entity {
        let (kind, id) = match &self.subject {
            Subject::Callout(callout) => (Kind::Callout, callout.id),
            Subject::Customer(customer) => (Kind::Customer, customer.id),
            Subject::Subscription(subscription) => (Kind::Subscription, subscription.id),
        };
        Entity { kind, id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auras_spelling_of_a_name_is_read() {
        assert_eq!(
            EventName::parse("RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA"),
            Some(EventName::ResponderAcknowledgedCalloutWithEta)
        );
        assert_eq!(EventName::parse("new_callout"), None);
        assert_eq!(EventName::parse("NEW_CALLOUTS"), None);
    }
}
