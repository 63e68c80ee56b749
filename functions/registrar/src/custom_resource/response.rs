//! Makes the response to CloudFormation and sends it.

use std::time::Duration;

use lambda_runtime::Error;
use reqwest::Client;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CustomResourceRequest, RequestType};
use crate::journal::{Journal, JournalEntry, RegistrationStep};

/// The physical id of a registered resource. It never changes: another id would make CloudFormation
/// delete the old resource after an update.
pub const PHYSICAL_RESOURCE_ID: &str = "aura-webhook";

/// The physical id of a resource that was never registered, because the registrar didn't call AURA
/// or AURA refused. There is nothing to undo when it is deleted.
pub const NOT_REGISTERED: &str = "aura-webhook-not-registered";

/// Advice for a deployment that failed after AURA may have changed its registration.
const CHANGED_HINT: &str = "AURA may deliver to this endpoint now: after the rollback of the \
    deployment, check whether it still does";

/// Advice for a failed deletion of the stack.
const DELETE_HINT: &str = "AURA still delivers to this stack. Mend the cause and delete the stack \
    again, or delete it with --retain-resources AuraWebhook and tell AURA";

/// Limits, in bytes of JSON, of the reason, of each step's outcome, and of the summary of all
/// steps. CloudFormation accepts a response of at most 4,096 bytes, and AURA's error texts may be
/// long.
const MAX_REASON_BYTES: usize = 2400;
const MAX_STEP_BYTES: usize = 300;
const MAX_SUMMARY_BYTES: usize = 1200;

/// Number of attempts to send the response, and the first pause. Without a response, CloudFormation
/// waits until its timeout.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// Time limit of one attempt.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The response's body, as CloudFormation documents it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CustomResourceResponse {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    physical_resource_id: String,
    #[serde(flatten)]
    ids: RequestIds,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Success,
    Failed,
}

/// The ids that tell CloudFormation which request a response answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RequestIds {
    /// ARN of the stack.
    pub stack_id: String,
    /// Id of the request.
    pub request_id: String,
    /// The resource's name in the template.
    pub logical_resource_id: String,
}

impl CustomResourceRequest {
    /// Adds advice to the reason of a failure.
    #[must_use]
    pub fn with_hints(&self, reason: String, journal: &Journal) -> String {
        match self.kind {
            RequestType::Delete => format!("{reason}. {DELETE_HINT}"),
            _ if journal.aura_may_have_changed() => format!("{reason}. {CHANGED_HINT}"),
            _ => reason,
        }
    }

    /// Makes the response after the work has ended. It holds each step's outcome, or the reason of
    /// the failure.
    #[must_use]
    pub fn response(
        &self,
        outcome: Result<(), String>,
        journal: &Journal,
    ) -> CustomResourceResponse {
        let is_made = self.is_made() || journal.aura_may_have_changed();
        let id = match (self.kind, &outcome, &self.physical_resource_id) {
            (RequestType::Create | RequestType::Update, Ok(()), _) => PHYSICAL_RESOURCE_ID,
            (RequestType::Update | RequestType::Delete, _, Some(id)) => id,
            _ if is_made => PHYSICAL_RESOURCE_ID,
            _ => NOT_REGISTERED,
        };
        let outcome = outcome.map(|()| data(journal));
        CustomResourceResponse::new(self.ids.clone(), id, outcome)
    }
}

impl CustomResourceResponse {
    /// Makes a response with the resource's id, and with its data or the reason of the failure.
    fn new(ids: RequestIds, physical_resource_id: &str, outcome: Result<Value, String>) -> Self {
        let (status, reason, data) = match outcome {
            Ok(data) => (Status::Success, None, data),
            Err(reason) => {
                let reason = cut(&reason, MAX_REASON_BYTES).to_owned();
                (Status::Failed, Some(reason), Value::Null)
            }
        };
        Self {
            status,
            reason,
            physical_resource_id: physical_resource_id.to_owned(),
            ids,
            data,
        }
    }

    /// Sends the response to the request's `ResponseURL`, with retries. Returns the error of the
    /// last attempt. The error doesn't contain the URL, which is a secret.
    pub async fn send(&self, http: &Client, request: &CustomResourceRequest) -> Result<(), Error> {
        let body = serde_json::to_vec(self)?;
        let url = request.response_url.expose_secret();
        let mut attempt = 1;
        loop {
            match put(http, url, body.clone()).await {
                Err(error) if attempt < ATTEMPTS => {
                    tracing::warn!(
                        attempt,
                        %error,
                        "response to CloudFormation not sent, trying again"
                    );
                }
                settled => return settled,
            }
            tokio::time::sleep(PAUSE * attempt).await;
            attempt += 1;
        }
    }
}

/// Makes the resource's attributes: the outcome of each step. Every attribute is always present,
/// because a `GetAtt` of a missing one fails the stack.
fn data(journal: &Journal) -> Value {
    let entries = journal.entries();
    let each = RegistrationStep::ALL.map(|step| {
        let entry = entries.iter().find(|entry| entry.step == step);
        let told = entry.map_or_else(|| "not done".to_owned(), JournalEntry::told);
        (step.name().to_owned(), cut(&told, MAX_STEP_BYTES).into())
    });
    let summary = journal.lines().join("; ");
    let summary = cut(&summary, MAX_SUMMARY_BYTES);
    let summary = ("Summary".to_owned(), summary.into());
    Value::Object(each.into_iter().chain([summary]).collect())
}

/// Cuts a text after at most `most` bytes, counted as JSON.
fn cut(text: &str, most: usize) -> &str {
    let mut bytes = 0;
    let too_long = text.char_indices().find(|(_, character)| {
        bytes += match character {
            '"' | '\\' => 2,
            // JSON writes a control character as six characters, such as \u001f.
            control if control.is_control() => 6,
            other => other.len_utf8(),
        };
        bytes > most
    });
    let end = too_long.map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or_default()
}

async fn put(http: &Client, url: &str, body: Vec<u8>) -> Result<(), Error> {
    // The URL is presigned without a content type, so the request must not send one.
    let sent = http.put(url).timeout(TIMEOUT).body(body).send().await;
    match sent.map_err(reqwest::Error::without_url)?.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("CloudFormation refused the response with {status}").into()),
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
        let answer = CustomResourceResponse::new(ids(), PHYSICAL_RESOURCE_ID, Ok(data));
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["Status"], "SUCCESS");
        assert_eq!(json["Data"]["Canary"], "published");
        assert_eq!(json["PhysicalResourceId"], PHYSICAL_RESOURCE_ID);
        assert!(json.get("Reason").is_none());
    }

    #[test]
    fn a_failure_stays_within_cloudformations_limit() {
        for character in ["a", "ü", "\"", "\u{1}"] {
            let answer = CustomResourceResponse::new(ids(), "id", Err(character.repeat(5000)));
            let bytes = serde_json::to_vec(&answer).unwrap().len();
            assert!((2000..=4096).contains(&bytes), "{bytes}");
        }
    }

    #[tokio::test]
    async fn an_answer_stays_within_cloudformations_limit_however_much_there_is_to_say() {
        let journal = Journal::default();
        for step in RegistrationStep::ALL {
            let work = async { Ok::<_, String>(()) };
            let told = |(): &()| "\"EVENT\u{1}".repeat(1000);
            journal.step(step, work, told).await.unwrap();
        }
        let ids = RequestIds {
            stack_id: "s".repeat(200),
            request_id: "r".repeat(36),
            logical_resource_id: "AuraWebhook".into(),
        };
        let answer = CustomResourceResponse::new(ids, PHYSICAL_RESOURCE_ID, Ok(data(&journal)));
        let bytes = serde_json::to_vec(&answer).unwrap().len();
        assert!((2500..=4096).contains(&bytes), "{bytes}");
    }
}
