//! Verdicts on callouts: what is to be done, from what the ledger knows, what AURA says and what time it
//! is. Plain functions over plain data.
//!
//! AURA's `status` is free text of which three words are documented. No verdict follows from any other
//! word. A *change* of the status counts, when no event explains it.
//!
//! | at AURA | here | verdict |
//! | --- | --- | --- |
//! | active | unknown | its opening was missed ([`on_unknown`]) |
//! | not active | open | its closing was missed ([`on_vanished`], [`is_over`]) |
//! | not active | closed | its opening may have been missed; if not, it is forgotten ([`on_closed`]) |
//! | active | closed | published as AURA describes it, once that answer isn't old, and again when it is over |
//! | active | open | AURA is asked about it if its status contradicts the last event, has changed without an event, or the callout has been silent for too long ([`on_open`]) |
//!
//! AURA's list may be one page of a longer one, if its length says so ([`may_be_a_page`]): for an hour, a
//! callout that such a list lacks doesn't count as closed.
//!
//! AURA's answers may lag behind its events: nothing is concluded from an answer that contradicts an
//! event younger than [`Patience::lag`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::view::{CalloutStage, CalloutView, Presence};

/// AURA is asked ever more rarely about a callout that doesn't change: the pause doubles at most this
/// many times.
const MOST_DOUBLINGS: u32 = 5;

/// A callout that AURA's list lacks counts as over only after this long, if AURA calls it active when
/// asked (one of the two is wrong, and nobody knows which), or if the list may be a page.
const LONG_HOLD: Duration = Duration::from_hours(1);

/// A page has ten entries, or a multiple of ten.
const PAGE: usize = 10;

/// An event that was put on the queue is published after this long, or an alarm says why not.
const STILL_TO_COME: Duration = Duration::from_mins(5);

/// Waiting times of the verdicts.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest time by which AURA's answers may be behind its events.
    pub lag: Duration,
    /// Longest silence until somebody is dispatched.
    pub created: Duration,
    /// Longest silence until a responder arrives.
    pub dispatched: Duration,
    /// Longest silence until a responder is done.
    pub arrived: Duration,
    /// Longest silence between a responder's being done and the closing.
    pub completed: Duration,
    /// Longest silence between the calling off and the closing.
    pub cancelled: Duration,
}

/// What the last run that checked an open callout remembers of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastCheck {
    /// Status in AURA's list. AURA's answer about the callout may lack one, or have a newer one.
    pub status: Option<String>,
    /// Sort key of AURA's last event that was published then.
    pub last: Option<String>,
    /// When the ledger has to be read again, at the latest.
    pub look_at: Option<Timestamp>,
    /// When AURA has to be asked about the callout, if nothing happens before.
    pub ask_at: Option<Timestamp>,
    /// Number of times that AURA was asked since something happened.
    pub asked: u32,
    /// Number of AURA's answers that were published.
    pub observations: u32,
    /// Digest of the last answer that was published.
    pub observed: Option<String>,
    /// Since when AURA's list lacks the callout, although AURA has it when asked, and it doesn't count as
    /// over.
    pub missing_since: Option<Timestamp>,
}

/// What is to be done about a callout before AURA is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Do nothing yet: it is too early to say, or the processor is at it.
    Wait,
    /// Remember this, and do nothing else.
    Remember(LastCheck),
    /// Ask AURA.
    Ask(AskReason),
    /// Note it as open: only the note is missing.
    Adopt {
        /// When its opening was published.
        opened_at: Timestamp,
    },
    /// Remove its note: it is closed.
    Forget,
}

/// Why AURA is asked about a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskReason {
    /// Its opening was missed.
    Opening,
    /// Its closing seems to have been missed.
    Closing,
    /// It is active, though its closing is published.
    Reopened,
    /// It is over again, after it was active though its closing was published.
    ClosedAgain,
    /// Its status contradicts the events.
    Change,
    /// Consumers may have AURA's last answer and an event in the wrong order.
    Overtaken,
    /// It has been silent for too long.
    Silence,
}

/// A documented word of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusWord {
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

    /// Longest silence of a callout in a stage.
    #[must_use]
    pub fn with(&self, stage: CalloutStage) -> Duration {
        match stage {
            CalloutStage::Created => self.created,
            CalloutStage::Dispatched => self.dispatched,
            CalloutStage::Arrived => self.arrived,
            CalloutStage::Completed => self.completed,
            CalloutStage::Cancelled => self.cancelled,
        }
    }
}

impl StatusWord {
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

    /// Whether AURA may say this in a stage. The word for an arrival, a completion or a soft cancellation
    /// isn't documented: it may be an earlier one.
    fn is_explained_by(self, stage: CalloutStage) -> bool {
        match self {
            Self::Created => matches!(stage, CalloutStage::Created | CalloutStage::Cancelled),
            Self::Dispatched => {
                matches!(
                    stage,
                    CalloutStage::Dispatched | CalloutStage::Arrived | CalloutStage::Completed
                )
            }
            Self::Cancelled => stage == CalloutStage::Cancelled,
        }
    }
}

/// Whether the ledger has to be read about an open callout that AURA lists. If not, nothing has changed
/// since the last check.
#[must_use]
pub fn is_due(seen: Option<&LastCheck>, status: Option<&str>, now: Timestamp) -> bool {
    let Some(seen) = seen else {
        return true;
    };
    seen.status.as_deref() != status
        || seen.missing_since.is_some()
        || seen.look_at.is_none_or(|at| at <= now)
}

/// Verdict on a callout that is active at AURA and open here.
#[must_use]
pub fn on_open(
    view: &CalloutView,
    seen: Option<&LastCheck>,
    opened_at: Timestamp,
    status: Option<&str>,
    now: Timestamp,
    patience: &Patience,
) -> Verdict {
    match view.closing {
        Presence::Claimed => return Verdict::Wait,
        // AURA's list may be from before the closing, unless the callout was seen active again since.
        Presence::Published(at) if view.observed_at < Some(at) => {
            return if is_young(at, now, patience) {
                Verdict::Wait
            } else {
                Verdict::Ask(AskReason::Reopened)
            };
        }
        Presence::Unknown | Presence::Abandoned | Presence::Published(_) => {}
    }
    if view.opening == Presence::Abandoned {
        return Verdict::Ask(AskReason::Opening);
    }
    // The status can't contradict an event that says nothing of it, like a chat message.
    if is_young(view.staged_at.unwrap_or(opened_at), now, patience) {
        return Verdict::Wait;
    }
    let last_at = view.last.as_ref().map_or(opened_at, |last| last.at);
    if is_unexplained(view, seen, status) {
        return Verdict::Ask(AskReason::Change);
    }
    if is_overtaken(view, seen, status) {
        return Verdict::Ask(AskReason::Overtaken);
    }
    let unchanged = seen.filter(|seen| seen.last.as_deref() == sort_of(view));
    let ask_at = match unchanged.and_then(|seen| seen.ask_at) {
        Some(at) => at,
        None => after(last_at, patience.with(view.stage)),
    };
    if ask_at <= now {
        return Verdict::Ask(AskReason::Silence);
    }
    Verdict::Remember(LastCheck {
        status: status.map(str::to_owned),
        last: sort_of(view).map(str::to_owned),
        look_at: Some(ask_at.min(after(now, patience.shortest()))),
        ask_at: Some(ask_at),
        asked: unchanged.map_or(0, |seen| seen.asked),
        missing_since: None,
        ..seen.cloned().unwrap_or_default()
    })
}

/// Whether a status contradicts the events.
#[must_use]
pub fn is_unexplained(view: &CalloutView, seen: Option<&LastCheck>, status: Option<&str>) -> bool {
    match seen {
        // No event was published since the last check: then the status may not have changed.
        Some(seen) if seen.last.as_deref() == sort_of(view) => seen.status.as_deref() != status,
        _ => status
            .and_then(StatusWord::of)
            .is_some_and(|word| !word.is_explained_by(view.stage)),
    }
}

/// Whether consumers may have AURA's answer and an event in the wrong order: the answer was published
/// after an event that it may not have known, or an event after the answer, and the status has not
/// changed as that event says.
fn is_overtaken(view: &CalloutView, seen: Option<&LastCheck>, status: Option<&str>) -> bool {
    let (Some(seen), Some(last)) = (seen, &view.last) else {
        return false;
    };
    if seen.observations == 0 || seen.last.as_deref() == Some(&last.sort) {
        return false;
    }
    let is_unmoved = last.has_stage && seen.status.as_deref() == status;
    view.observed_at > Some(last.at) || is_unmoved
}

/// What is remembered of a callout after AURA was asked. `observed` is the digest of the answer, if that
/// is published.
#[must_use]
pub fn asked(
    view: &CalloutView,
    seen: Option<&LastCheck>,
    status: Option<&str>,
    observed: Option<String>,
    now: Timestamp,
    patience: &Patience,
) -> LastCheck {
    let before = seen.cloned().unwrap_or_default();
    let is_unchanged = observed.is_none() && before.last.as_deref() == sort_of(view);
    let asked = if is_unchanged { before.asked } else { 0 };
    let pause = patience.with(view.stage) * 2_u32.pow(asked.min(MOST_DOUBLINGS));
    LastCheck {
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

/// Number of AURA's answers that were published. Only the last check knows of one that was just put on
/// the queue; without a last check, the ledger says.
#[must_use]
pub fn observations(view: &CalloutView, seen: Option<&LastCheck>) -> u32 {
    seen.map_or(view.observations, |seen| seen.observations)
}

/// Verdict on a callout that is active at AURA, and not noted as open here. AURA created it at
/// `created_at`, or a run first saw it then.
#[must_use]
pub fn on_unknown(
    view: &CalloutView,
    created_at: Timestamp,
    now: Timestamp,
    patience: &Patience,
) -> Verdict {
    match (view.closing, view.opening) {
        (Presence::Claimed, _) | (_, Presence::Claimed) => Verdict::Wait,
        (Presence::Published(at), _) if is_young(at, now, patience) => Verdict::Wait,
        // Its event may be on the way. AURA's clock may be ahead of ours.
        (_, Presence::Unknown) if now.duration_since(created_at).unsigned_abs() < patience.lag => {
            Verdict::Wait
        }
        (_, Presence::Unknown | Presence::Abandoned) => Verdict::Ask(AskReason::Opening),
        (Presence::Published(_), Presence::Published(_)) => Verdict::Ask(AskReason::Reopened),
        (_, Presence::Published(opened_at)) => Verdict::Adopt { opened_at },
    }
}

/// Verdict on a callout that is noted as closed, and not in AURA's list. `was_opened` tells an opening
/// that has expired in the ledger from one that was never told.
#[must_use]
pub fn on_closed(
    view: &CalloutView,
    seen: Option<&LastCheck>,
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
        _ if is_opening_missed => Verdict::Ask(AskReason::Opening),
        (_, Presence::Abandoned) => Verdict::Ask(AskReason::Closing),
        (_, Presence::Published(at)) if view.observed_at > Some(at) => {
            Verdict::Ask(AskReason::ClosedAgain)
        }
        // An answer of AURA's from before the closing may be published after it yet.
        (_, Presence::Published(at))
            if observations(view, seen) > view.observations && now < after(at, STILL_TO_COME) =>
        {
            Verdict::Wait
        }
        (_, Presence::Published(_) | Presence::Unknown) => Verdict::Forget,
    }
}

/// Verdict on a callout that is open here, and not in AURA's list.
#[must_use]
pub fn on_vanished(
    view: &CalloutView,
    seen: Option<&LastCheck>,
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
                Verdict::Ask(AskReason::Closing)
            }
        }
    }
}

/// Whether a list of this length may be one page of a longer one. AURA documents no pages, and its
/// answer would not say so.
#[must_use]
pub fn may_be_a_page(length: usize) -> bool {
    length >= PAGE && length.is_multiple_of(PAGE)
}

/// Whether a callout that AURA's list lacks, and that AURA has when asked, is over. If its status is
/// documented for callouts under way, it isn't, for an hour or as long as it may be silent; then the list
/// decides. A list that may be a page decides after an hour, unless AURA has told the closing itself.
#[must_use]
pub fn is_over(
    view: &CalloutView,
    seen: Option<&LastCheck>,
    status: Option<&str>,
    may_be_a_page: bool,
    now: Timestamp,
    patience: &Patience,
) -> bool {
    let is_under_way = matches!(
        status.and_then(StatusWord::of),
        Some(StatusWord::Created | StatusWord::Dispatched)
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

fn sort_of(view: &CalloutView) -> Option<&str> {
    view.last.as_ref().map(|last| last.sort.as_str())
}

/// Adds a pause to a time; the largest time if the sum is larger.
fn after(at: Timestamp, pause: Duration) -> Timestamp {
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
