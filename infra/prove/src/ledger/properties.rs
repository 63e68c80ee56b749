//! Properties of the model: what must always hold, and what the model must be able to reach.

use processor::outcome::RecordOutcome;
use shared::ledger::{Claim, State as ItemState};
use stateright::{Model as _, Property};

use crate::ledger::bounds::Bounds;
use crate::ledger::item::{Call, ClaimCall};
use crate::ledger::model::LedgerModel;
use crate::ledger::parties::{Delivery, PerDelivery};
use crate::ledger::state::{Place, State, Step, UnderWay};

type Condition = fn(&LedgerModel, &State) -> bool;

/// An event that the queue has forgotten is on the bus. Or it is in the quarantine as a conflict,
/// and the other payload is on the bus.
pub const NOTHING_LOST: &str =
    "an event that the queue has forgotten is on the bus or quarantined as a conflict";
/// In every state something more can happen, until both messages have come to their end. The graph
/// is finite and time only goes on, so no path is endless, and each ends there.
pub const NOTHING_HANGS: &str = "every path ends, with both messages settled";
/// Until its TTL, a marked item is neither claimed again nor changed.
pub const PUBLISHED_STAYS: &str = "an item that is marked as published never changes";
/// A call under a claim that another worker has taken over changes nothing.
pub const STALE_CHANGES_NOTHING: &str = "a worker that has lost its claim changes nothing";
/// Each grant counts one more than the grant before it.
pub const ATTEMPTS_COUNT: &str = "each grant increases the attempt by one";
/// A call that is applied twice is granted once.
pub const GRANTED_ONCE: &str = "a call that is applied twice is granted once";
/// A worker's claim stays its own until its deadline, or until the worker gives it back.
pub const EXCLUSIVE: &str = "a worker keeps its claim until its deadline or its release";
/// A worker that publishes holds the claim at that moment.
pub const ONLY_THE_HOLDER: &str = "only the holder of the claim publishes";
/// No copy is sent after one has been marked, even after the ledger has forgotten the event.
pub const NOT_AFTER_MARK: &str = "no event is published after it was marked";
/// No copy is sent while the sender of an earlier copy still has the time to mark it. So something
/// happened to that sender between publishing and marking: it died, it never got the bus's or the
/// ledger's answer, or it slept past its time. This is the one documented window.
pub const ONLY_IN_THE_WINDOW: &str =
    "a copy is published again only if the copy before it can no longer be marked in time";

/// The copies of one occurrence have one key; another occurrence has another key.
pub const ONE_KEY: &str =
    "all copies of an occurrence have one key, and no other occurrence has it";

/// Properties that must hold in every state.
const ALWAYS: [(&str, Condition); 11] = [
    (NOTHING_LOST, nothing_lost),
    (NOTHING_HANGS, nothing_hangs),
    (PUBLISHED_STAYS, |_, state| {
        !state.breaches.published_changed
    }),
    (STALE_CHANGES_NOTHING, |_, state| {
        !state.breaches.stale_changed
    }),
    (ATTEMPTS_COUNT, |_, state| !state.breaches.miscounted),
    (GRANTED_ONCE, |_, state| !state.breaches.granted_twice),
    (EXCLUSIVE, exclusive),
    (ONLY_THE_HOLDER, |_, state| {
        !state.breaches.published_unclaimed
    }),
    (NOT_AFTER_MARK, |_, state| {
        !state.breaches.published_after_mark
    }),
    (ONLY_IN_THE_WINDOW, |_, state| {
        !state.breaches.published_beside
    }),
    (ONE_KEY, |_, state| !state.breaches.key_confused),
];

/// The properties of a run within `bounds`: those that must always hold, and states that must be
/// reached, which shows that the run had enough trouble.
#[must_use]
pub fn of(bounds: &Bounds) -> Vec<Property<LedgerModel>> {
    let left = &bounds.adversities;
    let [first, second] = bounds.digests.0;
    let sights: [(bool, &str, Condition); 9] = [
        (
            true,
            "an event is published once, and its duplicate is dropped",
            published_once,
        ),
        (
            left.crashes > 0,
            "an event is published twice, in the documented window",
            |_, state| copies(state) > 1,
        ),
        (
            left.lost_calls > 0,
            "a completion arrives after another worker has taken over its claim",
            stale_completion,
        ),
        (
            left.stalls > 0,
            "a worker wakes up after another worker has taken over its claim",
            stale_worker,
        ),
        (
            left.lost_calls > 0,
            "the repetition of a granted claim is under way",
            repetition,
        ),
        (
            left.lost_publishes > 0,
            "a copy arrives at the bus after another copy is marked",
            late_copy,
        ),
        (
            left.redrives > 0,
            "a redriven duplicate is dropped",
            redriven_duplicate,
        ),
        (first != second, "a conflict is quarantined", conflict),
        (
            !bounds.are_copies(),
            "both occurrences are marked, each once on the bus",
            |_, state| {
                let [first, second, ..] = state.was_marked;
                first && second && state.copies == PerDelivery([1, 1])
            },
        ),
    ];
    let always = ALWAYS.map(|(name, condition)| Property::always(name, condition));
    let sights = sights.into_iter().filter(|(is_possible, ..)| *is_possible);
    let sometimes = sights.map(|(_, name, condition)| Property::sometimes(name, condition));
    always.into_iter().chain(sometimes).collect()
}

fn nothing_lost(model: &LedgerModel, state: &State) -> bool {
    Delivery::ALL.into_iter().all(|delivery| {
        let is_on_bus = |digest| {
            Delivery::ALL.into_iter().any(|other| {
                let is_of_it = other == delivery || model.bounds.are_copies();
                is_of_it && state.copies[other] > 0 && model.bounds.digests[other] == digest
            })
        };
        let digest = model.bounds.digests[delivery];
        match state.messages[delivery].place {
            Place::Forgotten { quarantined: false } => is_on_bus(digest),
            Place::Forgotten { quarantined: true } => {
                let mut digests = model.bounds.digests.0.into_iter();
                digests.any(|other| other != digest && is_on_bus(other))
            }
            _ => true,
        }
    })
}

fn nothing_hangs(model: &LedgerModel, state: &State) -> bool {
    let mut actions = Vec::new();
    state.is_over() || {
        model.actions(state, &mut actions);
        !actions.is_empty()
    }
}

fn exclusive(_: &LedgerModel, state: &State) -> bool {
    state.at_work().all(|(_, work)| {
        let holds = work.holds().filter(|_| state.now < work.deadline);
        holds.is_none_or(|claim| is_its(state, &claim))
    })
}

/// Whether the item's state belongs to this claim.
fn is_its(state: &State, claim: &Claim) -> bool {
    let its = state.item.and_then(|item| item.claim(claim.occurrence));
    its == Some(*claim)
}

fn copies(state: &State) -> u8 {
    state.copies.0.iter().sum()
}

fn published_once(_: &LedgerModel, state: &State) -> bool {
    let is_dropped = state
        .at_work()
        .any(|(_, work)| work.step == Step::Done(RecordOutcome::Duplicate));
    copies(state) == 1 && is_dropped
}

fn stale_completion(_: &LedgerModel, state: &State) -> bool {
    state.under_way.iter().any(
        |request| matches!(request, UnderWay::Call(Call::Complete(claim)) if !is_its(state, claim)),
    )
}

fn stale_worker(_: &LedgerModel, state: &State) -> bool {
    state
        .at_work()
        .any(|(_, work)| work.holds().is_some_and(|claim| !is_its(state, &claim)))
}

fn repetition(_: &LedgerModel, state: &State) -> bool {
    let is_granted = |call: &ClaimCall| {
        let its = state.item.and_then(|item| item.state(call.occurrence));
        matches!(its, Some(ItemState::Claimed { claim, .. }) if claim.owner == call.owner)
    };
    state
        .at_work()
        .any(|(_, work)| matches!(&work.step, Step::Claiming(call) if is_granted(call)))
}

fn late_copy(_: &LedgerModel, state: &State) -> bool {
    let is_published = |claim: &Claim| {
        let item = state.item.as_ref();
        item.is_some_and(|item| item.is_published(claim.occurrence))
    };
    state
        .under_way
        .iter()
        .any(|request| matches!(request, UnderWay::Publish { claim, .. } if is_published(claim)))
}

fn redriven_duplicate(_: &LedgerModel, state: &State) -> bool {
    state
        .at_work()
        .any(|(_, work)| work.redrives > 0 && work.step == Step::Done(RecordOutcome::Duplicate))
}

fn conflict(_: &LedgerModel, state: &State) -> bool {
    state
        .at_work()
        .any(|(_, work)| work.step == Step::Done(RecordOutcome::Conflict))
}
