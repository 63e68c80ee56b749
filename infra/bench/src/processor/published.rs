//! What was published, event by event: figures of two functions compare only if both did the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::function::Side;
use super::series::Both;

/// The events of a series by their keys, each there once.
#[derive(Debug, PartialEq)]
pub struct Published(BTreeMap<String, Event>);

/// An entry of a call, but for its `Time`: that is a fraction of a second more exact on one side,
/// and the detail has it in full.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    source: String,
    detail_type: String,
    detail: String,
}

/// An entry whose detail was read.
#[derive(Debug, PartialEq)]
struct Event {
    source: String,
    detail_type: String,
    /// Key, message, entity, test mark, payload, and where it comes from.
    detail: Value,
}

impl Published {
    /// Reads the bodies of calls of `PutEvents`.
    ///
    /// # Errors
    ///
    /// A body can't be read, an event has no key, or a key was published twice.
    pub fn read(calls: &[Vec<u8>]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct PutEvents {
            entries: Vec<Entry>,
        }
        let mut events = BTreeMap::new();
        for call in calls {
            let call: PutEvents =
                serde_json::from_slice(call).context("a call of PutEvents can't be read")?;
            for entry in call.entries {
                let (key, event) = Event::read(entry)?;
                ensure!(!events.contains_key(&key), "{key} was published twice");
                events.insert(key, event);
            }
        }
        Ok(Self(events))
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Event {
    /// An event and its key.
    fn read(entry: Entry) -> Result<(String, Self)> {
        let detail: Value =
            serde_json::from_str(&entry.detail).context("a published detail is not JSON")?;
        let key = detail.get("key").and_then(Value::as_str);
        let key = key.context("a published detail has no key")?.to_owned();
        let event = Self {
            source: entry.source,
            detail_type: entry.detail_type,
            detail,
        };
        Ok((key, event))
    }
}

impl Both<&Published> {
    /// Checks that both published the same: the same keys, and under each the same event.
    ///
    /// # Errors
    ///
    /// Names an event that only one of them published, or that they published differently.
    pub fn ensure_same(self) -> Result<()> {
        let sides = [
            (Side::Powertools, self.processor, self.powertools),
            (Side::Processor, self.powertools, self.processor),
        ];
        for (side, one, other) in sides {
            for (key, event) in &one.0 {
                let counterpart = other.0.get(key);
                let counterpart = counterpart
                    .with_context(|| format!("{} did not publish {key}", side.name()))?;
                ensure!(event == counterpart, "{key} was published in two ways");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(details: &[&Value]) -> Vec<u8> {
        let entry = |detail: &&Value| {
            json!({
                "EventBusName": "events",
                "Source": "aura",
                "DetailType": "NEW_CALLOUT",
                "Detail": detail.to_string(),
            })
        };
        let entries: Vec<_> = details.iter().map(entry).collect();
        json!({"Entries": entries}).to_string().into_bytes()
    }

    fn detail(id: u32) -> Value {
        json!({
            "key": format!("callout#{id}/NEW_CALLOUT"),
            "message": "NEW_CALLOUT",
            "entity": {"kind": "callout", "id": id.to_string()},
            "test": false,
            "payload": {"message": "NEW_CALLOUT", "callout": {"id": id}},
        })
    }

    fn same(processor: &[Vec<u8>], powertools: &[Vec<u8>]) -> Result<()> {
        let both = Both {
            processor: Published::read(processor)?,
            powertools: Published::read(powertools)?,
        };
        both.as_ref().ensure_same()
    }

    #[test]
    fn a_key_is_published_once() {
        let [one, two] = [detail(1), detail(2)];
        let read = Published::read(&[call(&[&one]), call(&[&two])]);
        assert_eq!(read.unwrap().len(), 2);
        Published::read(&[call(&[&one, &one])]).unwrap_err();
        Published::read(&[call(&[&one]), call(&[&one])]).unwrap_err();
        Published::read(&[call(&[&json!({"message": "NEW_CALLOUT"})])]).unwrap_err();
    }

    #[test]
    fn how_events_are_put_into_calls_makes_no_difference() {
        let [one, two] = [detail(1), detail(2)];
        same(&[call(&[&two, &one])], &[call(&[&one]), call(&[&two])]).unwrap();
    }

    #[test]
    fn an_event_of_one_side_alone_is_an_error() {
        let [one, two] = [detail(1), detail(2)];
        let error = same(&[call(&[&one, &two])], &[call(&[&one])]).unwrap_err();
        let expected = "powertools did not publish callout#2/NEW_CALLOUT";
        assert_eq!(error.to_string(), expected);
        let error = same(&[], &[call(&[&one])]).unwrap_err();
        let expected = "processor did not publish callout#1/NEW_CALLOUT";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn every_field_of_a_detail_counts() {
        let one = detail(1);
        for field in ["message", "entity", "test", "payload"] {
            let mut other = one.clone();
            other[field] = json!("other");
            same(&[call(&[&one])], &[call(&[&other])]).unwrap_err();
            other.as_object_mut().unwrap().remove(field);
            same(&[call(&[&one])], &[call(&[&other])]).unwrap_err();
        }
    }
}
