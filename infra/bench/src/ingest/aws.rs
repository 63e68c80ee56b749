//! Stubs of the AWS services that `ingest` calls: SQS and Secrets Manager.

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::delivery::SECRET;
use crate::aws::{Answer, Aws, Services};

const SEND_MESSAGE: &str = "AmazonSQS.SendMessage";

/// SQS and Secrets Manager.
#[derive(Debug)]
pub struct IngestServices;

impl Services for IngestServices {
    fn answer(&self, operation: &str, body: &[u8]) -> Option<Answer> {
        match operation {
            SEND_MESSAGE => Some(Answer::ok(message_sent())),
            // `ingest` connects with this call before the first delivery.
            "AmazonSQS.GetQueueAttributes" => Some(Answer::ok(json!({"Attributes": {}}))),
            "secretsmanager.GetSecretValue" => Some(secret(body)),
            _ => None,
        }
    }
}

/// Checks that each of `deliveries` messages was sent once, and that no unexpected call was made.
///
/// # Errors
///
/// Fails with the calls that were made instead.
pub fn verify(aws: &Aws<IngestServices>, deliveries: u32) -> Result<()> {
    let sent = aws.calls().get(SEND_MESSAGE).copied().unwrap_or_default();
    let sent = sent.calls;
    ensure!(
        sent == u64::from(deliveries),
        "{deliveries} deliveries became {sent} SendMessage calls"
    );
    aws.ensure_all_expected()
}

/// An answer with any digest, because the SDK doesn't compare it.
fn message_sent() -> Value {
    json!({
        "MD5OfMessageBody": "d41d8cd98f00b204e9800998ecf8427e",
        "MessageId": "019abc00-0000-7000-8000-000000000000",
        "SequenceNumber": "18870000000000000001",
    })
}

/// The current value of the secret. No rotation is under way, so there is no other value.
fn secret(body: &[u8]) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct GetSecretValue {
        secret_id: String,
        version_stage: Option<String>,
    }
    match serde_json::from_slice::<GetSecretValue>(body) {
        Ok(call) if call.version_stage.as_deref().unwrap_or("AWSCURRENT") == "AWSCURRENT" => {
            Answer::ok(json!({
                "ARN": call.secret_id,
                "Name": "webhook",
                "SecretString": SECRET,
                "VersionId": "019abc00-0000-7000-8000-000000000000",
                "VersionStages": ["AWSCURRENT"],
            }))
        }
        _ => Answer::refused(json!({"__type": "ResourceNotFoundException"})),
    }
}
