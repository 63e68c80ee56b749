//! What the functions logged, as CloudWatch Logs has it.

use anyhow::{Context as _, Result};
use aws_sdk_cloudwatchlogs::Client;
use local::stack::Stack;

/// The template's outputs with the functions' log groups.
const LOG_GROUPS: [&str; 3] = [
    "IngestLogGroupName",
    "ProcessorLogGroupName",
    "RegistrarLogGroupName",
];

/// Every line of every function, each with its log group in front.
///
/// # Errors
///
/// CloudWatch Logs doesn't answer.
pub async fn all_lines(stack: &Stack) -> Result<Vec<String>> {
    let client = Client::new(stack.account().sdk_config());
    let mut lines = Vec::new();
    for output in LOG_GROUPS {
        let group = stack.output(output)?;
        let mut pages = client
            .filter_log_events()
            .log_group_name(group)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.with_context(|| format!("cannot read log group {group}"))?;
            let messages = page.events.unwrap_or_default().into_iter();
            lines.extend(messages.filter_map(|event| Some(format!("{group} {}", event.message?))));
        }
    }
    Ok(lines)
}
