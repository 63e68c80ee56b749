//! The AWS services as one function sees them: each call is answered at once and in the fewest
//! words, so that what is measured is the function. One for each function, so that calls can be
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::delivery::SECRET;
use crate::server::Server;

/// SQS and Secrets Manager, at one endpoint.
#[derive(Debug)]
pub struct Aws {
    server: Server,
    calls: Arc<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    sent: AtomicU32,
    unexpected: AtomicU32,
}

impl Aws {
    /// Starts them on a free port.
    ///
    /// # Errors
    ///
    /// The loopback address can't be listened on.
    pub async fn start() -> Result<Self> {
        let calls = Arc::new(Calls::default());
        let router = Router::new()
            .route("/", post(answer))
            .with_state(calls.clone());
        Ok(Self {
            server: Server::start(router).await?,
            calls,
        })
    }

    /// Their endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Checks that `deliveries` messages were sent, each once, and nothing else was called that
    /// a delivery has no need of.
    ///
    /// # Errors
    ///
    /// Says what was called instead.
    pub fn verify(&self, deliveries: u32) -> Result<()> {
        let sent = self.calls.sent.load(Ordering::SeqCst);
        let unexpected = self.calls.unexpected.load(Ordering::SeqCst);
        ensure!(
            sent == deliveries && unexpected == 0,
            "{deliveries} deliveries became {sent} SendMessage calls, and {unexpected} calls that \
             a delivery has no need of"
        );
        Ok(())
    }
}

async fn answer(State(calls): State<Arc<Calls>>, headers: HeaderMap, body: String) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    match target {
        "AmazonSQS.SendMessage" => {
            calls.sent.fetch_add(1, Ordering::SeqCst);
            said(StatusCode::OK, &message_sent())
        }
        // How ingest connects before the first delivery.
        "AmazonSQS.GetQueueAttributes" => said(StatusCode::OK, &json!({"Attributes": {}})),
        "secretsmanager.GetSecretValue" => secret(&body),
        _ => {
            eprintln!("unexpected call to AWS: {target}");
            calls.unexpected.fetch_add(1, Ordering::SeqCst);
            said(
                StatusCode::BAD_REQUEST,
                &json!({"__type": "UnknownOperationException"}),
            )
        }
    }
}

/// The SDK doesn't compare the digest, so any will do.
fn message_sent() -> Value {
    json!({
        "MD5OfMessageBody": "d41d8cd98f00b204e9800998ecf8427e",
        "MessageId": "019abc00-0000-7000-8000-000000000000",
        "SequenceNumber": "18870000000000000001",
    })
}

/// The current value; no rotation is under way, so there is no other.
fn secret(body: &str) -> Response {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct GetSecretValue {
        secret_id: String,
        version_stage: Option<String>,
    }
    match serde_json::from_str::<GetSecretValue>(body) {
        Ok(call) if call.version_stage.as_deref().unwrap_or("AWSCURRENT") == "AWSCURRENT" => {
            let answer = json!({
                "ARN": call.secret_id,
                "Name": "webhook",
                "SecretString": SECRET,
                "VersionId": "019abc00-0000-7000-8000-000000000000",
                "VersionStages": ["AWSCURRENT"],
            });
            said(StatusCode::OK, &answer)
        }
        _ => said(
            StatusCode::BAD_REQUEST,
            &json!({"__type": "ResourceNotFoundException"}),
        ),
    }
}

fn said(status: StatusCode, body: &Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (status, content_type, body.to_string()).into_response()
}
