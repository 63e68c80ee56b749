//! An example consumer: prints one line for each responder who arrives.
//!
//! The rule in `template.yaml` decides which events come here, so the handler has no conditions.
//!
//! An event comes at least once. EventBridge and Lambda may both repeat it. In rare cases it is
//! published twice, with the same `key`. A line that is printed twice does no harm. A consumer that
//! acts on an arrival must save its `key` together with its work, in one transaction that fails if
//! the key is there already (`attribute_not_exists` in DynamoDB). `docs/consume.md` says why.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

/// The part of EventBridge's event that this consumer reads.
#[derive(Deserialize)]
struct Event {
    detail: Detail,
}

/// The part of the published detail that this consumer reads. The detail has more fields and may
/// get new ones, so fields that aren't read aren't checked.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    key: String,
    entity: Entity,
    received_at: String,
}

#[derive(Deserialize)]
struct Entity {
    id: String,
}

/// The printed line. It has nothing of the payload, which is about people.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Arrival {
    callout: String,
    key: String,
    received_at: String,
}

impl From<Detail> for Arrival {
    fn from(detail: Detail) -> Self {
        Self {
            callout: detail.entity.id,
            key: detail.key,
            received_at: detail.received_at,
        }
    }
}

// One thread: an instance has one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Event>) -> Result<(), Error> {
    let arrival = Arrival::from(event.payload.detail);
    println!("{}", serde_json::to_string(&arrival)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_who_and_when_and_nothing_of_the_payload() {
        let event = r#"{
            "version": "0",
            "source": "aura",
            "detail-type": "RESPONDER_ARRIVED_ON_SCENE",
            "detail": {
                "key": "callout#5003/RESPONDER_ARRIVED_ON_SCENE#1f2e",
                "message": "RESPONDER_ARRIVED_ON_SCENE",
                "entity": {"kind": "callout", "id": "5003"},
                "receivedAt": "2026-11-22T08:00:00Z",
                "test": false,
                "payload": {"callout": {"id": 5003, "customer": {"name": "N. N."}}}
            }
        }"#;
        let event: Event = serde_json::from_str(event).unwrap();
        assert_eq!(
            serde_json::to_string(&Arrival::from(event.detail)).unwrap(),
            r#"{"callout":"5003","key":"callout#5003/RESPONDER_ARRIVED_ON_SCENE#1f2e","receivedAt":"2026-11-22T08:00:00Z"}"#
        );
    }
}
