//! The way of one delivery: joins what its sender, the proxies and the consumer saw of it.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use stack::consumers::Published;
use stack::proxy::Call;

const SEND: &str = "AmazonSQS.SendMessage";
const PUT_EVENTS: &str = "AWSEvents.PutEvents";

/// A delivery, as its sender saw it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Id of the callout that no other delivery is about.
    pub callout: u32,
    /// The id that ingest gave it.
    pub delivery_id: String,
    /// When the sender began the POST.
    pub posted: Timestamp,
    /// When the sender had the answer.
    pub answered: Timestamp,
}

/// An event, as the consumer saw it.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The id of its delivery.
    pub delivery_id: String,
    /// When ingest's handler began with the delivery, cut to the millisecond.
    pub handled: Timestamp,
    /// When the event came into the consumer's queue, cut to the millisecond.
    pub queued: Timestamp,
    /// When the consumer had the event.
    pub received: Timestamp,
}

impl Receipt {
    /// Reads an event from a message of the consumer's queue.
    ///
    /// # Errors
    ///
    /// The message is no event of this stack.
    pub fn read(queued: Timestamp, received: Timestamp, body: &str) -> Result<Self> {
        let event: Published =
            serde_json::from_str(body).context("a message of the consumer's queue is no event")?;
        let handled: Result<Timestamp, _> = event.detail.received_at.parse();
        Ok(Self {
            delivery_id: event.detail.delivery_id,
            handled: handled.context("an event has a receivedAt that is no time")?,
            queued,
            received,
        })
    }
}

/// The calls that the functions made, in the order in which they began.
pub struct Calls {
    /// The calls of ingest to SQS.
    pub queue: Vec<Call>,
    /// The calls of the processor to the ledger.
    pub ledger: Vec<Call>,
    /// The calls of the processor to the bus.
    pub bus: Vec<Call>,
}

/// The time from the beginning of a call until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When the call reached the proxy.
    pub began: Timestamp,
    /// When the service had answered.
    pub ended: Timestamp,
}

/// The way of one delivery to the consumer.
#[derive(Debug, Clone)]
pub struct Journey {
    /// The delivery.
    pub sent: Sent,
    /// The event that became of it.
    pub receipt: Receipt,
    /// The call that stored it on the ingest queue.
    pub store: Span,
    /// The calls to the ledger before it was published, in order. There is at least one: the claim.
    pub ledger: Vec<Span>,
    /// The call that published it.
    pub publish: Span,
}

impl Journey {
    /// When the processor made its first call for the delivery.
    #[must_use]
    pub fn first_call(&self) -> Timestamp {
        let first = self.ledger.iter().map(|span| span.began).min();
        first.unwrap_or(self.publish.began)
    }

    /// When the ledger had granted the claim.
    #[must_use]
    pub fn claimed(&self) -> Timestamp {
        let last = self.ledger.iter().map(|span| span.ended).max();
        last.unwrap_or(self.publish.began)
    }

    /// The milliseconds in which at least one call to the ledger was waiting for its answer.
    #[must_use]
    pub fn ledger_time(&self) -> f64 {
        let mut until = Timestamp::MIN;
        let waits = self.ledger.iter().map(|span| {
            let from = span.began.max(until);
            until = until.max(span.ended);
            milliseconds(from, until)
        });
        waits.sum()
    }
}

/// The milliseconds from one time to another; negative if the other one is earlier.
#[must_use]
pub fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1e3
}

/// The number of deliveries of which the consumer received no event. A copy of one replaces no other.
#[must_use]
pub fn lost(sent: &[Sent], received: &[Receipt]) -> usize {
    let ids: HashSet<&str> = received
        .iter()
        .map(|its| its.delivery_id.as_str())
        .collect();
    let is_lost = |sent: &&Sent| !ids.contains(sent.delivery_id.as_str());
    sent.iter().filter(is_lost).count()
}

/// The journeys of all deliveries that the consumer received.
///
/// # Errors
///
/// Names the delivery and the call that is missing.
pub fn join(sent: &[Sent], received: &[Receipt], calls: &Calls) -> Result<Vec<Journey>> {
    let journeys = sent.iter().filter_map(|sent| {
        let is_its = |receipt: &&Receipt| receipt.delivery_id == sent.delivery_id;
        let receipt = received.iter().find(is_its)?;
        let id = &sent.delivery_id;
        Some(journey(sent, receipt, calls).with_context(|| format!("delivery {id}")))
    });
    journeys.collect()
}

fn journey(sent: &Sent, receipt: &Receipt, calls: &Calls) -> Result<Journey> {
    let publish = one_call(&calls.bus, PUT_EVENTS, &sent.delivery_id)?;
    // The ledger's keys end in the callout's id. A number within another value has no such sign before it.
    let keys = ["#", "/"].map(|sign| format!("{sign}{}\"", sent.callout));
    let is_before = |call: &&Call| call.arrived < publish.began;
    let its_calls = calls.ledger.iter().filter(is_before);
    let its_calls = its_calls.filter(|call| keys.iter().any(|key| mentions(call, key)));
    let ledger: Vec<_> = its_calls.filter_map(span).collect();
    ensure!(!ledger.is_empty(), "no call to the ledger was seen");
    Ok(Journey {
        sent: sent.clone(),
        receipt: receipt.clone(),
        store: one_call(&calls.queue, SEND, &sent.delivery_id)?,
        ledger,
        publish,
    })
}

/// The call of this operation that mentions the delivery. If the SDK repeated it, it lasts from the first
/// attempt to the last answer.
fn one_call(calls: &[Call], operation: &str, delivery_id: &str) -> Result<Span> {
    let is_its = |call: &&Call| call.operation == operation && mentions(call, delivery_id);
    let attempts = calls.iter().filter(is_its);
    let began = attempts.clone().map(|call| call.arrived).min();
    let ended = attempts
        .filter_map(|call| Some(call.answer.as_ref()?.at))
        .max();
    let span = began.zip(ended).map(|(began, ended)| Span { began, ended });
    span.with_context(|| format!("no answered call {operation} was seen"))
}

fn mentions(call: &Call, text: &str) -> bool {
    std::str::from_utf8(&call.request).is_ok_and(|request| request.contains(text))
}

/// The time of a call, if it was answered.
fn span(call: &Call) -> Option<Span> {
    let answer = call.answer.as_ref()?;
    Some(Span {
        began: call.arrived,
        ended: answer.at,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use stack::proxy::Answer;

    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    pub(in crate::latency) fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(millisecond).unwrap()
    }

    fn call(operation: &str, request: &str, arrived: i64, answered: Option<i64>) -> Call {
        Call {
            operation: operation.to_owned(),
            request: Bytes::copy_from_slice(request.as_bytes()),
            is_retry: false,
            arrived: at(arrived),
            fault: None,
            answer: answered.map(|answered| Answer {
                status: 200,
                body: Bytes::new(),
                at: at(answered),
            }),
        }
    }

    fn sent() -> Sent {
        Sent {
            callout: 7_000_001,
            delivery_id: ID.to_owned(),
            posted: at(0),
            answered: at(9),
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            delivery_id: ID.to_owned(),
            handled: at(3),
            queued: at(30),
            received: at(32),
        }
    }

    /// The calls of the delivery, among those of its neighbours.
    fn calls() -> Calls {
        let send = |id: &str| format!(r#"{{"MessageBody":"{{\"deliveryId\":\"{id}\"}}"}}"#);
        let key = |key: &str| format!(r#"{{"Key":{{"pk":{{"S":"{key}"}}}}}}"#);
        Calls {
            queue: vec![
                call(SEND, &send("another"), 1, Some(2)),
                call(SEND, &send(ID), 4, Some(7)),
            ],
            ledger: vec![
                call("BatchGetItem", &key("drill/7000001"), 12, Some(15)),
                call("UpdateItem", &key("callout#7000002"), 13, Some(40)),
                call(
                    "UpdateItem",
                    r#"{"leaseUntil":{"N":"17000001"}}"#,
                    14,
                    Some(50),
                ),
                call("UpdateItem", &key("callout#7000001"), 16, Some(20)),
                call("UpdateItem", &key("callout#7000001"), 35, Some(38)),
            ],
            bus: vec![call(PUT_EVENTS, &send(ID), 21, Some(31))],
        }
    }

    pub(in crate::latency) fn example() -> Journey {
        let [journey] = join(&[sent()], &[receipt()], &calls())
            .unwrap()
            .try_into()
            .unwrap();
        journey
    }

    #[test]
    fn a_delivery_gets_its_own_calls_and_those_to_the_ledger_only_until_it_is_published() {
        let span = |began, ended| Span {
            began: at(began),
            ended: at(ended),
        };
        let journey = example();
        assert_eq!(journey.store, span(4, 7));
        assert_eq!(journey.ledger, [span(12, 15), span(16, 20)]);
        assert_eq!(journey.publish, span(21, 31));
        assert_eq!((journey.first_call(), journey.claimed()), (at(12), at(20)));
    }

    #[test]
    fn a_call_that_the_sdk_repeats_lasts_from_its_first_attempt_to_its_last_answer() {
        let mut calls = calls();
        calls.bus.insert(0, call(PUT_EVENTS, ID, 20, None));
        let [journey] = join(&[sent()], &[receipt()], &calls)
            .unwrap()
            .try_into()
            .unwrap();
        let expected = Span {
            began: at(20),
            ended: at(31),
        };
        assert_eq!(journey.publish, expected);
    }

    #[test]
    fn calls_to_the_ledger_side_by_side_count_once() {
        let mut journey = example();
        let ledger_time = |journey: &Journey| format!("{:.1}", journey.ledger_time());
        assert_eq!(ledger_time(&journey), "7.0");
        let beside = Span {
            began: at(13),
            ended: at(18),
        };
        journey.ledger.insert(1, beside);
        assert_eq!(ledger_time(&journey), "8.0");
    }

    #[test]
    fn a_copy_of_one_delivery_does_not_hide_that_another_is_lost() {
        let another = Sent {
            delivery_id: "another".to_owned(),
            ..sent()
        };
        let sent = [sent(), another];
        assert_eq!(lost(&sent, &[receipt(), receipt()]), 1);
        assert_eq!(lost(&sent, &[]), 2);
        let another = Receipt {
            delivery_id: "another".to_owned(),
            ..receipt()
        };
        assert_eq!(lost(&sent, &[receipt(), receipt(), another]), 0);
    }

    #[test]
    fn a_missing_call_is_named_and_a_lost_delivery_has_no_journey() {
        type Spoil = fn(&mut Calls);
        let spoilt: [(&str, Spoil); 3] = [
            (SEND, |calls| calls.queue.truncate(1)),
            ("ledger", |calls| calls.ledger.truncate(0)),
            (PUT_EVENTS, |calls| calls.bus.clear()),
        ];
        for (what, spoil) in spoilt {
            let mut calls = calls();
            spoil(&mut calls);
            let error = join(&[sent()], &[receipt()], &calls).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(ID) && error.contains(what), "{error}");
        }
        assert!(join(&[sent()], &[], &calls()).unwrap().is_empty());
    }

    #[test]
    fn a_receipt_has_the_times_of_the_event_and_of_its_message() {
        let schema = include_str!("../../../../docs/schema/v1/event.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let event = &schema["examples"][0];
        let receipt = Receipt::read(at(1), at(2), &event.to_string()).unwrap();
        let expected: Timestamp = event["detail"]["receivedAt"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(receipt.handled, expected);
        assert_eq!((receipt.queued, receipt.received), (at(1), at(2)));
        assert!(Receipt::read(at(1), at(2), "{}").is_err());
    }
}
