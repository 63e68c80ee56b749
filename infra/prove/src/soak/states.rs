//! Compares the last state of each callout on the bus with AURA's.

use shared::catalogue::{CALLOUT_CLOSED, CALLOUT_OBSERVED, NEW_CALLOUT};

use crate::soak::evidence::{Bus, Evidence, Received};
use aura_sim::client::{CalloutState, Entity, Kind};

/// The stand-in's status of a callout that is over.
const CLOSED: &str = "closed";

/// Callouts whose last state on the bus isn't AURA's.
#[must_use]
pub fn differences(evidence: &Evidence) -> Vec<String> {
    let bus = Bus::of(&evidence.received);
    let callouts = evidence.callouts.iter();
    callouts
        .filter_map(|callout| difference(callout, &bus))
        .collect()
}

fn difference(callout: &CalloutState, bus: &Bus) -> Option<String> {
    let CalloutState { id, status, .. } = callout;
    let entity = Entity {
        kind: Kind::Callout,
        id: *id,
    };
    match last(bus.about(entity)) {
        Some(told) if told == status => None,
        Some(told) => Some(format!(
            "callout {id} is {status:?} at AURA, and {told:?} on the bus"
        )),
        None => Some(format!(
            "callout {id} is {status:?} at AURA, and the bus doesn't say"
        )),
    }
}

/// The last state by sequence; events after a closing change nothing.
fn last<'a>(copies: &[&'a Received]) -> Option<&'a str> {
    let mut copies = copies.to_vec();
    copies.sort_by_key(|copy| copy.detail().place());
    let states: Vec<_> = copies.into_iter().filter_map(state).collect();
    let closing = states.iter().find(|state| **state == CLOSED);
    closing.or(states.last()).copied()
}

/// The status after an event, in the stand-in's words; `None` if the event has no status.
fn state(copy: &Received) -> Option<&str> {
    match copy.detail().message.as_str() {
        CALLOUT_CLOSED => Some(CLOSED),
        CALLOUT_OBSERVED => observed(copy),
        NEW_CALLOUT if copy.is_found_out() => observed(copy),
        NEW_CALLOUT => Some("created"),
        "RESPONDER_MANUALLY_DISPATCHED"
        | "RESPONDER_ACKNOWLEDGED_CALLOUT"
        | "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA" => Some("Responder Dispatched"),
        "RESPONDER_ARRIVED_ON_SCENE" => Some("Responder Arrived"),
        "RESPONDER_COMPLETED" => Some("Responder Completed"),
        "CALLOUT_SOFT_CANCELLED_BY_CUSTOMER" => Some("cancelled"),
        "CALLOUT_NO_LONGER_REQUIRES_RESPONSE" => Some("Responder Cancelled"),
        _ => None,
    }
}

/// The status that AURA answered to the reconciler.
fn observed(copy: &Received) -> Option<&str> {
    copy.detail().payload.pointer("/callout/status")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::samples::{callout, found_out, sent, told};

    fn differences_of(status: &str, received: Vec<Received>) -> Vec<String> {
        differences(&Evidence {
            callouts: vec![callout("1", status)],
            received,
            ..Evidence::default()
        })
    }

    /// Makes one of AURA's own messages about callout 1, with this sequence.
    fn message(message: &str, sequence: u32) -> Received {
        let mut copy = told(&sent(sequence.into(), message, "1", None), 0);
        copy.event.detail.sequence = sequence.to_string();
        copy
    }

    #[test]
    fn each_of_auras_messages_says_what_the_stand_in_says_after_it() {
        let states = [
            ("NEW_CALLOUT", "created"),
            ("RESPONDER_MANUALLY_DISPATCHED", "Responder Dispatched"),
            ("RESPONDER_ACKNOWLEDGED_CALLOUT", "Responder Dispatched"),
            (
                "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA",
                "Responder Dispatched",
            ),
            ("RESPONDER_ARRIVED_ON_SCENE", "Responder Arrived"),
            ("RESPONDER_COMPLETED", "Responder Completed"),
            ("CALLOUT_SOFT_CANCELLED_BY_CUSTOMER", "cancelled"),
            ("CALLOUT_NO_LONGER_REQUIRES_RESPONSE", "Responder Cancelled"),
            ("CALLOUT_CLOSED", "closed"),
        ];
        for (name, status) in states {
            // The two copies after it have no status.
            let copies = vec![
                message(name, 9),
                message("CALLOUT_OWNED", 10),
                message("CALLOUT_EVENTS_CHANGED", 11),
            ];
            assert_eq!(differences_of(status, copies), [""; 0], "{name}");
        }
    }

    #[test]
    fn the_last_by_sequence_counts_whichever_came_first() {
        let copies = vec![
            message("RESPONDER_ARRIVED_ON_SCENE", 10),
            message("NEW_CALLOUT", 9),
        ];
        assert_eq!(differences_of("Responder Arrived", copies), [""; 0]);
    }

    #[test]
    fn what_aura_answered_counts_as_it_said_it() {
        for name in [CALLOUT_OBSERVED, NEW_CALLOUT] {
            let mut copy = found_out(name, "1", 0);
            copy.event.detail.payload =
                serde_json::json!({"callout": {"status": "Responder Arrived"}});
            assert_eq!(differences_of("Responder Arrived", vec![copy]), [""; 0]);
        }
    }

    #[test]
    fn a_closing_is_final() {
        let copies = vec![
            message(CALLOUT_CLOSED, 3),
            message("RESPONDER_COMPLETED", 4),
        ];
        assert_eq!(differences_of("closed", copies), [""; 0]);
    }

    #[test]
    fn another_state_and_a_missing_state_are_differences() {
        let copies = || vec![message("RESPONDER_COMPLETED", 4)];
        assert_eq!(
            differences_of("closed", copies()),
            [r#"callout 1 is "closed" at AURA, and "Responder Completed" on the bus"#]
        );
        let silent = vec![message("CALLOUT_OWNED", 4)];
        for copies in [silent, Vec::new()] {
            assert_eq!(
                differences_of("created", copies),
                [r#"callout 1 is "created" at AURA, and the bus doesn't say"#]
            );
        }
    }
}
