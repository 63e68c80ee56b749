//! What a million events cost after their way: what the ledger and the archive keep of them.

use super::events::MILLION;
use super::money::Money;
use super::prices::Prices;

/// Bytes of an event's item in the ledger, with 100 that DynamoDB adds.
const ITEM_BYTES: u64 = 450;
/// Bytes of an event in the archive. It is an assumption.
const ARCHIVED_BYTES: u64 = 2000;
/// For how many days the ledger and the archive keep an event.
const DAYS: u64 = 35;
/// Days of a month.
const MONTH: u64 = 30;

/// The prices of what is kept of a million events.
#[derive(Debug)]
pub struct Extras {
    /// The ledger keeps them.
    pub kept: Money,
    /// The ledger can be put back to each second.
    pub recovery: Money,
    /// The archive takes them.
    pub archived: Money,
    /// The archive keeps them.
    pub archive_kept: Money,
}

impl Extras {
    /// The prices for a million events.
    #[must_use]
    pub fn new(prices: &Prices) -> Self {
        let [items, archived] = [ITEM_BYTES, ARCHIVED_BYTES].map(|bytes| bytes * MILLION);
        let kept = |bytes: u64| bytes * DAYS / MONTH;
        Self {
            kept: prices.ledger_kept.of(kept(items)),
            recovery: prices.ledger_recovery.of(kept(items)),
            archived: prices.archived.of(archived),
            archive_kept: prices.archive_kept.of(kept(archived)),
        }
    }

    /// What the ledger costs.
    #[must_use]
    pub fn ledger(&self) -> Money {
        self.kept + self.recovery
    }

    /// What the archive costs.
    #[must_use]
    pub fn archive(&self) -> Money {
        self.archived + self.archive_kept
    }
}
