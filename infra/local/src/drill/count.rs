//! Counts what became of every event that AURA sent.

use std::collections::HashSet;

use aura_sim::client::Delivery;
use serde::Serialize;
use stack::consumers::{Entity, Published};
use stack::tally::Tally;

/// The counts. Each delivery is in exactly one of `published`, `duplicates`, `quarantined`, `refused` and
/// `lost`, which add up to `sent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// Deliveries that AURA made.
    pub sent: usize,
    /// Deliveries whose event is on the bus.
    pub published: usize,
    /// Deliveries that are not on the bus because another delivery of the same event is, or because the
    /// reconciler found the event out before the delivery came.
    pub duplicates: usize,
    /// Deliveries that ingest answered 202 `quarantined`.
    pub quarantined: usize,
    /// Deliveries that AURA got no 2xx for, or that went to another endpoint. They are lost at the door.
    pub refused: usize,
    /// Deliveries that were accepted and are in none of the classes above.
    pub lost: usize,
    /// Copies on the bus beyond the first of each event.
    pub doubled: usize,
    /// Events about an entity of AURA's that the reconciler found out by asking.
    pub recovered: usize,
    /// Events on the bus that AURA never sent, and that the reconciler did not find out either.
    pub strangers: usize,
}

impl Count {
    /// Counts from what AURA sent to `webhook` and elsewhere, and from what consumers received.
    #[must_use]
    pub fn of(deliveries: &[Delivery], published: &[Published], webhook: &str) -> Self {
        let (found, told): (Vec<_>, Vec<_>) = published
            .iter()
            .cloned()
            .partition(|event| event.detail.origin == "reconciler");
        let tally = Tally::of(deliveries, &told);
        let ids: HashSet<&str> = told
            .iter()
            .map(|event| event.detail.delivery_id.as_str())
            .collect();
        let is_refused = |delivery: &&Delivery| {
            let is_answered = delivery.status.is_some_and(|status| status < 300);
            let is_ours = delivery.url.as_deref() == Some(webhook);
            let is_published = delivery.delivery_id().is_some_and(|id| ids.contains(id));
            !(is_published || is_answered && is_ours)
        };
        let refused = deliveries.iter().filter(is_refused).count();
        let has_come_late = |delivery: &&Delivery| {
            let is_its = |event: &Published| {
                event.detail.message == delivery.message.to_string()
                    && event.detail.entity == delivery.entity.into()
            };
            let is_on_bus = delivery.delivery_id().is_some_and(|id| ids.contains(id));
            let is_accepted = delivery.was_answered("accepted") && !is_refused(delivery);
            is_accepted && !is_on_bus && found.iter().any(is_its)
        };
        let late = deliveries.iter().filter(has_come_late).count();
        let entities: Vec<Entity> = deliveries.iter().map(|its| its.entity.into()).collect();
        let recovered = found
            .iter()
            .filter(|event| entities.contains(&event.detail.entity))
            .count();
        let mut keys: HashSet<&str> = found.iter().map(|its| its.detail.key.as_str()).collect();
        // What the reconciler published beside the delivery is a copy, too.
        keys.retain(|key| told.iter().all(|its| its.detail.key != **key));
        Self {
            sent: tally.sent,
            published: tally.published,
            duplicates: tally.duplicates + late,
            quarantined: tally.quarantined,
            refused,
            lost: tally.lost.saturating_sub(refused + late),
            doubled: tally.doubled + found.len() - keys.len(),
            recovered,
            strangers: tally.strangers + found.len() - recovered,
        }
    }

    /// Every event that AURA sent is on the bus exactly once, and nothing else is.
    #[must_use]
    pub fn is_each_once(&self) -> bool {
        self.refused == 0 && self.is_each_accepted_once()
    }

    /// As [`Self::is_each_once`], but some events were lost at the door, and the alarm said so.
    #[must_use]
    pub fn is_each_once_but_refused(&self) -> bool {
        self.refused > 0 && self.is_each_accepted_once()
    }

    fn is_each_accepted_once(&self) -> bool {
        let Self {
            published,
            quarantined,
            lost,
            doubled,
            strangers,
            ..
        } = *self;
        published > 0 && [quarantined, lost, doubled, strangers] == [0; 4]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WEBHOOK: &str = "http://127.0.0.1/aura/events";

    fn delivery(n: u64, url: &str, status: u16) -> Delivery {
        serde_json::from_value(json!({
            "n": n, "message": "NEW_CALLOUT", "entity": {"kind": "callout", "id": n}, "body": "{}",
            "sentAt": "2026-01-01T00:00:00Z", "answeredAt": "2026-01-01T00:00:00Z",
            "url": url, "status": status, "error": null, "duplicateOf": null,
            "answer": json!({"deliveryId": format!("d{n}"), "status": "accepted"}).to_string(),
        }))
        .unwrap()
    }

    fn published(n: u64, origin: &str) -> Published {
        serde_json::from_value(json!({
            "id": "e", "detail-type": "NEW_CALLOUT", "source": "aura",
            "time": "2026-01-01T00:00:00Z",
            "detail": {
                "key": format!("{n}"), "message": "NEW_CALLOUT",
                "entity": {"kind": "callout", "id": format!("{n}")},
                "deliveryId": format!("{}{n}", if origin == "webhook" { "d" } else { "r" }),
                "receivedAt": "2026-01-01T00:00:00Z",
                "origin": origin, "sequence": "1", "test": false, "payload": {},
            },
        }))
        .unwrap()
    }

    #[test]
    fn each_delivery_is_in_one_class() {
        let sent = [
            delivery(1, WEBHOOK, 202),
            delivery(2, WEBHOOK, 202),
            delivery(3, WEBHOOK, 202),
            delivery(4, WEBHOOK, 401),
            delivery(5, "http://127.0.0.1/elsewhere", 202),
        ];
        let found = [
            published(1, "webhook"),
            published(2, "reconciler"),
            published(5, "reconciler"),
        ];
        let expected = Count {
            sent: 5,
            published: 1,
            duplicates: 1,
            refused: 2,
            lost: 1,
            recovered: 2,
            ..Count::default()
        };
        assert_eq!(Count::of(&sent, &found, WEBHOOK), expected);
    }

    #[test]
    fn a_loss_or_a_copy_is_no_success() {
        let sent = [delivery(1, WEBHOOK, 202), delivery(2, WEBHOOK, 202)];
        let both = [published(1, "webhook"), published(2, "reconciler")];
        assert!(Count::of(&sent, &both, WEBHOOK).is_each_once());
        assert!(!Count::of(&sent, &both[..1], WEBHOOK).is_each_once());
        let twice = [both.to_vec(), vec![published(1, "reconciler")]].concat();
        assert_eq!(Count::of(&sent, &twice, WEBHOOK).doubled, 1);
        let copied = [both.to_vec(), both[1..].to_vec()].concat();
        assert_eq!(Count::of(&sent, &copied, WEBHOOK).doubled, 1);
    }
}
