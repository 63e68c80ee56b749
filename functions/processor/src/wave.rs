//! A wave: the first open record of every group, taken to its end side by side. All are claimed,
//! what was granted is published by one call, and what was published is marked.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use metrique::writer::BoxEntrySink;
use shared::envelope::Envelope;
use shared::ledger::{Claim, ClaimRequest, Refusal};
use shared::quarantine::{Conflict, Quarantined};
use tokio::time::timeout;
use uuid::Uuid;

use crate::bus::{Bus, BusError, Entry, Omission};
use crate::failpoint::{self, Step};
use crate::ledger::{Ledger, LedgerError};
use crate::queues::Queues;
use crate::record::{Identified, Outcome, Publication, Record, quarantined};
use crate::retry::MOST_PANICS;

/// How far two workers' clocks may be apart. AWS keeps its hosts' within milliseconds; a lease
/// that is this much longer than its owner can live is safe even on a bad day.
pub const CLOCK_SKEW: Duration = Duration::from_secs(2);

/// Kept back at the end of an invocation to report, so that Lambda doesn't end it first.
const REPORTING_TIME: Duration = Duration::from_millis(500);

/// Kept back before that to mark what was published, and to give back what wasn't.
const ENDING_TIME: Duration = Duration::from_secs(1);

/// A wave isn't started with less time left for claiming and publishing.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// Claiming may take that much of the time for claiming and publishing: what isn't granted by
/// then doesn't hold up the others.
const SHARE_OF_CLAIMING: f64 = 0.6;

/// Before the second attempt to mark. Each later pause is twice as long.
const PAUSE: Duration = Duration::from_millis(50);

/// Everything that a record meets.
#[derive(Debug)]
pub struct Processor<L, B, Q> {
    /// Who knows every event.
    pub ledger: L,
    /// Where events are published.
    pub bus: B,
    /// Where records come back to, or go that can never be processed.
    pub queues: Q,
    /// How long the ledger remembers an event.
    pub retention: Duration,
    /// The clock; [`Timestamp::now`] but for tests.
    pub now: fn() -> Timestamp,
    /// A fresh owner for each claim; random but for tests.
    pub new_owner: fn() -> Uuid,
    /// From 0 to 1; random but for tests.
    pub random: fn() -> f64,
    /// Where each batch's line goes.
    pub metrics: BoxEntrySink,
}

/// When each part of a wave has to be over.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    claimed_by: Timestamp,
    /// Nothing is sent to the bus after this.
    published_by: Timestamp,
    ended_by: Timestamp,
    /// The function doesn't live to see it, by anybody's clock.
    lease_until: Timestamp,
}

/// An event that may be published now, and by nobody else.
struct Claimed {
    record: Arc<Record>,
    identified: Identified,
    claim: Claim,
    omission: Option<Omission>,
}

impl Schedule {
    /// The schedule of a wave that starts now; none if it might not be over by the deadline.
    fn new(now: Timestamp, deadline: Timestamp) -> Option<Self> {
        let ended_by = before(deadline, REPORTING_TIME);
        let published_by = before(ended_by, ENDING_TIME);
        let left = between(now, published_by);
        (left >= LEAST_TIME).then(|| Self {
            claimed_by: after(now, left.mul_f64(SHARE_OF_CLAIMING)),
            published_by,
            ended_by,
            lease_until: after(deadline, CLOCK_SKEW),
        })
    }
}

/// Takes records of different groups to their ends and returns the outcomes in the same order.
///
/// `deadline` is when this invocation ends. What isn't published in time is reported failed;
/// what is published is settled, whatever the time. A record that panics fails alone.
pub async fn process<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    records: &[Arc<Record>],
    deadline: Timestamp,
) -> Vec<Outcome> {
    let Some(schedule) = Schedule::new((processor.now)(), deadline) else {
        return vec![Outcome::Postponed; records.len()];
    };
    let claim = |record| claim(processor, record, schedule);
    let claims = join_all(records.iter().map(claim)).await;
    failpoint::reach(Step::AfterClaim);

    let mut entries = Vec::new();
    let claims: Vec<_> = claims
        .into_iter()
        .map(|claim| {
            claim.map(|(claimed, entry)| {
                entries.push(entry);
                claimed
            })
        })
        .collect();
    let mut published = publish(processor, entries, schedule).await.into_iter();
    failpoint::reach(Step::AfterPublish);

    let ends = claims.into_iter().map(|claim| {
        let published = claim.is_ok().then(|| published.next()).flatten();
        async move {
            let published = published.unwrap_or(Err(BusError::TimedOut));
            end(processor, claim?, published, schedule).await
        }
    });
    let outcomes: Vec<Result<Outcome, Outcome>> = join_all(ends).await;
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or_else(|early| early))
        .collect()
}

/// Claims a record's event; the outcome, if it can't be published now.
async fn claim<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    record: &Arc<Record>,
    schedule: Schedule,
) -> Result<(Claimed, Entry), Outcome> {
    let (of_task, its_record) = (Arc::clone(processor), Arc::clone(record));
    let claim = async move { of_task.claim(&its_record, schedule.lease_until).await };
    match processor.isolated(claim, schedule.claimed_by).await {
        Ok(claimed) => claimed,
        Err(undone) => Err(processor.undone(record, undone, schedule.claimed_by).await),
    }
}

async fn publish<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    entries: Vec<Entry>,
    schedule: Schedule,
) -> Vec<Result<String, BusError>> {
    let time = processor.time_until(schedule.published_by);
    // After a stall the leases may have passed on: what isn't sent in time isn't sent.
    if entries.is_empty() || time.is_zero() {
        return Vec::new();
    }
    let processor = Arc::clone(processor);
    let task = tokio::spawn(async move { processor.bus.publish(&entries, time).await });
    task.await.unwrap_or_default()
}

/// Marks what was published, and gives back what wasn't.
async fn end<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    claimed: Claimed,
    published: Result<String, BusError>,
    schedule: Schedule,
) -> Result<Outcome, Outcome> {
    let (of_task, record) = (Arc::clone(processor), Arc::clone(&claimed.record));
    match published {
        Ok(bus_event_id) => {
            let latency = between(claimed.identified.envelope.received_at, (processor.now)());
            let payload_omitted = claimed.omission.is_some();
            let mark = async move { of_task.mark(&claimed, &bus_event_id).await };
            let marked = processor.isolated(mark, schedule.ended_by).await;
            Ok(Outcome::Published(Publication {
                latency,
                payload_omitted,
                marked: marked.unwrap_or(false),
            }))
        }
        Err(error) => {
            let give_back = async move { of_task.give_back(&claimed, &error).await };
            match processor.isolated(give_back, schedule.ended_by).await {
                Ok(outcome) => Ok(outcome),
                Err(undone) => Err(processor.undone(&record, undone, schedule.ended_by).await),
            }
        }
    }
}

/// Why a task has no result.
enum Undone {
    /// Its time ran out.
    Late,
    /// It panicked; the panic hook has logged the place.
    Panicked,
}

impl<L: Ledger, B: Bus, Q: Queues> Processor<L, B, Q> {
    /// Runs a record's task until `end` at the latest. In a task of its own a panic ends there.
    async fn isolated<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        end: Timestamp,
    ) -> Result<T, Undone> {
        let task = tokio::spawn(timeout(self.time_until(end), work));
        match task.await {
            Ok(done) => done.map_err(|_elapsed| Undone::Late),
            Err(_panic) => Err(Undone::Panicked),
        }
    }

    /// What becomes of a record whose task has no result. One that panics again and again would
    /// hold up the records behind it until they went to the dead letters together.
    async fn undone(&self, record: &Record, undone: Undone, end: Timestamp) -> Outcome {
        let message_id = &record.message_id;
        match undone {
            Undone::Late => {
                tracing::error!(message_id, "record failed: its time ran out");
                Outcome::Failed
            }
            Undone::Panicked if record.receives < MOST_PANICS => Outcome::Panicked,
            Undone::Panicked => {
                let item = record.quarantined("panicked", (self.now)());
                let put_aside = self.put_aside(record, &item, Outcome::Quarantined);
                let in_time = timeout(self.time_until(end), put_aside).await;
                in_time.unwrap_or(Outcome::Panicked)
            }
        }
    }

    pub(crate) fn time_until(&self, end: Timestamp) -> Duration {
        between((self.now)(), end)
    }

    async fn claim(
        &self,
        record: &Arc<Record>,
        lease_until: Timestamp,
    ) -> Result<(Claimed, Entry), Outcome> {
        let identified = self.identify(record).await?;
        let (entry, omission) = identified
            .entry(record)
            .map_err(|error| failed(record, &error))?;
        let now = (self.now)();
        let request = ClaimRequest {
            key: identified.key.clone(),
            digest: identified.digest.clone(),
            delivery_id: identified.envelope.delivery_id,
            owner: (self.new_owner)(),
            now,
            lease_until,
            expires_at: after(now, self.retention),
        };
        let claim = match self.ledger.claim(&request).await {
            Ok(Ok(claim)) => claim,
            Ok(Err(refusal)) => return Err(self.refused(record, &identified, refusal).await),
            Err(error @ LedgerError::Malformed(_)) => {
                tracing::error!(message_id = record.message_id, %error, "can't be claimed");
                let item = quarantined(&identified.envelope, "ledger-item-malformed");
                return Err(self.put_aside(record, &item, Outcome::Quarantined).await);
            }
            Err(error) => return Err(failed(record, &error)),
        };
        let claimed = Claimed {
            record: Arc::clone(record),
            identified,
            claim,
            omission,
        };
        self.keep_omitted_payload(&claimed).await?;
        Ok((claimed, entry))
    }

    /// Reads a record; what can never be processed is put aside as it came.
    async fn identify(&self, record: &Record) -> Result<Identified, Outcome> {
        let envelope = match Envelope::parse(&record.body) {
            Ok(envelope) => envelope,
            Err(reason) => {
                let reason = reason.to_string();
                let item = record.quarantined(&reason, (self.now)());
                return Err(self.put_aside(record, &item, Outcome::Quarantined).await);
            }
        };
        match Identified::read(envelope) {
            Ok(identified) => Ok(identified),
            Err((envelope, reason)) => {
                let reason = reason.to_string();
                let item = quarantined(&envelope, &reason);
                Err(self.put_aside(record, &item, Outcome::Quarantined).await)
            }
        }
    }

    async fn refused(&self, record: &Record, identified: &Identified, refusal: Refusal) -> Outcome {
        match refusal {
            Refusal::Duplicate => Outcome::Duplicate,
            Refusal::Held { lease_until } => Outcome::Held { lease_until },
            Refusal::Conflict { published } => {
                let item = Quarantined {
                    conflict: Some(Conflict {
                        digest: &identified.digest,
                        published: &published,
                    }),
                    ..quarantined(&identified.envelope, "conflict")
                };
                self.put_aside(record, &item, Outcome::Conflict).await
            }
        }
    }

    /// Before an event goes out without its payload, that is put where consumers' operators find
    /// it.
    async fn keep_omitted_payload(&self, claimed: &Claimed) -> Result<(), Outcome> {
        if claimed.omission.is_none() {
            return Ok(());
        }
        let item = quarantined(&claimed.identified.envelope, "payload-omitted");
        match self.queues.quarantine(&item).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.release(claimed).await;
                Err(failed(&claimed.record, &error))
            }
        }
    }

    /// What becomes of an event that the bus didn't take.
    async fn give_back(&self, claimed: &Claimed, error: &BusError) -> Outcome {
        let record = &claimed.record;
        self.release(claimed).await;
        if error.is_permanent() {
            tracing::error!(message_id = record.message_id, %error, "can't be published");
            let item = quarantined(&claimed.identified.envelope, "unpublishable");
            return self.put_aside(record, &item, Outcome::Quarantined).await;
        }
        failed(record, error)
    }

    /// If this fails, the lease runs out by itself.
    async fn release(&self, claimed: &Claimed) {
        let Claimed {
            record,
            identified,
            claim,
            ..
        } = claimed;
        let release = self.ledger.release(&identified.key, claim, (self.now)());
        if let Err(error) = release.await {
            tracing::warn!(message_id = record.message_id, %error, "claim not released");
        }
    }

    /// Marks a published event, trying for as long as it is let; whether it is marked.
    async fn mark(&self, claimed: &Claimed, bus_event_id: &str) -> bool {
        failpoint::reach(Step::BeforeComplete);
        let Claimed {
            record,
            identified: Identified { key, .. },
            claim,
            ..
        } = claimed;
        let mut pause = PAUSE;
        loop {
            let now = (self.now)();
            let error = match self.ledger.complete(key, claim, bus_event_id, now).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            tracing::error!(message_id = record.message_id, %error, "published, but not marked");
            if matches!(error, LedgerError::Stale) {
                return false;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn put_aside(
        &self,
        record: &Record,
        item: &Quarantined<'_>,
        outcome: Outcome,
    ) -> Outcome {
        match self.queues.quarantine(item).await {
            Ok(()) => outcome,
            Err(error) => failed(record, &error),
        }
    }
}

fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

fn before(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// Nothing, if the end comes first.
fn between(begin: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(begin)).unwrap_or_default()
}

fn failed(record: &Record, error: &dyn std::error::Error) -> Outcome {
    tracing::error!(message_id = record.message_id, %error, "record failed");
    Outcome::Failed
}
