//! AURA's event names, from its public documentation.
//!
//! The catalogue is open, because not all of AURA's list could be read. A name that is not here is
//! carried like any other, and counts as [`Recurrence::Recurring`].

/// A callout was created.
pub const NEW_CALLOUT: &str = "NEW_CALLOUT";
/// A callout was closed.
pub const CALLOUT_CLOSED: &str = "CALLOUT_CLOSED";
/// A name of ours, not AURA's: what AURA answers about a callout when the reconciler asks. The
/// payload is AURA's answer and the number of the observation. So a state that comes back is
/// another event than its first occurrence.
pub const CALLOUT_OBSERVED: &str = "CALLOUT_OBSERVED";

/// How often one event name may occur for one entity. This decides when two deliveries are the same
/// event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recurrence {
    /// The event happens once in an entity's life. Name and entity are its identity.
    Once,
    /// The event may happen again with other content. The payload's digest is part of its identity.
    Recurring,
    /// The event says "go and look" and carries nothing else. Two such events may be equal to the
    /// byte, so each delivery is an event of its own.
    Signal,
}

/// Every event name that AURA documents and that may be received.
/// `RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA` is the deprecated name of
/// `RESPONDER_ACKNOWLEDGED_CALLOUT`. Old registrations still receive it.
pub const EVENT_NAMES: [&str; 16] = [
    "NEW_CALLOUT",
    "RESPONDER_MANUALLY_DISPATCHED",
    "RESPONDER_ACKNOWLEDGED_CALLOUT",
    "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA",
    "RESPONDER_ARRIVED_ON_SCENE",
    "RESPONDER_COMPLETED",
    "CALLOUT_OWNED",
    "CALLOUT_EVENTS_CHANGED",
    "CALLOUT_SOFT_CANCELLED_BY_CUSTOMER",
    "CALLOUT_NO_LONGER_REQUIRES_RESPONSE",
    "CALLOUT_CLOSED",
    "SUBSCRIPTION_CREATED",
    "SUBSCRIPTION_UPDATED",
    "SUBSCRIPTION_CANCELLED",
    "SUBSCRIPTION_CANCELLED_FAILED",
    "CREATED_CUSTOMER",
];

/// Every documented event name that a new registration may ask for. AURA answers 400 to a
/// deprecated name.
pub fn names_to_register() -> impl Iterator<Item = &'static str> {
    let is_current = |name: &&str| current_name(name) == *name;
    EVENT_NAMES.into_iter().filter(is_current)
}

/// The name that AURA documents today for an event. It differs only for a deprecated name.
#[must_use]
pub fn current_name(name: &str) -> &str {
    match name {
        "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA" => "RESPONDER_ACKNOWLEDGED_CALLOUT",
        current => current,
    }
}

/// The recurrence of an event name. A name that is not documented is [`Recurrence::Recurring`],
/// because a different second event would otherwise be dropped and lost.
#[must_use]
pub fn recurrence(message: &str) -> Recurrence {
    match message {
        NEW_CALLOUT | CALLOUT_CLOSED | "CREATED_CUSTOMER" | "SUBSCRIPTION_CREATED" => {
            Recurrence::Once
        }
        "CALLOUT_EVENTS_CHANGED" => Recurrence::Signal,
        _ => Recurrence::Recurring,
    }
}

/// The documented name that equals `message`, or `"other"`. Only this may be logged, because a name
/// that is not documented is payload content.
#[must_use]
pub fn loggable_name(message: &str) -> &'static str {
    EVENT_NAMES
        .iter()
        .chain(&[CALLOUT_OBSERVED])
        .find(|name| **name == message)
        .copied()
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_documented_recurs() {
        assert_eq!(recurrence("CALLOUT_TELEPORTED"), Recurrence::Recurring);
    }

    #[test]
    fn arrivals_recur_and_openings_do_not() {
        assert_eq!(
            recurrence("RESPONDER_ARRIVED_ON_SCENE"),
            Recurrence::Recurring
        );
        assert_eq!(recurrence("NEW_CALLOUT"), Recurrence::Once);
        assert_eq!(recurrence("CALLOUT_EVENTS_CHANGED"), Recurrence::Signal);
    }

    #[test]
    fn a_deprecated_name_is_received_and_not_registered() {
        let deprecated = "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA";
        assert_eq!(loggable_name(deprecated), deprecated);
        let registered: Vec<_> = names_to_register().collect();
        assert_eq!(registered.len(), EVENT_NAMES.len() - 1);
        assert!(!registered.contains(&deprecated));
        assert!(registered.contains(&current_name(deprecated)));
    }

    #[test]
    fn only_documented_names_are_loggable() {
        assert_eq!(loggable_name("NEW_CALLOUT"), "NEW_CALLOUT");
        assert_eq!(loggable_name(CALLOUT_OBSERVED), CALLOUT_OBSERVED);
        assert_eq!(loggable_name("Jane Doe pressed panic"), "other");
    }
}
