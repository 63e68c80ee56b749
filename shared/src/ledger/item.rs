//! An item of the ledger: its attributes, as DynamoDB stores them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::Claim;
use crate::envelope::Origin;

/// The attributes of one occurrence of an event, without the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Item(pub BTreeMap<ItemAttribute, Value>);

/// An attribute of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemAttribute {
    /// `CLAIMED` or `PUBLISHED`.
    State,
    /// The owner of the last claim, a UUID.
    Owner,
    /// How often the occurrence was claimed.
    Attempt,
    /// When the claim's lease ends, in milliseconds since 1970. A published item has no lease.
    LeaseUntil,
    /// The SHA-256 of the canonical payload of the last claim.
    Digest,
    /// The delivery of the last claim, a UUID.
    DeliveryId,
    /// When that delivery arrived, in milliseconds since 1970. Items of older versions don't have
    /// it.
    ReceivedAt,
    /// The occurrence's number. Items of older versions don't have it. They hold the first
    /// occurrence.
    Occurrence,
    /// Who reported it, by the name of its [`Origin`]. Items of older versions don't have it.
    Origin,
    /// When DynamoDB's TTL may remove the item with all occurrences, in seconds since 1970.
    ExpiresAt,
    /// The bus's id of the published event.
    BusEventId,
    /// When the occurrence was marked as published, in milliseconds since 1970.
    PublishedAt,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// DynamoDB type `S`.
    Text(String),
    /// DynamoDB type `N`.
    Number(i64),
}

/// The state of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A worker has the right to publish it.
    Claimed {
        /// The worker's claim.
        claim: Claim,
        /// When the lease ends. From then on, anybody may claim the event.
        lease_until: Timestamp,
    },
    /// The event is on the bus.
    Published {
        /// The claim under which it was published.
        by: Claim,
    },
}

/// The value of [`ItemAttribute::State`] of a claimed item.
pub const CLAIMED: &str = "CLAIMED";
/// The value of [`ItemAttribute::State`] of a published item.
pub const PUBLISHED: &str = "PUBLISHED";

/// An item of the ledger table that has another form than this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the item's attribute {0} is missing or malformed")]
pub struct Malformed(
    /// The attribute that is missing or has another type.
    pub &'static str,
);

impl ItemAttribute {
    /// Every attribute.
    pub const ALL: [Self; 12] = [
        Self::State,
        Self::Owner,
        Self::Attempt,
        Self::LeaseUntil,
        Self::Digest,
        Self::DeliveryId,
        Self::ReceivedAt,
        Self::Occurrence,
        Self::Origin,
        Self::ExpiresAt,
        Self::BusEventId,
        Self::PublishedAt,
    ];

    /// The attribute's name in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Owner => "owner",
            Self::Attempt => "attempt",
            Self::LeaseUntil => "leaseUntil",
            Self::Digest => "digest",
            Self::DeliveryId => "deliveryId",
            Self::ReceivedAt => "receivedAt",
            Self::Occurrence => "occurrence",
            Self::Origin => "origin",
            Self::ExpiresAt => "expiresAt",
            Self::BusEventId => "busEventId",
            Self::PublishedAt => "publishedAt",
        }
    }

    pub(super) fn malformed(self) -> Malformed {
        Malformed(self.name())
    }

    /// The attribute's name in the table for an occurrence. From the second occurrence on, its
    /// number is part of the name, unless all occurrences share the attribute.
    #[must_use]
    pub fn name_in(self, occurrence: u32) -> Cow<'static, str> {
        match self {
            Self::ExpiresAt => self.name().into(),
            _ if occurrence <= 1 => self.name().into(),
            _ => format!("{}_{occurrence}", self.name()).into(),
        }
    }

    /// Reads a name in the table: the attribute, and the occurrence that it belongs to.
    #[must_use]
    pub fn read(name: &str) -> Option<(Self, u32)> {
        let known = |name| Self::ALL.into_iter().find(|known| known.name() == name);
        let (first, occurrence) = match name.split_once('_') {
            Some((first, number)) => (first, number.parse().ok().filter(|number| *number > 1)?),
            None => (name, 1),
        };
        Some((known(first)?, occurrence))
    }
}

impl Item {
    /// The state of the event.
    pub fn state(&self) -> Result<State, Malformed> {
        match self.text(ItemAttribute::State)? {
            CLAIMED => Ok(State::Claimed {
                claim: self.claim()?,
                lease_until: self.time(ItemAttribute::LeaseUntil)?,
            }),
            PUBLISHED => Ok(State::Published { by: self.claim()? }),
            _ => Err(ItemAttribute::State.malformed()),
        }
    }

    /// The claim that was granted last.
    pub fn claim(&self) -> Result<Claim, Malformed> {
        let owner: Result<Uuid, _> = self.text(ItemAttribute::Owner)?.parse();
        let attempt = self.number(ItemAttribute::Attempt)?.try_into();
        Ok(Claim {
            owner: owner.map_err(|_| ItemAttribute::Owner.malformed())?,
            attempt: attempt.map_err(|_| ItemAttribute::Attempt.malformed())?,
            occurrence: self.occurrence()?,
        })
    }

    /// The number of the occurrence.
    pub fn occurrence(&self) -> Result<u32, Malformed> {
        match self.0.get(&ItemAttribute::Occurrence) {
            None => Ok(1),
            Some(_) => self
                .number(ItemAttribute::Occurrence)?
                .try_into()
                .map_err(|_| ItemAttribute::Occurrence.malformed()),
        }
    }

    /// The digest of the payload of the last claim.
    pub fn digest(&self) -> Result<&str, Malformed> {
        self.text(ItemAttribute::Digest)
    }

    /// Whether the last claim was for an event of this origin.
    #[must_use]
    pub fn is_of(&self, origin: Origin) -> bool {
        self.text(ItemAttribute::Origin) == Ok(origin.name())
    }

    /// When the event was marked as published.
    pub fn published_at(&self) -> Result<Timestamp, Malformed> {
        self.time(ItemAttribute::PublishedAt)
    }

    /// Whether DynamoDB's TTL may have removed the item.
    pub fn has_expired(&self, now: Timestamp) -> Result<bool, Malformed> {
        Ok(self.number(ItemAttribute::ExpiresAt)? <= now.as_second())
    }

    /// The time in an attribute that holds milliseconds since 1970.
    pub fn time(&self, attribute: ItemAttribute) -> Result<Timestamp, Malformed> {
        let milliseconds = self.number(attribute)?;
        Timestamp::from_millisecond(milliseconds).map_err(|_| attribute.malformed())
    }

    /// The text in an attribute.
    pub fn text(&self, attribute: ItemAttribute) -> Result<&str, Malformed> {
        match self.0.get(&attribute) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(attribute.malformed()),
        }
    }

    /// The number in an attribute.
    pub fn number(&self, attribute: ItemAttribute) -> Result<i64, Malformed> {
        match self.0.get(&attribute) {
            Some(Value::Number(number)) => Ok(*number),
            _ => Err(attribute.malformed()),
        }
    }
}
