//! The ledger's rules: what makes two deliveries the same event, and what may happen to it.
//!
//! An item goes absent → claimed → published and is never deleted by hand. A claim is held by
//! one owner for one attempt until a deadline; every later step names that owner and attempt,
//! which fences a worker out that stalled past its lease.
//!
//! | transition | allowed | changes |
//! | --- | --- | --- |
//! | claim | the occurrence is absent, or claimed with a lease that has run out | claimed, new owner and lease, one more attempt |
//! | complete | claimed by this owner for this attempt | published, no lease |
//! | release | claimed by this owner for this attempt | the lease ends now |
//! | expiry | the retention is over; DynamoDB's TTL does it, at once or days later | absent |
//!
//! The first three are data ([`RULES`]) with two readers: [`Transition::apply`] does them to an item in
//! memory, and [`EventLedger`] writes DynamoDB's condition and update expressions from the same
//! [`Rule`]. So what is checked exhaustively is what runs.
//!
//! A recurring event may happen again with the same content. What tells its occurrences apart is the
//! time of arrival: a delivery that arrived within the repeat window of another, before it or after
//! it, is a copy of it; any other is an occurrence of its own ([`Occurrences`]). The time at which
//! they are processed doesn't count, so a copy that comes back from the dead letters weeks later is
//! still a copy. All occurrences are in one item: those behind the first have attributes with their
//! number (`state_2`). So the call that is refused brings back all that is needed to decide, and a
//! further occurrence costs one call more than a first one.
//!
//! Beside the events stand items of our own, whose partitions hold no `#` where an entity's key
//! always has one: the [spill], the [`open`] callouts, when AURA delivered last
//! ([`last_delivery`]), and [`notes`].

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

/// Who wants to publish what, and until when.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The event.
    pub key: LedgerKey,
    /// Its payload's digest.
    pub digest: String,
    /// The delivery that it came with.
    pub delivery_id: Uuid,
    /// When that delivery arrived.
    pub received_at: Timestamp,
    /// Deliveries that arrived so long before or after this one, or less, are copies of it. `None`:
    /// all are, for as long as the ledger remembers.
    pub repeat_window: Option<Duration>,
    /// Who says that it happened.
    pub origin: Origin,
    /// Fresh for each attempt.
    pub owner: Uuid,
    /// The claimant's clock.
    pub now: Timestamp,
    /// From then on somebody else may claim it.
    pub lease_until: Timestamp,
    /// From then on the ledger may forget the event.
    pub expires_at: Timestamp,
}

/// The right to publish one event, and the fence of everything done under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Fresh for each attempt.
    pub owner: Uuid,
    /// Counts the claims of this occurrence, from 1.
    pub attempt: u32,
    /// Which occurrence of the event: 1, but for a recurring event that happened before.
    pub occurrence: u32,
}

/// Why an event can't be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// It is on the bus with this very payload: drop the delivery.
    Duplicate,
    /// It is on the bus with another payload: keep the delivery, publish nothing.
    Conflict {
        /// The digest of the payload that is on the bus.
        published: String,
    },
    /// Another worker has it until then: come back later.
    Held {
        /// When that worker's lease ends.
        lease_until: Timestamp,
    },
}

/// Whether a completion that `item` has refused was done all the same: under this very claim, by
/// a call whose answer was lost.
#[must_use]
pub fn is_published_under(item: &Item, claim: &Claim) -> bool {
    matches!(item.state(), Ok(State::Published { by }) if by == *claim)
}

#[cfg(test)]
mod tests;
