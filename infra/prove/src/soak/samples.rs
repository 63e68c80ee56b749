//! Sample events, deliveries and copies for tests. The events of callout `c` happen at second `n`.
//! AURA's delivery of event `n` is delivery `n`; on the bus it always has the same key.

use jiff::Timestamp;
use serde_json::json;

use crate::soak::evidence::Received;
use aura_sim::client::{CalloutState, Delivery, LoggedEvent};
use stack::consumers::Published;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Makes event `n` at second `n`, with these deliveries.
pub(super) fn happened(n: u64, message: &str, callout: &str, deliveries: &[u64]) -> LoggedEvent {
    serde_json::from_value(json!({
        "n": n, "message": message, "entity": {"kind": "callout", "id": number(callout)},
        "at": at(n.try_into().unwrap()), "deliveries": deliveries,
        "fate": if deliveries.is_empty() { "dropped" } else { "sent" },
    }))
    .unwrap()
}

/// Makes delivery `n`, which ingest accepted.
pub(super) fn sent(n: u64, message: &str, callout: &str, duplicate_of: Option<u64>) -> Delivery {
    answered(n, message, callout, duplicate_of, "accepted")
}

/// Makes delivery `n` with this answer of ingest.
pub(super) fn answered(
    n: u64,
    message: &str,
    callout: &str,
    duplicate_of: Option<u64>,
    status: &str,
) -> Delivery {
    serde_json::from_value(json!({
        "n": n, "message": message, "entity": {"kind": "callout", "id": number(callout)},
        "sentAt": at(0), "answeredAt": at(0), "status": 202, "error": null,
        "duplicateOf": duplicate_of, "body": "{}",
        "answer": json!({"deliveryId": format!("d{n}"), "status": status}).to_string(),
    }))
    .unwrap()
}

/// Makes a copy of a delivery, received at that second.
pub(super) fn told(delivery: &Delivery, second: i64) -> Received {
    copy(
        &delivery.message.to_string(),
        &delivery.entity.id.to_string(),
        "webhook",
        delivery.delivery_id().unwrap(),
        second,
    )
}

/// Makes an event of the reconciler, queued and received at that second.
pub(super) fn found_out(message: &str, callout: &str, second: i64) -> Received {
    copy(
        message,
        callout,
        "reconciler",
        &format!("r{second}"),
        second,
    )
}

/// The id of a callout in AURA's form.
fn number(callout: &str) -> u64 {
    callout.parse().unwrap()
}

/// Makes a callout as AURA has it.
pub(super) fn callout(id: &str, status: &str) -> CalloutState {
    serde_json::from_value(json!({
        "id": number(id), "status": status, "closed": status == "closed", "createdAt": at(0),
    }))
    .unwrap()
}

fn copy(message: &str, callout: &str, origin: &str, delivery: &str, second: i64) -> Received {
    let event: Published = serde_json::from_value(json!({
        "id": "e", "detail-type": message, "source": "aura", "time": at(second),
        "detail": {
            "key": format!("callout#{callout}/{message}"), "message": message,
            "entity": {"kind": "callout", "id": callout}, "deliveryId": delivery,
            "receivedAt": at(second), "origin": origin, "sequence": format!("{second:03}"),
            "test": false, "payload": {},
        },
    }))
    .unwrap();
    let at = at(second);
    Received { at, event }
}
