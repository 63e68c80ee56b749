//! The AWS services that `processor` and its peer call: DynamoDB, EventBridge and SQS.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::published::Published;
use super::tables::Tables;
use crate::aws::{Answer, Services};

/// DynamoDB, EventBridge and, of SQS, what hides records while they are worked on: nothing is put
/// aside here.
#[derive(Debug, Default)]
pub struct ProcessorServices {
    tables: Tables,
    published: AtomicU32,
    /// Bodies of `PutEvents`. They are read when no function is waiting for an answer.
    calls: Mutex<Vec<Vec<u8>>>,
}

impl Services for ProcessorServices {
    fn answer(&self, operation: &str, body: &[u8]) -> Option<Answer> {
        match operation {
            "DynamoDB_20120810.UpdateItem" => self.tables.update(body),
            "DynamoDB_20120810.PutItem" => self.tables.put(body),
            "DynamoDB_20120810.BatchGetItem" => noted(body),
            "AWSEvents.PutEvents" => self.publish(body),
            "AWSEvents.DescribeEventBus" => bus(body),
            "AmazonSQS.ChangeMessageVisibilityBatch" => hidden(body),
            _ => None,
        }
    }
}

impl ProcessorServices {
    /// Checks that `events` were published, each once, and all of them marked.
    ///
    /// # Errors
    ///
    /// Says how many were instead.
    pub fn verify(&self, events: u32) -> Result<()> {
        let published = self.published.load(Ordering::SeqCst);
        let (items, marked) = self.tables.count();
        ensure!(
            [published, items, marked] == [events; 3],
            "of {events} events, {items} were claimed, {published} published, {marked} marked"
        );
        Ok(())
    }

    /// What was published since this was asked last: `events` events.
    ///
    /// # Errors
    ///
    /// It was another number of events, or one of them twice, or one can't be read.
    pub fn take_published(&self, events: u32) -> Result<Published> {
        let calls = mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        let published = Published::read(&calls)?;
        ensure!(
            u32::try_from(published.len()) == Ok(events),
            "of {events} new events, {} were published",
            published.len()
        );
        Ok(published)
    }

    fn publish(&self, body: &[u8]) -> Option<Answer> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct PutEvents {
            entries: Vec<IgnoredAny>,
        }
        let call: PutEvents = serde_json::from_slice(body).ok()?;
        let entries = u32::try_from(call.entries.len()).ok()?;
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(body.to_vec());
        drop(calls);
        let first = self.published.fetch_add(entries, Ordering::SeqCst);
        let entry = |number| json!({"EventId": format!("00000000-0000-0000-0000-{number:012}")});
        let entries: Vec<Value> = (first..first + entries).map(entry).collect();
        Some(Answer::ok(
            json!({"FailedEntryCount": 0, "Entries": entries}),
        ))
    }
}

/// None of the notes that are looked up: no callout is known to be a drill.
fn noted(body: &[u8]) -> Option<Answer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct BatchGetItem {
        request_items: HashMap<String, Keys>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Keys {
        keys: Vec<Value>,
    }
    let call: BatchGetItem = serde_json::from_slice(body).ok()?;
    let is_note = |key: &Value| Some(key.pointer("/pk/S")?.as_str()?.starts_with("note/"));
    let mut keys = call.request_items.values().flat_map(|table| &table.keys);
    let all = keys.all(|key| is_note(key) == Some(true));
    all.then(|| Answer::ok(json!({"Responses": {}, "UnprocessedKeys": {}})))
}

fn bus(body: &[u8]) -> Option<Answer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct DescribeEventBus {
        name: String,
    }
    let DescribeEventBus { name } = serde_json::from_slice(body).ok()?;
    let arn = format!("arn:aws:events:eu-west-1:000000000000:event-bus/{name}");
    Some(Answer::ok(json!({"Name": name, "Arn": arn})))
}

fn hidden(body: &[u8]) -> Option<Answer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct ChangeMessageVisibilityBatch {
        entries: Vec<Entry>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Entry {
        id: String,
    }
    let call: ChangeMessageVisibilityBatch = serde_json::from_slice(body).ok()?;
    let entries: Vec<_> = call
        .entries
        .iter()
        .map(|Entry { id }| json!({"Id": id}))
        .collect();
    Some(Answer::ok(json!({"Successful": entries, "Failed": []})))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUT: &str = "DynamoDB_20120810.PutItem";

    fn item(status: &str) -> Vec<u8> {
        json!({"TableName": "t", "Item": {"id": {"S": "1"}, "status": {"S": status}}})
            .to_string()
            .into_bytes()
    }

    #[test]
    fn an_event_counts_when_it_is_published_once_and_marked() {
        let services = ProcessorServices::default();
        services.verify(0).unwrap();
        services.answer(PUT, &item("INPROGRESS")).unwrap();
        let event = json!({"Entries": [{}]}).to_string();
        services
            .answer("AWSEvents.PutEvents", event.as_bytes())
            .unwrap();
        services.verify(1).unwrap_err();
        services.answer(PUT, &item("COMPLETED")).unwrap();
        services.verify(1).unwrap();
        services
            .answer("AWSEvents.PutEvents", event.as_bytes())
            .unwrap();
        services.verify(1).unwrap_err();
    }

    #[test]
    fn what_was_published_is_taken_once() {
        let services = ProcessorServices::default();
        let detail = json!({"key": "callout#1/NEW_CALLOUT"}).to_string();
        let entry = json!({"Source": "aura", "DetailType": "NEW_CALLOUT", "Detail": detail});
        let call = json!({"Entries": [entry]}).to_string();
        let publish = || services.answer("AWSEvents.PutEvents", call.as_bytes());
        publish().unwrap();
        assert_eq!(services.take_published(1).unwrap().len(), 1);
        services.take_published(0).unwrap();
        publish().unwrap();
        services.take_published(2).unwrap_err();
        services.take_published(1).unwrap_err();
    }

    #[test]
    fn notes_are_looked_up_and_no_other_items() {
        let services = ProcessorServices::default();
        let look_up = |partition: &str| {
            let key = json!({"pk": {"S": partition}, "sk": {"S": "drill/1"}});
            let call = json!({"RequestItems": {"ledger": {"Keys": [key]}}}).to_string();
            services.answer("DynamoDB_20120810.BatchGetItem", call.as_bytes())
        };
        assert!(look_up("note/3").is_some());
        assert!(look_up("callout#1").is_none());
    }

    #[test]
    fn a_call_that_no_event_needs_has_no_answer() {
        let services = ProcessorServices::default();
        assert!(services.answer("AmazonSQS.SendMessage", b"{}").is_none());
    }
}
