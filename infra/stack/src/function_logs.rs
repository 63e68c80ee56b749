//! What the functions logged, as CloudWatch Logs has it.

use anyhow::{Context as _, Result};

use crate::stack::Stack;

/// Every line of one of a stack's functions, in the order of time. `output` is the template's
/// output with the name of the function's log group.
///
/// # Errors
///
/// CloudWatch Logs doesn't answer.
pub async fn lines(stack: &Stack, output: &str) -> Result<Vec<String>> {
    let group = stack.output(output)?;
    let mut pages = stack
        .account()
        .cloudwatchlogs()
        .filter_log_events()
        .log_group_name(group)
        .into_paginator()
        .send();
    let mut lines = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("cannot read log group {group}"))?;
        let events = page.events.unwrap_or_default().into_iter();
        lines.extend(events.filter_map(|event| event.message));
    }
    Ok(lines)
}
