//! Stubs of the AWS services that `processor` and its peer call: DynamoDB, EventBridge and SQS.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use bench_peers::plan::{Plan, Step};
use serde::Deserialize;
use serde_json::{Value, json};

use super::series::Sides;
use super::tables::Tables;
use crate::aws::{Answer, Services};

/// Stubs of DynamoDB, EventBridge, and of SQS only the call that hides records in work: no record
/// is quarantined here.
#[derive(Debug, Default)]
pub struct ProcessorServices {
    tables: Tables,
    bus: Mutex<Bus>,
    /// The calls since they were taken last.
    plan: Mutex<Plan>,
}

/// The published entries.
#[derive(Debug, Default)]
struct Bus {
    events: usize,
    /// Entries that weren't taken yet.
    entries: Vec<Entry>,
}

/// An entry of `PutEvents` without its `Time`: one side's is more exact by a fraction of a second,
/// and the detail has the time in full.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    source: String,
    detail_type: String,
    detail: String,
}

/// Source, type and detail of published events, by their keys.
pub type Published = BTreeMap<String, (String, String, Value)>;

impl Services for ProcessorServices {
    fn answer(&self, operation: &str, body: &[u8]) -> Option<Answer> {
        let (answer, step) = match operation {
            "DynamoDB_20120810.UpdateItem" | "DynamoDB_20120810.PutItem" => self.tables.write(body),
            "DynamoDB_20120810.BatchGetItem" => noted(body),
            "AWSEvents.PutEvents" => self.publish(body),
            // Only the start makes this call.
            "AWSEvents.DescribeEventBus" => return bus(body),
            "AmazonSQS.ChangeMessageVisibilityBatch" => hidden(body),
            _ => None,
        }?;
        self.with_plan(|plan| plan.push(step));
        Some(answer)
    }
}

impl ProcessorServices {
    /// Checks that `events` events were published once each, and that all of them were marked.
    ///
    /// # Errors
    ///
    /// Fails with the numbers of events that were claimed, published and marked.
    pub fn verify(&self, events: usize) -> Result<()> {
        let published = self.with_bus(|bus| bus.events);
        let (items, marked) = self.tables.count();
        ensure!(
            [published, items, marked] == [events; 3],
            "of {events} events, {items} were claimed, {published} published, {marked} marked"
        );
        Ok(())
    }

    /// Takes what was published since the last call: `events` events.
    ///
    /// # Errors
    ///
    /// Fails if the number of events is another one, if an event was published twice, or if one
    /// can't be read.
    pub fn take_published(&self, events: usize) -> Result<Published> {
        let mut published = Published::new();
        for entry in self.with_bus(|bus| mem::take(&mut bus.entries)) {
            let detail: Value =
                serde_json::from_str(&entry.detail).context("a published detail is not JSON")?;
            let key = detail.get("key").and_then(Value::as_str);
            let key = key.context("a published detail has no key")?.to_owned();
            ensure!(!published.contains_key(&key), "{key} was published twice");
            published.insert(key, (entry.source, entry.detail_type, detail));
        }
        ensure!(
            published.len() == events,
            "of {events} new events, {} were published",
            published.len()
        );
        Ok(published)
    }

    /// Takes the calls since the last call of this.
    pub fn take_plan(&self) -> Plan {
        self.with_plan(mem::take)
    }

    fn with_plan<T>(&self, work: impl FnOnce(&mut Plan) -> T) -> T {
        work(&mut self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, body: &[u8]) -> Option<(Answer, Step)> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct PutEvents {
            entries: Vec<Entry>,
        }
        let call: PutEvents = serde_json::from_slice(body).ok()?;
        let count = call.entries.len();
        let details = call.entries.iter().map(|entry| entry.detail.len());
        let step = Step::Publish(details.collect());
        let first = self.with_bus(|bus| {
            bus.entries.extend(call.entries);
            bus.events += count;
            bus.events - count
        });
        let entry = |number| json!({"EventId": format!("00000000-0000-0000-0000-{number:012}")});
        let entries: Vec<Value> = (first..first + count).map(entry).collect();
        let answer = json!({"FailedEntryCount": 0, "Entries": entries});
        Some((Answer::ok(answer), step))
    }

    fn with_bus<T>(&self, work: impl FnOnce(&mut Bus) -> T) -> T {
        work(&mut self.bus.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Checks that all sides published the same keys, and the same event under each key.
///
/// # Errors
///
/// Names an event that only one side published, or that a peer published differently.
pub fn ensure_same(all: &Sides<Published>) -> Result<()> {
    let processor = &all.processor;
    for (name, peer) in [("Python", &all.python), ("TypeScript", &all.typescript)] {
        let mut keys = processor.keys().chain(peer.keys());
        if let Some(key) = keys.find(|key| processor.get(*key) != peer.get(*key)) {
            bail!("processor and {name} did not publish the same event under {key}");
        }
    }
    Ok(())
}

/// An answer without any of the notes that are looked up: no callout is known to be a drill.
fn noted(body: &[u8]) -> Option<(Answer, Step)> {
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
    let tables = call.request_items.values();
    let keys: Vec<_> = tables.flat_map(|table| &table.keys).collect();
    let all = keys.iter().all(|key| is_note(key) == Some(true));
    let answer = Answer::ok(json!({"Responses": {}, "UnprocessedKeys": {}}));
    let step = Step::LookUp(u32::try_from(keys.len()).ok()?);
    all.then_some((answer, step))
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

fn hidden(body: &[u8]) -> Option<(Answer, Step)> {
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
    let step = Step::Hide(u32::try_from(entries.len()).ok()?);
    let answer = json!({"Successful": entries, "Failed": []});
    Some((Answer::ok(answer), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(services: &ProcessorServices, call: &Value) {
        let body = call.to_string().into_bytes();
        services
            .answer("DynamoDB_20120810.UpdateItem", &body)
            .unwrap();
    }

    fn publish(services: &ProcessorServices, details: &[&Value]) {
        let entry = |detail: &&Value| json!({"Source": "aura", "DetailType": "NEW_CALLOUT", "Detail": detail.to_string()});
        let entries: Vec<_> = details.iter().map(entry).collect();
        let call = json!({"Entries": entries}).to_string();
        services
            .answer("AWSEvents.PutEvents", call.as_bytes())
            .unwrap();
    }

    fn detail(id: u32) -> Value {
        json!({"key": format!("callout#{id}/NEW_CALLOUT"), "payload": {"callout": {"id": id}}})
    }

    fn published(calls: &[&[&Value]]) -> Published {
        let services = ProcessorServices::default();
        for details in calls {
            publish(&services, details);
        }
        let events = calls.iter().map(|details| details.len()).sum();
        services.take_published(events).unwrap()
    }

    #[test]
    fn an_event_counts_when_it_is_published_once_and_marked() {
        let services = ProcessorServices::default();
        services.verify(0).unwrap();
        let claimed = json!({"id": {"S": "1"}, "status": {"S": "INPROGRESS"}});
        write(
            &services,
            &json!({"Item": claimed, "ConditionExpression": "attribute_not_exists(id)"}),
        );
        publish(&services, &[&detail(1)]);
        services.verify(1).unwrap_err();
        write(
            &services,
            &json!({
                "Key": {"id": {"S": "1"}},
                "UpdateExpression": "SET #status = :status",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {":status": {"S": "COMPLETED"}},
            }),
        );
        services.verify(1).unwrap();
        publish(&services, &[&detail(1)]);
        services.verify(1).unwrap_err();
    }

    #[test]
    fn the_plan_has_the_calls_since_it_was_taken() {
        let services = ProcessorServices::default();
        let claim = |id: &str| json!({"Item": {"id": {"S": id}}, "ConditionExpression": "attribute_not_exists(id)"});
        write(&services, &claim("1"));
        write(&services, &claim("2"));
        write(&services, &claim("1"));
        publish(&services, &[&detail(1), &detail(2)]);
        write(&services, &json!({"Key": {"id": {"S": "1"}}}));
        write(&services, &json!({"Key": {"pk": {"S": "open/1"}}}));
        let bytes = detail(1).to_string().len();
        let expected = vec![
            Step::Claim { new: 2, known: 1 },
            Step::Publish(vec![bytes, bytes]),
            Step::End { marks: 1, notes: 1 },
        ];
        assert_eq!(services.take_plan(), Plan(expected));
        assert_eq!(services.take_plan(), Plan::default());
    }

    #[test]
    fn what_was_published_is_taken_once() {
        let services = ProcessorServices::default();
        publish(&services, &[&detail(1)]);
        assert_eq!(services.take_published(1).unwrap().len(), 1);
        services.take_published(0).unwrap();
        publish(&services, &[&detail(1)]);
        services.take_published(2).unwrap_err();
        services.take_published(1).unwrap_err();
    }

    #[test]
    fn a_key_is_published_once() {
        let services = ProcessorServices::default();
        publish(&services, &[&detail(1), &detail(1)]);
        services.take_published(2).unwrap_err();
        publish(&services, &[&json!({"message": "NEW_CALLOUT"})]);
        services.take_published(1).unwrap_err();
    }

    #[test]
    fn all_publish_the_same_in_whatever_calls() {
        let [one, two] = [detail(1), detail(2)];
        let mut other = two.clone();
        other["payload"] = json!("other");
        let is_same = |processor: &[&[&Value]], peer: &[&[&Value]]| {
            let [processor, same, other] = [processor, processor, peer].map(published);
            let all = |python: &Published, typescript: &Published| Sides {
                processor: processor.clone(),
                python: python.clone(),
                typescript: typescript.clone(),
            };
            let is_same = ensure_same(&all(&other, &same)).is_ok();
            assert_eq!(is_same, ensure_same(&all(&same, &other)).is_ok());
            is_same
        };
        assert!(is_same(&[&[&two, &one]], &[&[&one], &[&two]]));
        assert!(!is_same(&[&[&two, &one]], &[&[&one]]));
        assert!(!is_same(&[], &[&[&one]]));
        assert!(!is_same(&[&[&two]], &[&[&other]]));
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
