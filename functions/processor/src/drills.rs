//! Finds out which callouts of a batch are drills.
//!
//! AURA marks a callout as a test. Later events of the callout may carry only a name and the id. So
//! the ledger remembers each marked callout: the mark is stored before the first marked event is
//! published, and outlives every event of the callout. A batch asks once for the callouts that its
//! own payloads don't mark. If a mark can't be read, the records that need it fail. So no drill is
//! published as an emergency because its mark was unknown.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::canary::is_canary;
use shared::event::{CALLOUT, Event};
use shared::ledger::notes::{Note, NoteLookup};

use crate::services::Services;
use crate::timing::{Interruption, isolated};

/// How much longer a callout's mark is remembered than its events. AURA's staging system never
/// closes a callout by itself, so a drill may be silent for long before its closing is found.
pub(crate) const OUTLIVES_EVENTS: Duration = Duration::from_hours(365 * 24);

/// What is known about the callouts of a batch.
#[derive(Debug, Default)]
pub(crate) struct Drills(NoteLookup);

impl Drills {
    /// Asks the ledger which of the events' callouts are drills, for at most this time. Callouts
    /// that one of the events marks are not asked for.
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

    /// Whether AURA has marked this callout. `None` if that couldn't be read.
    pub(crate) fn is_drill(&self, callout_id: &str) -> Option<bool> {
        self.0.is_noted(&Note::drill(callout_id))
    }
}

/// Whether the ledger is asked about an event. A canary isn't a callout's event, but takes the same
/// way: a deployment that can't read marks must fail before AURA is pointed at it.
pub(crate) fn may_be_drill(event: &Event) -> bool {
    event.entity.kind == CALLOUT || is_canary(event)
}

async fn look_up<S: Services>(services: &S, notes: &[Note], time: Duration) -> NoteLookup {
    if notes.is_empty() {
        return NoteLookup::default();
    }
    match isolated(services.noted(notes), time).await {
        Ok(Ok(known)) => return known,
        Ok(Err(error)) => tracing::error!(%error, "cannot read which callouts are drills"),
        Err(Interruption::Late) => {
            tracing::error!("cannot read which callouts are drills: no answer in time");
        }
        // The panic hook has logged the place.
        Err(Interruption::Panicked) => {}
    }
    NoteLookup::default()
}
