//! Reads what the functions logged.

use std::collections::HashSet;

use anyhow::Result;
use serde::Deserialize;
use stack::function_logs;
use stack::stack::Stack;

/// Outputs of the template that name the functions' log groups.
const LOG_GROUPS: [&str; 4] = [
    "IngestLogGroupName",
    "ProcessorLogGroupName",
    "RegistrarLogGroupName",
    "ReconcilerLogGroupName",
];

/// Every line of every function, each after the name of its log group.
///
/// # Errors
///
/// Fails if CloudWatch Logs doesn't answer.
pub async fn all_lines(stack: &Stack) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for output in LOG_GROUPS {
        let group = stack.output(output)?;
        let its = function_logs::lines(stack, output).await?.into_iter();
        lines.extend(its.map(|line| format!("{group} {line}")));
    }
    Ok(lines)
}

/// Number of messages that the processor logged as received from the ingest queue. A message that
/// came several times counts once. The canary of each deployment is one of them.
///
/// # Errors
///
/// Fails if CloudWatch Logs doesn't answer.
pub async fn processed(stack: &Stack) -> Result<usize> {
    let lines = function_logs::lines(stack, "ProcessorLogGroupName").await?;
    let batches = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Batch>(line).ok());
    let ids: HashSet<_> = batches
        .flat_map(|batch| batch.outcomes)
        .filter_map(|outcome| Some(outcome.split_once(' ')?.0.to_owned()))
        .collect();
    Ok(ids.len())
}

/// The processor's log line for a batch. Each outcome begins with the message's id.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Outcomes")]
    outcomes: Vec<String>,
}
