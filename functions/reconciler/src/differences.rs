//! Compares AURA's list with the callouts that are noted as open. The result is the differences
//! that a run has to settle, in order. The functions here are pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use shared::ledger::open::OpenCallout;
use shared::panic_api::{ActiveCallouts, Callout};

use crate::run_state::RunState;
use crate::verdict::{LastCheck, is_due};

/// Number of callouts that may vanish from AURA's list at once and count as closed. Half of the
/// open callouts may vanish too, if that is more. When more vanish, something else may be wrong:
/// the credentials may belong to another customer source, whose list has none of our callouts.
const MOST_AT_ONCE: usize = 10;
/// Time after which vanished callouts count as closed if too many vanished at once.
const HOLD: SignedDuration = SignedDuration::from_hours(1);

/// A callout that AURA and the ledger may disagree about.
#[derive(Debug)]
pub enum Difference {
    /// The callout is active at AURA and not noted as open.
    Unknown {
        /// Id of the callout.
        id: String,
        /// The callout's entry in AURA's list.
        listed: Callout,
        /// Time of creation in AURA's list. If it can't be read, the time when a run first saw the
        /// callout.
        created_at: Timestamp,
    },
    /// The callout is noted as open and not in AURA's list.
    Vanished(NotedCallout),
    /// The callout is active at AURA and noted as open, and something may have changed, or should
    /// have changed.
    Open {
        /// The callout's note.
        noted: NotedCallout,
        /// The callout's entry in AURA's list.
        listed: Callout,
    },
    /// The callout is noted as closed and not in AURA's list.
    Closed {
        /// The callout's note.
        noted: NotedCallout,
        /// When the callout's closing arrived.
        closed_at: Timestamp,
        /// Whether the callout's opening arrived too.
        was_opened: bool,
    },
}

/// The differences that a run has to settle.
#[derive(Debug, Default)]
pub struct Differences {
    /// Openings and closings, in turns.
    pub urgent: Vec<Difference>,
    /// Callouts that are active at AURA and noted as open.
    pub changes: Vec<Difference>,
    /// Number of vanished callouts that this run skips, because an entry of AURA's list can't be
    /// read.
    pub unsettled: usize,
    /// Number of vanished callouts that are held back because too many disappeared at once.
    pub held: usize,
    /// Time since which AURA's list lacks too many callouts at once.
    pub vanished_since: Option<Timestamp>,
    /// Whether AURA may know no open callout: its list is empty, and two or more callouts have
    /// vanished.
    pub may_all_be_gone: bool,
    /// Times when runs first saw unknown callouts whose time of creation can't be read.
    pub first_listed: BTreeMap<String, Timestamp>,
}

/// A callout that is noted as open.
#[derive(Debug, Clone)]
pub struct NotedCallout {
    /// Id of the callout.
    pub id: String,
    /// When the callout's opening arrived. If only its closing arrived, the time of the closing.
    pub opened_at: Timestamp,
    /// State that the last check of the callout has saved.
    pub last_check: Option<LastCheck>,
}

impl NotedCallout {
    /// Makes a noted callout. `seen` is the saved state as JSON. If another version has written it
    /// in a form that can't be read, the callout has no saved state.
    pub fn new(id: String, opened_at: Timestamp, seen: Option<String>) -> Self {
        Self {
            id,
            opened_at,
            last_check: seen.and_then(|seen| serde_json::from_str(&seen).ok()),
        }
    }
}

impl Difference {
    /// Id of the callout.
    pub fn id(&self) -> &str {
        match self {
            Self::Unknown { id, .. } => id,
            Self::Vanished(noted) | Self::Open { noted, .. } | Self::Closed { noted, .. } => {
                &noted.id
            }
        }
    }

    /// Kind of work that the difference needs. Each kind has a cursor.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "openings",
            Self::Closed { .. } => "closed",
            Self::Vanished(_) => "closings",
            Self::Open { .. } => "changes",
        }
    }
}

/// Reads a callout's time of creation from its entry in AURA's list, if the entry has one. A time
/// without an offset counts as UTC.
pub fn created_at(listed: &Callout) -> Option<Timestamp> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Created {
        created_at: String,
    }
    let created: Created = serde_json::from_str(listed.whole.get()).ok()?;
    let text = created.created_at.trim();
    let with_offset = text.parse();
    with_offset.or_else(|_| format!("{text}Z").parse()).ok()
}

/// Compares the notes with AURA's list. In each kind, the differences behind the cursor come first,
/// so that the next run begins with those for which a run had no time.
pub fn differences(
    noted: Vec<OpenCallout>,
    active: ActiveCallouts,
    state: &RunState,
    now: Timestamp,
) -> Differences {
    let is_complete = active.unreadable == 0;
    let is_empty = is_complete && active.callouts.is_empty();
    let listed: BTreeMap<String, Callout> = active
        .callouts
        .into_iter()
        .filter_map(|listed| Some((listed.id.clone()?, listed)))
        .collect();
    let (mut open, closed) = open_and_closed(noted, &listed);
    let open_count = open.len();
    let mut all = Differences::default();
    let (mut unknown, mut changes) = (Vec::new(), Vec::new());
    for (id, listed) in listed {
        match open.remove(&id) {
            None => {
                let created_at = all.creation(&id, &listed, state, now);
                unknown.push(Difference::Unknown {
                    id,
                    listed,
                    created_at,
                });
            }
            Some(noted) if is_due(noted.last_check.as_ref(), listed.status.as_deref(), now) => {
                changes.push(Difference::Open { noted, listed });
            }
            Some(_) => {}
        }
    }
    all.may_all_be_gone = is_empty && open.len() > 1;
    let vanished = open.into_values().map(Difference::Vanished).collect();
    let vanished = all.believable(vanished, open_count, is_complete, state, now);
    let rotated = |differences| rotated(differences, &state.cursors);
    all.urgent = in_turns([unknown, closed, vanished].map(rotated));
    all.changes = rotated(changes);
    all
}

/// Splits the notes into open callouts (by id), and closed callouts that AURA doesn't list. A
/// listed callout whose opening never arrived is in neither part, because it counts as unknown.
fn open_and_closed(
    noted: Vec<OpenCallout>,
    listed: &BTreeMap<String, Callout>,
) -> (BTreeMap<String, NotedCallout>, Vec<Difference>) {
    let (mut open, mut closed) = (BTreeMap::new(), Vec::new());
    for callout in noted {
        let (opened_at, id) = (callout.opened_at, callout.id);
        let is_listed = listed.contains_key(&id);
        match (opened_at, callout.closed_at) {
            (_, Some(closed_at)) if !is_listed => closed.push(Difference::Closed {
                noted: NotedCallout::new(id, closed_at, callout.seen),
                closed_at,
                was_opened: opened_at.is_some(),
            }),
            (Some(opened_at), _) => {
                let noted = NotedCallout::new(id.clone(), opened_at, callout.seen);
                open.insert(id, noted);
            }
            (None, _) => {}
        }
    }
    (open, closed)
}

impl Differences {
    /// Returns an unknown callout's time of creation. If AURA's list doesn't give it, this returns
    /// and records the time when a run first saw the callout.
    fn creation(
        &mut self,
        id: &str,
        listed: &Callout,
        state: &RunState,
        now: Timestamp,
    ) -> Timestamp {
        created_at(listed).unwrap_or_else(|| {
            let first = state.first_listed.get(id).copied().unwrap_or(now);
            self.first_listed.insert(id.to_owned(), first);
            first
        })
    }

    /// Returns the vanished callouts if they may count as closed. Otherwise it counts them as left
    /// or held, and returns none.
    fn believable(
        &mut self,
        vanished: Vec<Difference>,
        open: usize,
        is_complete: bool,
        state: &RunState,
        now: Timestamp,
    ) -> Vec<Difference> {
        let count = vanished.len();
        let are_too_many = count > MOST_AT_ONCE && 2 * count > open;
        // A list with an unreadable entry may hold a callout that it seems to lack. So it doesn't
        // start or stop the waiting time.
        let began_at = state.vanished_since.or(is_complete.then_some(now));
        self.vanished_since = began_at.filter(|_| are_too_many);
        let is_young = |at| now.duration_since(at) < HOLD;
        match (is_complete, self.vanished_since.is_some_and(is_young)) {
            (false, _) => self.unsettled = count,
            (true, true) => self.held = count,
            (true, false) => return vanished,
        }
        Vec::new()
    }
}

/// Moves the cursors, so that the next run continues behind them. `order` has the kind and id of
/// each difference of this run, and `begun` has the indexes of those that the run began with.
///
/// - If the run began with all differences of a kind, the kind's cursor is removed.
/// - If it began with some, the cursor moves to the last of them.
/// - If it began with none, the cursor stays.
pub fn move_cursors(
    cursors: &mut BTreeMap<String, String>,
    order: &[(&'static str, String)],
    begun: &BTreeSet<usize>,
) {
    let mut unfinished = BTreeSet::new();
    for (number, (kind, id)) in order.iter().enumerate() {
        if begun.contains(&number) {
            cursors.insert((*kind).to_owned(), id.clone());
        } else {
            unfinished.insert(*kind);
        }
    }
    for (kind, _) in order {
        if !unfinished.contains(kind) {
            cursors.remove(*kind);
        }
    }
}

/// Sorts the differences of one kind by id, and rotates them so that the first behind the cursor
/// comes first.
fn rotated(
    mut differences: Vec<Difference>,
    cursors: &BTreeMap<String, String>,
) -> Vec<Difference> {
    differences.sort_by(|one, other| one.id().cmp(other.id()));
    let cursor = differences
        .first()
        .and_then(|first| cursors.get(first.kind()));
    if let Some(cursor) = cursor {
        let behind = differences.partition_point(|its| its.id() <= cursor.as_str());
        differences.rotate_left(behind);
    }
    differences
}

/// Merges the kinds: takes one difference of each kind in turn.
fn in_turns(kinds: [Vec<Difference>; 3]) -> Vec<Difference> {
    let mut kinds = kinds.map(Vec::into_iter);
    let mut differences = Vec::new();
    loop {
        let before = differences.len();
        differences.extend(kinds.iter_mut().filter_map(Iterator::next));
        if differences.len() == before {
            return differences;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn listed(id: &str, status: &str) -> Callout {
        let whole = format!(r#"{{"id":"{id}","status":"{status}"}}"#);
        Callout {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            whole: RawValue::from_string(whole).unwrap(),
        }
    }

    fn open(id: &str, last_check: Option<&LastCheck>) -> OpenCallout {
        OpenCallout {
            id: id.to_owned(),
            opened_at: Some(NOW),
            closed_at: None,
            seen: last_check.map(|last_check| serde_json::to_string(last_check).unwrap()),
        }
    }

    fn active(callouts: Vec<Callout>) -> ActiveCallouts {
        ActiveCallouts {
            callouts,
            unreadable: 0,
        }
    }

    fn named(differences: &Differences) -> Vec<(&str, &str)> {
        let all = differences.urgent.iter().chain(&differences.changes);
        all.map(|difference| (difference.kind(), difference.id()))
            .collect()
    }

    #[test]
    fn only_callouts_that_differ_or_are_due_are_differences() {
        let last_check = LastCheck {
            status: Some("created".to_owned()),
            look_at: Some(Timestamp::MAX),
            ..LastCheck::default()
        };
        let due = LastCheck {
            look_at: Some(NOW),
            ..last_check.clone()
        };
        let closed = |id| OpenCallout {
            closed_at: Some(NOW),
            ..open(id, None)
        };
        let noted = vec![
            closed("closed"),
            closed("reopened"),
            OpenCallout {
                opened_at: None,
                ..closed("reopened, without an opening")
            },
            open("changed", Some(&last_check)),
            open("due", Some(&due)),
            open("new", None),
            open("quiet", Some(&last_check)),
            open("vanished", Some(&last_check)),
        ];
        let list = active(vec![
            listed("changed", "Responder Dispatched"),
            listed("reopened", "created"),
            listed("reopened, without an opening", "created"),
            listed("due", "created"),
            listed("new", "created"),
            listed("quiet", "created"),
            listed("unknown", "created"),
            listed("unknown", "created"),
        ]);
        let expected = [
            ("openings", "reopened, without an opening"),
            ("closed", "closed"),
            ("closings", "vanished"),
            ("openings", "unknown"),
            ("changes", "changed"),
            ("changes", "due"),
            ("changes", "new"),
            ("changes", "reopened"),
        ];
        assert_eq!(
            named(&differences(noted, list, &RunState::default(), NOW)),
            expected
        );
    }

    #[test]
    fn no_callout_counts_as_vanished_from_a_list_with_an_unreadable_entry() {
        let list = ActiveCallouts {
            callouts: Vec::new(),
            unreadable: 1,
        };
        let differences = differences(vec![open("1", None)], list, &RunState::default(), NOW);
        assert!(differences.urgent.is_empty() && differences.changes.is_empty());
        assert_eq!((differences.unsettled, differences.held), (1, 0));
    }

    #[test]
    fn when_most_of_many_callouts_vanish_at_once_they_are_held_for_an_hour() {
        let with = |vanished: usize, left: usize, state: &RunState, now| {
            let ids = (0..vanished + left).map(|n| n.to_string());
            let noted = ids.map(|id| open(&id, None)).collect();
            let left = (0..left).map(|n| listed(&n.to_string(), "created"));
            differences(noted, active(left.collect()), state, now)
        };
        let vanished = |differences: &Differences| differences.urgent.len();
        let none = RunState::default();
        assert_eq!(vanished(&with(10, 0, &none, NOW)), 10);
        assert_eq!(vanished(&with(11, 11, &none, NOW)), 11);
        let held = with(11, 10, &none, NOW);
        assert_eq!((vanished(&held), held.held), (0, 11));
        assert_eq!(held.vanished_since, Some(NOW));
        let since = RunState {
            vanished_since: held.vanished_since,
            ..none
        };
        let second = SignedDuration::from_secs(1);
        assert_eq!(vanished(&with(11, 10, &since, NOW + HOLD - second)), 0);
        assert_eq!(vanished(&with(11, 10, &since, NOW + HOLD)), 11);
        assert_eq!(with(10, 11, &since, NOW).vanished_since, None);
    }

    #[test]
    fn a_run_continues_behind_the_cursor_and_wraps_around() {
        let noted = ["v1", "v2"].map(|id| open(id, None)).into();
        let list = active(["a", "b", "c"].map(|id| listed(id, "created")).into());
        let state = RunState {
            cursors: [("openings".to_owned(), "a".to_owned())].into(),
            ..RunState::default()
        };
        let differences = differences(noted, list, &state, NOW);
        let ids: Vec<_> = differences.urgent.iter().map(Difference::id).collect();
        assert_eq!(ids, ["b", "v1", "c", "v2", "a"]);
    }

    #[test]
    fn a_kind_whose_differences_were_all_begun_has_no_cursor() {
        let place = |kind, id: &str| (kind, id.to_owned());
        let order = [
            place("openings", "b"),
            place("closings", "v"),
            place("openings", "c"),
            place("openings", "a"),
        ];
        let before = BTreeMap::from([
            ("openings".to_owned(), "x".to_owned()),
            ("changes".to_owned(), "y".to_owned()),
            ("closings".to_owned(), "z".to_owned()),
        ]);
        let after = |begun: &[usize]| {
            let mut cursors = before.clone();
            move_cursors(&mut cursors, &order, &begun.iter().copied().collect());
            let named = cursors.into_iter().map(|(kind, id)| format!("{kind} {id}"));
            named.collect::<Vec<_>>()
        };
        assert_eq!(after(&[0, 1, 2]), ["changes y", "openings c"]);
        assert_eq!(after(&[0, 1, 2, 3]), ["changes y"]);
        // The run began with nothing, so every cursor stays.
        assert_eq!(after(&[]), ["changes y", "closings z", "openings x"]);
    }

    #[test]
    fn a_list_may_say_when_a_callout_was_created() {
        let mut entry = listed("1", "created");
        assert_eq!(created_at(&entry), None);
        let mut created = |text: &str| {
            let whole = format!(r#"{{"id":1,"createdAt":{text}}}"#);
            entry.whole = RawValue::from_string(whole).unwrap();
            created_at(&entry)
        };
        for text in [
            r#""1970-01-01T00:00:00Z""#,
            r#""1970-01-01T02:00:00+02:00""#,
            r#""1970-01-01T02:00:00.000+0200""#,
            r#""1970-01-01T00:00:00""#,
            r#""1970-01-01T00:00:00.000""#,
            r#"" 1970-01-01 00:00:00 ""#,
        ] {
            assert_eq!(created(text), Some(NOW), "{text}");
        }
        for text in [
            "null",
            "0",
            "1700000000000",
            "\"\"",
            r#""0""#,
            r#""1970-01-01""#,
            r#""1970-01-01T00:00:00[Europe/Berlin]""#,
            r#""Thu, 01 Jan 1970 00:00:00 GMT""#,
            r#""01/01/1970 00:00""#,
            r#""yesterday""#,
        ] {
            assert_eq!(created(text), None, "{text}");
        }
    }

    #[test]
    fn a_callout_whose_creation_cannot_be_read_was_created_when_it_was_seen_first() {
        let entry = |id: &str, created: &str| {
            let whole = format!(r#"{{"id":"{id}","createdAt":"{created}"}}"#);
            Callout {
                whole: RawValue::from_string(whole).unwrap(),
                ..listed(id, "created")
            }
        };
        let run = |state: &RunState, now| {
            let list = active(vec![
                entry("noted", "?"),
                entry("told", "1970-01-01T00:00:07"),
                entry("untold", "?"),
            ]);
            differences(vec![open("noted", None)], list, state, now)
        };
        let created = |differences: &Differences| {
            let times = differences
                .urgent
                .iter()
                .map(|difference| match difference {
                    Difference::Unknown { created_at, .. } => created_at.as_second(),
                    _ => panic!("{difference:?}"),
                });
            times.collect::<Vec<_>>()
        };
        let later = NOW + SignedDuration::from_secs(100);
        let first = run(&RunState::default(), later);
        assert_eq!(created(&first), [7, 100]);
        assert_eq!(first.first_listed, [("untold".to_owned(), later)].into());
        let state = RunState {
            first_listed: first.first_listed.clone(),
            ..RunState::default()
        };
        let second = run(&state, later + HOLD);
        assert_eq!(created(&second), [7, 100]);
        assert_eq!(second.first_listed, first.first_listed);
    }

    #[test]
    fn all_may_be_gone_only_if_the_list_is_empty_and_two_callouts_vanished() {
        let doubts = |ids: &[&str], list: ActiveCallouts| {
            let noted = ids.iter().map(|id| open(id, None)).collect();
            differences(noted, list, &RunState::default(), NOW).may_all_be_gone
        };
        let unreadable = ActiveCallouts {
            callouts: Vec::new(),
            unreadable: 1,
        };
        assert!(doubts(&["1", "2"], active(Vec::new())));
        assert!(!doubts(&["1"], active(Vec::new())));
        assert!(!doubts(&["1", "2"], active(vec![listed("3", "created")])));
        assert!(!doubts(&["1", "2"], unreadable));
    }

    #[test]
    fn a_list_with_an_unreadable_entry_does_not_start_or_stop_the_waiting_time() {
        let since = |state: &RunState, unreadable| {
            let noted = (0..11).map(|n| open(&n.to_string(), None)).collect();
            let list = ActiveCallouts {
                callouts: Vec::new(),
                unreadable,
            };
            differences(noted, list, state, NOW + HOLD).vanished_since
        };
        assert_eq!(since(&RunState::default(), 1), None);
        assert_eq!(since(&RunState::default(), 0), Some(NOW + HOLD));
        let state = RunState {
            vanished_since: Some(NOW),
            ..RunState::default()
        };
        assert_eq!(since(&state, 1), Some(NOW));
        assert_eq!(since(&state, 0), Some(NOW));
    }
}
