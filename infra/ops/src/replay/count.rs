//! How many events a replay will send, by the ledger.

use std::collections::HashMap;

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::Value;
use shared::aws::CallError;
use shared::envelope::Origin;
use shared::ledger::{Item, ItemAttribute, PUBLISHED, occurrences};

use super::pattern::{Facts, takes};
use crate::stack::Stack;
use crate::timeline::message_of;

/// How many parts of the table are read at once.
const SEGMENTS: i32 = 4;

/// How many published events there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// How many the rule takes.
    pub(super) taken: usize,
    /// How many it may take: its pattern asks for what the ledger doesn't know, such as the payload.
    pub(super) perhaps: usize,
}

/// Reads the whole ledger, and counts the published events that arrived from `from` until `to`, without
/// `to`, and that a rule with this pattern takes in the replay of this name.
///
/// # Errors
///
/// DynamoDB refuses a call.
pub(super) async fn count(
    stack: &Stack,
    (from, to): (Timestamp, Timestamp),
    pattern: &Value,
    name: &str,
) -> Result<Count> {
    let segments = (0..SEGMENTS).map(async |segment| {
        let scan = stack.dynamodb().scan().table_name(stack.table()?);
        let scan = scan.segment(segment).total_segments(SEGMENTS);
        let mut items = scan.consistent_read(true).into_paginator().items().send();
        let mut count = Count::default();
        while let Some(item) = items.next().await {
            let item = item.map_err(CallError::of("ledger", "Scan"))?;
            count.add(&item, from..to, pattern, name);
        }
        anyhow::Ok(count)
    });
    let counts = Box::pin(try_join_all(segments)).await?;
    let sum = |sum: Count, one: Count| Count {
        taken: sum.taken + one.taken,
        perhaps: sum.perhaps + one.perhaps,
    };
    Ok(counts.into_iter().fold(Count::default(), sum))
}

impl Count {
    /// Counts the events of an item of the table.
    fn add(
        &mut self,
        item: &HashMap<String, AttributeValue>,
        span: std::ops::Range<Timestamp>,
        pattern: &Value,
        replay_name: &str,
    ) {
        // Only an entity's key has a `#`. Other items hold no event.
        let partition = item.get("pk").and_then(|key| key.as_s().ok());
        let Some((kind, id)) = partition.and_then(|partition| partition.split_once('#')) else {
            return;
        };
        for (sort, event) in occurrences(item) {
            // The archive has no canaries.
            if !is_published_within(&event, &span) || event.is_of(Origin::Canary) {
                continue;
            }
            let message = message_of(&sort, &event);
            let facts = Facts {
                message: as_it_is(&message),
                kind: as_it_is(kind),
                id: as_it_is(id),
                origin: event.text(ItemAttribute::Origin).ok(),
                replay_name: Some(replay_name),
            };
            match takes(pattern, &facts) {
                Some(true) => self.taken += 1,
                Some(false) => {}
                None => self.perhaps += 1,
            }
        }
    }
}

/// Whether the event was published, and arrived within this time. EventBridge knows times to the second.
fn is_published_within(event: &Item, span: &std::ops::Range<Timestamp>) -> bool {
    let arrived = event.time(ItemAttribute::ReceivedAt).ok();
    let second = arrived.and_then(|at| Timestamp::from_second(at.as_second()).ok());
    event.text(ItemAttribute::State) == Ok(PUBLISHED) && second.is_some_and(|at| span.contains(&at))
}

/// A part of a key, if it stands there as it is in the event: not percent-encoded.
fn as_it_is(part: &str) -> Option<&str> {
    (!part.contains('%')).then_some(part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_published_occurrence_within_the_time_counts() {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let number = |number: i64| AttributeValue::N(number.to_string());
        let item = |kind: &str| {
            HashMap::from(
                [
                    ("pk", text(&format!("{kind}#1"))),
                    ("sk", text("CALLOUT_OWNED#d")),
                    ("state", text(PUBLISHED)),
                    ("digest", text("d")),
                    ("receivedAt", number(10_999)),
                    ("state_2", text(PUBLISHED)),
                    ("digest_2", text("d")),
                    ("occurrence_2", number(2)),
                    ("receivedAt_2", number(20_000)),
                    ("state_3", text("CLAIMED")),
                    ("receivedAt_3", number(15_000)),
                    ("state_4", text(PUBLISHED)),
                    ("digest_4", text("d")),
                    ("occurrence_4", number(4)),
                    ("receivedAt_4", number(15_000)),
                    ("origin_4", text("canary")),
                ]
                .map(|(name, value)| (name.to_owned(), value)),
            )
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let count = |kind, from, to, pattern: Value| {
            let mut count = Count::default();
            count.add(&item(kind), at(from)..at(to), &pattern, "a");
            (count.taken, count.perhaps)
        };
        let owned =
            json!({"detail-type": ["CALLOUT_OWNED"], "detail": {"entity": {"kind": ["callout"]}}});
        assert_eq!(count("callout", 10, 21, owned.clone()), (2, 0));
        assert_eq!(count("callout", 11, 20, owned.clone()), (0, 0));
        assert_eq!(count("callout", 10, 20, owned.clone()), (1, 0));
        assert_eq!(count("customer", 10, 21, owned.clone()), (0, 0));
        assert_eq!(count("call%23out", 10, 21, owned), (0, 2));
        assert_eq!(
            count("callout", 10, 21, json!({"detail": {"test": [true]}})),
            (0, 2)
        );
    }
}
