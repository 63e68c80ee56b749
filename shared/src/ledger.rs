//! The ledger: what makes two deliveries the same event, and what may happen to it.
//!
//! An item goes absent → claimed → published and is never deleted by hand. A claim is held by
//! one owner for one attempt until a deadline. Every later transition names that owner and attempt,
//! which fences out a worker that stalled past its lease.
//!
//! | transition | allowed | changes |
//! | --- | --- | --- |
//! | claim | the occurrence is absent, or claimed with a lease that has run out | claimed, new owner and lease, one more attempt |
//! | complete | claimed by this owner for this attempt | published, no lease |
//! | release | claimed by this owner for this attempt | the lease ends now |
//! | expiry | the retention is over; DynamoDB's TTL does it, at once or days later | absent |
//!
//! The first three are data ([`RULES`]) with two readers: [`Transition::apply`] makes them on an item in
//! memory, and [`EventLedger`] writes DynamoDB's condition and update expressions from the same
//! [`Rule`]. So what the model checks is what runs.
//!
//! A recurring event may happen again with the same content. Its occurrences ([`Occurrences`]) differ by
//! their time of arrival: a delivery that arrived within the repeat window of another, before or after
//! it, is a copy of it; any other is an occurrence of its own. The time of processing doesn't count, so
//! a copy that comes back from the dead letters weeks later is still a copy. All occurrences are in one
//! item: from the second on, their attributes carry their number (`state_2`). So a refused call returns
//! all that is needed to decide, and a further occurrence costs only one call more than the first.
//!
//! The table also holds items that are no events: the [spill], the [`open`] callouts, AURA's
//! [last delivery](last_delivery), and [`notes`]. Their partition keys hold no `#`, which every entity's
//! key has.

mod expression;
mod item;
pub mod last_delivery;
pub mod notes;
mod occurrences;
pub mod open;
mod rules;
pub mod spill;
mod table;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::catalogue::{Recurrence, recurrence};
use crate::envelope::Origin;
use crate::event::Event;

pub use item::{CLAIMED, Item, ItemAttribute, Malformed, PUBLISHED, State, Value};
pub use occurrences::{AfterRefusal, MOST_OCCURRENCES, Occurrences};
pub use rules::{Condition, Effect, Operand, RULES, Rule, Rules, Transition};
pub use table::{EventLedger, LedgerError, SHARDS};

/// The identity of one event: the ledger's partition and sort key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LedgerKey {
    /// The entity, `callout#5003`: a query on it is the timeline of one callout.
    pub partition: String,
    /// The message, and what tells its recurrences apart.
    pub sort: String,
}

impl LedgerKey {
    /// The identity of an event, given its payload's digest and its delivery.
    #[must_use]
    pub fn new(event: &Event, payload_digest: &str, delivery_id: Uuid) -> Self {
        let message = &event.message;
        let sort = match recurrence(message) {
            Recurrence::Once => message.clone(),
            Recurrence::Recurring => format!("{message}#{payload_digest}"),
            Recurrence::Signal => format!("{message}#{delivery_id}"),
        };
        Self {
            partition: event.entity.key(),
            sort,
        }
    }

    /// The same for one occurrence: from the second on, its number is part of the sort key.
    #[must_use]
    pub fn of_occurrence(&self, occurrence: u32) -> Self {
        let mut key = self.clone();
        if occurrence > 1 {
            key.sort = format!("{}#{occurrence}", self.sort);
        }
        key
    }
}

impl fmt::Display for LedgerKey {
    /// `callout#5003/NEW_CALLOUT`: the key that every published event carries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.sort)
    }
}

/// A request for the right to publish one event.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The event.
    pub key: LedgerKey,
    /// The digest of its payload.
    pub digest: String,
    /// The delivery that it came with.
    pub delivery_id: Uuid,
    /// When that delivery arrived.
    pub received_at: Timestamp,
    /// Deliveries that arrived up to this long before or after this one are copies of it. `None`: all
    /// are, for as long as the ledger remembers.
    pub repeat_window: Option<Duration>,
    /// Who reported it.
    pub origin: Origin,
    /// Id of the claimant, a fresh one for each attempt.
    pub owner: Uuid,
    /// The claimant's clock.
    pub now: Timestamp,
    /// When the lease ends: from then on somebody else may claim it.
    pub lease_until: Timestamp,
    /// When the retention ends: from then on the ledger may forget the event.
    pub expires_at: Timestamp,
}

/// The right to publish one event. Everything done under it is fenced by owner and attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Id of the claimant, a fresh one for each attempt.
    pub owner: Uuid,
    /// Counts the claims of this occurrence, from 1.
    pub attempt: u32,
    /// Number of the occurrence: 1, unless a recurring event happened before.
    pub occurrence: u32,
}

/// Why an event can't be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// The event is on the bus with this very payload: drop the delivery.
    Duplicate,
    /// The event is on the bus with another payload: keep the delivery, publish nothing.
    Conflict {
        /// The digest of the payload that is on the bus.
        published: String,
    },
    /// Another worker holds the claim: come back later.
    Held {
        /// When that worker's lease ends.
        lease_until: Timestamp,
    },
}

/// Whether a completion that `item` refused was done before, under this very claim, by a call whose
/// answer was lost.
#[must_use]
pub fn is_published_under(item: &Item, claim: &Claim) -> bool {
    matches!(item.state(), Ok(State::Published { by }) if by == *claim)
}

#[cfg(test)]
mod tests;
