//! The outcome of a record.

use std::time::Duration;

use jiff::Timestamp;
#[cfg(doc)]
use shared::published::Omitted;

/// The outcome of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordOutcome {
    /// The record's event is on the bus.
    Published(Publication),
    /// The record's event was already on the bus.
    Duplicate,
    /// The record's event happens once, and is on the bus with another payload. The record is in
    /// the quarantine.
    Conflict,
    /// The record can never be published. It is in the quarantine.
    Quarantined,
    /// Another worker has claimed the record's event.
    Held {
        /// When that worker's lease ends.
        lease_until: Timestamp,
    },
    /// A step failed.
    Failed,
    /// A step panicked.
    Panicked,
    /// The record wasn't tried: no time was left, or an earlier record of its group failed.
    Postponed,
}

/// A publish that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publication {
    /// The time from the delivery's arrival at ingest until the bus answered for the whole wave.
    pub latency: Duration,
    /// Whether it was published without its payload; see [`Omitted`].
    pub payload_omitted: bool,
    /// Whether the event is marked in the ledger. If it isn't, and the event comes again, it is
    /// published again. The record is settled all the same, because another try would publish the
    /// event again.
    pub marked: bool,
}

impl RecordOutcome {
    /// Whether the queue may forget the record. If not, SQS hands it over again.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Published(_) | Self::Duplicate | Self::Conflict | Self::Quarantined => true,
            Self::Held { .. } | Self::Failed | Self::Panicked | Self::Postponed => false,
        }
    }

    /// A short name for the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Published(Publication { marked: true, .. }) => "published",
            Self::Published(Publication { marked: false, .. }) => "unmarked",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Quarantined => "quarantined",
            Self::Held { .. } => "held",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Postponed => "postponed",
        }
    }
}
