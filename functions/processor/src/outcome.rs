//! What became of a record.

use std::time::Duration;

use jiff::Timestamp;
#[cfg(doc)]
use shared::published::Omitted;

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordOutcome {
    /// Its event is on the bus.
    Published(Publication),
    /// Its event was on the bus already.
    Duplicate,
    /// Its event happens once, is on the bus, and says something else there: quarantined.
    Conflict,
    /// It can never be published: quarantined.
    Quarantined,
    /// Another worker has claimed its event.
    Held {
        /// When that worker's lease ends.
        lease_until: Timestamp,
    },
    /// A step failed.
    Failed,
    /// A step panicked.
    Panicked,
    /// It wasn't tried: no time was left, or one before it in its group has to come first.
    Postponed,
}

/// A publish that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Publication {
    /// From the delivery's arrival at ingest until the bus had answered for the whole wave.
    pub latency: Duration,
    /// The payload isn't with it; see [`Omitted`].
    pub payload_omitted: bool,
    /// The ledger knows. If not, and should the event come once more, it will be published once
    /// more. The record itself is settled, since handing it over again would do just that.
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
