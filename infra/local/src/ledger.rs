//! The ledger table, as it is.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::AttributeValue;

use crate::stack::Stack;

/// An item, by its attributes' names.
pub type Item = HashMap<String, AttributeValue>;

/// How the partitions of canaries begin.
const CANARIES: &str = "canary#";

/// Every event of the ledger. Canaries, the registrar's own deliveries, are none.
///
/// # Errors
///
/// DynamoDB doesn't answer.
pub async fn items(stack: &Stack) -> Result<Vec<Item>> {
    let items = all(stack).await?.into_iter();
    Ok(items.filter(|item| !is_canary(item)).collect())
}

/// Every canary of the ledger.
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
    let partition = item.get("pk").and_then(|partition| partition.as_s().ok());
    partition.is_some_and(|partition| partition.starts_with(CANARIES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_no_event() {
        let item = |partition: &str| {
            let partition = AttributeValue::S(partition.to_owned());
            HashMap::from([("pk".to_owned(), partition)])
        };
        assert!(is_canary(&item("canary#0197")));
        for partition in ["callout#canary#1", "canary", "canaries#1", "callout#5003"] {
            assert!(!is_canary(&item(partition)), "{partition}");
        }
    }
}
