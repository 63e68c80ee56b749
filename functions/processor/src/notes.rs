//! Looks up what the ledger's notes say about the events of a batch: which callouts are drills, and
//! which canaries the registrar has announced.
//!
//! AURA marks a callout as a test. Later events of the callout may carry only a name and the id. So
//! the ledger remembers each marked callout: the mark is stored before the first marked event is
//! published, and outlives every event of the callout. A batch asks once for the callouts that its
//! own payloads don't mark. If a mark can't be read, the records that need it fail. So no drill is
//! published as an emergency because its mark was unknown.
//!
//! The registrar announces each canary before it sends it. A canary that it didn't announce comes
//! from somebody else who has the webhook's secret.

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

/// What the notes say about the events of a batch.
#[derive(Debug, Default)]
pub(crate) struct BatchNotes(NoteLookup);

impl BatchNotes {
    /// Asks the ledger for the notes of these events, for at most this time. Callouts that one of
    /// the events marks as a test are not asked for.
    pub(crate) async fn look_up<'a, S: Services>(
        services: &S,
        events: impl Iterator<Item = &'a Event>,
        time: Duration,
    ) -> Self {
        let (mut marked, mut unmarked) = (BTreeSet::new(), BTreeSet::new());
        for (event, note) in events.filter_map(|event| Some((event, note_of(event)?))) {
            let is_marked = event.test && !is_canary(event);
            let its = if is_marked {
                &mut marked
            } else {
                &mut unmarked
            };
            its.insert(note);
        }
        let open: Vec<_> = unmarked.difference(&marked).cloned().collect();
        let mut known = look_up(services, &open, time).await;
        known.extend(marked.into_iter().map(|note| (note, true)));
        Self(known)
    }

    /// Whether AURA has marked this event, or another event of its callout, as a test. `None` if
    /// the event's note couldn't be read. This includes a canary's note, though it says nothing
    /// about a test: a deployment that can't read notes must fail before AURA is pointed at it.
    pub(crate) fn is_test(&self, event: &Event) -> Option<bool> {
        let Some(note) = note_of(event) else {
            return Some(event.test);
        };
        let is_noted = self.0.is_noted(&note)?;
        Some(event.test || (is_noted && !is_canary(event)))
    }

    /// Whether the event is a canary that the registrar didn't announce. If its note couldn't be
    /// read, that isn't known, and this is false.
    pub(crate) fn is_foreign_canary(&self, event: &Event) -> bool {
        let note = note_of(event).filter(|_| is_canary(event));
        note.and_then(|note| self.0.is_noted(&note)) == Some(false)
    }
}

/// The note that the ledger may hold about an event.
fn note_of(event: &Event) -> Option<Note> {
    let id = &event.entity.id;
    if is_canary(event) {
        return Some(Note::canary(id));
    }
    (event.entity.kind == CALLOUT).then(|| Note::drill(id))
}

async fn look_up<S: Services>(services: &S, notes: &[Note], time: Duration) -> NoteLookup {
    if notes.is_empty() {
        return NoteLookup::default();
    }
    match isolated(services.noted(notes), time).await {
        Ok(Ok(known)) => return known,
        Ok(Err(error)) => tracing::error!(%error, "cannot read the notes about the batch's events"),
        Err(Interruption::Late) => {
            tracing::error!("cannot read the notes about the batch's events: no answer in time");
        }
        // The panic hook has logged the place.
        Err(Interruption::Panicked) => {}
    }
    NoteLookup::default()
}
