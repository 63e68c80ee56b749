//! The log of events: it has each event that happened, even if no webhook was told of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::event::{Entity, Event, EventName};

/// An event that happened at AURA, even if no webhook was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedEvent {
    /// Its number; the first event is 1.
    pub n: u64,
    /// Its name.
    pub message: EventName,
    /// The thing that it is about.
    pub entity: Entity,
    /// When it happened by the wall clock. What a seeded day sends has the day's own time.
    pub at: Timestamp,
    /// What AURA did with it.
    pub fate: Fate,
    /// The numbers of its deliveries, repeats included.
    pub deliveries: Vec<u64>,
}

/// What AURA did with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It has a delivery, to whatever is registered when that goes out.
    Sent,
    /// The plan dropped it.
    Dropped,
    /// It happened while nothing was sent.
    Dark,
    /// No webhook was registered.
    Unregistered,
    /// The registration in force didn't list it.
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

    /// The number that the next event gets.
    pub(crate) fn next(&self) -> u64 {
        self.log.len() as u64 + 1
    }

    /// Writes an event down, and answers its number.
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

    /// Writes down that event `n` has this delivery.
    pub(crate) fn add_delivery(&mut self, n: u64, delivery: u64) {
        let place = usize::try_from(n).ok().and_then(|n| n.checked_sub(1));
        if let Some(event) = place.and_then(|place| self.log.get_mut(place)) {
            event.deliveries.push(delivery);
        }
    }
}
