//! Decides what to do about a callout, from the ledger, AURA's answers and the time. These are
//! plain functions over plain data.
//!
//! AURA's `status` is free text, and AURA documents three values of it. The verdicts interpret only
//! these three. Any other value matters only if it *changes* and no event explains the change.
//!
//! | at AURA | in the ledger | verdict |
//! | --- | --- | --- |
//! | active | unknown | The opening was missed ([`Facts::on_unknown`]). |
//! | not active | open | The closing was missed ([`Facts::on_vanished`], [`Facts::is_over`]). |
//! | not active | closed | The opening may have been missed. If not, the note is removed ([`Facts::on_closed`]). |
//! | active | closed | AURA's description is published when it can't be older than the closing, and again when the callout is over. |
//! | active | open | The reconciler asks AURA about the callout if its status contradicts the last event, if its status has changed without an event, or if the callout has been silent for too long ([`Facts::on_open`]). |
//!
//! If the length of AURA's list is that of a page, the list may be one page of a longer one
//! ([`may_be_a_page`]). A callout that such a list lacks counts as closed only after an hour.
//!
//! AURA's answers may lag behind its events. So a verdict ignores an answer that contradicts an
//! event younger than [`Patience::lag`].

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::view::{CalloutStage, CalloutView, Presence};

/// Largest number of times that the pause between two calls about an unchanged callout doubles.
const MOST_DOUBLINGS: u32 = 5;

/// Time after which a callout that AURA's list lacks counts as over in these cases:
///
/// - AURA calls it active when asked about it (one of the two answers is wrong, and it is unknown
///   which);
/// - the list may be a page of a longer one.
const LONG_HOLD: Duration = Duration::from_hours(1);

/// Time within which an event on the queue is published. If it takes longer, an alarm reports it.
const STILL_TO_COME: Duration = Duration::from_mins(5);

/// Waiting times of the verdicts.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest time by which AURA's answers may lag behind its events.
    pub lag: Duration,
    /// Longest silence until a responder is dispatched.
    pub created: Duration,
    /// Longest silence until a responder arrives.
    pub dispatched: Duration,
    /// Longest silence until a responder is done.
    pub arrived: Duration,
    /// Longest silence between a responder's completion and the closing.
    pub completed: Duration,
    /// Longest silence between the cancellation and the closing.
    pub cancelled: Duration,
}

/// State of an open callout that the last run which checked it has saved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastCheck {
    /// Status in AURA's list. AURA's answer about the single callout may have no status or a newer
    /// one.
    pub status: Option<String>,
    /// Sort key of AURA's last event that was published before the check.
    pub last: Option<String>,
    /// Latest time of the next reading of the ledger.
    pub look_at: Option<Timestamp>,
    /// Time of the next call to AURA about the callout, if nothing happens before.
    pub ask_at: Option<Timestamp>,
    /// Number of calls to AURA about the callout since something happened.
    pub asked: u32,
    /// Number of AURA's answers that were put on the queue as events.
    pub observations: u32,
    /// Digest of the last answer that was put on the queue.
    pub observed: Option<String>,
    /// Time since which AURA's list lacks the callout, while AURA still has it when asked and the
    /// callout doesn't count as over.
    pub missing_since: Option<Timestamp>,
}

/// The next step for a callout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Does nothing yet: it is too early to decide, or the processor is publishing an event.
    Wait,
    /// Saves this state of the callout, and does nothing else.
    Remember(LastCheck),
    /// Asks AURA about the callout.
    Ask(AskReason),
    /// Notes the callout as open: the ledger has the opening, and only the note is missing.
    Adopt {
        /// When the opening was published.
        opened_at: Timestamp,
    },
    /// Removes the callout's note: the callout is closed.
    Forget,
}

/// Why the reconciler asks AURA about a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskReason {
    /// The callout's opening was missed.
    Opening,
    /// The callout's closing seems to be missed.
    Closing,
    /// The callout is active, but its closing is published.
    Reopened,
    /// The callout was active after its closing was published, and now it is over.
    ClosedAgain,
    /// The callout's status contradicts the events.
    Change,
    /// Consumers may have got AURA's last answer and an event in the wrong order.
    Overtaken,
    /// The callout has been silent for too long.
    Silence,
}

/// The facts about a callout that a verdict depends on, besides AURA's list.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The callout's events in the ledger.
    pub view: &'a CalloutView,
    /// The state that the last check has saved, if there was a check.
    pub last_check: Option<&'a LastCheck>,
    /// Waiting times of the verdicts.
    pub patience: &'a Patience,
    /// Time of the verdict.
    pub now: Timestamp,
}

/// A documented value of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StatusWord {
    Created,
    Dispatched,
    Cancelled,
}

impl Patience {
    /// Shortest of the silences of all stages.
    fn shortest(&self) -> Duration {
        let others = [self.dispatched, self.arrived, self.completed];
        let shortest = self.created.min(self.cancelled);
        others.into_iter().fold(shortest, Duration::min)
    }

    /// Longest silence of a callout in a stage.
    pub fn longest_silence(&self, stage: CalloutStage) -> Duration {
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

    /// Whether AURA may give this status in a stage. AURA doesn't document the status for an
    /// arrival, a completion or a soft cancellation, so the status of an earlier stage is possible
    /// too.
    fn is_explained_by(self, stage: CalloutStage) -> bool {
        use CalloutStage::{Arrived, Cancelled, Completed, Created, Dispatched};
        match self {
            Self::Created => matches!(stage, Created | Cancelled),
            Self::Dispatched => matches!(stage, Dispatched | Arrived | Completed),
            Self::Cancelled => stage == Cancelled,
        }
    }
}

/// Whether an open callout that AURA lists needs a check of its timeline in the ledger. If not,
/// nothing has changed since the last check.
pub fn is_due(last_check: Option<&LastCheck>, status: Option<&str>, now: Timestamp) -> bool {
    last_check.is_none_or(|last_check| {
        last_check.status.as_deref() != status
            || last_check.missing_since.is_some()
            || last_check.look_at.is_none_or(|at| at <= now)
    })
}

impl Facts<'_> {
    /// Verdict on a callout that is active at AURA and noted as open.
    pub fn on_open(&self, opened_at: Timestamp, status: Option<&str>) -> Verdict {
        let Self { view, now, .. } = *self;
        match view.closing {
            Presence::Claimed => return Verdict::Wait,
            // The callout was not observed since the closing, so AURA's list may be older than it.
            Presence::Published(at) if view.observed_at < Some(at) => {
                return self.unless_young(at, AskReason::Reopened);
            }
            Presence::Unknown | Presence::Abandoned | Presence::Published(_) => {}
        }
        if view.opening == Presence::Abandoned {
            return Verdict::Ask(AskReason::Opening);
        }
        // Only an event that leads to a stage counts. Others, like a chat message, can't contradict
        // the status.
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
        let ask_at =
            ask_at.unwrap_or_else(|| after(last_at, self.patience.longest_silence(view.stage)));
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

    /// Verdict on a callout that is active at AURA and not noted as open. `created_at` is the time
    /// when AURA created it, or when a run first saw it.
    pub fn on_unknown(&self, created_at: Timestamp) -> Verdict {
        let age = self.now.duration_since(created_at).unsigned_abs();
        match (self.view.closing, self.view.opening) {
            (Presence::Claimed, _) | (_, Presence::Claimed) => Verdict::Wait,
            (Presence::Published(at), _) if self.is_young(at) => Verdict::Wait,
            // AURA's event may still be on the way. The absolute value of the age is used because
            // AURA's clock may be ahead of ours.
            (_, Presence::Unknown) if age < self.patience.lag => Verdict::Wait,
            (_, Presence::Unknown | Presence::Abandoned) => Verdict::Ask(AskReason::Opening),
            (Presence::Published(_), Presence::Published(_)) => Verdict::Ask(AskReason::Reopened),
            (_, Presence::Published(opened_at)) => Verdict::Adopt { opened_at },
        }
    }

    /// Verdict on a callout that is noted as closed and not in AURA's list. `was_opened` tells
    /// whether an opening that the ledger doesn't have has expired there or never arrived.
    pub fn on_closed(&self, was_opened: bool, closed_at: Timestamp) -> Verdict {
        let view = self.view;
        let is_opening_missed = match view.opening {
            Presence::Unknown => !was_opened,
            Presence::Abandoned => true,
            Presence::Claimed | Presence::Published(_) => false,
        };
        // An answer of AURA that is older than the closing may be published after it.
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

    /// Verdict on a callout that is noted as open and not in AURA's list.
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

    /// Whether a callout counts as over that AURA's list lacks, although AURA still describes it when
    /// asked.
    ///
    /// - If its status is one that AURA documents for a callout under way, the callout is over only
    ///   after it was missing for an hour, or for the longest silence of its stage if that is
    ///   longer.
    /// - Otherwise, if the list may be a page, it is over only after it was missing for an hour.
    ///   This wait doesn't apply if the ledger has an abandoned claim of the closing.
    /// - Otherwise it is over at once.
    pub fn is_over(&self, status: Option<&str>, may_be_a_page: bool) -> bool {
        let is_under_way = matches!(
            status.and_then(StatusWord::of),
            Some(StatusWord::Created | StatusWord::Dispatched)
        );
        let is_absence_all = self.view.closing == Presence::Unknown;
        let hold = if is_under_way {
            self.patience
                .longest_silence(self.view.stage)
                .max(LONG_HOLD)
        } else if may_be_a_page && is_absence_all {
            LONG_HOLD
        } else {
            return true;
        };
        let missing_since = self.last_check.and_then(|last| last.missing_since);
        missing_since.is_some_and(|at| after(at, hold) <= self.now)
    }

    /// Makes the state to save after a call to AURA about the callout. `observed` is the digest of
    /// AURA's answer if it is put on the queue.
    pub fn asked(&self, status: Option<&str>, observed: Option<String>) -> LastCheck {
        let before = self.last_check.cloned().unwrap_or_default();
        let is_unchanged = observed.is_none() && before.last.as_deref() == self.view.last_sort();
        let asked = if is_unchanged { before.asked } else { 0 };
        let pause =
            self.patience.longest_silence(self.view.stage) * 2_u32.pow(asked.min(MOST_DOUBLINGS));
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

    /// Number of AURA's answers that were put on the queue. It comes from the last check, because
    /// the ledger doesn't yet have an answer that was just put there. Without a last check, it
    /// comes from the ledger.
    pub fn observations(&self) -> u32 {
        let last_check = self.last_check;
        last_check.map_or(self.view.observations, |last| last.observations)
    }

    /// Whether a status contradicts the events.
    pub fn is_unexplained(&self, status: Option<&str>) -> bool {
        match self.last_check {
            // No event was published since the last check, so no event explains a changed status.
            Some(last) if self.is_last_event_unchanged() => last.status.as_deref() != status,
            _ => status
                .and_then(StatusWord::of)
                .is_some_and(|word| !word.is_explained_by(self.view.stage)),
        }
    }

    /// Whether consumers may have got AURA's answer and an event in the wrong order. This is so in
    /// two cases:
    ///
    /// - The answer was published after an event that AURA may not have known when it answered.
    /// - An event that leads to a stage was published after the answer, and the status has not
    ///   changed.
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

    /// Whether AURA's answers may still lag behind an event of this time.
    fn is_young(&self, at: Timestamp) -> bool {
        self.now < after(at, self.patience.lag)
    }
}

/// Adds a pause to a time. Returns the largest time if the sum overflows.
fn after(at: Timestamp, pause: Duration) -> Timestamp {
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
