//! The verdicts: what is to be done about a callout, from what the ledger knows, what AURA says and
//! what time it is. Plain functions over plain data.
//!
//! AURA's `status` is free text of which three words are documented. No other word is ever the
//! reason for anything; that a status has *changed* is, when no event explains the change.
//!
//! | at AURA | here | verdict |
//! | --- | --- | --- |
//! | active | unknown | its opening was missed ([`on_unknown`]) |
//! | not active | open | its closing was missed ([`on_vanished`], [`is_over`]) |
//! | not active | closed | its opening may have been missed; if not, it is forgotten ([`on_closed`]) |
//! | active | closed | told of, once AURA's answer isn't old; and again when it is over |
//! | active | open | asked about, if its status says something else than the last event, has changed without one, or the callout has been silent for too long ([`on_open`]) |
//!
//! AURA's list may be one page of a longer one, if its length says so ([`may_be_a_page`]): what it
//! lacks then is no sign of a closing for an hour.
//!
//! What AURA answers may lag behind what it has told: nothing is concluded from an answer that
//! contradicts an event younger than [`Patience::lag`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::view::{Presence, Stage, View};

/// A callout that nothing changes about is asked about ever more rarely: at most this many times
/// the pause doubles.
const MOST_DOUBLINGS: u32 = 5;

/// A callout that AURA's list lacks counts as over after so long at the earliest, if AURA calls it
/// active when asked (one of the two is wrong, and nobody knows which), or if the list may be a page.
const LONG_HOLD: Duration = Duration::from_hours(1);

/// Pages have ten entries, or a multiple of that.
const PAGE: usize = 10;

/// What was put on the queue is published by then, or delayed by what somebody is told of.
const STILL_TO_COME: Duration = Duration::from_mins(5);

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// By how much AURA's answers may be behind its events.
    pub lag: Duration,
    /// For somebody to be dispatched.
    pub created: Duration,
    /// For a responder to arrive.
    pub dispatched: Duration,
    /// For a responder to be done.
    pub arrived: Duration,
    /// For a callout to be closed when a responder is done.
    pub completed: Duration,
    /// For a callout to be closed when it was called off.
    pub cancelled: Duration,
}

/// What is remembered of an open callout from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seen {
    /// The status in AURA's list when it was looked at last. What AURA says when asked may lack one,
    /// or be newer.
    pub status: Option<String>,
    /// The sort key of AURA's last event that was published then.
    pub last: Option<String>,
    /// When the ledger is to be looked into again, at the latest.
    pub look_at: Option<Timestamp>,
    /// When AURA is to be asked about it, if nothing happens before.
    pub ask_at: Option<Timestamp>,
    /// How often it was asked about since something happened.
    pub asked: u32,
    /// How often AURA's answer was published.
    pub observations: u32,
    /// The digest of the last answer that was.
    pub observed: Option<String>,
    /// Since when AURA's list lacks it, though AURA has it when asked, and that isn't enough to call
    /// it over.
    pub missing_since: Option<Timestamp>,
}

/// What is to be done about a callout before AURA is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet: it is too early to say, or somebody is at it.
    Wait,
    /// Nothing: this is how it stands.
    Remember(Seen),
    /// Get it.
    Ask(Reason),
    /// It is open, and only the note of that is missing.
    Adopt {
        /// When it was published.
        opened_at: Timestamp,
    },
    /// It is closed, and only the note that it is open is left.
    Forget,
}

/// Why AURA is asked about a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its opening was missed.
    Opening,
    /// Its closing seems to have been missed.
    Closing,
    /// It is active, though its closing is published.
    Reopened,
    /// It is over once more, after it had been active again.
    ClosedAgain,
    /// Its status isn't what the events say.
    Change,
    /// What AURA said of it last may have been behind an event, or the event behind that.
    Overtaken,
    /// Nothing has been heard of it for too long.
    Silence,
}

/// The documented words of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Created,
    Dispatched,
    Cancelled,
}

impl Patience {
    /// The shortest of all silences.
    fn shortest(&self) -> Duration {
        let others = [
            self.dispatched,
            self.arrived,
            self.completed,
            self.cancelled,
        ];
        others.into_iter().fold(self.created, Duration::min)
    }

    /// How long a callout may be silent in a stage.
    #[must_use]
    pub fn with(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Created => self.created,
            Stage::Dispatched => self.dispatched,
            Stage::Arrived => self.arrived,
            Stage::Completed => self.completed,
            Stage::Cancelled => self.cancelled,
        }
    }
}

impl Word {
    fn of(status: &str) -> Option<Self> {
        let is = |word: &str| status.trim().eq_ignore_ascii_case(word);
        if is("created") {
            Some(Self::Created)
        } else if is("responder dispatched") {
            Some(Self::Dispatched)
        } else if is("responder cancelled") {
            Some(Self::Cancelled)
        } else {
            None
        }
    }

    /// Whether the events can have led to a stage where AURA says this. Which word goes with an
    /// arrival, a completion or a soft cancellation isn't documented: so it may be an earlier one.
    fn is_explained_by(self, stage: Stage) -> bool {
        match self {
            Self::Created => matches!(stage, Stage::Created | Stage::Cancelled),
            Self::Dispatched => {
                matches!(stage, Stage::Dispatched | Stage::Arrived | Stage::Completed)
            }
            Self::Cancelled => stage == Stage::Cancelled,
        }
    }
}

/// Whether the ledger has to be asked about an open callout that AURA calls active. If not, nothing
/// has changed since it was looked at last.
#[must_use]
pub fn is_due(seen: Option<&Seen>, status: Option<&str>, now: Timestamp) -> bool {
    let Some(seen) = seen else {
        return true;
    };
    seen.status.as_deref() != status
        || seen.missing_since.is_some()
        || seen.look_at.is_none_or(|at| at <= now)
}

/// Active at AURA, open here.
#[must_use]
pub fn on_open(
    view: &View,
    seen: Option<&Seen>,
    opened_at: Timestamp,
    status: Option<&str>,
    now: Timestamp,
    patience: &Patience,
) -> Verdict {
    match view.closing {
        Presence::Claimed => return Verdict::Wait,
        // An answer from before the closing, unless it was active again already.
        Presence::Published(at) if view.observed_at < Some(at) => {
            return if is_young(at, now, patience) {
                Verdict::Wait
            } else {
                Verdict::Ask(Reason::Reopened)
            };
        }
        Presence::Unknown | Presence::Abandoned | Presence::Published(_) => {}
    }
    if view.opening == Presence::Abandoned {
        return Verdict::Ask(Reason::Opening);
    }
    // What says nothing of the status, a chat message say, can't be contradicted by it.
    if is_young(view.staged_at.unwrap_or(opened_at), now, patience) {
        return Verdict::Wait;
    }
    let last_at = view.last.as_ref().map_or(opened_at, |last| last.at);
    if is_unexplained(view, seen, status) {
        return Verdict::Ask(Reason::Change);
    }
    if is_overtaken(view, seen, status) {
        return Verdict::Ask(Reason::Overtaken);
    }
    let unchanged = seen.filter(|seen| seen.last.as_deref() == sort_of(view));
    let ask_at = match unchanged.and_then(|seen| seen.ask_at) {
        Some(at) => at,
        None => after(last_at, patience.with(view.stage)),
    };
    if ask_at <= now {
        return Verdict::Ask(Reason::Silence);
    }
    Verdict::Remember(Seen {
        status: status.map(str::to_owned),
        last: sort_of(view).map(str::to_owned),
        look_at: Some(ask_at.min(after(now, patience.shortest()))),
        ask_at: Some(ask_at),
        asked: unchanged.map_or(0, |seen| seen.asked),
        missing_since: None,
        ..seen.cloned().unwrap_or_default()
    })
}

/// Whether a status isn't what the events say.
#[must_use]
pub fn is_unexplained(view: &View, seen: Option<&Seen>, status: Option<&str>) -> bool {
    match seen {
        // Nothing was told since it was looked at last: then nothing may have changed.
        Some(seen) if seen.last.as_deref() == sort_of(view) => seen.status.as_deref() != status,
        _ => status
            .and_then(Word::of)
            .is_some_and(|word| !word.is_explained_by(view.stage)),
    }
}

/// Whether consumers may have AURA's answer and an event in the wrong order. The answer came behind
/// an event that it may not have known; or an event that should have changed the status came behind
/// the answer, and hasn't.
fn is_overtaken(view: &View, seen: Option<&Seen>, status: Option<&str>) -> bool {
    let (Some(seen), Some(last)) = (seen, &view.last) else {
        return false;
    };
    if seen.observations == 0 || seen.last.as_deref() == Some(&last.sort) {
        return false;
    }
    let is_unmoved = last.has_stage && seen.status.as_deref() == status;
    view.observed_at > Some(last.at) || is_unmoved
}

/// What is remembered of a callout after AURA was asked: `observed` is the digest of its answer, if
/// that is published now.
#[must_use]
pub fn asked(
    view: &View,
    seen: Option<&Seen>,
    status: Option<&str>,
    observed: Option<String>,
    now: Timestamp,
    patience: &Patience,
) -> Seen {
    let before = seen.cloned().unwrap_or_default();
    let is_unchanged = observed.is_none() && before.last.as_deref() == sort_of(view);
    let asked = if is_unchanged { before.asked } else { 0 };
    let pause = patience.with(view.stage) * 2_u32.pow(asked.min(MOST_DOUBLINGS));
    Seen {
        status: status.map(str::to_owned),
        last: sort_of(view).map(str::to_owned),
        look_at: Some(after(now, pause.min(patience.shortest()))),
        ask_at: Some(after(now, pause)),
        asked: asked.saturating_add(1),
        observations: observations(view, seen) + u32::from(observed.is_some()),
        observed: observed.or(before.observed),
        missing_since: None,
    }
}

/// How often AURA's answer was published. What was only just put on the queue is in the memory
/// alone; and when there is none, the ledger knows.
#[must_use]
pub fn observations(view: &View, seen: Option<&Seen>) -> u32 {
    seen.map_or(view.observations, |seen| seen.observations)
}

/// Active at AURA since `created_at`, or seen there since then, and not noted as open here.
#[must_use]
pub fn on_unknown(
    view: &View,
    created_at: Timestamp,
    now: Timestamp,
    patience: &Patience,
) -> Verdict {
    match (view.closing, view.opening) {
        (Presence::Claimed, _) | (_, Presence::Claimed) => Verdict::Wait,
        (Presence::Published(at), _) if is_young(at, now, patience) => Verdict::Wait,
        // Its event may be on the way. By a clock that isn't ours, "just now" may be in the future.
        (_, Presence::Unknown) if now.duration_since(created_at).unsigned_abs() < patience.lag => {
            Verdict::Wait
        }
        (_, Presence::Unknown | Presence::Abandoned) => Verdict::Ask(Reason::Opening),
        (Presence::Published(_), Presence::Published(_)) => Verdict::Ask(Reason::Reopened),
        (_, Presence::Published(opened_at)) => Verdict::Adopt { opened_at },
    }
}

/// Noted as closed, and not in AURA's list. Whether its opening is noted, too, tells an opening that
/// the ledger has forgotten from one that it never heard of.
#[must_use]
pub fn on_closed(
    view: &View,
    seen: Option<&Seen>,
    was_opened: bool,
    closed_at: Timestamp,
    now: Timestamp,
    patience: &Patience,
) -> Verdict {
    let is_opening_missed = match view.opening {
        Presence::Unknown => !was_opened,
        Presence::Abandoned => true,
        Presence::Claimed | Presence::Published(_) => false,
    };
    match (view.opening, view.closing) {
        (Presence::Claimed, _) | (_, Presence::Claimed) => Verdict::Wait,
        _ if is_opening_missed && is_young(closed_at, now, patience) => Verdict::Wait,
        _ if is_opening_missed => Verdict::Ask(Reason::Opening),
        (_, Presence::Abandoned) => Verdict::Ask(Reason::Closing),
        (_, Presence::Published(at)) if view.observed_at > Some(at) => {
            Verdict::Ask(Reason::ClosedAgain)
        }
        // AURA's answer from before it may come behind it yet.
        (_, Presence::Published(at))
            if observations(view, seen) > view.observations && now < after(at, STILL_TO_COME) =>
        {
            Verdict::Wait
        }
        (_, Presence::Published(_) | Presence::Unknown) => Verdict::Forget,
    }
}

/// Not in AURA's list, open here.
#[must_use]
pub fn on_vanished(
    view: &View,
    seen: Option<&Seen>,
    opened_at: Timestamp,
    now: Timestamp,
    patience: &Patience,
) -> Verdict {
    match view.closing {
        Presence::Claimed => Verdict::Wait,
        Presence::Published(closed_at) => on_closed(view, seen, true, closed_at, now, patience),
        Presence::Unknown | Presence::Abandoned => {
            let last_at = view.last.as_ref().map_or(opened_at, |last| last.at);
            if is_young(last_at.max(opened_at), now, patience) {
                Verdict::Wait
            } else {
                Verdict::Ask(Reason::Closing)
            }
        }
    }
}

/// Whether a list of so many callouts may be one page of a longer one. AURA documents no pages, and
/// nothing in the answer would say so.
#[must_use]
pub fn may_be_a_page(length: usize) -> bool {
    length >= PAGE && length.is_multiple_of(PAGE)
}

/// Whether a callout that AURA's list lacks, and that AURA has when asked, is over. A status that
/// is documented for callouts under way says that it isn't, for an hour or as long as the callout
/// might be silent; then the list decides. A list that may be a page decides after an hour, unless
/// AURA has told the closing itself.
#[must_use]
pub fn is_over(
    view: &View,
    seen: Option<&Seen>,
    status: Option<&str>,
    may_be_a_page: bool,
    now: Timestamp,
    patience: &Patience,
) -> bool {
    let is_under_way = matches!(
        status.and_then(Word::of),
        Some(Word::Created | Word::Dispatched)
    );
    let is_absence_all = view.closing == Presence::Unknown;
    let hold = if is_under_way {
        patience.with(view.stage).max(LONG_HOLD)
    } else if may_be_a_page && is_absence_all {
        LONG_HOLD
    } else {
        return true;
    };
    let missing_since = seen.and_then(|seen| seen.missing_since);
    missing_since.is_some_and(|at| after(at, hold) <= now)
}

fn is_young(at: Timestamp, now: Timestamp, patience: &Patience) -> bool {
    now < after(at, patience.lag)
}

fn sort_of(view: &View) -> Option<&str> {
    view.last.as_ref().map(|last| last.sort.as_str())
}

/// A time so much later; the end of time, if that is past it.
fn after(at: Timestamp, pause: Duration) -> Timestamp {
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
