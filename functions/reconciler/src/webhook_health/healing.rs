//! Heals the webhook: asks the registrar to register the endpoint with AURA again.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::SdkError;
use aws_sdk_lambda::operation::invoke::InvokeError;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use shared::aws::CallError;
use shared::reregister::ReregisterRequest;
use uuid::Uuid;

/// Asks the registrar to register the endpoint again.
#[derive(Debug)]
pub struct Healing {
    /// Client of Lambda.
    pub lambda: Client,
    /// Name of the registrar's function.
    pub function: String,
}

/// Name of the call in errors.
const ABOUT: &str = "the registrar can't be asked to register the endpoint again";

impl Healing {
    /// Asks the registrar and doesn't wait for the result. The registrar proves the endpoint first,
    /// and its own log and alarm report the result.
    pub async fn begin(&self) -> Result<(), CallError> {
        let request_id = Uuid::now_v7();
        let not_built = CallError::of::<InvokeError, ()>(ABOUT, "Invoke");
        let request = serde_json::to_vec(&ReregisterRequest::Reregister { request_id });
        let request = request
            .map_err(SdkError::construction_failure)
            .map_err(not_built)?;
        self.lambda
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(request))
            .send()
            .await
            .map_err(CallError::of(ABOUT, "Invoke"))?;
        tracing::warn!(%request_id, "asked the registrar to register the endpoint again");
        Ok(())
    }
}
