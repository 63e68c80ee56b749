//! The log of deliveries, and the order in which they are sent.
//!
//! A delivery waits in the lane of its entity, unless it is held back first. A lane has at most one
//! delivery under way, so the events of one callout arrive in the order in which they happened. Up
//! to [`MOST_AT_ONCE`] lanes have a delivery under way at once.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    deliveries::held::{HeldDeliveries, Hold},
    world::event::{Entity, Event, EventName},
    world::refusal::Refusal,
};

/// Largest number of deliveries under way.
const MOST_AT_ONCE: usize = 16;

/// One POST to the webhook, and later the receiver's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Number of the delivery; the first delivery is 1.
    pub n: u64,
    /// The event's name.
    pub message: EventName,
    /// The entity that the event is about.
    pub entity: Entity,
    /// When the delivery was sent; `None` while it waits.
    pub sent_at: Option<Timestamp>,
    /// When the delivery was answered, or failed.
    pub answered_at: Option<Timestamp>,
    /// The URL that was registered when the delivery was sent.
    pub url: Option<String>,
    /// The answer's HTTP status.
    pub status: Option<u16>,
    /// Why there was no answer, or only a part of an answer.
    pub error: Option<String>,
    /// The answer's body.
    pub answer: Option<String>,
    /// Number of the delivery that this one repeats.
    pub duplicate_of: Option<u64>,
    /// The delivery's body, byte for byte.
    pub body: String,
    /// Number of the event.
    #[serde(skip)]
    event: u64,
}

/// The answer of `GET /_sim/deliveries`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryReport<D = Delivery> {
    /// Number of deliveries that have not been answered.
    pub pending: usize,
    /// Every delivery so far, in the order of their numbers.
    pub deliveries: Vec<D>,
}

/// The result of the one attempt to send a delivery. A status without a body means that the answer
/// broke off.
pub(crate) struct Attempt {
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<String>,
    pub(crate) error: Option<String>,
}

/// The log of deliveries by number, and the deliveries that wait.
#[derive(Default)]
pub(crate) struct DeliveryLog {
    log: BTreeMap<u64, Delivery>,
    pending: usize,
    held: HeldDeliveries,
    lanes: Lanes,
}

/// The lanes that have a delivery, waiting or under way.
#[derive(Default)]
struct Lanes {
    waiting: HashMap<Entity, VecDeque<u64>>,
    /// The lanes without a delivery under way. The lane that has waited longest is first.
    idle: VecDeque<Entity>,
    under_way: usize,
}

impl Delivery {
    /// Number of the event.
    pub(crate) fn event(&self) -> u64 {
        self.event
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answered_at.is_some()
    }

    /// Whether the receiver accepted the delivery (2xx).
    pub(crate) fn is_accepted(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }
}

impl DeliveryLog {
    /// Records a delivery of event number `event`, and returns the delivery's number. The caller
    /// then sends it or holds it back.
    pub(crate) fn enter(&mut self, told: &Event, event: u64) -> Result<u64, Refusal> {
        let n = self.next();
        let delivery = Delivery {
            n,
            message: told.message,
            entity: told.entity(),
            sent_at: None,
            answered_at: None,
            url: None,
            status: None,
            error: None,
            answer: None,
            duplicate_of: None,
            body: serde_json::to_string(told)?,
            event,
        };
        Ok(self.append(delivery))
    }

    /// Records a repeat of delivery `n`, byte for byte, and returns its number.
    pub(crate) fn enter_again(&mut self, n: u64) -> Result<u64, Refusal> {
        let original = self
            .get(n)
            .ok_or_else(|| Refusal::Unknown(format!("delivery {n} is unknown")))?;
        let repeat = Delivery {
            n: self.next(),
            sent_at: None,
            answered_at: None,
            url: None,
            status: None,
            error: None,
            answer: None,
            duplicate_of: Some(n),
            ..original.clone()
        };
        Ok(self.append(repeat))
    }

    /// Queues delivery `n` in its lane, and behind it the deliveries that it overtakes.
    pub(crate) fn send(&mut self, n: u64) {
        let Some(entity) = self.get(n).map(|delivery| delivery.entity) else {
            return;
        };
        self.lanes.push(entity, n);
        for overtaken in self.held.overtaken(entity, n) {
            self.lanes.push(entity, overtaken);
        }
    }

    /// Holds delivery `n` back.
    pub(crate) fn hold(&mut self, n: u64, hold: Hold) {
        if let Some(entity) = self.get(n).map(|delivery| delivery.entity) {
            self.held.add(n, entity, hold);
        }
    }

    /// Releases the deliveries whose time has come.
    pub(crate) fn release_due(&mut self, now: Timestamp) {
        for n in self.held.due(now) {
            self.send(n);
        }
    }

    /// Releases every delivery that is held back, and returns how many there were.
    pub(crate) fn release_all(&mut self) -> usize {
        let held = self.held.all();
        for &n in &held {
            self.send(n);
        }
        held.len()
    }

    /// The time at which the next held delivery goes out.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.held.next_due()
    }

    /// Takes the next delivery to send to `url`, if one may be sent now. Returns its number and
    /// body.
    pub(crate) fn start(&mut self, url: &str, now: Timestamp) -> Option<(u64, String)> {
        let n = self.lanes.start()?;
        let delivery = self.log.get_mut(&n)?;
        delivery.sent_at = Some(now);
        delivery.url = Some(url.to_owned());
        Some((n, delivery.body.clone()))
    }

    /// Records the result of delivery `n`, and frees its lane for the next one.
    pub(crate) fn finish(&mut self, n: u64, answer: Attempt, now: Timestamp) {
        let Some(delivery) = self.log.get_mut(&n) else {
            return;
        };
        delivery.answered_at = Some(now);
        delivery.status = answer.status;
        delivery.error = answer.error;
        delivery.answer = answer.body;
        self.pending -= 1;
        self.lanes.finish(delivery.entity);
    }

    pub(crate) fn get(&self, n: u64) -> Option<&Delivery> {
        self.log.get(&n)
    }

    /// Number of deliveries that have not been answered.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Delivery> {
        self.log.values()
    }

    fn next(&self) -> u64 {
        self.log.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    fn append(&mut self, delivery: Delivery) -> u64 {
        let n = delivery.n;
        self.log.insert(n, delivery);
        self.pending += 1;
        n
    }
}

impl Lanes {
    fn push(&mut self, entity: Entity, n: u64) {
        let idle = &mut self.idle;
        self.waiting
            .entry(entity)
            .or_insert_with(|| {
                idle.push_back(entity);
                VecDeque::new()
            })
            .push_back(n);
    }

    fn start(&mut self) -> Option<u64> {
        if self.under_way >= MOST_AT_ONCE {
            return None;
        }
        let entity = self.idle.pop_front()?;
        let n = self.waiting.get_mut(&entity)?.pop_front()?;
        self.under_way += 1;
        Some(n)
    }

    fn finish(&mut self, entity: Entity) {
        self.under_way -= 1;
        if self.waiting.get(&entity).is_some_and(VecDeque::is_empty) {
            self.waiting.remove(&entity);
        } else {
            self.idle.push_back(entity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::event::Kind;

    fn callout(id: u64) -> Entity {
        Entity {
            kind: Kind::Callout,
            id,
        }
    }

    #[test]
    fn a_lane_has_one_delivery_under_way_and_others_do_not_wait_for_it() {
        let mut lanes = Lanes::default();
        lanes.push(callout(1), 1);
        lanes.push(callout(1), 2);
        lanes.push(callout(2), 3);
        assert_eq!(lanes.start(), Some(1));
        assert_eq!(lanes.start(), Some(3));
        assert_eq!(lanes.start(), None);
        lanes.finish(callout(1));
        assert_eq!(lanes.start(), Some(2));
        lanes.finish(callout(1));
        lanes.finish(callout(2));
        assert!(lanes.waiting.is_empty() && lanes.idle.is_empty());
    }

    #[test]
    fn no_more_than_the_bound_are_under_way() {
        let mut lanes = Lanes::default();
        for id in 0..20 {
            lanes.push(callout(id), id);
        }
        let started: Vec<_> = std::iter::from_fn(|| lanes.start()).collect();
        assert_eq!(started.len(), MOST_AT_ONCE);
        lanes.finish(callout(0));
        assert_eq!(lanes.start(), Some(16));
    }
}
