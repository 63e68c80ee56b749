//! Describes a path through the model step by step.

use jiff::{SignedDuration, Timestamp};
use processor::outcome::RecordOutcome;
use shared::ledger::{Claim, State as ItemState};
use stateright::Path;

use crate::ledger::bounds::Bounds;
use crate::ledger::item::{Call, Known};
use crate::ledger::model::Action;
use crate::ledger::parties::{Delivery, Worker};
use crate::ledger::state::{State, Step, UnderWay};

/// One line for each step: the time, what happens, and the ledger's item if it changed.
#[must_use]
pub fn tell(bounds: &Bounds, path: &Path<State, Action>) -> Vec<String> {
    let moments = path.clone().into_vec();
    let after = moments.iter().skip(1).map(|(state, _)| state);
    let steps = moments.iter().zip(after);
    steps
        .filter_map(|((before, action), after)| Some(line(bounds, before, (*action)?, after)))
        .collect()
}

fn line(bounds: &Bounds, before: &State, action: Action, after: &State) -> String {
    let when = since_start(before.now);
    let what = describe(bounds, before, action, after);
    if before.item == after.item {
        format!("{when:>9}  {what}")
    } else {
        format!("{when:>9}  {what}; ledger: {}", item(after.item))
    }
}

fn describe(bounds: &Bounds, before: &State, action: Action, after: &State) -> String {
    match action {
        Action::Receive(worker, delivery) => {
            let clock = bounds.clocks[worker].as_secs();
            let clock = match clock {
                0 => String::new(),
                clock => format!(" (clock {clock:+} s)"),
            };
            format!("worker {worker:?}{clock} receives {}", name(delivery))
        }
        Action::Take(worker) => format!("worker {worker:?} {}", taken(before, worker, after)),
        Action::TakeUnanswered(worker) => {
            let sent = step(after, worker).map_or("", |step| match step {
                Step::Claiming(_) => "asks for a claim",
                Step::Publishing(_) => "publishes",
                Step::Marking(_) => "asks for its mark",
                _ => "gives its claim back",
            });
            format!("worker {worker:?} {sent}, and hears no answer")
        }
        Action::GiveUp(worker) => format!("worker {worker:?} stops waiting"),
        Action::Crash(worker) => format!("worker {worker:?} dies"),
        Action::Stall(worker) => format!("worker {worker:?} falls asleep"),
        Action::Arrive(request) => {
            let has_changed = before.item != after.item || before.copies != after.copies;
            let end = if has_changed {
                "takes effect"
            } else {
                "is refused"
            };
            format!("{}, under way until now, {end}", sent(&request))
        }
        Action::Wait(until) => format!("time goes on until {}", since_start(until)),
        Action::ShowEarly(delivery) => {
            format!("the queue shows {} ahead of time", name(delivery))
        }
        Action::Bury(delivery) => {
            format!("{} goes to the dead letters", name(delivery))
        }
        Action::Redrive(delivery) => format!("{} goes back to the queue", name(delivery)),
        Action::RedriveLate(delivery) => format!(
            "{} goes back to the queue only at {}",
            name(delivery),
            since_start(after.now)
        ),
        Action::Decay(delivery) => format!("{} is forgotten as a dead letter", name(delivery)),
        Action::Outage(_) => format!("nobody works until {}", since_start(after.now)),
        Action::ArriveLate => {
            format!("the second delivery arrives at {}", since_start(after.now))
        }
        Action::Expire => "the ledger forgets the event".to_owned(),
    }
}

/// Describes the result of a worker's step whose calls were all answered.
fn taken(before: &State, worker: Worker, after: &State) -> String {
    let Some(was) = step(before, worker) else {
        return String::new();
    };
    match (was, step(after, worker)) {
        (_, Some(Step::Claimed(claim))) => format!("is granted {}", of(&claim)),
        (_, Some(Step::Published(_))) => "publishes".to_owned(),
        (Step::Claimed(_) | Step::Publishing(_), _) => "has no time left to publish".to_owned(),
        (Step::Published(claim) | Step::Marking(claim), _) => {
            format!("marks as published under {}", of(&claim))
        }
        (Step::GivingBack(claim) | Step::Releasing(claim, _), _) => {
            format!("gives back {}", of(&claim))
        }
        (Step::Received | Step::Claiming(_) | Step::Refused(_), Some(Step::Done(outcome))) => {
            match outcome {
                RecordOutcome::Held { lease_until } => format!(
                    "is refused: held until {} by the holder's clock",
                    since_start(lease_until)
                ),
                RecordOutcome::Postponed => "has no time left to begin".to_owned(),
                other => format!("is refused: {}", other.name()),
            }
        }
        (_, Some(Step::Refused(call))) => {
            format!(
                "is refused, and will ask for occurrence {}",
                call.occurrence
            )
        }
        (Step::Done(outcome), _) => format!("reports \"{}\"", outcome.name()),
        (was, _) => format!("goes on from {was:?}"),
    }
}

fn sent(request: &UnderWay) -> String {
    match request {
        UnderWay::Call(Call::Claim(call)) => {
            format!("the call for a claim by owner {}", call.owner.as_u128())
        }
        UnderWay::Call(Call::Complete(claim)) => format!("the mark under {}", of(claim)),
        UnderWay::Call(Call::Release(claim, _)) => format!("the release of {}", of(claim)),
        UnderWay::Publish { claim, .. } => format!("the copy sent under {}", of(claim)),
    }
}

fn item(item: Option<Known>) -> String {
    let Some(item) = item else {
        return "no item".to_owned();
    };
    let states: Vec<_> = item.states().map(|state| stands(&state)).collect();
    if states.is_empty() {
        return "an item that nobody understands".to_owned();
    }
    states.join(", ")
}

fn stands(state: &ItemState) -> String {
    match state {
        ItemState::Claimed { claim, lease_until } => {
            format!(
                "claimed until {} by {}",
                since_start(*lease_until),
                of(claim)
            )
        }
        ItemState::Published { by } => format!("published by {}", of(by)),
    }
}

fn of(claim: &Claim) -> String {
    let Claim {
        owner,
        attempt,
        occurrence,
    } = claim;
    let owner = owner.as_u128();
    match occurrence {
        1 => format!("owner {owner}, attempt {attempt}"),
        _ => format!("owner {owner}, attempt {attempt} of occurrence {occurrence}"),
    }
}

fn step(state: &State, worker: Worker) -> Option<Step> {
    state.workers[worker].map(|work| work.step)
}

fn name(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::First => "the first delivery",
        Delivery::Second => "the second delivery",
    }
}

fn since_start(time: Timestamp) -> String {
    let since = time.duration_since(Timestamp::UNIX_EPOCH);
    match since.as_hours() {
        0 if since.subsec_millis() == 0 => format!("{} s", since.as_secs()),
        0 => format!("{:.3} s", since.as_secs_f64()),
        hours => {
            let rest = since - SignedDuration::from_hours(hours);
            format!("{} d {} h {} s", hours / 24, hours % 24, rest.as_secs())
        }
    }
}
