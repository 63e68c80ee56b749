//! The steps of one record. It is read, and its event is claimed. The bus's answer decides whether
//! the event is marked as published or given back.
//!
//! Each step has its own time limit. A panic in a step fails this record only.

use std::convert::identity;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use metrique::writer::BoxEntrySink;
use shared::catalogue::{CALLOUT_CLOSED, NEW_CALLOUT};
use shared::envelope::Origin;
use shared::event::{CALLOUT, Event};
use shared::ledger::notes::Note;
use shared::ledger::{Claim, ClaimRefusal, ClaimRequest, LedgerError};
use shared::published::Omission;
use shared::quarantine::{Conflict, Quarantined};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::bus::BusError;
use crate::failpoint::{self, Failpoint};
use crate::notes::{BatchNotes, OUTLIVES_EVENTS};
use crate::outcome::{Publication, RecordOutcome};
use crate::services::Services;
use crate::timing::{Deliveries, Interruption, MOST_PANICS, Schedule, after, between, isolated};
use incoming::{IncomingEvent, Record};
use outgoing::ClaimedEvent;

pub(crate) mod incoming;
pub(crate) mod outgoing;

/// The pause before the second attempt to mark. Each later pause is twice as long.
const PAUSE: Duration = Duration::from_millis(50);

/// Everything that the steps of a record need.
#[derive(Debug)]
pub struct Processor<S> {
    /// The ledger, the bus and the queues.
    pub services: S,
    /// The last delivery from AURA that this process has seen.
    pub deliveries: Deliveries,
    /// How long the ledger remembers an event.
    pub retention: Duration,
    /// The time around a recurring event's arrival within which the same content is a copy. `None`
    /// if the same content is always a copy.
    pub repeat_window: Option<Duration>,
    /// The clock: [`Timestamp::now`], except in tests.
    pub now: fn() -> Timestamp,
    /// Makes a new owner for each claim: random, except in tests.
    pub new_owner: fn() -> Uuid,
    /// Makes a number from 0 to 1: random, except in tests.
    pub random: fn() -> f64,
    /// Where each batch's log line is written.
    pub metrics: BoxEntrySink,
}

/// The steps of a record, in the order in which the wave takes them.
impl<S: Services> Processor<S> {
    /// Claims a record's event. Returns it, or the record's outcome if there is nothing to publish.
    pub(crate) async fn claim<'a>(
        &self,
        record: &'a Record,
        notes: &BatchNotes,
        schedule: Schedule,
    ) -> Result<ClaimedEvent<'a>, RecordOutcome> {
        let claim = self.read_and_claim(record, notes, schedule.lease_until);
        self.step(record, schedule.claimed_by, claim).await?
    }

    /// Omits the payload of an event that the bus will never accept with it.
    pub(crate) async fn omit_payload(
        &self,
        claimed: &mut ClaimedEvent<'_>,
        error: &BusError,
        schedule: Schedule,
    ) -> Result<(), RecordOutcome> {
        let record = claimed.record;
        let message_id = &record.message_id;
        let omit = async {
            tracing::warn!(
                message_id, %error,
                "the event bus refuses this event with its payload; publishing it without the payload"
            );
            let omitted = claimed.omit_payload(Omission::Refused);
            omitted.map_err(|error| failed(record, &error))?;
            self.keep_omitted_payload(claimed).await
        };
        self.step(record, schedule.published_by, omit).await?
    }

    /// Marks the event if the bus accepted it. Gives it back otherwise.
    pub(crate) async fn end(
        &self,
        claimed: &ClaimedEvent<'_>,
        answer: Result<String, BusError>,
        schedule: Schedule,
    ) -> RecordOutcome {
        let end = schedule.ended_by;
        let error = match answer {
            Ok(bus_event_id) => return self.published(claimed, &bus_event_id, end).await,
            Err(error) => error,
        };
        let give_back = self.give_back(claimed, &error);
        let outcome = self.step(claimed.record, end, give_back).await;
        outcome.unwrap_or_else(identity)
    }

    /// Runs one step of a record, until `end` at the latest. The error is the outcome of a record
    /// whose step was interrupted. A record that panics again and again goes to the quarantine. It
    /// would otherwise delay the records behind it until all of them went to the dead letters.
    async fn step<T>(
        &self,
        record: &Record,
        end: Timestamp,
        step: impl Future<Output = T>,
    ) -> Result<T, RecordOutcome> {
        let interruption = match isolated(step, self.time_until(end)).await {
            Ok(done) => return Ok(done),
            Err(interruption) => interruption,
        };
        let message_id = &record.message_id;
        Err(match interruption {
            Interruption::Late => {
                tracing::error!(message_id, "record failed: its time ran out");
                RecordOutcome::Failed
            }
            Interruption::Panicked if record.receives < MOST_PANICS => RecordOutcome::Panicked,
            Interruption::Panicked => {
                let item = record.as_it_came("panicked", (self.now)());
                let put_aside = self.put_aside(record, &item, RecordOutcome::Quarantined);
                let in_time = timeout(self.time_until(end), put_aside).await;
                in_time.unwrap_or(RecordOutcome::Panicked)
            }
        })
    }

    pub(crate) fn time_until(&self, end: Timestamp) -> Duration {
        between((self.now)(), end)
    }
}

/// The steps that read a record and claim its event.
impl<S: Services> Processor<S> {
    async fn read_and_claim<'a>(
        &self,
        record: &'a Record,
        notes: &BatchNotes,
        lease_until: Timestamp,
    ) -> Result<ClaimedEvent<'a>, RecordOutcome> {
        let incoming = match record.event() {
            Ok(incoming) => incoming,
            Err(unprocessable) => {
                let item = unprocessable.to_quarantine(record, (self.now)());
                let outcome = RecordOutcome::Quarantined;
                return Err(self.put_aside(record, &item, outcome).await);
            }
        };
        if incoming.envelope.origin == Origin::Webhook {
            self.deliveries.see(incoming.envelope.received_at);
        }
        let test = self.is_test(record, &incoming.event, notes).await?;
        let claim = self.claim_event(record, incoming, lease_until).await?;
        let claimed = ClaimedEvent::new(record, incoming, test, claim)
            .map_err(|error| failed(record, &error))?;
        self.note_callout(&claimed).await?;
        self.keep_omitted_payload(&claimed).await?;
        Ok(claimed)
    }

    /// Whether an event goes out as a test, because AURA marked it or another event of its callout.
    /// The mark is stored first, for longer than the event: a drill that can't be remembered isn't
    /// published.
    async fn is_test(
        &self,
        record: &Record,
        event: &Event,
        notes: &BatchNotes,
    ) -> Result<bool, RecordOutcome> {
        let test = notes.is_test(event).ok_or_else(|| note_unread(record))?;
        if test && event.entity.kind == CALLOUT {
            let id = &event.entity.id;
            let expires_at = after((self.now)(), self.retention + OUTLIVES_EVENTS);
            let written = self.services.note(&Note::drill(id), expires_at).await;
            written.map_err(|error| failed(record, &error))?;
        }
        Ok(test)
    }

    async fn claim_event(
        &self,
        record: &Record,
        incoming: &IncomingEvent,
        lease_until: Timestamp,
    ) -> Result<Claim, RecordOutcome> {
        let now = (self.now)();
        let request = ClaimRequest {
            key: incoming.key.clone(),
            digest: incoming.digest.clone(),
            delivery_id: incoming.envelope.delivery_id,
            received_at: incoming.envelope.received_at,
            repeat_window: incoming.repeat_window(self.repeat_window),
            origin: incoming.envelope.origin,
            owner: (self.new_owner)(),
            now,
            lease_until,
            expires_at: after(now, self.retention),
        };
        match self.services.claim(&request).await {
            Ok(Ok(claim)) => Ok(claim),
            Ok(Err(refusal)) => Err(self.refused(record, incoming, refusal).await),
            Err(error @ LedgerError::Malformed(_)) => {
                tracing::error!(
                    message_id = record.message_id, %error,
                    "the event's item in the ledger is malformed; its payload goes to the quarantine"
                );
                let item = incoming.to_quarantine("ledger-item-malformed");
                let outcome = RecordOutcome::Quarantined;
                Err(self.put_aside(record, &item, outcome).await)
            }
            Err(error) => Err(failed(record, &error)),
        }
    }

    async fn refused(
        &self,
        record: &Record,
        incoming: &IncomingEvent,
        refusal: ClaimRefusal,
    ) -> RecordOutcome {
        match refusal {
            ClaimRefusal::Duplicate => RecordOutcome::Duplicate,
            ClaimRefusal::Held { lease_until } => RecordOutcome::Held { lease_until },
            ClaimRefusal::Conflict { published } => {
                let item = Quarantined {
                    conflict: Some(Conflict {
                        digest: &incoming.digest,
                        published: &published,
                    }),
                    ..incoming.to_quarantine("conflict")
                };
                self.put_aside(record, &item, RecordOutcome::Conflict).await
            }
        }
    }

    /// Notes the opening or the closing of a callout before it is published. Otherwise, the
    /// reconciler might never ask for the other of the two. A correction needs no note: its event has
    /// one already.
    async fn note_callout(&self, claimed: &ClaimedEvent<'_>) -> Result<(), RecordOutcome> {
        let IncomingEvent {
            event, envelope, ..
        } = claimed.incoming;
        if envelope.origin == Origin::Operator {
            return Ok(());
        }
        let at = envelope.received_at;
        let noted = if let Some(id) = event.callout_of(NEW_CALLOUT) {
            self.services.callout_opened(id, at).await
        } else if let Some(id) = event.callout_of(CALLOUT_CLOSED) {
            self.services.callout_closed(id, at).await
        } else {
            return Ok(());
        };
        match noted {
            Ok(()) => Ok(()),
            Err(error) => {
                self.release(claimed).await;
                Err(failed(claimed.record, &error))
            }
        }
    }

    /// Puts an omitted payload into the quarantine before its event is published, so that operators
    /// find it there. The ledger notes this, so that another attempt doesn't store a second copy.
    async fn keep_omitted_payload(&self, claimed: &ClaimedEvent<'_>) -> Result<(), RecordOutcome> {
        let kept = Note::kept(claimed.incoming.envelope.delivery_id);
        if claimed.omission.is_none() || self.is_kept(claimed, &kept).await {
            return Ok(());
        }
        let item = claimed.incoming.to_quarantine("payload-omitted");
        if let Err(error) = self.services.quarantine(&item).await {
            self.release(claimed).await;
            return Err(failed(claimed.record, &error));
        }
        let expires_at = after((self.now)(), self.retention);
        if let Err(error) = self.services.note(&kept, expires_at).await {
            let message_id = &claimed.record.message_id;
            tracing::warn!(
                message_id, %error,
                "the omitted payload may be stored twice in the quarantine: it could not be noted"
            );
        }
        Ok(())
    }

    /// Whether an earlier attempt has stored the payload. If that isn't known, the payload is
    /// stored again.
    async fn is_kept(&self, claimed: &ClaimedEvent<'_>, kept: &Note) -> bool {
        if claimed.claim.attempt == 1 {
            return false;
        }
        match self.services.noted(std::slice::from_ref(kept)).await {
            Ok(noted) => noted.is_noted(kept) == Some(true),
            Err(error) => {
                let message_id = &claimed.record.message_id;
                tracing::warn!(
                    message_id, %error,
                    "the omitted payload may be stored twice in the quarantine: its note could not be read"
                );
                false
            }
        }
    }
}

/// The steps that mark a published event, or give back a claim.
impl<S: Services> Processor<S> {
    /// Marks a published event. The event counts as published whether or not this succeeds.
    async fn published(
        &self,
        claimed: &ClaimedEvent<'_>,
        bus_event_id: &str,
        end: Timestamp,
    ) -> RecordOutcome {
        let latency = between(claimed.incoming.envelope.received_at, (self.now)());
        let mark = self.mark(claimed, bus_event_id);
        let marked = isolated(mark, self.time_until(end)).await.unwrap_or(false);
        if !marked {
            let message_id = &claimed.record.message_id;
            tracing::error!(
                message_id,
                "event is published, but could not be marked in the ledger"
            );
        }
        RecordOutcome::Published(Publication {
            latency,
            payload_omitted: claimed.omission.is_some(),
            marked,
        })
    }

    /// Marks a published event, and returns whether it is marked. Tries again until it is stopped,
    /// or until another worker holds the claim.
    async fn mark(&self, claimed: &ClaimedEvent<'_>, bus_event_id: &str) -> bool {
        failpoint::reach(Failpoint::BeforeComplete).await;
        let (key, claim) = (&claimed.incoming.key, &claimed.claim);
        let mut pause = PAUSE;
        loop {
            let now = (self.now)();
            let completed = self.services.complete(key, claim, bus_event_id, now);
            let Err(error) = completed.await else {
                return true;
            };
            let message_id = &claimed.record.message_id;
            tracing::warn!(
                message_id, %error,
                "event is published, but an attempt to mark it in the ledger failed"
            );
            if matches!(error, LedgerError::Stale) {
                return false;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Gives back an event that the bus didn't accept. If the bus never will, the event goes to the
    /// quarantine.
    async fn give_back(&self, claimed: &ClaimedEvent<'_>, error: &BusError) -> RecordOutcome {
        let record = claimed.record;
        self.release(claimed).await;
        if !error.is_permanent() {
            return failed(record, error);
        }
        tracing::error!(
            message_id = record.message_id, %error,
            "the event bus will never accept this event; its payload goes to the quarantine"
        );
        let item = claimed.incoming.to_quarantine("unpublishable");
        self.put_aside(record, &item, RecordOutcome::Quarantined)
            .await
    }

    /// Releases a claim. If this fails, the lease ends by itself.
    async fn release(&self, claimed: &ClaimedEvent<'_>) {
        let (key, claim) = (&claimed.incoming.key, &claimed.claim);
        let released = self.services.release(key, claim, (self.now)()).await;
        if let Err(error) = released {
            let message_id = &claimed.record.message_id;
            tracing::warn!(
                message_id, %error,
                "claim could not be released; its lease ends by itself"
            );
        }
    }

    async fn put_aside(
        &self,
        record: &Record,
        item: &Quarantined<'_>,
        outcome: RecordOutcome,
    ) -> RecordOutcome {
        match self.services.quarantine(item).await {
            Ok(()) => outcome,
            Err(error) => failed(record, &error),
        }
    }
}

/// Fails a record because its note could not be read. The reason was logged for the whole batch.
fn note_unread(record: &Record) -> RecordOutcome {
    let message_id = &record.message_id;
    tracing::error!(
        message_id,
        "record failed: the note about its event could not be read"
    );
    RecordOutcome::Failed
}

fn failed(record: &Record, error: &dyn Error) -> RecordOutcome {
    tracing::error!(message_id = record.message_id, %error, "record failed");
    RecordOutcome::Failed
}
