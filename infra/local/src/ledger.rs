//! The ledger table, as it is.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use aws_sdk_dynamodb::types::AttributeValue;

use crate::stack::Stack;

/// Every item of the ledger.
///
/// # Errors
///
/// DynamoDB doesn't answer.
pub async fn items(stack: &Stack) -> Result<Vec<HashMap<String, AttributeValue>>> {
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
