//! Breaches of the promises: openings and closings that aren't on the bus exactly once, doubles,
//! events that never happened, and callouts whose last state on the bus isn't AURA's.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use shared::catalogue::{CALLOUT_OBSERVED, Recurrence, recurrence};

use crate::soak::evidence::{Bus, Evidence, Received, name};
use crate::soak::loss::{Class, Entry, is_landmark};
use crate::soak::states;
use aura_sim::client::Delivery;
use stack::consumers::Detail;

/// All breaches, each as a sentence.
#[must_use]
pub fn breaches(evidence: &Evidence, ledger: &[Entry]) -> Vec<String> {
    [
        not_once(evidence),
        lost(ledger),
        doubled(evidence),
        under_more_keys(evidence),
        never_sent(evidence),
        never_happened(evidence),
        states::differences(evidence),
    ]
    .concat()
}

/// Openings and closings that aren't on the bus exactly once, whoever reported them.
fn not_once(evidence: &Evidence) -> Vec<String> {
    let bus = Bus::of(&evidence.received);
    let landmarks = evidence.happened.iter();
    let landmarks = landmarks.filter(|event| is_landmark(&event.message.to_string()));
    landmarks
        .filter_map(|event| {
            let copies = bus.about(event.entity).iter();
            let copies = copies.filter(|copy| copy.detail().message == event.message.to_string());
            let name = name(event.message, event.entity);
            match copies.count() {
                0 => Some(format!("{name} is not on the bus")),
                1 => None,
                count => Some(format!("{name} is on the bus {count} times")),
            }
        })
        .collect()
}

/// Deliveries that ingest accepted and no consumer received.
fn lost(ledger: &[Entry]) -> Vec<String> {
    let missing = ledger.iter().filter(|entry| entry.class == Class::Missing);
    missing
        .filter(|entry| entry.is_accepted)
        .map(|entry| {
            let name = name(entry.message, entry.entity);
            format!("{name} was accepted, and is missing")
        })
        .collect()
}

/// Keys that consumers received more than once.
fn doubled(evidence: &Evidence) -> Vec<String> {
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    for copy in &evidence.received {
        *copies.entry(&copy.detail().key).or_default() += 1;
    }
    let doubled = copies.into_iter().filter(|(_, count)| *count > 1);
    doubled
        .map(|(key, count)| format!("{key} came {count} times"))
        .collect()
}

/// Events whose deliveries are on the bus under different keys. Signals are excepted, because each
/// of their deliveries counts.
fn under_more_keys(evidence: &Evidence) -> Vec<String> {
    let bus = Bus::of(&evidence.received);
    let deliveries = by_number(&evidence.deliveries);
    let events = evidence.happened.iter();
    let events =
        events.filter(|event| recurrence(&event.message.to_string()) != Recurrence::Signal);
    events
        .filter_map(|event| {
            let its = event.deliveries.iter();
            let its = its.filter_map(|n| deliveries.get(n));
            let copies = its.flat_map(|delivery| bus.copies_of(delivery));
            let keys: BTreeSet<_> = copies.map(|copy| copy.detail().key.as_str()).collect();
            let keys: Vec<_> = keys.into_iter().collect();
            (keys.len() > 1).then(|| {
                let name = name(event.message, event.entity);
                format!("{name} has {} keys: {}", keys.len(), keys.join(", "))
            })
        })
        .collect()
}

fn by_number(deliveries: &[Delivery]) -> HashMap<u64, &Delivery> {
    let deliveries = deliveries.iter();
    deliveries.map(|delivery| (delivery.n, delivery)).collect()
}

/// Events that say they come from AURA's webhooks and that AURA never sent.
fn never_sent(evidence: &Evidence) -> Vec<String> {
    let deliveries = evidence.deliveries.iter();
    let sent: HashSet<&str> = deliveries.filter_map(Delivery::delivery_id).collect();
    let details = evidence.received.iter();
    let details = details
        .filter(|copy| !copy.is_found_out())
        .map(Received::detail);
    details
        .filter(|detail| !sent.contains(detail.delivery_id.as_str()))
        .map(|detail| format!("{}: AURA never sent it", detail.key))
        .collect()
}

/// Events from the reconciler that hadn't happened yet when a consumer received them.
fn never_happened(evidence: &Evidence) -> Vec<String> {
    let happened: HashMap<_, Timestamp> = evidence
        .happened
        .iter()
        .map(|event| {
            (
                (event.message.to_string(), event.entity.id.to_string()),
                event.at,
            )
        })
        .collect();
    let callouts = evidence.callouts.iter();
    let callouts: HashSet<_> = callouts.map(|callout| callout.id.to_string()).collect();
    let is_true = |copy: &&Received| {
        let Detail {
            message, entity, ..
        } = copy.detail();
        if is_landmark(message) {
            let event = happened.get(&(message.clone(), entity.id.clone()));
            event.is_some_and(|at| *at <= copy.at)
        } else {
            message == CALLOUT_OBSERVED && callouts.contains(&entity.id)
        }
    };
    let found_out = evidence.received.iter().filter(|copy| copy.is_found_out());
    found_out
        .filter(|copy| !is_true(copy))
        .map(|copy| {
            format!(
                "{}: the reconciler reported it, but it had not happened",
                copy.detail().key
            )
        })
        .collect()
}

#[cfg(test)]
mod tests;
