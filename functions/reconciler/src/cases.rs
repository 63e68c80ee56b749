//! What a run has to look at, in which order: AURA's list beside the callouts that are noted as
//! open. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use shared::ledger::open::OpenCallout;
use shared::panic_api::{ActiveCallouts, Callout};

use crate::verdict::{Seen, is_due};

/// A callout that has to be looked at.
#[derive(Debug)]
pub enum Case {
    /// Active at AURA, and not noted as open.
    Unknown {
        /// Its id.
        id: String,
        /// Its entry in AURA's list.
        listed: Callout,
    },
    /// Noted as open, and not in AURA's list.
    Vanished(Known),
    /// Both, and something may have changed, or should have.
    Open {
        /// As it is noted.
        known: Known,
        /// AURA's status, from its list.
        status: Option<String>,
    },
}

/// A callout that is noted as open.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// When its opening arrived.
    pub opened_at: Timestamp,
    /// What is remembered of it, if a run has looked at it.
    pub seen: Option<Seen>,
}

impl From<OpenCallout> for Known {
    /// What isn't as this version remembers things is looked at anew.
    fn from(open: OpenCallout) -> Self {
        let seen = open.seen.and_then(|seen| serde_json::from_str(&seen).ok());
        Self {
            id: open.id,
            opened_at: open.opened_at,
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
            Self::Vanished(known) | Self::Open { known, .. } => &known.id,
        }
    }

    /// The kind of work that it is. Each has its own place to go on from.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "openings",
            Self::Vanished(_) => "closings",
            Self::Open { .. } => "changes",
        }
    }
}

/// When a callout was created, if its entry in the list says so.
#[must_use]
pub fn created_at(listed: &Callout) -> Option<Timestamp> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Created {
        created_at: Timestamp,
    }
    let created: Created = serde_json::from_str(listed.whole.get()).ok()?;
    Some(created.created_at)
}

/// The cases, the urgent ones first: openings and closings in turns, then changes. Of each kind,
/// those behind its cursor come first, so that what there was no time for gets its turn.
#[must_use]
pub fn cases(
    open: Vec<OpenCallout>,
    active: ActiveCallouts,
    cursors: &BTreeMap<String, String>,
    now: Timestamp,
) -> Vec<Case> {
    let is_complete = active.unreadable == 0;
    let mut open: BTreeMap<String, Known> = open
        .into_iter()
        .map(|open| (open.id.clone(), Known::from(open)))
        .collect();
    let listed: BTreeMap<String, Callout> = active
        .callouts
        .into_iter()
        .filter_map(|listed| Some((listed.id.clone()?, listed)))
        .collect();
    let (mut unknown, mut changes) = (Vec::new(), Vec::new());
    for (id, listed) in listed {
        let status = listed.status.clone();
        match open.remove(&id) {
            None => unknown.push(Case::Unknown { id, listed }),
            Some(known) if is_due(known.seen.as_ref(), status.as_deref(), now) => {
                changes.push(Case::Open { known, status });
            }
            Some(_) => {}
        }
    }
    // What a list lacks that couldn't be read whole may be in it.
    let vanished = open.into_values().filter(|_| is_complete);
    let vanished = vanished.map(Case::Vanished).collect();
    let [unknown, vanished, changes] =
        [unknown, vanished, changes].map(|cases| rotated(cases, cursors));
    in_turns(unknown, vanished)
        .into_iter()
        .chain(changes)
        .collect()
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

/// Where the next run goes on, from the order of this one's cases and the numbers of those that
/// were begun: behind the last of them, for each kind of which not all were.
#[must_use]
pub fn cursors(order: &[Place], begun: &BTreeSet<usize>) -> BTreeMap<String, String> {
    let mut cursors = BTreeMap::new();
    let mut unfinished = BTreeSet::new();
    for (number, place) in order.iter().enumerate() {
        if begun.contains(&number) {
            cursors.insert(place.kind.to_owned(), place.id.clone());
        } else {
            unfinished.insert(place.kind);
        }
    }
    cursors.retain(|kind, _| unfinished.contains(kind.as_str()));
    cursors
}

/// Cases of one kind, by id, from behind the cursor on and around.
fn rotated(mut cases: Vec<Case>, cursors: &BTreeMap<String, String>) -> Vec<Case> {
    let cursor = cases.first().and_then(|case| cursors.get(case.kind()));
    if let Some(cursor) = cursor {
        let behind = cases.partition_point(|case| case.id() <= cursor.as_str());
        cases.rotate_left(behind);
    }
    cases
}

fn in_turns(one: Vec<Case>, other: Vec<Case>) -> Vec<Case> {
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut cases = Vec::with_capacity(one.len() + other.len());
    loop {
        let before = cases.len();
        cases.extend(one.next());
        cases.extend(other.next());
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
            opened_at: NOW,
            seen: seen.map(|seen| serde_json::to_string(seen).unwrap()),
        }
    }

    fn active(callouts: Vec<Callout>) -> ActiveCallouts {
        ActiveCallouts {
            callouts,
            unreadable: 0,
        }
    }

    fn named(cases: &[Case]) -> Vec<(&str, &str)> {
        cases.iter().map(|case| (case.kind(), case.id())).collect()
    }

    #[test]
    fn only_what_differs_or_is_due_has_to_be_looked_at() {
        let seen = Seen {
            status: Some("created".to_owned()),
            ask_at: Some(Timestamp::MAX),
            ..Seen::default()
        };
        let due = Seen {
            ask_at: Some(NOW),
            ..seen.clone()
        };
        let noted = vec![
            open("changed", Some(&seen)),
            open("due", Some(&due)),
            open("new", None),
            open("quiet", Some(&seen)),
            open("vanished", Some(&seen)),
        ];
        let list = active(vec![
            listed("changed", "Responder Dispatched"),
            listed("due", "created"),
            listed("new", "created"),
            listed("quiet", "created"),
            listed("unknown", "created"),
            listed("unknown", "created"),
        ]);
        let expected = [
            ("openings", "unknown"),
            ("closings", "vanished"),
            ("changes", "changed"),
            ("changes", "due"),
            ("changes", "new"),
        ];
        assert_eq!(named(&cases(noted, list, &BTreeMap::new(), NOW)), expected);
    }

    #[test]
    fn nothing_has_vanished_from_a_list_that_could_not_be_read_whole() {
        let list = ActiveCallouts {
            callouts: Vec::new(),
            unreadable: 1,
        };
        let cases = cases(vec![open("1", None)], list, &BTreeMap::new(), NOW);
        assert!(cases.is_empty());
    }

    #[test]
    fn the_next_run_goes_on_behind_the_cursor_and_comes_around() {
        let noted = ["v1", "v2"].map(|id| open(id, None)).into();
        let list = active(["a", "b", "c"].map(|id| listed(id, "created")).into());
        let cursors = [("openings".to_owned(), "a".to_owned())].into();
        let cases = cases(noted, list, &cursors, NOW);
        let ids: Vec<_> = cases.iter().map(Case::id).collect();
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
        let expected = [("openings".to_owned(), "c".to_owned())].into();
        assert_eq!(cursors(&order, &[0, 1, 2].into()), expected);
        assert!(cursors(&order, &[0, 1, 2, 3].into()).is_empty());
        assert!(cursors(&order, &BTreeSet::new()).is_empty());
    }

    #[test]
    fn a_list_may_say_when_a_callout_was_created() {
        let mut entry = listed("1", "created");
        assert_eq!(created_at(&entry), None);
        let whole = r#"{"id":1,"createdAt":"1970-01-01T00:00:00Z"}"#;
        entry.whole = RawValue::from_string(whole.to_owned()).unwrap();
        assert_eq!(created_at(&entry), Some(NOW));
    }
}
