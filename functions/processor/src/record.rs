//! The descent of one record: read it, claim the event, publish it, mark it published.

use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use jiff::{SignedDuration, Timestamp};
use metrique::writer::BoxEntrySink;
use shared::envelope::Envelope;
use shared::event::{Event, parse_payload, payload_digest};
use shared::ledger::{Claim, LedgerKey, Refusal};
use shared::quarantine::{Id, Quarantined};
use tokio::time::timeout;
use uuid::Uuid;

use crate::bus::{Bus, BusError, Detail};
use crate::ledger::{ClaimRequest, Ledger, LedgerError};
use crate::quarantine::QuarantineStore;

/// How far two workers' clocks may be apart. AWS keeps its hosts' within milliseconds; a lease
/// that is this much longer than its owner can live is safe even on a bad day.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(2);

/// Kept back at the end of an invocation to report, so that Lambda doesn't end it first.
const REPORTING_TIME: Duration = Duration::from_millis(500);

/// Kept back before that to mark what was published: claiming and publishing have to be done by
/// then, or count as failed.
const MARKING_TIME: Duration = Duration::from_secs(1);

/// A record isn't started with less time left for claiming and publishing.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// Between two attempts to mark.
const PAUSE: Duration = Duration::from_millis(50);

/// Everything that a record meets.
#[derive(Debug)]
pub struct Processor<L, B, Q> {
    /// Who knows every event.
    pub ledger: L,
    /// Where events are published.
    pub bus: B,
    /// Where messages go that can never be processed.
    pub quarantine: Q,
    /// The clock; [`Timestamp::now`] but for tests.
    pub now: fn() -> Timestamp,
    /// A fresh owner for each claim; random but for tests.
    pub new_owner: fn() -> Uuid,
    /// Where each batch's line goes.
    pub metrics: BoxEntrySink,
}

/// One message of the ingest queue.
#[derive(Debug)]
pub struct Record {
    /// SQS's id, by which a failure is reported.
    pub message_id: String,
    /// The message group: records of one group stay in order.
    pub group: String,
    /// SQS's sequence number.
    pub sequence: Option<String>,
    /// An envelope, if all is well.
    pub body: String,
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// On the bus.
    Published,
    /// On the bus, and the ledger couldn't be told: should the event come once more, it will be
    /// published once more. The record itself is settled, since handing it over again would do
    /// just that.
    Unmarked,
    /// It was on the bus already.
    Duplicate,
    /// Its event happens once, is on the bus, and says something else there: quarantined.
    Conflict,
    /// It can never be processed: quarantined.
    Quarantined,
    /// Another worker has it.
    Held,
    /// A step failed.
    Failed,
    /// It panicked.
    Panicked,
    /// It wasn't tried: no time was left, or one before it in its group has to come first.
    Postponed,
}

impl Outcome {
    /// Whether the queue may forget the record. If not, SQS hands it over again.
    #[must_use]
    pub fn is_settled(self) -> bool {
        match self {
            Self::Published
            | Self::Unmarked
            | Self::Duplicate
            | Self::Conflict
            | Self::Quarantined => true,
            Self::Held | Self::Failed | Self::Panicked | Self::Postponed => false,
        }
    }

    /// A short name for the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Unmarked => "unmarked",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Quarantined => "quarantined",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::Postponed => "postponed",
        }
    }
}

impl From<SqsMessage> for Record {
    fn from(mut message: SqsMessage) -> Self {
        let message_id = message.message_id.unwrap_or_default();
        Self {
            group: message
                .attributes
                .remove("MessageGroupId")
                .unwrap_or_else(|| message_id.clone()),
            sequence: message.attributes.remove("SequenceNumber"),
            body: message.body.unwrap_or_default(),
            message_id,
        }
    }
}

/// An event that was read from a record and has its identity.
struct Identified {
    envelope: Envelope,
    event: Event,
    key: LedgerKey,
    digest: String,
}

/// A publish that succeeded and is to be marked.
struct Publication {
    claim: Claim,
    bus_event_id: String,
}

impl<L: Ledger, B: Bus, Q: QuarantineStore> Processor<L, B, Q> {
    /// Takes one record to its end.
    ///
    /// `deadline` is when this invocation ends. What isn't published in time is reported failed;
    /// what is published is settled, whatever the time. Claims outlive the deadline by
    /// [`CLOCK_SKEW`].
    pub async fn process(&self, record: &Record, deadline: Timestamp) -> Outcome {
        let left = self
            .time_until(deadline)
            .saturating_sub(REPORTING_TIME + MARKING_TIME);
        if left < LEAST_TIME {
            return Outcome::Postponed;
        }
        let (identified, publication) =
            match timeout(left, self.publish_once(record, deadline)).await {
                Ok(Ok(published)) => published,
                Ok(Err(outcome)) => return outcome,
                Err(_elapsed) => {
                    tracing::error!(message_id = record.message_id, "not published in time");
                    return Outcome::Failed;
                }
            };
        let left = self.time_until(deadline).saturating_sub(REPORTING_TIME);
        let complete = self.complete(record, &identified.key, &publication);
        timeout(left, complete).await.unwrap_or(Outcome::Unmarked)
    }

    fn time_until(&self, end: Timestamp) -> Duration {
        Duration::try_from(end.duration_since((self.now)())).unwrap_or_default()
    }

    /// Publishes a record's event, unless it is on the bus or can't be; the outcome in that case.
    async fn publish_once(
        &self,
        record: &Record,
        deadline: Timestamp,
    ) -> Result<(Identified, Publication), Outcome> {
        let identified = self.identify(record).await?;
        let claim = self.claim(record, &identified, deadline).await?;
        match self.bus.publish(&detail(record, &identified)).await {
            Ok(bus_event_id) => {
                let publication = Publication {
                    claim,
                    bus_event_id,
                };
                Ok((identified, publication))
            }
            Err(error) => Err(self.unpublished(record, &identified, &claim, &error).await),
        }
    }

    /// Reads a record; what can never be processed is put aside as it came.
    async fn identify(&self, record: &Record) -> Result<Identified, Outcome> {
        let envelope = match Envelope::parse(&record.body) {
            Ok(envelope) => envelope,
            Err(reason) => {
                let item = Quarantined {
                    reason: &reason.to_string(),
                    id: Id::Message(&record.message_id),
                    received_at: (self.now)(),
                    body: record.body.as_bytes(),
                };
                return Err(self.put_aside(record, &item, Outcome::Quarantined).await);
            }
        };
        match parse_payload(&envelope.payload) {
            Ok(event) => Ok(Identified::new(envelope, event)),
            Err(reason) => {
                let reason = reason.to_string();
                let item = quarantined(&envelope, &reason);
                Err(self.put_aside(record, &item, Outcome::Quarantined).await)
            }
        }
    }

    async fn claim(
        &self,
        record: &Record,
        identified: &Identified,
        deadline: Timestamp,
    ) -> Result<Claim, Outcome> {
        let request = ClaimRequest {
            key: identified.key.clone(),
            digest: identified.digest.clone(),
            delivery_id: identified.envelope.delivery_id,
            owner: (self.new_owner)(),
            now: (self.now)(),
            lease_until: deadline
                .saturating_add(CLOCK_SKEW)
                .unwrap_or(Timestamp::MAX),
        };
        match self.ledger.claim(&request).await {
            Ok(Ok(claim)) => Ok(claim),
            Ok(Err(Refusal::Duplicate)) => Err(Outcome::Duplicate),
            Ok(Err(Refusal::Held { .. })) => Err(Outcome::Held),
            Ok(Err(Refusal::Conflict)) => {
                let item = quarantined(&identified.envelope, "conflict");
                Err(self.put_aside(record, &item, Outcome::Conflict).await)
            }
            Err(error) => Err(failed(record, &error)),
        }
    }

    /// What becomes of an event that the bus didn't take.
    async fn unpublished(
        &self,
        record: &Record,
        identified: &Identified,
        claim: &Claim,
        error: &BusError,
    ) -> Outcome {
        // If this fails, the lease runs out by itself.
        if let Err(error) = self.ledger.release(&identified.key, claim).await {
            tracing::warn!(message_id = record.message_id, %error, "claim not released");
        }
        if error.is_permanent() {
            tracing::error!(message_id = record.message_id, %error, "can't be published");
            let item = quarantined(&identified.envelope, "unpublishable");
            return self.put_aside(record, &item, Outcome::Quarantined).await;
        }
        failed(record, error)
    }

    /// Marks a published event, trying as often as it takes.
    async fn complete(
        &self,
        record: &Record,
        key: &LedgerKey,
        publication: &Publication,
    ) -> Outcome {
        let Publication {
            claim,
            bus_event_id,
        } = publication;
        loop {
            let now = (self.now)();
            let error = match self.ledger.complete(key, claim, bus_event_id, now).await {
                Ok(()) => return Outcome::Published,
                Err(error) => error,
            };
            tracing::error!(message_id = record.message_id, %error, "published, but not marked");
            if matches!(error, LedgerError::Stale) {
                return Outcome::Unmarked;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn put_aside(
        &self,
        record: &Record,
        item: &Quarantined<'_>,
        outcome: Outcome,
    ) -> Outcome {
        match self.quarantine.put(item).await {
            Ok(()) => outcome,
            Err(error) => failed(record, &error),
        }
    }
}

impl Identified {
    fn new(envelope: Envelope, event: Event) -> Self {
        let digest = payload_digest(&envelope.payload);
        let key = LedgerKey::new(&event, &digest, envelope.delivery_id);
        Self {
            envelope,
            event,
            key,
            digest,
        }
    }
}

/// What AURA sent, to be put aside.
fn quarantined<'a>(envelope: &'a Envelope, reason: &'a str) -> Quarantined<'a> {
    Quarantined {
        reason,
        id: Id::Delivery(envelope.delivery_id),
        received_at: envelope.received_at,
        body: envelope.payload.get().as_bytes(),
    }
}

fn detail<'a>(record: &'a Record, identified: &'a Identified) -> Detail<'a> {
    let Identified {
        envelope,
        event,
        key,
        ..
    } = identified;
    Detail {
        key: key.to_string(),
        message: &event.message,
        entity: &event.entity,
        delivery_id: envelope.delivery_id,
        received_at: envelope.received_at,
        origin: envelope.origin,
        sequence: record.sequence.as_deref(),
        test: event.test,
        payload: &envelope.payload,
    }
}

fn failed(record: &Record, error: &dyn std::error::Error) -> Outcome {
    tracing::error!(message_id = record.message_id, %error, "record failed");
    Outcome::Failed
}
