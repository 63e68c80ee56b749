//! The loss ledger: the one class of each event at AURA and of each repeat of a delivery.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use shared::catalogue::{CALLOUT_CLOSED, CALLOUT_OBSERVED, NEW_CALLOUT};

use crate::soak::evidence::{Bus, Evidence, Received, is_callout};
use aura_sim::client::{Delivery, Entity, EventName, Fate, LoggedEvent};

/// Class of an event or of a repeat: what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The event's own delivery is on the bus.
    Published,
    /// It was delivered and isn't on the bus: another delivery of the same event is, or the
    /// reconciler was faster.
    Duplicate,
    /// It was delivered and can't be understood.
    Quarantined,
    /// It was never delivered, and the reconciler found it out by asking.
    Recovered {
        /// Time from the event until a consumer knew.
        after: Duration,
    },
    /// No other class fits.
    Missing,
}

/// One entry of the loss ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Number of the event.
    pub n: u64,
    /// Name of the event.
    pub message: EventName,
    /// The entity that the event is about.
    pub entity: Entity,
    /// When the event happened.
    pub at: Timestamp,
    /// What AURA did with the event.
    pub fate: Fate,
    /// Number of the delivery if this entry is about a repeat.
    pub repeat: Option<u64>,
    /// Whether ingest accepted the event's delivery, or this repeat.
    pub is_accepted: bool,
    /// Class of the event or repeat.
    pub class: Class,
}

impl Entry {
    /// Whether it must not be missing. Nothing that ingest accepted may be missing. Openings and
    /// closings of callouts may not be missing either, because the reconciler finds them out.
    #[must_use]
    pub fn is_owed(&self) -> bool {
        self.is_accepted || is_landmark(&self.message.to_string())
    }
}

/// Whether an event is the opening or the closing of a callout.
#[must_use]
pub fn is_landmark(message: &str) -> bool {
    [NEW_CALLOUT, CALLOUT_CLOSED].contains(&message)
}

/// The loss ledger, in the order in which the events happened.
#[must_use]
pub fn ledger(evidence: &Evidence) -> Vec<Entry> {
    let bus = Bus::of(&evidence.received);
    let deliveries = evidence.deliveries.iter();
    let deliveries: HashMap<u64, &Delivery> =
        deliveries.map(|delivery| (delivery.n, delivery)).collect();
    let events = evidence.happened.iter();
    events
        .flat_map(|event| Case::of(event, &deliveries, &bus).entries())
        .collect()
}

/// One event with its deliveries and the copies that consumers received.
struct Case<'a> {
    event: &'a LoggedEvent,
    /// The first delivery, then its repeats.
    deliveries: Vec<&'a Delivery>,
    bus: &'a Bus<'a>,
}

impl<'a> Case<'a> {
    fn of(
        event: &'a LoggedEvent,
        deliveries: &HashMap<u64, &'a Delivery>,
        bus: &'a Bus<'a>,
    ) -> Self {
        let its = event.deliveries.iter();
        Self {
            event,
            deliveries: its.filter_map(|n| deliveries.get(n).copied()).collect(),
            bus,
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let is_repeat = |delivery: &&&Delivery| delivery.duplicate_of.is_some();
        let original = self.deliveries.iter().find(|it| !is_repeat(it)).copied();
        let repeats = self.deliveries.iter().filter(is_repeat);
        let repeats = repeats.map(|repeat| self.entry(Some(*repeat), Some(repeat.n)));
        std::iter::once(self.entry(original, None))
            .chain(repeats)
            .collect()
    }

    fn entry(&self, delivery: Option<&Delivery>, repeat: Option<u64>) -> Entry {
        let event = self.event;
        Entry {
            n: event.n,
            message: event.message,
            entity: event.entity,
            at: event.at,
            fate: event.fate,
            repeat,
            is_accepted: delivery.is_some_and(|delivery| delivery.was_answered("accepted")),
            class: self.class(delivery),
        }
    }

    fn class(&self, delivery: Option<&Delivery>) -> Class {
        let is_on_bus = |delivery: &Delivery| !self.bus.copies_of(delivery).is_empty();
        let was_answered = |status| delivery.is_some_and(|it| it.was_answered(status));
        if delivery.is_some_and(is_on_bus) {
            Class::Published
        } else if self.deliveries.iter().any(|other| is_on_bus(other)) {
            Class::Duplicate
        } else if was_answered("quarantined") {
            Class::Quarantined
        } else if was_answered("accepted") {
            // A delivery that was accepted must be on the bus itself: a later observation is
            // another event.
            let is_told =
                is_landmark(&self.event.message.to_string()) && self.found_out().is_some();
            if is_told {
                Class::Duplicate
            } else {
                Class::Missing
            }
        } else {
            self.found_out().map_or(Class::Missing, |found| {
                let after = found.at.duration_since(self.event.at);
                Class::Recovered {
                    after: after.try_into().unwrap_or_default(),
                }
            })
        }
    }

    /// The first copy by which the reconciler reported the event. For an opening or a closing, that
    /// is the event itself; for any other event of a callout, the callout's state after it.
    fn found_out(&self) -> Option<&Received> {
        let (message, entity) = (self.event.message.to_string(), self.event.entity);
        if !is_callout(entity) {
            return None;
        }
        let about = self.bus.about(entity).iter().copied();
        let mut found = about.filter(|copy| copy.is_found_out());
        if is_landmark(&message) {
            found.find(|copy| copy.detail().message == message)
        } else {
            found.find(|copy| tells_the_state(copy) && self.is_from_afterwards(copy))
        }
    }

    /// Whether a copy was queued after the event. A consumer may receive a copy later that was
    /// queued before.
    fn is_from_afterwards(&self, copy: &Received) -> bool {
        let told = copy.detail().received_at.parse::<Timestamp>();
        told.is_ok_and(|told| self.event.at <= told)
    }
}

fn tells_the_state(copy: &Received) -> bool {
    let message = &copy.detail().message;
    message == CALLOUT_OBSERVED || is_landmark(message)
}

#[cfg(test)]
mod tests;
