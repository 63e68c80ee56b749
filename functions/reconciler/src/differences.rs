//! What a run has to look at, in which order: AURA's list beside the callouts that are noted as
//! open. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use shared::ledger::open::OpenCallout;
use shared::panic_api::{ActiveCallouts, Callout};

use crate::run_state::Memory;
use crate::verdict::{Seen, is_due};

/// So many callouts may vanish from AURA's list at once, or half of those that are open, and be
/// taken for closed. When more do, something else may be wrong: another customer source's
/// credentials, say, whose list is empty and who knows none of ours.
const MOST_AT_ONCE: usize = 10;
/// Then it has to stay so for this long.
const HOLD: SignedDuration = SignedDuration::from_hours(1);

/// A callout that has to be looked at.
#[derive(Debug)]
pub enum Case {
    /// Active at AURA, and not noted as open.
    Unknown {
        /// Its id.
        id: String,
        /// Its entry in AURA's list.
        listed: Callout,
        /// When it was created, says AURA; where that can't be read, when a run saw it first.
        created_at: Timestamp,
    },
    /// Noted as open, and not in AURA's list.
    Vanished(Known),
    /// Both, and something may have changed, or should have.
    Open {
        /// As it is noted.
        known: Known,
        /// Its entry in AURA's list.
        listed: Callout,
    },
    /// Noted as closed, and not in AURA's list.
    Closed {
        /// As it is noted.
        known: Known,
        /// When its closing arrived.
        closed_at: Timestamp,
        /// Whether its opening arrived, too.
        was_opened: bool,
    },
}

/// The cases of a run.
#[derive(Debug, Default)]
pub struct Cases {
    /// Openings and closings, in turns.
    pub urgent: Vec<Case>,
    /// Callouts that are open both here and there.
    pub changes: Vec<Case>,
    /// How many callouts have vanished and are no cases, because the list could not be read whole.
    pub left: usize,
    /// Or because too many have.
    pub held: usize,
    /// Since when too many have.
    pub vanished_since: Option<Timestamp>,
    /// Whether that AURA knows none of the open callouts would be a reason for doubt: the list is
    /// empty, and two or more have vanished.
    pub may_all_be_gone: bool,
    /// When the unknown callouts were seen first whose time of creation can't be read.
    pub first_listed: BTreeMap<String, Timestamp>,
}

/// A callout that is noted as open.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// When its opening arrived; or its closing, if that alone was told.
    pub opened_at: Timestamp,
    /// What is remembered of it, if a run has looked at it.
    pub seen: Option<Seen>,
}

impl Known {
    /// What isn't as this version remembers things is looked at anew.
    fn new(id: String, opened_at: Timestamp, seen: Option<String>) -> Self {
        let seen = seen.and_then(|seen| serde_json::from_str(&seen).ok());
        Self {
            id,
            opened_at,
            seen,
        }
    }
}

impl Case {
    /// The callout's id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Unknown { id, .. } => id,
            Self::Vanished(known) | Self::Open { known, .. } | Self::Closed { known, .. } => {
                &known.id
            }
        }
    }

    /// The kind of work that it is. Each has its own place to go on from.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "openings",
            Self::Closed { .. } => "closed",
            Self::Vanished(_) => "closings",
            Self::Open { .. } => "changes",
        }
    }
}

/// When a callout was created, if its entry in the list says so. A time without an offset is UTC.
#[must_use]
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

/// The cases. Of each kind, those behind its cursor come first, so that what there was no time for
/// gets its turn.
#[must_use]
pub fn cases(
    noted: Vec<OpenCallout>,
    active: ActiveCallouts,
    memory: &Memory,
    now: Timestamp,
) -> Cases {
    let is_complete = active.unreadable == 0;
    let is_empty = is_complete && active.callouts.is_empty();
    let listed: BTreeMap<String, Callout> = active
        .callouts
        .into_iter()
        .filter_map(|listed| Some((listed.id.clone()?, listed)))
        .collect();
    let mut open = BTreeMap::new();
    let mut closed = Vec::new();
    for OpenCallout {
        id,
        opened_at,
        closed_at,
        seen,
    } in noted
    {
        let is_listed = listed.contains_key(&id);
        let known = |told_at| Known::new(id.clone(), told_at, seen);
        match (opened_at, closed_at) {
            (_, Some(closed_at)) if !is_listed => closed.push(Case::Closed {
                known: known(closed_at),
                closed_at,
                was_opened: opened_at.is_some(),
            }),
            (Some(opened_at), _) => {
                open.insert(id.clone(), known(opened_at));
            }
            // Active, and its opening was never told: it is unknown.
            (None, _) => {}
        }
    }
    let count = open.len();
    let (mut unknown, mut changes) = (Vec::new(), Vec::new());
    let mut first_listed = BTreeMap::new();
    for (id, listed) in listed {
        let status = listed.status.as_deref();
        match open.remove(&id) {
            None => {
                let created_at = created_at(&listed).unwrap_or_else(|| {
                    let at = memory.first_listed.get(&id).copied().unwrap_or(now);
                    first_listed.insert(id.clone(), at);
                    at
                });
                unknown.push(Case::Unknown {
                    id,
                    listed,
                    created_at,
                });
            }
            Some(known) if is_due(known.seen.as_ref(), status, now) => {
                changes.push(Case::Open { known, listed });
            }
            Some(_) => {}
        }
    }
    let vanished: Vec<_> = open.into_values().map(Case::Vanished).collect();
    let are_too_many = vanished.len() > MOST_AT_ONCE && 2 * vanished.len() > count;
    let may_all_be_gone = is_empty && vanished.len() > 1;
    // What a list lacks that couldn't be read whole may be in it: that starts no clock, and stops none.
    let began_at = memory.vanished_since.or(is_complete.then_some(now));
    let vanished_since = began_at.filter(|_| are_too_many);
    let is_held = vanished_since.is_some_and(|at| now.duration_since(at) < HOLD);
    let count = vanished.len();
    let (vanished, left, held) = match (is_complete, is_held) {
        (false, _) => (Vec::new(), count, 0),
        (true, true) => (Vec::new(), 0, count),
        (true, false) => (vanished, 0, 0),
    };
    let rotated = |cases| rotated(cases, &memory.cursors);
    Cases {
        urgent: in_turns([unknown, closed, vanished].map(rotated)),
        changes: rotated(changes),
        left,
        held,
        vanished_since,
        may_all_be_gone,
        first_listed,
    }
}

/// A case's place in the order of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    kind: &'static str,
    id: String,
}

impl Place {
    /// A case's place.
    #[must_use]
    pub fn of(case: &Case) -> Self {
        Self {
            kind: case.kind(),
            id: case.id().to_owned(),
        }
    }
}

/// Moves the cursors to where the next run goes on, from the order of this one's cases and the numbers
/// of those that were begun: behind the last of them, for each kind of which not all were. Of which
/// none was begun, its cursor stays where it is.
pub fn move_cursors(
    cursors: &mut BTreeMap<String, String>,
    order: &[Place],
    begun: &BTreeSet<usize>,
) {
    let mut unfinished = BTreeSet::new();
    for (number, place) in order.iter().enumerate() {
        if begun.contains(&number) {
            cursors.insert(place.kind.to_owned(), place.id.clone());
        } else {
            unfinished.insert(place.kind);
        }
    }
    let kinds: BTreeSet<_> = order.iter().map(|place| place.kind).collect();
    for finished in kinds.difference(&unfinished) {
        cursors.remove(*finished);
    }
}

/// Cases of one kind, by id, from behind the cursor on and around.
fn rotated(mut cases: Vec<Case>, cursors: &BTreeMap<String, String>) -> Vec<Case> {
    cases.sort_by(|one, other| one.id().cmp(other.id()));
    let cursor = cases.first().and_then(|case| cursors.get(case.kind()));
    if let Some(cursor) = cursor {
        let behind = cases.partition_point(|case| case.id() <= cursor.as_str());
        cases.rotate_left(behind);
    }
    cases
}

fn in_turns(kinds: [Vec<Case>; 3]) -> Vec<Case> {
    let mut kinds = kinds.map(Vec::into_iter);
    let mut cases = Vec::new();
    loop {
        let before = cases.len();
        cases.extend(kinds.iter_mut().filter_map(Iterator::next));
        if cases.len() == before {
            return cases;
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

    fn open(id: &str, seen: Option<&Seen>) -> OpenCallout {
        OpenCallout {
            id: id.to_owned(),
            opened_at: Some(NOW),
            closed_at: None,
            seen: seen.map(|seen| serde_json::to_string(seen).unwrap()),
        }
    }

    fn active(callouts: Vec<Callout>) -> ActiveCallouts {
        ActiveCallouts {
            callouts,
            unreadable: 0,
        }
    }

    fn named(cases: &Cases) -> Vec<(&str, &str)> {
        let all = cases.urgent.iter().chain(&cases.changes);
        all.map(|case| (case.kind(), case.id())).collect()
    }

    #[test]
    fn only_what_differs_or_is_due_has_to_be_looked_at() {
        let seen = Seen {
            status: Some("created".to_owned()),
            look_at: Some(Timestamp::MAX),
            ..Seen::default()
        };
        let due = Seen {
            look_at: Some(NOW),
            ..seen.clone()
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
                ..closed("reopened, and its opening not told")
            },
            open("changed", Some(&seen)),
            open("due", Some(&due)),
            open("new", None),
            open("quiet", Some(&seen)),
            open("vanished", Some(&seen)),
        ];
        let list = active(vec![
            listed("changed", "Responder Dispatched"),
            listed("reopened", "created"),
            listed("reopened, and its opening not told", "created"),
            listed("due", "created"),
            listed("new", "created"),
            listed("quiet", "created"),
            listed("unknown", "created"),
            listed("unknown", "created"),
        ]);
        let expected = [
            ("openings", "reopened, and its opening not told"),
            ("closed", "closed"),
            ("closings", "vanished"),
            ("openings", "unknown"),
            ("changes", "changed"),
            ("changes", "due"),
            ("changes", "new"),
            ("changes", "reopened"),
        ];
        assert_eq!(
            named(&cases(noted, list, &Memory::default(), NOW)),
            expected
        );
    }

    #[test]
    fn nothing_has_vanished_from_a_list_that_could_not_be_read_whole() {
        let list = ActiveCallouts {
            callouts: Vec::new(),
            unreadable: 1,
        };
        let cases = cases(vec![open("1", None)], list, &Memory::default(), NOW);
        assert!(cases.urgent.is_empty() && cases.changes.is_empty());
        assert_eq!((cases.left, cases.held), (1, 0));
    }

    #[test]
    fn when_most_of_many_vanish_at_once_none_counts_as_closed_for_a_while() {
        let with = |vanished: usize, left: usize, memory: &Memory, now| {
            let ids = (0..vanished + left).map(|n| n.to_string());
            let noted = ids.map(|id| open(&id, None)).collect();
            let left = (0..left).map(|n| listed(&n.to_string(), "created"));
            cases(noted, active(left.collect()), memory, now)
        };
        let vanished = |cases: &Cases| cases.urgent.len();
        let none = Memory::default();
        assert_eq!(vanished(&with(10, 0, &none, NOW)), 10);
        assert_eq!(vanished(&with(11, 11, &none, NOW)), 11);
        let held = with(11, 10, &none, NOW);
        assert_eq!((vanished(&held), held.held), (0, 11));
        assert_eq!(held.vanished_since, Some(NOW));
        let since = Memory {
            vanished_since: held.vanished_since,
            ..none
        };
        let second = SignedDuration::from_secs(1);
        assert_eq!(vanished(&with(11, 10, &since, NOW + HOLD - second)), 0);
        assert_eq!(vanished(&with(11, 10, &since, NOW + HOLD)), 11);
        assert_eq!(with(10, 11, &since, NOW).vanished_since, None);
    }

    #[test]
    fn the_next_run_goes_on_behind_the_cursor_and_comes_around() {
        let noted = ["v1", "v2"].map(|id| open(id, None)).into();
        let list = active(["a", "b", "c"].map(|id| listed(id, "created")).into());
        let memory = Memory {
            cursors: [("openings".to_owned(), "a".to_owned())].into(),
            ..Memory::default()
        };
        let cases = cases(noted, list, &memory, NOW);
        let ids: Vec<_> = cases.urgent.iter().map(Case::id).collect();
        assert_eq!(ids, ["b", "v1", "c", "v2", "a"]);
    }

    #[test]
    fn a_kind_of_which_all_were_begun_has_no_cursor() {
        let place = |kind, id: &str| Place {
            kind,
            id: id.to_owned(),
        };
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
        // What a run had no time to begin with is gone on with where it was.
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
        let run = |memory: &Memory, now| {
            let list = active(vec![
                entry("noted", "?"),
                entry("told", "1970-01-01T00:00:07"),
                entry("untold", "?"),
            ]);
            cases(vec![open("noted", None)], list, memory, now)
        };
        let created = |cases: &Cases| {
            let times = cases.urgent.iter().map(|case| match case {
                Case::Unknown { created_at, .. } => created_at.as_second(),
                _ => panic!("{case:?}"),
            });
            times.collect::<Vec<_>>()
        };
        let later = NOW + SignedDuration::from_secs(100);
        let first = run(&Memory::default(), later);
        assert_eq!(created(&first), [7, 100]);
        assert_eq!(first.first_listed, [("untold".to_owned(), later)].into());
        let memory = Memory {
            first_listed: first.first_listed.clone(),
            ..Memory::default()
        };
        let second = run(&memory, later + HOLD);
        assert_eq!(created(&second), [7, 100]);
        assert_eq!(second.first_listed, first.first_listed);
    }

    #[test]
    fn only_an_empty_list_and_two_that_are_missing_ask_whether_aura_knows_any() {
        let doubts = |ids: &[&str], list: ActiveCallouts| {
            let noted = ids.iter().map(|id| open(id, None)).collect();
            cases(noted, list, &Memory::default(), NOW).may_all_be_gone
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
    fn a_list_that_could_not_be_read_whole_starts_no_clock_and_stops_none() {
        let since = |memory: &Memory, unreadable| {
            let noted = (0..11).map(|n| open(&n.to_string(), None)).collect();
            let list = ActiveCallouts {
                callouts: Vec::new(),
                unreadable,
            };
            cases(noted, list, memory, NOW + HOLD).vanished_since
        };
        assert_eq!(since(&Memory::default(), 1), None);
        assert_eq!(since(&Memory::default(), 0), Some(NOW + HOLD));
        let memory = Memory {
            vanished_since: Some(NOW),
            ..Memory::default()
        };
        assert_eq!(since(&memory, 1), Some(NOW));
        assert_eq!(since(&memory, 0), Some(NOW));
    }
}
