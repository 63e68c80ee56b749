//! What CloudFormation is told, and how it is sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The resource's id. It never changes: another id would make CloudFormation delete the old
/// resource after an update.
pub const PHYSICAL_RESOURCE_ID: &str = "aura-webhook";

/// The id of a resource that was never made, because AURA was not asked or has refused: its
/// deletion has nothing to take back.
pub const NOT_REGISTERED: &str = "aura-webhook-not-registered";

/// CloudFormation takes an answer of 4,096 bytes; a reason is cut, as JSON, to leave room for the
/// rest.
const MAX_REASON_BYTES: usize = 2400;

/// How often the answer is sent before giving up. Without it CloudFormation waits in vain.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// Time for one attempt.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The answer's body, as CloudFormation documents it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Answer {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    physical_resource_id: String,
    stack_id: String,
    request_id: String,
    logical_resource_id: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Success,
    Failed,
}

/// Which request an answer is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestIds {
    /// The stack.
    pub stack_id: String,
    /// The request.
    pub request_id: String,
    /// The resource's name in the template.
    pub logical_resource_id: String,
}

/// CloudFormation didn't take the answer. The URL is a secret and is not in the message.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No answer to our answer.
    #[error("CloudFormation could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The answer can't be written as JSON.
    #[error("the answer can't be written")]
    Unwritable(#[from] serde_json::Error),
    /// A refusal.
    #[error("CloudFormation refused the answer with {0}")]
    Refused(reqwest::StatusCode),
}

impl Answer {
    /// The answer to a request: the resource's id, and its data or the reason why it failed.
    #[must_use]
    pub fn new(
        ids: RequestIds,
        physical_resource_id: String,
        outcome: Result<Value, String>,
    ) -> Self {
        let (status, reason, data) = match outcome {
            Ok(data) => (Status::Success, None, data),
            Err(reason) => (
                Status::Failed,
                Some(cut(&reason, MAX_REASON_BYTES).to_owned()),
                Value::Null,
            ),
        };
        Self {
            status,
            reason,
            physical_resource_id,
            stack_id: ids.stack_id,
            request_id: ids.request_id,
            logical_resource_id: ids.logical_resource_id,
            data,
        }
    }

    /// Sends the answer to the `ResponseURL`, several times if need be.
    ///
    /// # Errors
    ///
    /// The last attempt's, when none was taken.
    pub async fn send(&self, http: &reqwest::Client, response_url: &str) -> Result<(), SendError> {
        let body = serde_json::to_vec(self)?;
        let mut attempt = 1;
        loop {
            match put(http, response_url, body.clone()).await {
                Err(error) if attempt < ATTEMPTS => {
                    tracing::warn!(attempt, %error, "answer not sent, trying again");
                }
                settled => return settled,
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }
}

/// The beginning of a text that has so many bytes as JSON at most.
#[must_use]
pub fn cut(text: &str, most: usize) -> &str {
    let mut bytes = 0;
    let too_long = text.char_indices().find(|(_, character)| {
        bytes += match character {
            '"' | '\\' => 2,
            // As JSON writes them: \u001f.
            control if control.is_control() => 6,
            other => other.len_utf8(),
        };
        bytes > most
    });
    let end = too_long.map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

async fn put(http: &reqwest::Client, url: &str, body: Vec<u8>) -> Result<(), SendError> {
    // The URL is presigned for no content type, so none may be sent.
    let response = http
        .put(url)
        .timeout(TIMEOUT)
        .body(body)
        .send()
        .await
        .map_err(|error| SendError::Unreachable(error.without_url()))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(SendError::Refused(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> RequestIds {
        RequestIds {
            stack_id: "arn:stack".into(),
            request_id: "r-1".into(),
            logical_resource_id: "AuraWebhook".into(),
        }
    }

    #[test]
    fn a_success_carries_data_and_no_reason() {
        let data = serde_json::json!({"Canary": "published"});
        let answer = Answer::new(ids(), PHYSICAL_RESOURCE_ID.into(), Ok(data));
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["Status"], "SUCCESS");
        assert_eq!(json["Data"]["Canary"], "published");
        assert_eq!(json["PhysicalResourceId"], PHYSICAL_RESOURCE_ID);
        assert!(json.get("Reason").is_none());
    }

    #[test]
    fn a_failure_stays_within_cloudformations_limit() {
        for character in ["a", "ü", "\"", "\u{1}"] {
            let answer = Answer::new(ids(), "id".into(), Err(character.repeat(5000)));
            let bytes = serde_json::to_vec(&answer).unwrap().len();
            assert!((2000..=4096).contains(&bytes), "{bytes}");
        }
    }
}
