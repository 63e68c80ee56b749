//! The log of events. It has every event that happened, also those without a delivery.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::event::{Entity, Event, EventName};

/// An event that happened at AURA, with or without a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// Number of the event; the first event is 1.
    pub n: u64,
    /// Name of the event.
    pub message: EventName,
    /// The entity that the event is about.
    pub entity: Entity,
    /// When the event happened by the wall clock. The times in a seeded day's events follow the
    /// day's own clock.
    pub at: Timestamp,
    /// What AURA did with the event.
    pub fate: Fate,
    /// The numbers of the event's deliveries. Repeats count too.
    pub deliveries: Vec<u64>,
}

/// What AURA did with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The event has a delivery, to the registration that is in force when the delivery goes out.
    Sent,
    /// The plan dropped the event.
    Dropped,
    /// The event happened in a dark window, in which AURA sends nothing.
    Dark,
    /// No webhook was registered.
    Unregistered,
    /// The registration in force didn't list the event.
    Unlisted,
}

/// The log of events, oldest first.
#[derive(Default)]
pub(crate) struct EventLog {
    log: Vec<LoggedEvent>,
}

impl EventLog {
    pub(crate) fn all(&self) -> &[LoggedEvent] {
        &self.log
    }

    /// Number of the next event.
    pub(crate) fn next(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    /// Records an event, and returns its number.
    pub(crate) fn add(&mut self, event: &Event, at: Timestamp, fate: Fate) -> u64 {
        let n = self.next();
        self.log.push(LoggedEvent {
            n,
            message: event.message,
            entity: event.entity(),
            at,
            fate,
            deliveries: Vec::new(),
        });
        n
    }

    /// Records that event `n` has this delivery.
    pub(crate) fn add_delivery(&mut self, n: u64, delivery: u64) {
        let place = usize::try_from(n).ok().and_then(|n| n.checked_sub(1));
        if let Some(event) = place.and_then(|place| self.log.get_mut(place)) {
            event.deliveries.push(delivery);
        }
    }
}
