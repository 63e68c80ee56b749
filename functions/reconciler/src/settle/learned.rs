//! Results of a run's calls to AURA, and the part of them that the next run gets.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::settler::{Recovered, key_of};
use crate::payload::MissedEvent;
use crate::run_state::RunState;

/// Results of a run's calls to AURA.
#[derive(Debug, Default)]
pub struct Learned {
    /// The missed events that this run has put on the queue.
    pub recovered: Vec<Recovered>,
    /// Id of the callout behind which the next run continues, by kind of work.
    pub cursors: BTreeMap<String, String>,
    /// Time since which AURA's list lacks too many callouts at once.
    pub vanished_since: Option<Timestamp>,
    /// Whether AURA knows no open callout; `None` if this run did not find out.
    pub knows_none: Option<bool>,
    /// Times when runs first saw unknown callouts whose time of creation can't be read.
    pub first_listed: BTreeMap<String, Timestamp>,
}

impl Learned {
    /// Number of changes that the run found only by asking AURA.
    pub fn changes(&self) -> usize {
        let recovered = self.recovered.iter();
        recovered.filter(|recovered| recovered.is_change).count()
    }

    /// Keys of the openings and closings that this run has put on the queue, with the time `now`.
    fn on_their_way(&self, now: Timestamp) -> impl Iterator<Item = (String, Timestamp)> {
        let once = |its: &&Recovered| !matches!(its.event, MissedEvent::Observed { .. });
        let once = self.recovered.iter().filter(once);
        once.map(move |its| (key_of(&its.id, its.event), now))
    }
}

/// Updates the state at the end of a run. Values that the run did not find out stay unchanged. So
/// after a failed run, which learned nothing from AURA, all waiting times go on.
pub fn hand_on(state: &mut RunState, learned: Option<&Learned>, now: Timestamp) {
    if let Some(learned) = learned {
        state.began_at = state.began_at.or(Some(now));
        state.cursors.clone_from(&learned.cursors);
        state.vanished_since = learned.vanished_since;
        state.gone_since = match learned.knows_none {
            Some(true) => state.gone_since.or(Some(now)),
            Some(false) => None,
            None => state.gone_since,
        };
        state.first_listed.clone_from(&learned.first_listed);
        state.on_their_way.extend(learned.on_their_way(now));
    }
    state.tidy(now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A state that earlier runs have written.
    fn state() -> RunState {
        RunState {
            aura: Some("first".to_owned()),
            cursors: [("openings".to_owned(), "a".to_owned())].into(),
            began_at: Some(at(1)),
            vanished_since: Some(at(2)),
            gone_since: Some(at(3)),
            first_listed: [("b".to_owned(), at(4))].into(),
            ..RunState::default()
        }
    }

    #[test]
    fn after_a_run_that_fails_every_waiting_time_goes_on() {
        let mut after = state();
        hand_on(&mut after, None, at(10_000));
        assert_eq!(after, state());
    }

    #[test]
    fn a_run_that_learned_that_nothing_is_missing_ends_every_wait() {
        let learned = Learned {
            knows_none: Some(false),
            ..Learned::default()
        };
        let expected = RunState {
            aura: Some("first".to_owned()),
            began_at: Some(at(1)),
            ..RunState::default()
        };
        let mut after = state();
        hand_on(&mut after, Some(&learned), at(100));
        assert_eq!(after, expected);
    }

    #[test]
    fn the_waiting_time_of_gone_callouts_goes_on_until_aura_knows_one() {
        let gone_since = |before: Option<i64>, knows_none| {
            let mut state = RunState {
                gone_since: before.map(at),
                ..RunState::default()
            };
            let learned = Learned {
                knows_none,
                ..Learned::default()
            };
            hand_on(&mut state, Some(&learned), at(100));
            state.gone_since
        };
        let table = [
            (None, None, None),
            (None, Some(false), None),
            (None, Some(true), Some(at(100))),
            // The run did not find out, because AURA failed.
            (Some(3), None, Some(at(3))),
            (Some(3), Some(true), Some(at(3))),
            (Some(3), Some(false), None),
        ];
        for (before, knows_none, expected) in table {
            assert_eq!(
                gone_since(before, knows_none),
                expected,
                "{before:?} {knows_none:?}"
            );
        }
    }
}
