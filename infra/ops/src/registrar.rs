//! Invokes the registrar, and waits for its answer.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::config::Builder;
use aws_sdk_lambda::primitives::Blob;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::aws::CallError;

use crate::stack::Stack;

/// The payload of Lambda's answer if the function failed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    error_message: String,
}

/// Invokes the registrar with an event, once, and waits for its answer for at most `patience`.
///
/// # Errors
///
/// Lambda doesn't run the registrar, or the registrar fails. Then the error is the registrar's own.
pub(crate) async fn invoke<T: DeserializeOwned>(
    stack: &Stack,
    event: &impl Serialize,
    patience: Duration,
) -> Result<T> {
    let answer = client(stack, patience)
        .invoke()
        .function_name(stack.output("RegistrarFunctionName")?)
        .payload(Blob::new(serde_json::to_vec(event)?))
        .send()
        .await
        .map_err(CallError::of("registrar", "Invoke"))?;
    let payload = answer.payload.unwrap_or_else(|| Blob::new([]));
    if let Some(kind) = answer.function_error {
        let failure: Option<Failure> = serde_json::from_slice(payload.as_ref()).ok();
        bail!(failure.map_or(kind, |failure| failure.error_message));
    }
    serde_json::from_slice(payload.as_ref()).context(
        "the registrar's answer can't be read: the stack is of another version than this command",
    )
}

/// A client that calls once. A second call would have the registrar work twice.
fn client(stack: &Stack, patience: Duration) -> Client {
    let timeouts = TimeoutConfig::builder().operation_timeout(patience).build();
    let config = Builder::from(stack.sdk())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        // The answer comes when the work is done. Until then the connection is silent.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}
