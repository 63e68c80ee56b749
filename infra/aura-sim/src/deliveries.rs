//! The log of deliveries, and which of them may be sent next.
//!
//! A delivery waits in the lane of its entity. A lane has at most one delivery under way, so
//! what is said about one callout arrives in the order in which it happened; lanes don't wait
//! for one another, up to [`MOST_AT_ONCE`].

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    event::{Entity, Event, EventName},
    refusal::Refusal,
};

/// How many deliveries are under way at most.
const MOST_AT_ONCE: usize = 16;

/// One delivery: what is to be sent, and, later, what came of it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delivery {
    n: u64,
    message: EventName,
    entity: Entity,
    sent_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    /// Where it went: the registration that was in force when it was sent.
    url: Option<String>,
    status: Option<u16>,
    error: Option<String>,
    answer: Option<String>,
    duplicate_of: Option<u64>,
    body: String,
}

/// What came of one attempt. A status without a body is an answer that broke off.
pub(crate) struct Answer {
    pub(crate) status: Option<u16>,
    pub(crate) body: Option<String>,
    pub(crate) error: Option<String>,
}

/// Every delivery so far, by its number (the first is 1), and those that wait.
#[derive(Default)]
pub(crate) struct Deliveries {
    log: BTreeMap<u64, Delivery>,
    pending: usize,
    lanes: Lanes,
}

/// The lanes that hold a delivery, waiting or under way.
#[derive(Default)]
struct Lanes {
    waiting: HashMap<Entity, VecDeque<u64>>,
    /// The lanes with nothing under way, the one that has waited longest first.
    idle: VecDeque<Entity>,
    under_way: usize,
}

impl Delivery {
    pub(crate) fn is_answered(&self) -> bool {
        self.answered_at.is_some()
    }

    /// Whether the receiver took it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }
}

impl Deliveries {
    /// Queues an event, and answers the number of its delivery.
    pub(crate) fn queue(&mut self, event: &Event) -> Result<u64, Refusal> {
        let body = serde_json::to_string(event)?;
        Ok(self.append(event.message, event.entity(), body, None))
    }

    /// Queues delivery `n` again, byte for byte.
    pub(crate) fn queue_again(&mut self, n: u64) -> Result<u64, Refusal> {
        let original = self
            .get(n)
            .ok_or_else(|| Refusal::Unknown(format!("delivery {n} is unknown")))?;
        let (message, entity, body) = (original.message, original.entity, original.body.clone());
        Ok(self.append(message, entity, body, Some(n)))
    }

    /// The number and the body of the delivery to send next to `url`, if one may be sent now.
    pub(crate) fn start(&mut self, url: &str, now: Timestamp) -> Option<(u64, String)> {
        let n = self.lanes.start()?;
        let delivery = self.log.get_mut(&n)?;
        delivery.sent_at = Some(now);
        delivery.url = Some(url.to_owned());
        Some((n, delivery.body.clone()))
    }

    /// Writes down what came of delivery `n`, and lets the next of its lane go.
    pub(crate) fn finish(&mut self, n: u64, answer: Answer, now: Timestamp) {
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

    /// How many have not been answered.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Delivery> {
        self.log.values()
    }

    fn append(
        &mut self,
        message: EventName,
        entity: Entity,
        body: String,
        duplicate_of: Option<u64>,
    ) -> u64 {
        let n = self.log.last_key_value().map_or(1, |(last, _)| last + 1);
        let delivery = Delivery {
            n,
            message,
            entity,
            sent_at: None,
            answered_at: None,
            url: None,
            status: None,
            error: None,
            answer: None,
            duplicate_of,
            body,
        };
        self.log.insert(n, delivery);
        self.pending += 1;
        self.lanes.push(entity, n);
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
    use crate::event::Kind;

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
