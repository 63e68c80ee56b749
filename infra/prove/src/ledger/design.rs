//! What is checked: the rules and the processor's decisions, or ones that are wrong on purpose.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use processor::outcome::RecordOutcome;
use processor::timing;
use shared::ledger::{LedgerKey, Operand, RULES, Rules, Value};

/// How long the ledger remembers an event, as template.yaml has it.
pub const RETENTION: SignedDuration = days(35);

/// Rules and decisions. [`REAL`](Design::REAL) has those that run; the mutants are made from it.
#[derive(Debug, Clone)]
pub struct Design {
    /// What the ledger allows.
    pub rules: Rules,
    /// Values of operands that the real steps don't have; only a mutant's rule names them.
    pub given: Vec<(Operand, Value)>,
    /// When a lease ends that is taken until a deadline.
    pub lease_until: fn(Timestamp) -> Timestamp,
    /// How much of the time until the deadline a worker publishes in.
    pub publishing_time: fn(Duration) -> Duration,
    /// What counts as the time of arrival of a delivery that arrived at one time and is processed at
    /// another.
    pub arrival: fn(Timestamp, Timestamp) -> Timestamp,
    /// The key of an occurrence.
    pub key: fn(&LedgerKey, u32) -> LedgerKey,
    /// Whether the queue may forget a record.
    pub is_settled: fn(RecordOutcome) -> bool,
    /// How long the ledger remembers an event.
    pub retention: SignedDuration,
}

impl Design {
    /// What runs.
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
