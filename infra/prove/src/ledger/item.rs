//! The ledger of the model: the item of one event, and the real rules for every call on it.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use processor::outcome::RecordOutcome;
use shared::envelope::Origin;
use shared::ledger::{
    self, AfterRefusal, Claim, ClaimRefusal, ClaimRequest, LedgerKey, Occurrences, State,
    Transition,
};
use uuid::Uuid;

use crate::ledger::design::Design;
use crate::ledger::parties::Delivery;

/// A call of a worker to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Asks for the right to publish.
    Claim(ClaimCall),
    /// Marks as published. The ledger stores the time of publishing but never reads it, so the
    /// model always uses the same time.
    Complete(Claim),
    /// Gives the right to publish back, at this time of the worker's clock.
    Release(Claim, Timestamp),
}

/// A call for a claim. The SDK repeats it unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimCall {
    /// Owner of the claim; each attempt has a new one.
    pub owner: Uuid,
    /// The occurrence that the call asks for.
    pub occurrence: u32,
    /// The time that counts as the delivery's arrival.
    pub received_at: Timestamp,
    /// The delivery to publish.
    pub delivery: Delivery,
    /// Digest of the delivery's payload.
    pub digest: &'static str,
    /// Time of the worker's clock when it made the call.
    pub now: Timestamp,
    /// End of the lease, by the worker's clock.
    pub lease_until: Timestamp,
}

/// Answer of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The caller has the right to publish.
    Granted(Claim),
    /// The caller doesn't have the right to publish; the record has this outcome.
    Refused(RecordOutcome),
    /// The caller must ask for this occurrence instead.
    Other(u32),
    /// The item is marked as published.
    Marked,
    /// The caller no longer had the claim, or the call was a release; the caller does nothing more.
    Over,
}

/// The most occurrences that there can be: two real ones, and one that only a wrong design makes.
pub const MOST_OCCURRENCES: usize = 3;

/// An item that exists in the model. It stands for the whole [`Occurrences`], which the [`Ledger`]
/// keeps.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    number: usize,
    /// State of each occurrence; `None` if it doesn't exist or the processor doesn't understand it.
    states: [Option<State>; MOST_OCCURRENCES],
}

/// Effect of a call.
#[derive(Debug, Clone, Copy)]
pub struct Applied {
    /// The item after the call; `None` if the call was refused.
    pub changed: Option<Known>,
    /// The answer to the caller, which may not arrive.
    pub answer: Answer,
}

/// The rules and their results so far; the rules are asked once for each pair of item and call.
#[derive(Debug)]
pub struct Ledger {
    design: Design,
    repeat_window: Option<Duration>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    items: Vec<Occurrences>,
    known: HashMap<Occurrences, Known>,
    applied: HashMap<(Option<Known>, Call), Applied>,
}

impl Ledger {
    /// Makes the ledger of a design, for an event with this repeat window.
    #[must_use]
    pub fn new(design: Design, repeat_window: Option<Duration>) -> Self {
        Self {
            design,
            repeat_window,
            memory: Mutex::default(),
        }
    }

    /// Returns the effect of `call` on `item`.
    pub fn apply(&self, item: Option<Known>, call: Call) -> Applied {
        // A poisoned lock is safe to use: a thread that panicked leaves nothing half done here.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(applied) = memory.applied.get(&(item, call)) {
            return *applied;
        }
        let before = item.and_then(|item| memory.items.get(item.number));
        let (changed, answer) = self.ask(before, call);
        let changed = changed.map(|changed| memory.known(changed));
        let applied = Applied { changed, answer };
        memory.applied.insert((item, call), applied);
        applied
    }

    /// Whether the TTL may have removed the item by `now`.
    pub fn has_expired(&self, item: Known, now: Timestamp) -> bool {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let item = memory.items.get(item.number);
        let mut items = item.into_iter().flat_map(|item| item.0.values());
        items.any(|item| item.has_expired(now) == Ok(true))
    }

    /// Answers like the processor's adapter, which reads DynamoDB's answer.
    fn ask(&self, item: Option<&Occurrences>, call: Call) -> (Option<Occurrences>, Answer) {
        let rules = &self.design.rules;
        let before = item.cloned().unwrap_or_default();
        match call {
            Call::Claim(call) => {
                let request = self.request(call);
                let changed = before.after(&self.step(rules.claim(&request, call.occurrence)));
                let next = match changed
                    .as_ref()
                    .and_then(|item| item.0.get(&call.occurrence))
                {
                    Some(claimed) => claimed.claim().map(|claim| AfterRefusal::Answer(Ok(claim))),
                    None => before.after_refusal(call.occurrence, &request),
                };
                let answer = match next {
                    Ok(AfterRefusal::Answer(Ok(claim))) => Answer::Granted(claim),
                    Ok(AfterRefusal::Answer(Err(refusal))) => Answer::Refused(outcome(&refusal)),
                    Ok(AfterRefusal::Claim(occurrence)) => Answer::Other(occurrence),
                    Err(_malformed) => Answer::Refused(RecordOutcome::Failed),
                };
                (changed, answer)
            }
            Call::Complete(claim) => {
                let step = self.step(rules.complete(&claim, "bus", Timestamp::UNIX_EPOCH));
                let changed = before.after(&step);
                let its = before.0.get(&claim.occurrence);
                let was_done = || its.is_some_and(|item| ledger::is_published_under(item, &claim));
                let is_marked = changed.is_some() || was_done();
                let answer = if is_marked {
                    Answer::Marked
                } else {
                    Answer::Over
                };
                (changed, answer)
            }
            Call::Release(claim, now) => {
                let step = self.step(rules.release(&claim, now));
                (before.after(&step), Answer::Over)
            }
        }
    }

    fn request(&self, call: ClaimCall) -> ClaimRequest {
        ClaimRequest {
            key: key(),
            digest: call.digest.to_owned(),
            delivery_id: call.delivery.id(),
            received_at: call.received_at,
            repeat_window: self.repeat_window,
            origin: Origin::Webhook,
            owner: call.owner,
            now: call.now,
            lease_until: call.lease_until,
            expires_at: call.now + self.design.retention,
        }
    }

    fn step(&self, mut step: Transition) -> Transition {
        for (operand, value) in &self.design.given {
            step.values.entry(*operand).or_insert_with(|| value.clone());
        }
        step
    }
}

impl Memory {
    fn known(&mut self, item: Occurrences) -> Known {
        if let Some(known) = self.known.get(&item) {
            return *known;
        }
        let mut states = [None; MOST_OCCURRENCES];
        for (state, number) in states.iter_mut().zip(1..) {
            *state = item.0.get(&number).and_then(|item| item.state().ok());
        }
        let known = Known {
            number: self.items.len(),
            states,
        };
        self.items.push(item.clone());
        self.known.insert(item, known);
        known
    }
}

/// Key of the event in the model.
pub(crate) fn key() -> LedgerKey {
    LedgerKey {
        partition: "callout#5003".to_owned(),
        sort: "NEW_CALLOUT".to_owned(),
    }
}

fn of(state: &State) -> Claim {
    match *state {
        State::Claimed { claim, .. } | State::Published { by: claim } => claim,
    }
}

fn outcome(refusal: &ClaimRefusal) -> RecordOutcome {
    match refusal {
        ClaimRefusal::Duplicate => RecordOutcome::Duplicate,
        ClaimRefusal::Conflict { .. } => RecordOutcome::Conflict,
        ClaimRefusal::Held { lease_until } => RecordOutcome::Held {
            lease_until: *lease_until,
        },
    }
}

impl Call {
    /// Number of the occurrence that the call is about.
    #[must_use]
    pub fn occurrence(&self) -> u32 {
        match self {
            Self::Claim(call) => call.occurrence,
            Self::Complete(claim) | Self::Release(claim, _) => claim.occurrence,
        }
    }
}

impl Known {
    /// State of an occurrence, by its number.
    #[must_use]
    pub fn state(&self, occurrence: u32) -> Option<State> {
        let index = usize::try_from(occurrence).ok()?.checked_sub(1)?;
        *self.states.get(index)?
    }

    /// State of each occurrence that exists.
    pub fn states(&self) -> impl Iterator<Item = State> {
        self.states.into_iter().flatten()
    }

    /// The claim granted last for an occurrence.
    #[must_use]
    pub fn claim(&self, occurrence: u32) -> Option<Claim> {
        self.state(occurrence).map(|state| of(&state))
    }

    /// The claim granted last for each occurrence.
    pub fn claims(&self) -> impl Iterator<Item = Claim> {
        self.states().map(|state| of(&state))
    }

    /// Whether an occurrence is marked as published.
    #[must_use]
    pub fn is_published(&self, occurrence: u32) -> bool {
        matches!(self.state(occurrence), Some(State::Published { .. }))
    }
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}
