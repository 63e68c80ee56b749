//! Earlier versions of each callout, for answers that are out of date.
//!
//! Versions have times of the wall clock, as the calls do, and not of a seeded day's own clock.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::{
    world::callout::{Callout, StreamEntry},
    world::payload::{FlatCallout, NestedCallout},
    world::refusal::Refusal,
};

/// Largest age of an answer about a callout, in milliseconds: ten minutes.
pub(crate) const REACH_MS: u64 = 600_000;

/// One version of a callout, which holds from `since` on.
struct Version {
    since: Timestamp,
    callout: Callout,
}

/// The versions of every callout, oldest first, as far back as an answer may show them.
#[derive(Default)]
pub(crate) struct History {
    versions: BTreeMap<u64, VecDeque<Version>>,
}

/// The callouts as they were at one time.
pub(crate) struct Past<'a> {
    history: &'a History,
    at: Timestamp,
}

impl History {
    /// Adds a version of a callout that holds from `now` on.
    pub(crate) fn keep(&mut self, callout: Callout, now: Timestamp) {
        let versions = self.versions.entry(callout.id).or_default();
        let since = now;
        versions.push_back(Version { since, callout });
        forget(versions, now);
    }

    /// Adds a callout whose version holds from the beginning of time.
    pub(crate) fn keep_as_ever(&mut self, callout: Callout) {
        self.keep(callout, Timestamp::MIN);
    }

    pub(crate) fn at(&self, at: Timestamp) -> Past<'_> {
        Past { history: self, at }
    }
}

/// Removes the versions that no answer may show: those older than the version ten minutes ago.
fn forget(versions: &mut VecDeque<Version>, now: Timestamp) {
    let reach = SignedDuration::from_millis(REACH_MS.cast_signed());
    let Ok(furthest) = now.checked_sub(reach) else {
        return;
    };
    while versions
        .get(1)
        .is_some_and(|second| second.since <= furthest)
    {
        versions.pop_front();
    }
}

impl Past<'_> {
    /// The callout as the call "Get a callout" answers it.
    pub(crate) fn callout(&self, id: u64) -> Result<NestedCallout, Refusal> {
        self.known_callout(id).map(NestedCallout::of)
    }

    /// A callout's event stream, oldest first.
    pub(crate) fn event_stream(&self, id: u64) -> Result<Vec<StreamEntry>, Refusal> {
        Ok(self.known_callout(id)?.stream.clone())
    }

    /// Every callout that was active at that time, in the order in which they were raised.
    pub(crate) fn active_callouts(&self) -> Vec<FlatCallout> {
        self.history
            .versions
            .values()
            .filter_map(|versions| self.look(versions))
            .filter(|callout| !callout.closed)
            .map(FlatCallout::of)
            .collect()
    }

    fn known_callout(&self, id: u64) -> Result<&Callout, Refusal> {
        let versions = self.history.versions.get(&id);
        versions
            .and_then(|versions| self.look(versions))
            .ok_or_else(|| Refusal::unknown_callout(id))
    }

    /// The version at that time; `None` if the callout didn't exist yet.
    fn look<'a>(&self, versions: &'a VecDeque<Version>) -> Option<&'a Callout> {
        let mut earlier = versions.iter().rev();
        earlier
            .find(|version| version.since <= self.at)
            .map(|version| &version.callout)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        world::callout::{Controller, Remark},
        world::change::{Ids, Moment, World},
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn status(history: &History, id: u64, second: i64) -> Option<String> {
        let callout = history.at(at(second)).callout(id).ok()?;
        let callout = serde_json::to_value(callout).unwrap();
        Some(callout["status"].as_str()?.to_owned())
    }

    fn active(history: &History, second: i64) -> Vec<Value> {
        let active = serde_json::to_value(history.at(at(second)).active_callouts()).unwrap();
        let ids = active.as_array().unwrap().iter();
        ids.map(|callout| callout["id"].clone()).collect()
    }

    /// Makes the history of a callout that is raised at second 1000, gets a remark at 1010, and is
    /// closed at 1020.
    fn a_story() -> (History, u64) {
        let (mut world, mut history) = (World::new(), History::default());
        let ids = &mut Ids::starting_at(1);
        let emergency = serde_json::from_value(json!({})).unwrap();
        // The world's clock doesn't matter here.
        let mut moment = Moment { now: at(0), ids };
        let (raised, _) = world
            .raise_callout_at_location("warehouse", emergency, &mut moment)
            .unwrap();
        let id = raised.id();
        let mut keep = |world: &World, second| {
            history.keep(world.callouts[&id].clone(), at(second));
        };
        keep(&world, 1000);
        let message = "Safe.".to_owned();
        world.remark(id, Remark { message }, &mut moment).unwrap();
        keep(&world, 1010);
        world.control(id, Controller::Close, &mut moment).unwrap();
        keep(&world, 1020);
        (history, id)
    }

    #[test]
    fn a_past_callout_has_the_version_of_that_time() {
        let (history, id) = a_story();
        assert_eq!(status(&history, id, 999), None);
        assert_eq!(status(&history, id, 1000).as_deref(), Some("created"));
        assert_eq!(status(&history, id, 1019).as_deref(), Some("created"));
        assert_eq!(status(&history, id, 1020).as_deref(), Some("closed"));
    }

    #[test]
    fn the_past_list_and_stream_have_the_versions_of_that_time() {
        let (history, id) = a_story();
        assert_eq!(active(&history, 999), Vec::<Value>::new());
        assert_eq!(active(&history, 1000), [json!(id)]);
        assert_eq!(active(&history, 1020), Vec::<Value>::new());
        let remarks = |second| history.at(at(second)).event_stream(id).map(|all| all.len());
        assert!(remarks(999).is_err());
        assert_eq!(remarks(1009).unwrap(), 0);
        assert_eq!(remarks(1010).unwrap(), 1);
    }

    #[test]
    fn only_versions_that_no_answer_may_show_are_removed() {
        let (mut history, id) = a_story();
        let reach = i64::try_from(REACH_MS / 1000).unwrap();
        let last = history.at(at(1020)).known_callout(id).unwrap().clone();
        history.keep(last.clone(), at(1015 + reach));
        assert_eq!(status(&history, id, 1015).as_deref(), Some("created"));
        assert_eq!(history.versions[&id].len(), 3);
        history.keep(last, at(1020 + reach));
        assert_eq!(status(&history, id, 1020).as_deref(), Some("closed"));
        assert_eq!(history.versions[&id].len(), 3);
    }

    #[test]
    fn a_callout_that_is_kept_as_ever_exists_at_every_earlier_time() {
        let (story, id) = a_story();
        let callout = story.at(at(1000)).known_callout(id).unwrap().clone();
        let mut history = History::default();
        history.keep_as_ever(callout);
        assert_eq!(status(&history, id, 1).as_deref(), Some("created"));
    }
}
