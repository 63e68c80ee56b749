//! What the functions logged, as CloudWatch Logs has it.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use aws_sdk_cloudwatchlogs::Client;
use local::stack::Stack;
use serde::Deserialize;

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
    let mut lines = Vec::new();
    for output in LOG_GROUPS {
        let group = stack.output(output)?;
        let messages = messages(stack, group).await?.into_iter();
        lines.extend(messages.map(|message| format!("{group} {message}")));
    }
    Ok(lines)
}

/// How many messages the processor says it got from the ingest queue, each counted once however
/// often it came.
///
/// # Errors
///
/// CloudWatch Logs doesn't answer.
pub async fn processed(stack: &Stack) -> Result<usize> {
    let lines = messages(stack, stack.output("ProcessorLogGroupName")?).await?;
    let batches = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Batch>(line).ok());
    let ids: HashSet<_> = batches
        .flat_map(|batch| batch.outcomes)
        .filter_map(|outcome| Some(outcome.split_once(' ')?.0.to_owned()))
        .collect();
    Ok(ids.len())
}

/// The processor's line for a batch. An outcome begins with the message's id.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Outcomes")]
    outcomes: Vec<String>,
}

async fn messages(stack: &Stack, group: &str) -> Result<Vec<String>> {
    let mut pages = Client::new(stack.account().sdk_config())
        .filter_log_events()
        .log_group_name(group)
        .into_paginator()
        .send();
    let mut messages = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("cannot read log group {group}"))?;
        let events = page.events.unwrap_or_default().into_iter();
        messages.extend(events.filter_map(|event| event.message));
    }
    Ok(messages)
}
