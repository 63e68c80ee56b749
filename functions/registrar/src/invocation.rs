//! Who calls: CloudFormation, or Secrets Manager.

use std::sync::Arc;
use std::time::Duration;

use metrique::writer::BoxEntrySink;
use serde::Deserialize as _;
use serde_json::Value;

use crate::answer::SendError;
use crate::custom_resource;
use crate::guard::guarded;
use crate::journal::Journal;
use crate::metrics::RequestMetrics;
use crate::registrar::Registrar;
use crate::rotation;

/// Kept back at the end of a rotation's step, so that its own words win over Lambda's.
const ENDING: Duration = Duration::from_secs(2);

/// An invocation that failed, for its caller and for the function's error metric.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// Neither of the two calls like that. What it was isn't shown: it may be half a request.
    #[error("neither a request of CloudFormation's nor a rotation of Secrets Manager's")]
    Unknown,
    /// CloudFormation wasn't answered.
    #[error(transparent)]
    NotAnswered(#[from] SendError),
    /// A step of a rotation failed. Secrets Manager goes by that.
    #[error("{0}")]
    Rotation(String),
}

/// The function's two sides.
#[derive(Debug)]
pub struct Handler {
    /// Does the work.
    pub registrar: Arc<Registrar>,
    /// Sends CloudFormation its answers.
    pub http: reqwest::Client,
    /// Where each request's line goes.
    pub metrics: BoxEntrySink,
}

impl Handler {
    /// Does what is asked. `time_left` is until Lambda ends the invocation.
    ///
    /// # Errors
    ///
    /// [`InvocationError`]. What CloudFormation is answered is none.
    pub async fn handle(&self, payload: Value, time_left: Duration) -> Result<(), InvocationError> {
        if payload.get("Step").is_some() {
            let request = rotation::Request::deserialize(payload);
            let request = request.map_err(|_| InvocationError::Unknown)?;
            let done = self.rotate(request, time_left).await;
            return done.map_err(InvocationError::Rotation);
        }
        let request = custom_resource::Request::deserialize(payload);
        let request = request.map_err(|_| InvocationError::Unknown)?;
        Ok(self.answer_cloudformation(request, time_left).await?)
    }

    async fn rotate(&self, request: rotation::Request, time_left: Duration) -> Result<(), String> {
        let metrics = RequestMetrics::start(request.step.name(), &request.client_request_token);
        let mut metrics = metrics.append_on_drop(self.metrics.clone());
        let journal = Journal::default();
        let (registrar, noted) = (Arc::clone(&self.registrar), journal.clone());
        let work = async move { registrar.rotate(&request, &noted).await };
        let time = time_left.saturating_sub(ENDING);
        let done = guarded(time, &journal, Box::pin(work)).await;
        metrics.ended(&journal, done.as_ref().err());
        done
    }
}
