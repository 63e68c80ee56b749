//! The ledger: decides when two deliveries are the same event, and what may happen to an event.
//!
//! An item goes absent → claimed → published, and is never deleted by hand. One owner holds a claim
//! for one attempt until a deadline. Every later transition names that owner and attempt, which
//! fences out a worker that stalled past its lease.
//!
//! | transition | allowed | changes |
//! | --- | --- | --- |
//! | claim | the occurrence is absent, or claimed with a lease that has ended | claimed, new owner and lease, one more attempt |
//! | complete | claimed by this owner for this attempt | published, no lease |
//! | release | claimed by this owner for this attempt | the lease ends now |
//! | expiry | the retention is over. DynamoDB's TTL removes the item, at once or days later | absent |
//!
//! The first three are data ([`RULES`]) with two readers. [`Transition::apply`] applies them to an
//! item in memory, and [`EventLedger`] writes DynamoDB's condition and update expressions from the
//! same [`Rule`]. So the model checks the rules that run.
//!
//! A recurring event may happen again with the same content. Its occurrences ([`Occurrences`])
//! differ by their time of arrival. A delivery that arrived within the repeat window of another,
//! before or after it, is a copy. Any other delivery is an occurrence of its own. The time of
//! processing doesn't count, so a copy that comes back from the dead letters weeks later is still a
//! copy. All occurrences are in one item. From the second occurrence on, the names of the
//! attributes carry its number (`state_2`). So a refused call returns everything that the decision
//! needs, and a further occurrence costs only one call more than the first.
//!
//! The table also holds items that are not events: the [spill], the [`open`] callouts, AURA's [last
//! delivery](last_delivery), [`notes`], the reconciler's lock and state, and what operators changed by
//! `aura-ops` (`audit`). Their
//! partition keys hold no `#`, and every entity's key has one.

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
pub use table::{Attributes, EventLedger, LedgerError, SHARDS, is_done, key_of, occurrences};

/// The identity of one event: the ledger's partition and sort key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LedgerKey {
    /// The entity's key, such as `callout#5003`. A query on it returns the timeline of one callout.
    pub partition: String,
    /// The message, and a discriminator if the event may recur.
    pub sort: String,
}

impl LedgerKey {
    /// Makes the identity of an event from its payload's digest, its delivery and who reported it.
    /// A correction has a key of its own, so that it is never taken for the event that it corrects.
    /// The same correction again is a duplicate.
    #[must_use]
    pub fn new(event: &Event, payload_digest: &str, delivery_id: Uuid, origin: Origin) -> Self {
        let message = &event.message;
        let sort = match recurrence(message) {
            _ if origin == Origin::Operator => format!("{message}#{delivery_id}"),
            Recurrence::Once => message.clone(),
            Recurrence::Recurring => format!("{message}#{payload_digest}"),
            Recurrence::Signal => format!("{message}#{delivery_id}"),
        };
        Self {
            partition: event.entity.key(),
            sort,
        }
    }

    /// The key of one occurrence. From the second on, its number is part of the sort key.
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
    /// Writes the key that every published event carries, such as `callout#5003/NEW_CALLOUT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.sort)
    }
}

/// A request for the right to publish one event.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The event's key.
    pub key: LedgerKey,
    /// The digest of the payload.
    pub digest: String,
    /// The delivery that reported the event.
    pub delivery_id: Uuid,
    /// When that delivery arrived.
    pub received_at: Timestamp,
    /// Deliveries that arrived up to this long before or after this one are copies of it. If it is
    /// `None`, all are copies, for as long as the ledger remembers.
    pub repeat_window: Option<Duration>,
    /// Who reported the event.
    pub origin: Origin,
    /// The id of the claimant. Each attempt has a new one.
    pub owner: Uuid,
    /// The claimant's clock.
    pub now: Timestamp,
    /// When the lease ends. From then on, another worker may claim the event.
    pub lease_until: Timestamp,
    /// When the retention ends. From then on, the ledger may forget the event.
    pub expires_at: Timestamp,
}

/// The right to publish one event. Owner and attempt fence everything that is done under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The id of the claimant. Each attempt has a new one.
    pub owner: Uuid,
    /// The number of this claim of the occurrence, from 1.
    pub attempt: u32,
    /// The number of the occurrence: 1, unless a recurring event happened before.
    pub occurrence: u32,
}

/// Why an event can't be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// The event is on the bus with this payload. Drop the delivery.
    Duplicate,
    /// The event is on the bus with another payload. Keep the delivery, and publish nothing.
    Conflict {
        /// The digest of the payload that is on the bus.
        published: String,
    },
    /// Another worker holds the claim. Come back later.
    Held {
        /// When that worker's lease ends.
        lease_until: Timestamp,
    },
}

/// Whether a refused completion was done before, under the same claim, by a call whose answer was
/// lost.
#[must_use]
pub fn is_published_under(item: &Item, claim: &Claim) -> bool {
    matches!(item.state(), Ok(State::Published { by }) if by == *claim)
}

#[cfg(test)]
mod tests;
