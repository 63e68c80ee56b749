use shared::catalogue::{CALLOUT_CLOSED, NEW_CALLOUT};

use super::*;
use crate::soak::loss;
use crate::soak::samples::{callout, found_out, happened, sent, told};

/// Evidence without a breach: a callout that is opened, owned and closed. The opening was dropped
/// and found out; the other events were delivered, the closing twice.
fn good() -> Evidence {
    let deliveries = vec![
        sent(1, "CALLOUT_OWNED", "1", None),
        sent(2, CALLOUT_CLOSED, "1", None),
        sent(3, CALLOUT_CLOSED, "1", Some(2)),
    ];
    Evidence {
        happened: vec![
            happened(10, NEW_CALLOUT, "1", &[]),
            happened(11, "CALLOUT_OWNED", "1", &[1]),
            happened(14, CALLOUT_CLOSED, "1", &[2, 3]),
        ],
        callouts: vec![callout("1", "closed")],
        received: vec![
            told(&deliveries[0], 11),
            found_out(NEW_CALLOUT, "1", 13),
            told(&deliveries[1], 14),
        ],
        deliveries,
    }
}

fn found(evidence: &Evidence) -> Vec<String> {
    breaches(evidence, &loss::ledger(evidence))
}

/// The breaches found after `change` has changed the good evidence.
fn after(change: fn(&mut Evidence)) -> Vec<String> {
    let mut evidence = good();
    change(&mut evidence);
    found(&evidence)
}

#[test]
fn a_callout_whose_events_are_all_delivered_or_found_out_has_no_breach() {
    assert_eq!(found(&good()), [""; 0]);
}

#[test]
fn an_opening_that_is_not_on_the_bus_is_a_breach() {
    let found = after(|evidence| drop(evidence.received.remove(1)));
    assert_eq!(found, ["NEW_CALLOUT of callout 1 is not on the bus"]);
}

#[test]
fn an_opening_that_is_on_the_bus_twice_is_a_breach_whatever_its_key() {
    let found = after(|evidence| {
        let late = sent(4, NEW_CALLOUT, "1", None);
        let mut copy = told(&late, 12);
        copy.event.detail.key.push('x');
        evidence.received.push(copy);
        evidence.deliveries.push(late);
        evidence.happened[0].deliveries.push(4);
    });
    assert_eq!(found, ["NEW_CALLOUT of callout 1 is on the bus 2 times"]);
}

#[test]
fn what_was_accepted_and_is_missing_is_a_breach() {
    let found = after(|evidence| drop(evidence.received.remove(0)));
    let expected = "CALLOUT_OWNED of callout 1 was accepted, and is missing";
    assert_eq!(found, [expected]);
}

#[test]
fn a_dropped_event_that_is_missing_is_a_breach_only_if_it_is_an_opening_or_closing() {
    let found = after(|evidence| {
        evidence.received.remove(0);
        evidence.happened[1].deliveries.clear();
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_key_that_comes_twice_is_a_breach() {
    let found = after(|evidence| {
        let copy = evidence.received[0].clone();
        evidence.received.push(copy);
    });
    assert_eq!(found, ["callout#1/CALLOUT_OWNED came 2 times"]);
}

#[test]
fn a_repeat_with_a_key_of_its_own_is_a_breach_unless_it_is_a_signal() {
    let repeated = |message: &str| {
        let mut evidence = good();
        let repeat = sent(4, message, "1", Some(1));
        let mut copy = told(&repeat, 12);
        copy.event.detail.key.push('x');
        evidence.happened[1].message = repeat.message;
        evidence.happened[1].deliveries.push(4);
        evidence.deliveries.push(repeat);
        evidence.received.push(copy);
        found(&evidence)
    };
    let expected = "CALLOUT_OWNED of callout 1 has 2 keys: \
                    callout#1/CALLOUT_OWNED, callout#1/CALLOUT_OWNEDx";
    assert_eq!(repeated("CALLOUT_OWNED"), [expected]);
    assert_eq!(repeated("CALLOUT_EVENTS_CHANGED"), [""; 0]);
}

#[test]
fn what_aura_never_sent_is_a_breach() {
    let found = after(|evidence| {
        let stranger = sent(9, "RESPONDER_COMPLETED", "1", None);
        evidence.received.push(told(&stranger, 12));
    });
    assert_eq!(found, ["callout#1/RESPONDER_COMPLETED: AURA never sent it"]);
}

#[test]
fn an_event_of_the_reconciler_that_had_not_happened_is_a_breach() {
    let premature = after(|evidence| evidence.received[1].at = crate::soak::samples::at(9));
    assert_eq!(
        premature,
        ["callout#1/NEW_CALLOUT: the reconciler reported it, but it had not happened"],
        "too early"
    );
    let of_another = after(|evidence| {
        evidence.received.push(found_out(CALLOUT_CLOSED, "2", 15));
        evidence.received.push(found_out(CALLOUT_OBSERVED, "3", 15));
        evidence.received.push(found_out("CALLOUT_OWNED", "1", 15));
    });
    assert_eq!(
        of_another[of_another.len() - 3..],
        [
            "callout#2/CALLOUT_CLOSED: the reconciler reported it, but it had not happened",
            "callout#3/CALLOUT_OBSERVED: the reconciler reported it, but it had not happened",
            "callout#1/CALLOUT_OWNED: the reconciler reported it, but it had not happened",
        ]
    );
}

#[test]
fn a_state_that_is_another_than_auras_is_a_breach() {
    let found = after(|evidence| evidence.callouts[0] = callout("1", "created"));
    let expected = r#"callout 1 is "created" at AURA, and "closed" on the bus"#;
    assert_eq!(found, [expected]);
}
