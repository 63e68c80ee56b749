//! What is done with one record: read, claim, mark, give back, put aside.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrique::writer::BoxEntrySink;
use shared::catalogue::{CALLOUT_CLOSED, NEW_CALLOUT};
use shared::envelope::{Envelope, Origin};
use shared::event::Event;
use shared::ledger::notes::Note;
use shared::ledger::{Claim, ClaimRequest, LedgerError, Refusal};
use shared::published::Omission;
use shared::quarantine::{Conflict, Quarantined};
use tokio::time::timeout;
use uuid::Uuid;

use crate::bus::{Bus, BusEntry, BusError};
use crate::drills::{Drills, OUTLIVES_EVENTS, may_be_drill};
use crate::failpoint::{self, Failpoint};
use crate::ledger::Ledger;
use crate::outcome::RecordOutcome;
use crate::queues::Queues;
use crate::record::{Identified, Record, quarantined};
use crate::timing::Deliveries;
use crate::timing::MOST_PANICS;
use crate::timing::{after, between};

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
    /// AURA's last delivery that came by here.
    pub deliveries: Deliveries,
    /// How long the ledger remembers an event.
    pub retention: Duration,
    /// Within how long of its arrival the same content is a copy of a recurring event; `None` if
    /// it always is.
    pub repeat_window: Option<Duration>,
    /// The clock; [`Timestamp::now`] but for tests.
    pub now: fn() -> Timestamp,
    /// A fresh owner for each claim; random but for tests.
    pub new_owner: fn() -> Uuid,
    /// From 0 to 1; random but for tests.
    pub random: fn() -> f64,
    /// Where each batch's line goes.
    pub metrics: BoxEntrySink,
}

/// An event that may be published now, and by nobody else.
pub(crate) struct Claimed {
    pub(crate) record: Arc<Record>,
    pub(crate) identified: Identified,
    claim: Claim,
    pub(crate) omission: Option<Omission>,
}

/// Why a task has no result.
pub(crate) enum Undone {
    /// Its time ran out.
    Late,
    /// It panicked; the panic hook has logged the place.
    Panicked,
}

impl<L: Ledger, B: Bus, Q: Queues> Processor<L, B, Q> {
    /// Runs a record's task until `end` at the latest. In a task of its own a panic ends there.
    pub(crate) async fn isolated<T: Send + 'static>(
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
    pub(crate) async fn undone(
        &self,
        record: &Record,
        undone: Undone,
        end: Timestamp,
    ) -> RecordOutcome {
        let message_id = &record.message_id;
        match undone {
            Undone::Late => {
                tracing::error!(message_id, "record failed: its time ran out");
                RecordOutcome::Failed
            }
            Undone::Panicked if record.receives < MOST_PANICS => RecordOutcome::Panicked,
            Undone::Panicked => {
                let item = record.as_it_came("panicked", (self.now)());
                let put_aside = self.put_aside(record, &item, RecordOutcome::Quarantined);
                let in_time = timeout(self.time_until(end), put_aside).await;
                in_time.unwrap_or(RecordOutcome::Panicked)
            }
        }
    }

    pub(crate) fn time_until(&self, end: Timestamp) -> Duration {
        between((self.now)(), end)
    }

    pub(crate) async fn claim(
        &self,
        record: &Arc<Record>,
        drills: &Drills,
        lease_until: Timestamp,
    ) -> Result<(Claimed, BusEntry), RecordOutcome> {
        let mut identified = self.identify(record).await?;
        if identified.envelope.origin == Origin::Webhook {
            self.deliveries.see(identified.envelope.received_at);
        }
        self.mark_drill(record, &mut identified.event, drills)
            .await?;
        let now = (self.now)();
        let request = ClaimRequest {
            key: identified.key.clone(),
            digest: identified.digest.clone(),
            delivery_id: identified.envelope.delivery_id,
            received_at: identified.envelope.received_at,
            repeat_window: identified.repeat_window(self.repeat_window),
            origin: identified.envelope.origin,
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
                return Err(self
                    .put_aside(record, &item, RecordOutcome::Quarantined)
                    .await);
            }
            Err(error) => return Err(failed(record, &error)),
        };
        let (entry, omission) = identified
            .entry(record, claim.occurrence)
            .map_err(|error| failed(record, &error))?;
        let claimed = Claimed {
            record: Arc::clone(record),
            identified,
            claim,
            omission,
        };
        self.note_callout(&claimed).await?;
        self.keep_omitted_payload(&claimed).await?;
        Ok((claimed, entry))
    }

    /// Marks an event of a drill as one, whatever its own payload says, and has the ledger remember
    /// the drill for longer than this event. That comes first: what isn't remembered isn't published.
    async fn mark_drill(
        &self,
        record: &Record,
        event: &mut Event,
        drills: &Drills,
    ) -> Result<(), RecordOutcome> {
        let id = &event.entity.id;
        if !may_be_drill(event) {
            return Ok(());
        }
        event.test = event.test || drills.is_drill(id).ok_or_else(|| unknown(record))?;
        if !event.test {
            return Ok(());
        }
        let expires_at = after((self.now)(), self.retention + OUTLIVES_EVENTS);
        let noted = self.ledger.note(&Note::drill(id), expires_at).await;
        noted.map_err(|error| failed(record, &error))
    }

    /// Before the opening or the closing of a callout goes out, it is noted: or the reconciler might
    /// never ask for the other one.
    async fn note_callout(&self, claimed: &Claimed) -> Result<(), RecordOutcome> {
        let Identified {
            event, envelope, ..
        } = &claimed.identified;
        let at = envelope.received_at;
        let noted = if let Some(id) = event.callout_of(NEW_CALLOUT) {
            self.ledger.callout_opened(id, at).await
        } else if let Some(id) = event.callout_of(CALLOUT_CLOSED) {
            self.ledger.callout_closed(id, at).await
        } else {
            return Ok(());
        };
        match noted {
            Ok(()) => Ok(()),
            Err(error) => {
                self.release(claimed).await;
                Err(failed(&claimed.record, &error))
            }
        }
    }

    /// Notes when AURA delivered last, if that is due. If it fails, the next batch tries again.
    pub(crate) async fn note_delivery(&self) {
        let Some(arrived) = self.deliveries.to_note() else {
            return;
        };
        match self.ledger.delivered(arrived).await {
            Ok(()) => self.deliveries.noted(arrived),
            Err(error) => tracing::warn!(%error, "AURA's last delivery is not noted"),
        }
    }

    /// Reads a record; what can never be processed is put aside as it came.
    async fn identify(&self, record: &Record) -> Result<Identified, RecordOutcome> {
        let envelope = match Envelope::parse(&record.body) {
            Ok(envelope) => envelope,
            Err(reason) => {
                let reason = reason.to_string();
                let item = record.as_it_came(&reason, (self.now)());
                return Err(self
                    .put_aside(record, &item, RecordOutcome::Quarantined)
                    .await);
            }
        };
        match Identified::read(envelope) {
            Ok(identified) => Ok(identified),
            Err((envelope, reason)) => {
                let reason = reason.to_string();
                let item = quarantined(&envelope, &reason);
                Err(self
                    .put_aside(record, &item, RecordOutcome::Quarantined)
                    .await)
            }
        }
    }

    async fn refused(
        &self,
        record: &Record,
        identified: &Identified,
        refusal: Refusal,
    ) -> RecordOutcome {
        match refusal {
            Refusal::Duplicate => RecordOutcome::Duplicate,
            Refusal::Held { lease_until } => RecordOutcome::Held { lease_until },
            Refusal::Conflict { published } => {
                let item = Quarantined {
                    conflict: Some(Conflict {
                        digest: &identified.digest,
                        published: &published,
                    }),
                    ..quarantined(&identified.envelope, "conflict")
                };
                self.put_aside(record, &item, RecordOutcome::Conflict).await
            }
        }
    }

    /// What goes out of an event that the bus will never take as it is.
    pub(crate) async fn omit_payload(
        &self,
        claimed: Claimed,
        error: &BusError,
    ) -> Result<(Claimed, BusEntry), RecordOutcome> {
        let Claimed {
            record,
            identified,
            claim,
            ..
        } = &claimed;
        let message_id = &record.message_id;
        tracing::warn!(message_id, %error, "can't be published with its payload");
        let (entry, omission) = identified
            .entry_without_payload(record, claim.occurrence, Omission::Refused)
            .map_err(|error| failed(record, &error))?;
        let claimed = Claimed {
            omission,
            ..claimed
        };
        self.keep_omitted_payload(&claimed).await?;
        Ok((claimed, entry))
    }

    /// Before an event goes out without its payload, that is put where consumers' operators find
    /// it. The ledger notes that it is there, so that another attempt puts no second one beside it.
    async fn keep_omitted_payload(&self, claimed: &Claimed) -> Result<(), RecordOutcome> {
        let envelope = &claimed.identified.envelope;
        let kept = Note::kept(envelope.delivery_id);
        if claimed.omission.is_none() || self.is_kept(claimed, &kept).await {
            return Ok(());
        }
        let item = quarantined(envelope, "payload-omitted");
        if let Err(error) = self.queues.quarantine(&item).await {
            self.release(claimed).await;
            return Err(failed(&claimed.record, &error));
        }
        let expires_at = after((self.now)(), self.retention);
        if let Err(error) = self.ledger.note(&kept, expires_at).await {
            let message_id = &claimed.record.message_id;
            tracing::warn!(message_id, %error, "another attempt may keep the payload twice");
        }
        Ok(())
    }

    /// Whether an earlier attempt has kept the payload; where that isn't known, it counts as lost.
    async fn is_kept(&self, claimed: &Claimed, kept: &Note) -> bool {
        if claimed.claim.attempt == 1 {
            return false;
        }
        match self.ledger.noted(std::slice::from_ref(kept)).await {
            Ok(noted) => noted.is_noted(kept) == Some(true),
            Err(error) => {
                let message_id = &claimed.record.message_id;
                tracing::warn!(message_id, %error, "the payload may be kept twice");
                false
            }
        }
    }

    /// What becomes of an event that the bus didn't take.
    pub(crate) async fn give_back(&self, claimed: &Claimed, error: &BusError) -> RecordOutcome {
        let record = &claimed.record;
        self.release(claimed).await;
        if error.is_permanent() {
            tracing::error!(message_id = record.message_id, %error, "can't be published");
            let item = quarantined(&claimed.identified.envelope, "unpublishable");
            return self
                .put_aside(record, &item, RecordOutcome::Quarantined)
                .await;
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
    pub(crate) async fn mark(&self, claimed: &Claimed, bus_event_id: &str) -> bool {
        failpoint::reach(Failpoint::BeforeComplete).await;
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
            tracing::warn!(message_id = record.message_id, %error, "published, but not marked yet");
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
        outcome: RecordOutcome,
    ) -> RecordOutcome {
        match self.queues.quarantine(item).await {
            Ok(()) => outcome,
            Err(error) => failed(record, &error),
        }
    }
}

/// Why was logged for the whole batch.
fn unknown(record: &Record) -> RecordOutcome {
    let message_id = &record.message_id;
    tracing::error!(
        message_id,
        "record failed: whether it is of a drill isn't known"
    );
    RecordOutcome::Failed
}

fn failed(record: &Record, error: &dyn std::error::Error) -> RecordOutcome {
    tracing::error!(message_id = record.message_id, %error, "record failed");
    RecordOutcome::Failed
}
