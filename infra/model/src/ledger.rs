//! The ledger of the model: one item, and the real rules for every call on it.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use processor::record::Outcome;
use shared::envelope::Origin;
use shared::ledger::{self, Claim, ClaimRequest, Item, LedgerKey, Refusal, State, Step};
use uuid::Uuid;

use crate::design::Design;
use crate::state::Delivery;

/// What a worker asks of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// The right to publish.
    Claim(ClaimCall),
    /// To mark as published. When that was is noted and never asked for, so here it is always the
    /// same.
    Complete(Claim),
    /// To give the right back, at this time of the worker's clock.
    Release(Claim, Timestamp),
}

/// A call for a claim. Repeated by the SDK, it is the same to the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimCall {
    /// Fresh for each attempt.
    pub owner: Uuid,
    /// What is to be published.
    pub delivery: Delivery,
    /// The digest of its payload.
    pub digest: &'static str,
    /// The worker's clock when it made the call.
    pub now: Timestamp,
    /// By the worker's clock.
    pub lease_until: Timestamp,
}

/// What the ledger answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The right to publish is the caller's.
    Granted(Claim),
    /// It isn't, and that is what becomes of the record.
    Refused(Outcome),
    /// The item is marked.
    Marked,
    /// The claim was no longer the caller's, or the call was a release: nothing hangs on it.
    Over,
}

/// An item that has come about. It stands for the whole [`Item`], which the [`Ledger`] keeps.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    number: usize,
    /// Where the event stands; `None` if the item isn't one that the processor understands.
    pub state: Option<State>,
}

/// What a call does.
#[derive(Debug, Clone, Copy)]
pub struct Applied {
    /// The item afterwards; `None` if the call was refused.
    pub changed: Option<Known>,
    /// What the caller hears, if it hears it.
    pub answer: Answer,
}

/// The rules, and what they have said so far: they are asked once for each item and call.
#[derive(Debug)]
pub struct Ledger {
    design: Design,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    items: Vec<Item>,
    known: HashMap<Item, Known>,
    applied: HashMap<(Option<Known>, Call), Applied>,
}

impl Ledger {
    /// The ledger of a design.
    #[must_use]
    pub fn new(design: Design) -> Self {
        Self {
            design,
            memory: Mutex::default(),
        }
    }

    /// What `call` does to `item`.
    pub fn apply(&self, item: Option<Known>, call: Call) -> Applied {
        // A thread that panicked leaves nothing half done here.
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

    /// Whether the TTL may have removed the item.
    pub fn has_expired(&self, item: Known, now: Timestamp) -> bool {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let item = memory.items.get(item.number);
        item.is_some_and(|item| item.has_expired(now) == Ok(true))
    }

    /// The same as the processor's adapter makes of DynamoDB's answer.
    fn ask(&self, item: Option<&Item>, call: Call) -> (Option<Item>, Answer) {
        let rules = &self.design.rules;
        match call {
            Call::Claim(call) => {
                let request = self.request(call);
                let changed = self.step(rules.claim(&request)).apply(item);
                let answer = match &changed {
                    Some(claimed) => claimed.claim().map(Ok),
                    None => ledger::refused(&item.cloned().unwrap_or_default(), &request),
                };
                let answer = match answer {
                    Ok(Ok(claim)) => Answer::Granted(claim),
                    Ok(Err(refusal)) => Answer::Refused(outcome(&refusal)),
                    Err(_malformed) => Answer::Refused(Outcome::Failed),
                };
                (changed, answer)
            }
            Call::Complete(claim) => {
                let step = self.step(rules.complete(&claim, "bus", Timestamp::UNIX_EPOCH));
                let changed = step.apply(item);
                let was_done = || item.is_some_and(|item| ledger::is_published_under(item, &claim));
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
                (step.apply(item), Answer::Over)
            }
        }
    }

    fn request(&self, call: ClaimCall) -> ClaimRequest {
        ClaimRequest {
            key: LedgerKey {
                partition: "callout#5003".to_owned(),
                sort: "NEW_CALLOUT".to_owned(),
            },
            digest: call.digest.to_owned(),
            delivery_id: call.delivery.id(),
            origin: Origin::Webhook,
            owner: call.owner,
            now: call.now,
            lease_until: call.lease_until,
            expires_at: call.now + self.design.retention,
        }
    }

    fn step(&self, mut step: Step) -> Step {
        for (operand, value) in &self.design.given {
            step.values.entry(*operand).or_insert_with(|| value.clone());
        }
        step
    }
}

impl Memory {
    fn known(&mut self, item: Item) -> Known {
        if let Some(known) = self.known.get(&item) {
            return *known;
        }
        let known = Known {
            number: self.items.len(),
            state: item.state().ok(),
        };
        self.items.push(item.clone());
        self.known.insert(item, known);
        known
    }
}

fn outcome(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Duplicate => Outcome::Duplicate,
        Refusal::Conflict { .. } => Outcome::Conflict,
        Refusal::Held { lease_until } => Outcome::Held {
            lease_until: *lease_until,
        },
    }
}

impl Known {
    /// The claim that was granted last.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        match self.state? {
            State::Claimed { claim, .. } | State::Published { by: claim } => Some(claim),
        }
    }

    /// Whether the event is marked as published.
    #[must_use]
    pub fn is_published(&self) -> bool {
        matches!(self.state, Some(State::Published { .. }))
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
