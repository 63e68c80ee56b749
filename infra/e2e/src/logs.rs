//! Reads what the functions logged.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
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
    let tries = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Try>(line).ok());
    let ids: HashSet<_> = tries.map(|one| one.message_id).collect();
    Ok(ids.len())
}

/// What the logs tell of one delivery.
#[derive(Debug, PartialEq, Eq)]
pub struct Trail {
    /// How `ingest` answered it.
    pub answer: String,
    /// SQS's id of the message in which `ingest` stored it.
    pub message_id: Option<String>,
    /// Each try of the processor, in the order of time.
    pub tries: Vec<Try>,
}

/// What the processor logged of a record.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Try {
    /// SQS's id of the message.
    pub message_id: String,
    /// The event's name, or `other`.
    pub message: Option<String>,
    /// What became of the record.
    pub outcome: String,
}

/// The trail of a delivery, by the id that `ingest` answered.
///
/// # Errors
///
/// Fails if CloudWatch Logs doesn't answer, or if `ingest` has not logged the delivery exactly once.
pub async fn trail(stack: &Stack, delivery_id: &str) -> Result<Trail> {
    let mut answers: Vec<Answered> = of_delivery(stack, "IngestLogGroupName", delivery_id).await?;
    let answered = answers
        .pop()
        .context("ingest has not logged the delivery")?;
    ensure!(answers.is_empty(), "ingest has logged the delivery twice");
    Ok(Trail {
        answer: answered.answer,
        message_id: answered.message_id,
        tries: of_delivery(stack, "ProcessorLogGroupName", delivery_id).await?,
    })
}

/// The lines of a function in which the field `DeliveryId` has this value.
async fn of_delivery<T: DeserializeOwned>(
    stack: &Stack,
    output: &str,
    delivery_id: &str,
) -> Result<Vec<T>> {
    let lines = function_logs::lines(stack, output).await?;
    let lines = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok());
    let its = lines.filter(|line: &Value| line["DeliveryId"] == delivery_id);
    Ok(its.map(serde_json::from_value).collect::<Result<_, _>>()?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answered {
    answer: String,
    message_id: Option<String>,
}
