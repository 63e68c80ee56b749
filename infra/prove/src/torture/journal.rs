//! The journal: what the processor did, as the proxies saw it.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use stack::proxy::{Answer, Call, Fault};

const UPDATE: &str = "DynamoDB_20120810.UpdateItem";
const PUT_EVENTS: &str = "AWSEvents.PutEvents";

/// Every step of the processor that reached a service, in the order of arrival.
#[derive(Debug, Default)]
pub struct Journal {
    /// When the processor asked for claims, granted or not.
    pub claims: Vec<Timestamp>,
    /// Calls that put events on the bus.
    pub publishes: Vec<Publish>,
    /// Marks that the ledger accepted.
    pub marks: Vec<Mark>,
}

/// A call that put events on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// When the call arrived.
    pub arrived: Timestamp,
    /// Whether the processor never got the answer.
    pub answer_lost: bool,
    /// The events that the bus accepted.
    pub entries: Vec<Entry>,
}

/// An event that the bus accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The event's key.
    pub key: String,
    /// The bus's id of this copy of the event.
    pub bus_event_id: String,
}

/// A mark as published that the ledger accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The event's key.
    pub key: String,
    /// When the mark arrived.
    pub arrived: Timestamp,
}

impl Journal {
    /// Reads the calls that went through the proxies.
    ///
    /// # Errors
    ///
    /// Fails if a call doesn't have the processor's form: then the journal would be wrong.
    pub fn read(ledger: &[Call], bus: &[Call]) -> Result<Self> {
        let mut journal = Self::default();
        for call in ledger.iter().filter(|call| call.operation == UPDATE) {
            let context = "cannot read a call to the ledger: it doesn't have the processor's form";
            journal.note_update(call).context(context)?;
        }
        for call in bus.iter().filter(|call| call.operation == PUT_EVENTS) {
            let publish = publish(call)
                .context("cannot read a call to the bus: it doesn't have the processor's form")?;
            journal.publishes.extend(publish);
        }
        Ok(journal)
    }

    /// Notes an update. It is a claim if it sets an owner, a mark if it sets the bus's id, and a
    /// release otherwise.
    fn note_update(&mut self, call: &Call) -> Result<()> {
        let update: Update = serde_json::from_slice(&call.request)?;
        let arrived = call.arrived;
        if update.sets("owner").is_some() {
            self.claims.push(arrived);
        } else if update.sets("busEventId").is_some() && took(call).is_some() {
            let key = format!("{}/{}", update.key.pk.s, update.key.sk.s);
            self.marks.push(Mark { key, arrived });
        }
        Ok(())
    }
}

/// The answer of a call that the service carried out.
fn took(call: &Call) -> Option<&Answer> {
    call.answer.as_ref().filter(|answer| answer.status == 200)
}

fn publish(call: &Call) -> Result<Option<Publish>> {
    let Some(answer) = took(call) else {
        return Ok(None);
    };
    let asked: PutEvents = serde_json::from_slice(&call.request)?;
    let results: PutEventsResult = serde_json::from_slice(&answer.body)?;
    let mut entries = Vec::new();
    for (entry, result) in asked.entries.into_iter().zip(results.entries) {
        let detail: Detail = serde_json::from_str(&entry.detail)?;
        entries.extend(result.event_id.map(|bus_event_id| Entry {
            key: detail.key,
            bus_event_id,
        }));
    }
    Ok(Some(Publish {
        arrived: call.arrived,
        answer_lost: call.fault == Some(Fault::ResetAfter),
        entries,
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    key: Key,
    #[serde(rename = "UpdateExpression")]
    expression: String,
    #[serde(default, rename = "ExpressionAttributeNames")]
    names: HashMap<String, String>,
    #[serde(default, rename = "ExpressionAttributeValues")]
    values: HashMap<String, Value>,
}

#[derive(Deserialize)]
struct Key {
    pk: Text,
    sk: Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
struct Text {
    s: String,
}

impl Update {
    /// The value to which the update sets an attribute.
    fn sets(&self, attribute: &str) -> Option<&Value> {
        let tokens = self.expression.split([',', ' ']);
        let tokens: Vec<&str> = tokens.filter(|token| !token.is_empty()).collect();
        let value = tokens.windows(3).find_map(|window| match window {
            [name, "=", value] if self.name(name) == attribute => Some(*value),
            _ => None,
        });
        self.values.get(value?)
    }

    fn name<'a>(&'a self, token: &'a str) -> &'a str {
        self.names.get(token).map_or(token, String::as_str)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEvents {
    entries: Vec<PutEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEntry {
    detail: String,
}

#[derive(Deserialize)]
struct Detail {
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutEventsResult {
    entries: Vec<EntryResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntryResult {
    event_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn call(operation: &str, request: &Value, answer: Option<(u16, Value)>) -> Call {
        Call {
            is_retry: false,
            operation: operation.to_owned(),
            request: Bytes::from(request.to_string()),
            arrived: NOW,
            fault: None,
            answer: answer.map(|(status, body)| Answer {
                status,
                body: Bytes::from(body.to_string()),
                at: NOW,
            }),
        }
    }

    fn update(expression: &str, values: &Value, status: Option<u16>) -> Call {
        let request = json!({
            "Key": {"pk": {"S": "callout#1"}, "sk": {"S": "NEW_CALLOUT"}},
            "UpdateExpression": expression,
            "ExpressionAttributeNames": {"#state": "state", "#owner": "owner"},
            "ExpressionAttributeValues": values,
        });
        call(UPDATE, &request, status.map(|status| (status, json!({}))))
    }

    fn claim(status: Option<u16>) -> Call {
        update(
            "SET #state = :claimed, #owner = :owner, leaseUntil = :lease ADD attempt :one",
            &json!({":claimed": {"S": "CLAIMED"}, ":owner": {"S": "o"}, ":lease": {"N": "5"}}),
            status,
        )
    }

    fn mark(status: Option<u16>) -> Call {
        update(
            "SET #state = :published, busEventId = :event REMOVE leaseUntil",
            &json!({":published": {"S": "PUBLISHED"}, ":event": {"S": "a"}, ":owner": {"S": "o"}}),
            status,
        )
    }

    fn put_events(answer: Option<(u16, Value)>) -> Call {
        let entry = |key: &str| json!({"Detail": json!({"key": key, "payload": {}}).to_string()});
        let request = json!({"Entries": [entry("x"), entry("y")]});
        call(PUT_EVENTS, &request, answer)
    }

    #[test]
    fn a_claim_counts_when_it_is_asked_for_and_a_mark_when_the_ledger_took_it() {
        let release = update(
            "SET leaseUntil = :zero",
            &json!({":zero": {"N": "0"}}),
            Some(200),
        );
        let calls = [
            claim(Some(200)),
            claim(Some(400)),
            claim(None),
            mark(Some(200)),
            mark(Some(400)),
            mark(None),
            release,
        ];
        let journal = Journal::read(&calls, &[]).unwrap();
        assert_eq!(journal.claims, [NOW; 3]);
        let mark = Mark {
            key: "callout#1/NEW_CALLOUT".to_owned(),
            arrived: NOW,
        };
        assert_eq!(journal.marks, [mark]);
    }

    #[test]
    fn a_publish_is_what_the_bus_took_of_it() {
        let took = json!({"Entries": [{"EventId": "a"}, {"ErrorCode": "ThrottlingException"}]});
        let lost = Call {
            fault: Some(Fault::ResetAfter),
            ..put_events(Some((200, took.clone())))
        };
        let calls = [put_events(Some((200, took))), lost, put_events(None)];
        let journal = Journal::read(&[], &calls).unwrap();
        let publish = Publish {
            arrived: NOW,
            answer_lost: false,
            entries: vec![Entry {
                key: "x".to_owned(),
                bus_event_id: "a".to_owned(),
            }],
        };
        let lost = Publish {
            answer_lost: true,
            ..publish.clone()
        };
        assert_eq!(journal.publishes, [publish, lost]);
    }

    #[test]
    fn a_call_that_cannot_be_read_is_an_error_and_not_left_out() {
        let unread = call(UPDATE, &json!({"Key": {}}), Some((200, json!({}))));
        assert!(Journal::read(&[unread], &[]).is_err());
        let unread = put_events(Some((200, json!({}))));
        assert!(Journal::read(&[], &[unread]).is_err());
    }
}
