//! AURA's events: their names, the entities they concern, and what is posted about them.
//!
//! The names stand here a second time, beside the catalogue of the client under test, on
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

/// Every event name that AURA documents, spelled on the wire in capitals.
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
    /// The event of this name, or `None` for a name that AURA doesn't list.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let name: value::StrDeserializer<'_, value::Error> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// Whether it is the old name of another one. A new registration must not ask for it.
    pub(crate) fn is_deprecated(self) -> bool {
        self == Self::ResponderAcknowledgedCalloutWithEta
    }
}

/// The name on the wire.
impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The name on the wire.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One thing that happened, in the shape in which it is posted:
/// `{"message": "…", "callout": {…}}`, or `customer`, or `subscription`.
#[derive(Clone, Serialize)]
pub(crate) struct Event {
    pub(crate) message: EventName,
    #[serde(flatten)]
    pub(crate) subject: Subject,
}

/// What an event is about, and all that it says about it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subject {
    Callout(CalloutPayload),
    Customer(Customer),
    Subscription(Subscription),
}

/// The kinds of things that have events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "AURA names them")]
pub enum Kind {
    Callout,
    Customer,
    Subscription,
}

/// The thing an event is about. Deliveries about one entity keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// What kind of thing it is.
    pub kind: Kind,
    /// Its id at AURA.
    pub id: u64,
}

impl Event {
    pub(crate) fn about_callout(message: EventName, callout: CalloutPayload) -> Self {
        Self {
            message,
            subject: Subject::Callout(callout),
        }
    }

    /// The event with no more than its name and its callout's id, if it is a status event: one about
    /// a callout that exists already.
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
    fn names_are_read_as_aura_spells_them() {
        assert_eq!(
            EventName::parse("RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA"),
            Some(EventName::ResponderAcknowledgedCalloutWithEta)
        );
        assert_eq!(EventName::parse("new_callout"), None);
        assert_eq!(EventName::parse("NEW_CALLOUTS"), None);
    }
}
