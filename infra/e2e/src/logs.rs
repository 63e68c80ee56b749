//! What the functions logged, as tests look at it.

use std::collections::HashSet;

use anyhow::Result;
use serde::Deserialize;
use stack::function_logs;
use stack::stack::Stack;

/// The template's outputs with the functions' log groups.
const LOG_GROUPS: [&str; 4] = [
    "IngestLogGroupName",
    "ProcessorLogGroupName",
    "RegistrarLogGroupName",
    "ReconcilerLogGroupName",
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
        let its = function_logs::lines(stack, output).await?.into_iter();
        lines.extend(its.map(|line| format!("{group} {line}")));
    }
    Ok(lines)
}

/// How many messages the processor says it got from the ingest queue, each counted once however
/// often it came. The canary of each deployment is one of them.
///
/// # Errors
///
/// CloudWatch Logs doesn't answer.
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

/// The processor's line for a batch. An outcome begins with the message's id.
#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Outcomes")]
    outcomes: Vec<String>,
}
