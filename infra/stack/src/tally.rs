//! Compares what AURA sent with what consumers received.
//!
//! The two counts are independent: one comes from the stand-in for AURA, the other from the consumers'
//! queues. The delivery id connects them: ingest returns it to AURA in its answer, and the event on
//! the bus contains it.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::consumers::Published;
use aura_sim::client::Delivery;

/// The counts. Each delivery is in exactly one of `published`, `duplicates`, `quarantined` and `lost`,
/// which add up to `sent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Deliveries that AURA made.
    pub sent: usize,
    /// Deliveries that ingest answered 202 `accepted`.
    pub accepted: usize,
    /// Deliveries whose event is on the bus.
    pub published: usize,
    /// Deliveries that are not on the bus because another delivery of the same event is: AURA sent the
    /// event twice, and the ledger dropped one delivery.
    pub duplicates: usize,
    /// Deliveries that ingest answered 202 `quarantined`.
    pub quarantined: usize,
    /// Deliveries that are neither published, duplicates nor quarantined.
    pub lost: usize,
    /// Copies on the bus beyond the first of each event that AURA sent, whatever keys they have.
    /// Promise 2 excludes them. For events that AURA never sent, copies beyond the first of each key.
    pub doubled: usize,
    /// Events on the bus that AURA never sent.
    pub strangers: usize,
}

impl Tally {
    /// Counts from what AURA sent and what consumers received.
    #[must_use]
    pub fn of(deliveries: &[Delivery], published: &[Published]) -> Self {
        let on_bus: HashSet<&str> = published.iter().map(delivery_id).collect();
        let is_published =
            |delivery: &Delivery| delivery.delivery_id().is_some_and(|id| on_bus.contains(id));
        let originals = originals(deliveries);
        let original = |delivery: &Delivery| originals.get(&delivery.n).copied();
        let events: HashSet<Option<u64>> = deliveries
            .iter()
            .filter(|delivery| is_published(delivery))
            .map(original)
            .collect();

        let mut tally = Self {
            sent: deliveries.len(),
            ..Self::default()
        };
        for delivery in deliveries {
            tally.accepted += usize::from(delivery.was_answered("accepted"));
            *if is_published(delivery) {
                &mut tally.published
            } else if events.contains(&original(delivery)) {
                &mut tally.duplicates
            } else if delivery.was_answered("quarantined") {
                &mut tally.quarantined
            } else {
                &mut tally.lost
            } += 1;
        }
        tally.doubled = doubled(deliveries, published);
        tally.strangers = strangers(deliveries, published);
        tally
    }

    /// True if every event that AURA sent is on the bus exactly once, and nothing else is.
    #[must_use]
    pub fn is_each_once(&self) -> bool {
        let Self {
            sent,
            lost,
            quarantined,
            doubled,
            strangers,
            ..
        } = *self;
        sent > 0
            && [lost, quarantined, doubled, strangers]
                .iter()
                .all(|count| *count == 0)
    }
}

/// For each delivery the number of the first delivery of the same event, which may be its own. A
/// delivery may repeat one that is itself a repeat. AURA numbers its deliveries, so a repeated one
/// always comes before its repeats.
#[must_use]
pub fn originals(deliveries: &[Delivery]) -> HashMap<u64, u64> {
    let mut originals = HashMap::new();
    for Delivery {
        n, duplicate_of, ..
    } in deliveries
    {
        let repeated = duplicate_of.unwrap_or(*n);
        let original = originals.get(&repeated).copied().unwrap_or(repeated);
        originals.insert(*n, original);
    }
    originals
}

fn delivery_id(event: &Published) -> &str {
    &event.detail.delivery_id
}

/// The event that a copy on the bus belongs to.
#[derive(PartialEq, Eq, Hash)]
enum Event<'a> {
    /// The event whose first delivery has this number. The event's key must not decide which copies
    /// are the same event: a fault in the key would hide the doubles that it causes.
    Sent(u64),
    /// An event that AURA never sent, by its key.
    Stranger(&'a str),
}

fn doubled(deliveries: &[Delivery], published: &[Published]) -> usize {
    let originals = originals(deliveries);
    let sent: HashMap<&str, u64> = deliveries
        .iter()
        .filter_map(|delivery| Some((delivery.delivery_id()?, *originals.get(&delivery.n)?)))
        .collect();
    let events: HashSet<Event> = published
        .iter()
        .map(|copy| match sent.get(delivery_id(copy)) {
            Some(original) => Event::Sent(*original),
            None => Event::Stranger(&copy.detail.key),
        })
        .collect();
    published.len() - events.len()
}

fn strangers(deliveries: &[Delivery], published: &[Published]) -> usize {
    let sent: HashSet<&str> = deliveries
        .iter()
        .filter_map(Delivery::delivery_id)
        .collect();
    published
        .iter()
        .filter(|event| !sent.contains(delivery_id(event)))
        .count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn delivery(n: u64, status: &str, duplicate_of: Option<u64>) -> Delivery {
        serde_json::from_value(json!({
            "n": n, "message": "NEW_CALLOUT", "entity": {"kind": "callout", "id": 1}, "body": "{}",
            "sentAt": "2026-01-01T00:00:00Z", "answeredAt": "2026-01-01T00:00:00Z",
            "status": 202, "error": null, "duplicateOf": duplicate_of,
            "answer": json!({"deliveryId": format!("d{n}"), "status": status}).to_string(),
        }))
        .unwrap()
    }

    fn published(key: &str, n: u64) -> Published {
        serde_json::from_value(json!({
            "id": "e", "detail-type": "NEW_CALLOUT", "source": "aura",
            "time": "2026-01-01T00:00:00Z",
            "detail": {
                "key": key, "message": "NEW_CALLOUT", "entity": {"kind": "callout", "id": "1"},
                "deliveryId": format!("d{n}"), "receivedAt": "2026-01-01T00:00:00Z",
                "origin": "webhook", "sequence": "1", "test": false, "payload": {},
            },
        }))
        .unwrap()
    }

    #[test]
    fn only_every_event_published_once_is_a_success() {
        let sent = [delivery(1, "accepted", None), delivery(2, "accepted", None)];
        let tally = Tally::of(&sent, &[published("a", 1), published("b", 2)]);
        let expected = Tally {
            sent: 2,
            accepted: 2,
            published: 2,
            ..Tally::default()
        };
        assert_eq!(tally, expected);
        assert!(tally.is_each_once());
        assert!(
            !Tally::of(&[], &[]).is_each_once(),
            "nothing sent proves nothing"
        );
    }

    #[test]
    fn a_delivery_accepted_but_not_published_is_lost() {
        let tally = Tally::of(&[delivery(1, "accepted", None)], &[]);
        assert_eq!((tally.accepted, tally.lost), (1, 1));
        assert!(!tally.is_each_once());
    }

    #[test]
    fn a_repeat_that_the_ledger_dropped_is_not_lost() {
        let sent = [
            delivery(1, "accepted", None),
            delivery(2, "accepted", Some(1)),
        ];
        for survivor in [1, 2] {
            let tally = Tally::of(&sent, &[published("a", survivor)]);
            assert_eq!((tally.published, tally.duplicates, tally.lost), (1, 1, 0));
            assert!(tally.is_each_once());
        }
        assert_eq!(Tally::of(&sent, &[]).lost, 2);
    }

    #[test]
    fn a_repeat_of_a_repeat_is_the_same_event() {
        let sent = [
            delivery(1, "accepted", None),
            delivery(2, "accepted", Some(1)),
            delivery(3, "accepted", Some(2)),
        ];
        let tally = Tally::of(&sent, &[published("a", 1)]);
        assert_eq!((tally.duplicates, tally.lost), (2, 0));
    }

    #[test]
    fn a_second_copy_on_the_bus_is_a_double() {
        let sent = [
            delivery(1, "accepted", None),
            delivery(2, "accepted", Some(1)),
        ];
        let both = Tally::of(&sent, &[published("a", 1), published("a", 2)]);
        assert_eq!((both.published, both.doubled), (2, 1));
        let same = Tally::of(&sent, &[published("a", 1), published("a", 1)]);
        assert_eq!((same.published, same.doubled), (1, 1));
        assert!(!both.is_each_once() && !same.is_each_once());
    }

    #[test]
    fn a_second_copy_with_another_key_is_also_a_double() {
        let sent = [
            delivery(1, "accepted", None),
            delivery(2, "accepted", Some(1)),
        ];
        let tally = Tally::of(&sent, &[published("a", 1), published("b", 2)]);
        assert_eq!((tally.doubled, tally.strangers), (1, 0));
        assert!(!tally.is_each_once());
    }

    #[test]
    fn doubles_of_an_event_that_nobody_sent_have_the_same_key() {
        let copies = [published("a", 8), published("a", 9), published("b", 9)];
        let tally = Tally::of(&[delivery(1, "accepted", None)], &copies);
        assert_eq!((tally.doubled, tally.strangers), (1, 3));
    }

    #[test]
    fn an_event_that_nobody_sent_is_a_stranger() {
        let tally = Tally::of(
            &[delivery(1, "accepted", None)],
            &[published("a", 1), published("b", 9)],
        );
        assert_eq!(tally.strangers, 1);
        assert!(!tally.is_each_once());
    }

    #[test]
    fn a_quarantined_delivery_is_kept_but_not_published() {
        let tally = Tally::of(&[delivery(1, "quarantined", None)], &[]);
        assert_eq!((tally.quarantined, tally.lost, tally.accepted), (1, 0, 0));
        assert!(!tally.is_each_once());
    }
}
