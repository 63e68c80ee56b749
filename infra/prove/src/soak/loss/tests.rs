use aura_sim::client::Kind;

use super::*;
use crate::soak::samples::{answered, found_out, happened, sent, told};

/// The class of each entry; repeats come after their event.
fn classes(evidence: &Evidence) -> Vec<Class> {
    let entries = ledger(evidence).into_iter();
    entries.map(|entry| entry.class).collect()
}

/// Evidence with one event of callout 1, these deliveries, and these copies at consumers.
fn case(message: &str, deliveries: Vec<Delivery>, received: Vec<Received>) -> Evidence {
    let numbers: Vec<u64> = deliveries.iter().map(|delivery| delivery.n).collect();
    Evidence {
        happened: vec![happened(10, message, "1", &numbers)],
        deliveries,
        received,
        ..Evidence::default()
    }
}

fn recovered(seconds: u64) -> Class {
    Class::Recovered {
        after: Duration::from_secs(seconds),
    }
}

#[test]
fn an_event_is_published_if_its_own_delivery_is_on_the_bus() {
    for message in [NEW_CALLOUT, "CALLOUT_OWNED", CALLOUT_CLOSED] {
        let delivery = sent(1, message, "1", None);
        let copy = told(&delivery, 10);
        let evidence = case(message, vec![delivery], vec![copy]);
        assert_eq!(classes(&evidence), [Class::Published]);
    }
}

#[test]
fn of_an_event_and_its_repeat_the_one_that_is_not_on_the_bus_is_the_duplicate() {
    let deliveries = [
        sent(1, NEW_CALLOUT, "1", None),
        sent(2, NEW_CALLOUT, "1", Some(1)),
    ];
    let classes = |survivor: usize| {
        let copy = told(&deliveries[survivor], 10);
        classes(&case(NEW_CALLOUT, deliveries.to_vec(), vec![copy]))
    };
    assert_eq!(classes(0), [Class::Published, Class::Duplicate]);
    assert_eq!(classes(1), [Class::Duplicate, Class::Published]);
}

#[test]
fn a_repeat_is_a_line_of_its_own_with_its_number() {
    let deliveries = vec![
        sent(4, "CALLOUT_EVENTS_CHANGED", "1", None),
        sent(5, "CALLOUT_EVENTS_CHANGED", "1", Some(4)),
    ];
    let received = deliveries.iter().map(|it| told(it, 10)).collect();
    let entries = ledger(&case("CALLOUT_EVENTS_CHANGED", deliveries, received));
    let lines: Vec<_> = entries.iter().map(|it| (it.n, it.repeat)).collect();
    assert_eq!(lines, [(10, None), (10, Some(5))]);
    // Each delivery of a signal counts.
    assert!(entries.iter().all(|it| it.class == Class::Published));
}

#[test]
fn a_delivery_after_the_reconcilers_event_is_a_duplicate() {
    for message in [NEW_CALLOUT, CALLOUT_CLOSED] {
        let delivery = sent(1, message, "1", None);
        let evidence = case(message, vec![delivery], vec![found_out(message, "1", 12)]);
        assert_eq!(classes(&evidence), [Class::Duplicate]);
    }
}

#[test]
fn what_was_accepted_and_is_not_on_the_bus_is_missing_whatever_was_observed_later() {
    let delivery = sent(1, "CALLOUT_OWNED", "1", None);
    let received = vec![found_out(CALLOUT_OBSERVED, "1", 12)];
    let entries = ledger(&case("CALLOUT_OWNED", vec![delivery], received));
    assert_eq!(entries[0].class, Class::Missing);
    assert!(entries[0].is_owed());
}

#[test]
fn what_cannot_be_understood_is_quarantined() {
    let delivery = answered(1, NEW_CALLOUT, "1", None, "quarantined");
    let evidence = case(NEW_CALLOUT, vec![delivery], Vec::new());
    assert_eq!(classes(&evidence), [Class::Quarantined]);
}

#[test]
fn an_opening_or_a_closing_is_recovered_by_itself_alone() {
    for message in [NEW_CALLOUT, CALLOUT_CLOSED] {
        let with = |found: Vec<Received>| classes(&case(message, Vec::new(), found));
        let other = found_out(CALLOUT_OBSERVED, "1", 11);
        let found = vec![
            other.clone(),
            found_out(message, "1", 13),
            found_out(message, "1", 19),
        ];
        assert_eq!(with(found), [recovered(3)]);
        assert_eq!(with(vec![other]), [Class::Missing]);
        assert_eq!(with(vec![found_out(message, "2", 11)]), [Class::Missing]);
    }
}

#[test]
fn any_other_event_of_a_callout_is_recovered_by_the_first_answer_from_afterwards() {
    let with = |found: Vec<Received>| classes(&case("CALLOUT_OWNED", Vec::new(), found));
    for message in [CALLOUT_OBSERVED, NEW_CALLOUT, CALLOUT_CLOSED] {
        let found = vec![
            found_out(message, "1", 9),
            found_out(message, "1", 15),
            found_out(message, "1", 17),
        ];
        assert_eq!(with(found), [recovered(5)]);
        assert_eq!(with(vec![found_out(message, "1", 9)]), [Class::Missing]);
        assert_eq!(with(vec![found_out(message, "2", 15)]), [Class::Missing]);
    }
    let later = told(&sent(8, "RESPONDER_COMPLETED", "1", None), 15);
    assert_eq!(with(vec![later]), [Class::Missing], "AURA told of another");
}

#[test]
fn a_copy_that_was_queued_before_an_event_does_not_recover_it() {
    let mut copy = found_out(CALLOUT_OBSERVED, "1", 9);
    copy.at = crate::soak::samples::at(15);
    let evidence = case("CALLOUT_OWNED", Vec::new(), vec![copy]);
    assert_eq!(classes(&evidence), [Class::Missing]);
}

#[test]
fn a_failed_delivery_counts_as_not_delivered() {
    let mut delivery = sent(1, NEW_CALLOUT, "1", None);
    (delivery.status, delivery.answer) = (Some(503), None);
    let found = vec![found_out(NEW_CALLOUT, "1", 13)];
    let evidence = case(NEW_CALLOUT, vec![delivery.clone()], found);
    assert_eq!(classes(&evidence), [recovered(3)]);
    let evidence = case(NEW_CALLOUT, vec![delivery], Vec::new());
    assert_eq!(classes(&evidence), [Class::Missing]);
}

#[test]
fn a_customer_cannot_be_recovered_by_asking() {
    let mut evidence = case("CREATED_CUSTOMER", Vec::new(), Vec::new());
    evidence.happened[0].entity.kind = Kind::Customer;
    let mut found = found_out(CALLOUT_OBSERVED, "1", 15);
    found.event.detail.entity.kind = "customer".to_owned();
    evidence.received.push(found);
    let entries = ledger(&evidence);
    assert_eq!(entries[0].class, Class::Missing);
    assert!(!entries[0].is_owed());
}
