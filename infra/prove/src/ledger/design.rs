//! The design that is checked: the rules and the processor's decisions, or wrong ones.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use processor::outcome::RecordOutcome;
use processor::timing;
use shared::ledger::{LedgerKey, Operand, RULES, Rules, Value};

/// How long the ledger remembers an event, as in template.yaml.
pub const RETENTION: SignedDuration = days(35);

/// The rules and decisions of a design. [`REAL`](Design::REAL) holds the production ones; the
/// mutants are made from it.
#[derive(Debug, Clone)]
pub struct Design {
    /// What the ledger allows.
    pub rules: Rules,
    /// Values of operands that only a mutant's rule names.
    pub given: Vec<(Operand, Value)>,
    /// When a lease ends that is taken until a deadline.
    pub lease_until: fn(Timestamp) -> Timestamp,
    /// How much of the time until its deadline a worker may publish in.
    pub publishing_time: fn(Duration) -> Duration,
    /// The time that counts as a delivery's arrival, from its times of arrival and of processing.
    pub arrival: fn(Timestamp, Timestamp) -> Timestamp,
    /// The key of an occurrence.
    pub key: fn(&LedgerKey, u32) -> LedgerKey,
    /// Whether the queue may forget a record.
    pub is_settled: fn(RecordOutcome) -> bool,
    /// How long the ledger remembers an event.
    pub retention: SignedDuration,
}

impl Design {
    /// The production design.
    pub const REAL: Self = Self {
        rules: RULES,
        given: Vec::new(),
        lease_until: timing::lease_until,
        publishing_time: timing::publishing_time,
        arrival: |arrived, _| arrived,
        key: LedgerKey::of_occurrence,
        is_settled: RecordOutcome::is_settled,
        retention: RETENTION,
    };
}

pub(crate) const fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(days * 24)
}
