//! Which callouts of a batch are drills.
//!
//! AURA marks a callout as a test, and later events of it may carry nothing but a name and the id.
//! So the ledger remembers each callout that was marked, from before the first of its marked events
//! is published until longer than it remembers any event of it. A batch asks once for the callouts
//! that its own payloads don't mark. What can't be read fails the records that need it: none is
//! published as an emergency because nobody knew.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::canary::is_canary;
use shared::event::{CALLOUT, Event};
use shared::ledger::notes::{Note, NoteLookup};

use crate::services::Services;
use crate::timing::{Interruption, isolated};

/// How much longer than its events a callout's mark is remembered. AURA's staging system closes no
/// callout by itself, so a drill may be silent for long before its closing is found.
pub(crate) const OUTLIVES_EVENTS: Duration = Duration::from_hours(365 * 24);

/// What is known of the callouts of a batch.
#[derive(Debug, Default)]
pub(crate) struct Drills(NoteLookup);

impl Drills {
    /// Asks the ledger, for this time at most, for the events' callouts that none of them marks.
    pub(crate) async fn look_up<'a, S: Services>(
        services: &S,
        events: impl Iterator<Item = &'a Event>,
        time: Duration,
    ) -> Self {
        let events = events.filter(|event| may_be_drill(event));
        let (marked, unmarked): (Vec<_>, Vec<_>) = events.partition(|event| event.test);
        let notes = |events: Vec<&Event>| -> BTreeSet<_> {
            let ids = events.iter().map(|event| &event.entity.id);
            ids.map(|id| Note::drill(id)).collect()
        };
        let (marked, unmarked) = (notes(marked), notes(unmarked));
        let open: Vec<_> = unmarked.difference(&marked).cloned().collect();
        let mut known = look_up(services, &open, time).await;
        known.extend(marked.into_iter().map(|note| (note, true)));
        Self(known)
    }

    /// Whether AURA has marked this callout; `None` if that couldn't be read.
    pub(crate) fn is_drill(&self, callout_id: &str) -> Option<bool> {
        self.0.is_noted(&Note::drill(callout_id))
    }
}

/// Whether the ledger is asked about an event. A canary is none, but has to go the way of callouts: a
/// deployment that can't read marks must fail before AURA is pointed at it.
pub(crate) fn may_be_drill(event: &Event) -> bool {
    event.entity.kind == CALLOUT || is_canary(event)
}

async fn look_up<S: Services>(services: &S, notes: &[Note], time: Duration) -> NoteLookup {
    if notes.is_empty() {
        return NoteLookup::default();
    }
    match isolated(services.noted(notes), time).await {
        Ok(Ok(known)) => return known,
        Ok(Err(error)) => tracing::error!(%error, "which callouts are drills can't be read"),
        Err(Interruption::Late) => tracing::error!("which callouts are drills wasn't read in time"),
        // The panic hook has logged the place.
        Err(Interruption::Panicked) => {}
    }
    NoteLookup::default()
}
