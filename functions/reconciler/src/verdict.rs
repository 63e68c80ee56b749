//! Verdicts on callouts: what is to be done, from what the ledger knows, what AURA says and what
//! time it is. Plain functions over plain data.
//!
//! AURA's `status` is free text of which three words are documented. No verdict follows from any
//! other word. A *change* of the status counts, when no event explains it.
//!
//! | at AURA | here | verdict |
//! | --- | --- | --- |
//! | active | unknown | its opening was missed ([`Facts::on_unknown`]) |
//! | not active | open | its closing was missed ([`Facts::on_vanished`], [`Facts::is_over`]) |
//! | not active | closed | its opening may have been missed; if not, it is forgotten ([`Facts::on_closed`]) |
//! | active | closed | published as AURA describes it, once that answer isn't old, and again when it is over |
//! | active | open | AURA is asked about it if its status contradicts the last event, has changed without an event, or the callout has been silent for too long ([`Facts::on_open`]) |
//!
//! AURA's list may be one page of a longer one, if its length says so ([`may_be_a_page`]): for an
//! hour, a callout that such a list lacks doesn't count as closed.
//!
//! AURA's answers may lag behind its events: nothing is concluded from an answer that contradicts
//! an event younger than [`Patience::lag`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::view::{CalloutStage, CalloutView, Presence};

/// AURA is asked ever more rarely about a callout that doesn't change: the pause doubles at most
/// this many times.
const MOST_DOUBLINGS: u32 = 5;

/// A callout that AURA's list lacks counts as over only after this long, if AURA calls it active
/// when asked (one of the two is wrong, and nobody knows which), or if the list may be a page.
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
    /// Since when AURA's list lacks the callout, although AURA has it when asked, and it doesn't
    /// count as over.
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

/// What a verdict on a callout follows from, beside AURA's list.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the ledger knows of the callout.
    pub view: &'a CalloutView,
    /// What the last check remembers of it, if there was one.
    pub last_check: Option<&'a LastCheck>,
    /// Waiting times of the verdicts.
    pub patience: &'a Patience,
    /// Time of the verdict.
    pub now: Timestamp,
}

/// A documented word of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusWord {
    Created,
    Dispatched,
    Cancelled,
}

impl Patience {
    /// Shortest of all silences.
    fn shortest(&self) -> Duration {
        let others = [self.dispatched, self.arrived, self.completed];
        let shortest = self.created.min(self.cancelled);
        others.into_iter().fold(shortest, Duration::min)
    }

    /// Longest silence of a callout in a stage.
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
        match status.trim().to_ascii_lowercase().as_str() {
            "created" => Some(Self::Created),
            "responder dispatched" => Some(Self::Dispatched),
            "responder cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// Whether AURA may say this in a stage. The word for an arrival, a completion or a soft
    /// cancellation isn't documented: it may be an earlier one.
    fn is_explained_by(self, stage: CalloutStage) -> bool {
        use CalloutStage::{Arrived, Cancelled, Completed, Created, Dispatched};
        match self {
            Self::Created => matches!(stage, Created | Cancelled),
            Self::Dispatched => matches!(stage, Dispatched | Arrived | Completed),
            Self::Cancelled => stage == Cancelled,
        }
    }
}

/// Whether the ledger has to be read about an open callout that AURA lists. If not, nothing has
/// changed since the last check.
pub fn is_due(last_check: Option<&LastCheck>, status: Option<&str>, now: Timestamp) -> bool {
    last_check.is_none_or(|last_check| {
        last_check.status.as_deref() != status
            || last_check.missing_since.is_some()
            || last_check.look_at.is_none_or(|at| at <= now)
    })
}

/// Whether a list of this length may be one page of a longer one. AURA documents no pages, and its
/// answer would not say so.
pub fn may_be_a_page(length: usize) -> bool {
    length >= PAGE && length.is_multiple_of(PAGE)
}

impl Facts<'_> {
    /// Verdict on a callout that is active at AURA and open here.
    pub fn on_open(&self, opened_at: Timestamp, status: Option<&str>) -> Verdict {
        let Self { view, now, .. } = *self;
        match view.closing {
            Presence::Claimed => return Verdict::Wait,
            // AURA's list may be from before the closing, unless the callout was seen active since.
            Presence::Published(at) if view.observed_at < Some(at) => {
                return self.unless_young(at, AskReason::Reopened);
            }
            Presence::Unknown | Presence::Abandoned | Presence::Published(_) => {}
        }
        if view.opening == Presence::Abandoned {
            return Verdict::Ask(AskReason::Opening);
        }
        // The status can't contradict an event that says nothing of it, like a chat message.
        if self.is_young(view.staged_at.unwrap_or(opened_at)) {
            return Verdict::Wait;
        }
        if self.is_unexplained(status) {
            return Verdict::Ask(AskReason::Change);
        }
        if self.is_overtaken(status) {
            return Verdict::Ask(AskReason::Overtaken);
        }
        let unchanged = self.last_check.filter(|_| self.is_last_event_unchanged());
        let ask_at = unchanged.and_then(|unchanged| unchanged.ask_at);
        let last_at = view.last.as_ref().map_or(opened_at, |last| last.at);
        let ask_at = ask_at.unwrap_or_else(|| after(last_at, self.patience.with(view.stage)));
        if ask_at <= now {
            return Verdict::Ask(AskReason::Silence);
        }
        Verdict::Remember(LastCheck {
            status: status.map(str::to_owned),
            last: view.last_sort().map(str::to_owned),
            look_at: Some(ask_at.min(after(now, self.patience.shortest()))),
            ask_at: Some(ask_at),
            asked: unchanged.map_or(0, |unchanged| unchanged.asked),
            missing_since: None,
            ..self.last_check.cloned().unwrap_or_default()
        })
    }

    /// Verdict on a callout that is active at AURA, and not noted as open here. AURA created it at
    /// `created_at`, or a run first saw it then.
    pub fn on_unknown(&self, created_at: Timestamp) -> Verdict {
        let age = self.now.duration_since(created_at).unsigned_abs();
        match (self.view.closing, self.view.opening) {
            (Presence::Claimed, _) | (_, Presence::Claimed) => Verdict::Wait,
            (Presence::Published(at), _) if self.is_young(at) => Verdict::Wait,
            // Its event may be on the way. AURA's clock may be ahead of ours.
            (_, Presence::Unknown) if age < self.patience.lag => Verdict::Wait,
            (_, Presence::Unknown | Presence::Abandoned) => Verdict::Ask(AskReason::Opening),
            (Presence::Published(_), Presence::Published(_)) => Verdict::Ask(AskReason::Reopened),
            (_, Presence::Published(opened_at)) => Verdict::Adopt { opened_at },
        }
    }

    /// Verdict on a callout that is noted as closed, and not in AURA's list. `was_opened` tells an
    /// opening that has expired in the ledger from one that was never told.
    pub fn on_closed(&self, was_opened: bool, closed_at: Timestamp) -> Verdict {
        let view = self.view;
        let is_opening_missed = match view.opening {
            Presence::Unknown => !was_opened,
            Presence::Abandoned => true,
            Presence::Claimed | Presence::Published(_) => false,
        };
        // An answer of AURA's from before the closing may be published after it.
        let has_answer_on_its_way = self.observations() > view.observations;
        match (view.opening, view.closing) {
            (Presence::Claimed, _) | (_, Presence::Claimed) => Verdict::Wait,
            _ if is_opening_missed => self.unless_young(closed_at, AskReason::Opening),
            (_, Presence::Abandoned) => Verdict::Ask(AskReason::Closing),
            (_, Presence::Published(at)) if view.observed_at > Some(at) => {
                Verdict::Ask(AskReason::ClosedAgain)
            }
            (_, Presence::Published(at))
                if has_answer_on_its_way && self.now < after(at, STILL_TO_COME) =>
            {
                Verdict::Wait
            }
            (_, Presence::Published(_) | Presence::Unknown) => Verdict::Forget,
        }
    }

    /// Verdict on a callout that is open here, and not in AURA's list.
    pub fn on_vanished(&self, opened_at: Timestamp) -> Verdict {
        match self.view.closing {
            Presence::Claimed => Verdict::Wait,
            Presence::Published(closed_at) => self.on_closed(true, closed_at),
            Presence::Unknown | Presence::Abandoned => {
                let last_at = self.view.last.as_ref().map_or(opened_at, |last| last.at);
                self.unless_young(last_at.max(opened_at), AskReason::Closing)
            }
        }
    }

    /// Whether a callout that AURA's list lacks, and that AURA has when asked, is over. If its
    /// status is documented for callouts under way, it isn't, for an hour or as long as it may be
    /// silent; then the list decides. A list that may be a page decides after an hour, unless AURA
    /// has told the closing itself.
    pub fn is_over(&self, status: Option<&str>, may_be_a_page: bool) -> bool {
        let is_under_way = matches!(
            status.and_then(StatusWord::of),
            Some(StatusWord::Created | StatusWord::Dispatched)
        );
        let is_absence_all = self.view.closing == Presence::Unknown;
        let hold = if is_under_way {
            self.patience.with(self.view.stage).max(LONG_HOLD)
        } else if may_be_a_page && is_absence_all {
            LONG_HOLD
        } else {
            return true;
        };
        let missing_since = self.last_check.and_then(|last| last.missing_since);
        missing_since.is_some_and(|at| after(at, hold) <= self.now)
    }

    /// What is remembered of a callout after AURA was asked. `observed` is the digest of the
    /// answer, if that is published.
    pub fn asked(&self, status: Option<&str>, observed: Option<String>) -> LastCheck {
        let before = self.last_check.cloned().unwrap_or_default();
        let is_unchanged = observed.is_none() && before.last.as_deref() == self.view.last_sort();
        let asked = if is_unchanged { before.asked } else { 0 };
        let pause = self.patience.with(self.view.stage) * 2_u32.pow(asked.min(MOST_DOUBLINGS));
        LastCheck {
            status: status.map(str::to_owned),
            last: self.view.last_sort().map(str::to_owned),
            look_at: Some(after(self.now, pause.min(self.patience.shortest()))),
            ask_at: Some(after(self.now, pause)),
            asked: asked.saturating_add(1),
            observations: self.observations() + u32::from(observed.is_some()),
            observed: observed.or(before.observed),
            missing_since: None,
        }
    }

    /// Number of AURA's answers that were published. Only the last check knows of one that was just
    /// put on the queue; without a last check, the ledger says.
    pub fn observations(&self) -> u32 {
        let last_check = self.last_check;
        last_check.map_or(self.view.observations, |last| last.observations)
    }

    /// Whether a status contradicts the events.
    pub fn is_unexplained(&self, status: Option<&str>) -> bool {
        match self.last_check {
            // No event was published since the last check: then the status may not have changed.
            Some(last) if self.is_last_event_unchanged() => last.status.as_deref() != status,
            _ => status
                .and_then(StatusWord::of)
                .is_some_and(|word| !word.is_explained_by(self.view.stage)),
        }
    }

    /// Whether consumers may have AURA's answer and an event in the wrong order: the answer was
    /// published after an event that it may not have known, or an event after the answer, and the
    /// status has not changed as that event says.
    fn is_overtaken(&self, status: Option<&str>) -> bool {
        let (Some(last_check), Some(event)) = (self.last_check, &self.view.last) else {
            return false;
        };
        if last_check.observations == 0 || self.is_last_event_unchanged() {
            return false;
        }
        let is_unmoved = event.has_stage && last_check.status.as_deref() == status;
        self.view.observed_at > Some(event.at) || is_unmoved
    }

    fn is_last_event_unchanged(&self) -> bool {
        let last_check = self.last_check;
        last_check.is_some_and(|last| last.last.as_deref() == self.view.last_sort())
    }

    fn unless_young(&self, at: Timestamp, reason: AskReason) -> Verdict {
        if self.is_young(at) {
            Verdict::Wait
        } else {
            Verdict::Ask(reason)
        }
    }

    /// Whether AURA's answers may be older than this time.
    fn is_young(&self, at: Timestamp) -> bool {
        self.now < after(at, self.patience.lag)
    }
}

/// Adds a pause to a time; the largest time if the sum is larger.
fn after(at: Timestamp, pause: Duration) -> Timestamp {
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
