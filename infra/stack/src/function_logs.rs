//! Reads what the functions logged, from CloudWatch Logs.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;

use crate::boto;
use crate::stack::Stack;

#[derive(Deserialize)]
struct LogEvents {
    events: Vec<LogEvent>,
}

#[derive(Deserialize)]
struct LogEvent {
    message: String,
}

/// All log lines of one function of a stack, in the order of time. `output` is the template's output
/// with the name of the function's log group.
///
/// # Errors
///
/// The stack has no such output, or CloudWatch Logs doesn't answer.
pub async fn lines(stack: &Stack, output: &str) -> Result<Vec<String>> {
    matching(stack, output, "").await
}

/// The lines of [`lines`] that a filter pattern of CloudWatch Logs matches.
///
/// # Errors
///
/// As for [`lines`].
pub async fn matching(stack: &Stack, output: &str, pattern: &str) -> Result<Vec<String>> {
    let group = stack.output(output)?;
    let arguments = json!({"logGroupName": group, "filterPattern": pattern});
    let LogEvents { events } = boto::call(stack.account(), "logs", "filter_log_events", arguments)
        .await
        .with_context(|| format!("cannot read log group {group}"))?;
    Ok(events.into_iter().map(|event| event.message).collect())
}
