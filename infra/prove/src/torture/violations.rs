//! Checks that consumers received what AURA sent, under one key an event and in AURA's order.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::torture::journal::Journal;
use aura_sim::client::Delivery;
use stack::consumers::{Detail, Entity, Published};
use stack::tally::originals;

/// Violations in what consumers received, compared with AURA's deliveries. Each event must have one
/// key. Each copy must have its delivery's message and entity, and a call of the processor must
/// have sent it. An entity's events must first have been sent in the order of their sequence.
#[must_use]
pub fn violations(
    deliveries: &[Delivery],
    published: &[Published],
    journal: &Journal,
) -> Vec<String> {
    let of_identity = under_more_keys(deliveries, published);
    let of_content = changed(deliveries, published);
    let of_origin = sent_by_nobody(published, journal);
    let of_order = out_of_order(published, journal);
    [of_identity, of_content, of_origin, of_order].concat()
}

fn by_id(deliveries: &[Delivery]) -> HashMap<&str, &Delivery> {
    let ids = deliveries.iter();
    ids.filter_map(|delivery| Some((delivery.delivery_id()?, delivery)))
        .collect()
}

/// Events that have more than one key.
fn under_more_keys(deliveries: &[Delivery], published: &[Published]) -> Vec<String> {
    let (originals, sent) = (originals(deliveries), by_id(deliveries));
    let mut keys: BTreeMap<u64, &str> = BTreeMap::new();
    let mut found = Vec::new();
    for Published { detail, .. } in published {
        let delivery = sent.get(detail.delivery_id.as_str());
        let Some(original) = delivery.and_then(|delivery| originals.get(&delivery.n)) else {
            continue;
        };
        let first = *keys.entry(*original).or_insert(&detail.key);
        if first != detail.key {
            let key = &detail.key;
            found.push(format!(
                "delivery {original} of AURA's is {first} and {key}"
            ));
        }
    }
    found
}

/// Copies whose message or entity isn't AURA's.
fn changed(deliveries: &[Delivery], published: &[Published]) -> Vec<String> {
    let sent = by_id(deliveries);
    let is_changed = |detail: &Detail| {
        let delivery = sent.get(detail.delivery_id.as_str());
        delivery.is_some_and(
            |&&Delivery {
                 message, entity, ..
             }| {
                message.to_string() != detail.message || Entity::from(entity) != detail.entity
            },
        )
    };
    let details = published.iter().map(|copy| &copy.detail);
    let changed = details.filter(|detail| is_changed(detail));
    changed
        .map(|detail| format!("{}: AURA's message or entity is another", detail.key))
        .collect()
}

/// Copies that no call put on the bus; nothing is known about their order.
fn sent_by_nobody(published: &[Published], journal: &Journal) -> Vec<String> {
    let sent = journal.publishes.iter().flat_map(|call| &call.entries);
    let sent: HashSet<&str> = sent.map(|entry| entry.bus_event_id.as_str()).collect();
    let unknown = published
        .iter()
        .filter(|copy| !sent.contains(copy.id.as_str()));
    unknown
        .map(|copy| format!("{}: no call published this copy", copy.detail.key))
        .collect()
}

/// Events that were first sent after an event of the same entity with a higher sequence.
fn out_of_order(published: &[Published], journal: &Journal) -> Vec<String> {
    let mut last: HashMap<(&str, &str), &Detail> = HashMap::new();
    let mut found = Vec::new();
    for detail in first_copies(published, journal) {
        let entity = (detail.entity.kind.as_str(), detail.entity.id.as_str());
        if let Some(before) = last.insert(entity, detail)
            && detail.place() <= before.place()
        {
            found.push(format!(
                "{}: sent with sequence {} after {} with {}",
                detail.key, detail.sequence, before.key, before.sequence
            ));
        }
    }
    found
}

/// The first copy of each event, in the order of sending to the bus.
fn first_copies<'a>(
    published: &'a [Published],
    journal: &'a Journal,
) -> impl Iterator<Item = &'a Detail> {
    let copies: HashMap<&str, &Detail> = published
        .iter()
        .map(|copy| (copy.id.as_str(), &copy.detail))
        .collect();
    let sent = journal.publishes.iter().flat_map(|call| &call.entries);
    let mut known = HashSet::new();
    sent.filter_map(move |entry| copies.get(entry.bus_event_id.as_str()).copied())
        .filter(move |detail| known.insert(&detail.key))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::torture::journal::{Entry, Publish};

    fn delivery(n: u64, message: &str, duplicate_of: Option<u64>) -> Delivery {
        serde_json::from_value(json!({
            "n": n, "message": message, "entity": {"kind": "callout", "id": 1}, "body": "{}",
            "sentAt": "2026-01-01T00:00:00Z", "answeredAt": "2026-01-01T00:00:00Z",
            "status": 202, "error": null, "duplicateOf": duplicate_of,
            "answer": json!({"deliveryId": format!("d{n}"), "status": "accepted"}).to_string(),
        }))
        .unwrap()
    }

    fn copy(id: &str, n: u64, message: &str, sequence: &str) -> Published {
        serde_json::from_value(json!({
            "id": id, "detail-type": message, "source": "aura", "time": "2026-01-01T00:00:00Z",
            "detail": {
                "key": format!("callout#1/{message}"), "message": message,
                "entity": {"kind": "callout", "id": "1"}, "deliveryId": format!("d{n}"),
                "receivedAt": "2026-01-01T00:00:00Z", "origin": "webhook", "sequence": sequence,
                "test": false, "payload": {},
            },
        }))
        .unwrap()
    }

    /// AURA's deliveries: an event, its repeat, and a second event.
    fn sent() -> [Delivery; 3] {
        [
            delivery(1, "NEW_CALLOUT", None),
            delivery(2, "NEW_CALLOUT", Some(1)),
            delivery(3, "CALLOUT_CLOSED", None),
        ]
    }

    /// A journal with one call to the bus for each copy.
    fn journal(ids: &[&str]) -> Journal {
        let publish = |id: &&str| Publish {
            arrived: Timestamp::UNIX_EPOCH,
            answer_lost: false,
            entries: vec![Entry {
                key: "any key".to_owned(),
                bus_event_id: (*id).to_owned(),
            }],
        };
        Journal {
            publishes: ids.iter().map(publish).collect(),
            ..Journal::default()
        }
    }

    #[test]
    fn what_aura_sent_in_its_order_violates_nothing() {
        // Consumers may receive the copies in any order, and a first copy may come again later.
        let copies = [
            copy("b", 3, "CALLOUT_CLOSED", "10"),
            copy("c", 1, "NEW_CALLOUT", "9"),
            copy("a", 1, "NEW_CALLOUT", "9"),
        ];
        let journal = journal(&["a", "b", "c"]);
        assert_eq!(violations(&sent(), &copies, &journal), [""; 0]);
    }

    #[test]
    fn an_event_that_is_sent_before_an_earlier_one_of_its_entity_is_out_of_order() {
        let copies = [
            copy("a", 1, "NEW_CALLOUT", "9"),
            copy("b", 3, "CALLOUT_CLOSED", "10"),
        ];
        let found = violations(&sent(), &copies, &journal(&["b", "a"]));
        let expected =
            "callout#1/NEW_CALLOUT: sent with sequence 9 after callout#1/CALLOUT_CLOSED with 10";
        assert_eq!(found, [expected]);
        let copies = [
            copy("a", 1, "NEW_CALLOUT", "9"),
            copy("b", 3, "CALLOUT_CLOSED", "9"),
        ];
        assert_eq!(
            violations(&sent(), &copies, &journal(&["a", "b"])).len(),
            1,
            "no two events have one place"
        );
        let mut copies = [
            copy("a", 1, "NEW_CALLOUT", "9"),
            copy("b", 3, "CALLOUT_CLOSED", "10"),
        ];
        copies[0].detail.entity.id = "2".to_owned();
        let found = out_of_order(&copies, &journal(&["b", "a"]));
        assert_eq!(found, [""; 0], "entities have no order among them");
    }

    #[test]
    fn a_copy_that_no_call_published_is_found_though_it_is_the_only_one() {
        let copies = [
            copy("a", 1, "NEW_CALLOUT", "9"),
            copy("b", 3, "CALLOUT_CLOSED", "10"),
        ];
        let found = violations(&sent(), &copies, &journal(&["a"]));
        assert_eq!(
            found,
            ["callout#1/CALLOUT_CLOSED: no call published this copy"]
        );
    }

    #[test]
    fn a_repeat_with_a_key_of_its_own_breaks_the_identity() {
        let mut copies = [
            copy("a", 1, "NEW_CALLOUT", "1"),
            copy("b", 2, "NEW_CALLOUT", "2"),
        ];
        let journal = journal(&["a", "b"]);
        assert_eq!(violations(&sent(), &copies, &journal), [""; 0]);
        copies[1].detail.key = "callout#1/NEW-2".to_owned();
        let expected = "delivery 1 of AURA's is callout#1/NEW_CALLOUT and callout#1/NEW-2";
        assert_eq!(violations(&sent(), &copies, &journal), [expected]);
    }

    #[test]
    fn a_copy_with_another_message_or_entity_is_not_what_aura_sent() {
        let journal = journal(&["a"]);
        let spoil: [fn(&mut Detail); 3] = [
            |detail| detail.message = "CALLOUT_CLOSED".to_owned(),
            |detail| detail.entity.id = "2".to_owned(),
            |detail| detail.entity.kind = "customer".to_owned(),
        ];
        for spoil in spoil {
            let mut copy = copy("a", 1, "NEW_CALLOUT", "1");
            spoil(&mut copy.detail);
            assert_eq!(violations(&sent(), &[copy], &journal).len(), 1);
        }
    }
}
