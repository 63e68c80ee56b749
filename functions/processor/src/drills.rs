//! Which callouts of a batch are drills.
//!
//! AURA marks a callout as a test, and later events of it may carry nothing but a name and the id.
//! So the ledger remembers each callout that was marked, from before the first of its marked events
//! is published until longer than it remembers any event of it. A batch asks once for the callouts
//! that its own payloads don't mark. What can't be read fails the records that need it: none is
//! published as an emergency because nobody knew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use shared::canary::is_canary;
use shared::envelope::Envelope;
use shared::event::{CALLOUT, Event, parse_payload};
use shared::ledger::notes::{Note, Noted};

use crate::bus::Bus;
use crate::ledger::Ledger;
use crate::queues::Queues;
use crate::record::Record;
use crate::steps::{Processor, Undone};
use crate::timing::asked_by;

/// How much longer than its events a callout's mark is remembered. AURA's staging system closes no
/// callout by itself, so a drill may be silent for long before its closing is found.
pub(crate) const OUTLIVES_EVENTS: Duration = Duration::from_hours(365 * 24);

/// What is known of the callouts of a batch.
#[derive(Debug, Default)]
pub(crate) struct Drills(Noted);

impl Drills {
    /// Reads the records' callouts, and asks the ledger for those that no record marks.
    pub(crate) async fn of_batch<L: Ledger, B: Bus, Q: Queues>(
        processor: &Arc<Processor<L, B, Q>>,
        records: &[Arc<Record>],
        deadline: Timestamp,
    ) -> Self {
        let end = asked_by((processor.now)(), deadline);
        // In tasks of their own, so that a record that panics fails alone, when its turn comes.
        let events = records.iter().map(|record| {
            let record = Arc::clone(record);
            processor.isolated(async move { event_of(&record) }, end)
        });
        let events = join_all(events).await.into_iter().flatten().flatten();
        let (marked, unmarked): (Vec<_>, Vec<_>) = events.partition(|event| event.test);
        let notes = |events: Vec<Event>| events.into_iter().map(|its| Note::drill(&its.entity.id));
        let marked: BTreeSet<_> = notes(marked).collect();
        let unmarked: BTreeSet<_> = notes(unmarked).collect();
        let open: Vec<_> = unmarked.difference(&marked).cloned().collect();
        let mut known = look_up(processor, open, end).await;
        known.extend(marked.into_iter().map(|note| (note, true)));
        Self(known)
    }

    /// Whether AURA has marked this callout; `None` if that couldn't be read.
    pub(crate) fn is_drill(&self, callout_id: &str) -> Option<bool> {
        self.0.is_noted(&Note::drill(callout_id))
    }
}

/// What a record says of what may be a drill; nothing if it can't be one, or can't be read.
fn event_of(record: &Record) -> Option<Event> {
    let envelope = Envelope::parse(&record.body).ok()?;
    let event = parse_payload(&envelope.payload).ok()?;
    may_be_drill(&event).then_some(event)
}

/// Whether the ledger is asked about an event. A canary is none, but has to go the way of callouts: a
/// deployment that can't read marks must fail before AURA is pointed at it.
pub(crate) fn may_be_drill(event: &Event) -> bool {
    event.entity.kind == CALLOUT || is_canary(event)
}

async fn look_up<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    notes: Vec<Note>,
    end: Timestamp,
) -> Noted {
    if notes.is_empty() {
        return Noted::default();
    }
    let of_task = Arc::clone(processor);
    let look_up = async move { of_task.ledger.noted(&notes).await };
    match processor.isolated(look_up, end).await {
        Ok(Ok(known)) => return known,
        Ok(Err(error)) => tracing::error!(%error, "which callouts are drills can't be read"),
        Err(Undone::Late) => tracing::error!("which callouts are drills wasn't read in time"),
        // The panic hook has logged the place.
        Err(Undone::Panicked) => {}
    }
    Noted::default()
}
