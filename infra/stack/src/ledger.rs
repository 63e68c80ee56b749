//! Reads the items of the ledger table.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::AttributeValue;

use crate::stack::Stack;

/// An item of the table: its attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// The prefix of the partition keys of canaries.
const CANARIES: &str = "canary#";

/// All events in the ledger, without canaries (the registrar's own deliveries) and without items that
/// are not events.
///
/// # Errors
///
/// DynamoDB doesn't answer.
pub async fn items(stack: &Stack) -> Result<Vec<Item>> {
    let items = all(stack).await?.into_iter();
    Ok(items.filter(is_event).collect())
}

/// All canaries in the ledger.
///
/// # Errors
///
/// DynamoDB doesn't answer.
pub async fn canaries(stack: &Stack) -> Result<Vec<Item>> {
    let items = all(stack).await?.into_iter();
    Ok(items.filter(is_canary).collect())
}

async fn all(stack: &Stack) -> Result<Vec<Item>> {
    let table = stack.output("LedgerTableName")?;
    let mut pages = stack
        .account()
        .dynamodb()
        .scan()
        .table_name(table)
        .into_paginator()
        .items()
        .send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        items.push(item.context("cannot read the ledger")?);
    }
    Ok(items)
}

fn is_canary(item: &Item) -> bool {
    partition(item).starts_with(CANARIES)
}

/// Whether an item is an event: its partition key is an entity's key, which contains a `#`.
fn is_event(item: &Item) -> bool {
    partition(item).contains('#') && !is_canary(item)
}

fn partition(item: &Item) -> &str {
    let partition = item.get("pk").and_then(|partition| partition.as_s().ok());
    partition.map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_and_other_items_are_not_events() {
        let item = |partition: &str| {
            let partition = AttributeValue::S(partition.to_owned());
            HashMap::from([("pk".to_owned(), partition)])
        };
        assert!(is_canary(&item("canary#0197")));
        for partition in ["callout#canary#1", "canaries#1", "callout#5003"] {
            assert!(is_event(&item(partition)), "{partition}");
        }
        for partition in [
            "canary#0197",
            "open/3",
            "spill/3",
            "note/3",
            "line",
            "reconciler",
        ] {
            assert!(!is_event(&item(partition)), "{partition}");
        }
    }
}
