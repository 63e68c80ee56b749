//! Healing: the registrar is asked to register the endpoint with AURA again.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::operation::invoke::InvokeError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use shared::aws;
use shared::reregister::ReregisterRequest;
use uuid::Uuid;

/// The registrar.
#[derive(Debug)]
pub struct Healing {
    /// Invokes it.
    pub lambda: Client,
    /// Its name.
    pub function: String,
}

/// The registrar can't be asked to register the endpoint again.
#[derive(Debug, thiserror::Error)]
pub enum HealingError {
    /// Lambda has not taken the request.
    #[error("the registrar can't be asked to register the endpoint again: {}", aws::describe(.0))]
    Invoke(#[from] Box<SdkError<InvokeError>>),
    /// The request can't be written as JSON.
    #[error("the registrar can't be asked to register the endpoint again: {0}")]
    Json(#[from] serde_json::Error),
}

impl Healing {
    /// Asks for it, and doesn't wait: the registrar proves the endpoint first, and its own log and
    /// alarm tell what came of it.
    ///
    /// # Errors
    ///
    /// Lambda has not taken the request.
    pub async fn begin(&self) -> Result<(), HealingError> {
        let request_id = Uuid::now_v7();
        let request = serde_json::to_vec(&ReregisterRequest::Reregister { request_id })?;
        self.lambda
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(request))
            .send()
            .await
            .map_err(Box::new)?;
        tracing::warn!(%request_id, "the endpoint is to be registered again");
        Ok(())
    }
}
