//! Who calls: CloudFormation, Secrets Manager, or the reconciler.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use metrique::writer::BoxEntrySink;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::reregister;

use crate::answer::SendError;
use crate::guard::guarded;
use crate::journal::Journal;
use crate::metrics::RequestMetrics;
use crate::registrar::Registrar;
use crate::rotation;

/// What the reconciler asks for, as it stands in its event and in the log line.
const REREGISTER: &str = "Reregister";
/// Kept back at the end of what nobody waits to be answered, so that its own words win over
/// Lambda's.
const ENDING: Duration = Duration::from_secs(2);

/// An invocation that failed, for its caller and for the function's error metric.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// None of the three calls like that. What it was isn't shown: it may be half a request.
    #[error(
        "neither a request of CloudFormation's, nor a rotation of Secrets Manager's, nor an event \
         of the reconciler's"
    )]
    Unknown,
    /// CloudFormation wasn't answered.
    #[error(transparent)]
    NotAnswered(#[from] SendError),
    /// A step of a rotation failed, and Secrets Manager goes by that; or AURA could not be pointed
    /// at the endpoint again, and the function's error metric tells.
    #[error("{0}")]
    Failed(String),
}

/// What the function is asked, and who does it.
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
            let request: rotation::Request = read(payload)?;
            let line = RequestMetrics::start(request.step.name(), &request.client_request_token);
            let rotate = async move |registrar: Arc<Registrar>, journal: Journal| {
                registrar.rotate(&request, &journal).await
            };
            return self.work(line, time_left, rotate).await;
        }
        if payload.get(REREGISTER).is_some() {
            let reregister::ReregisterRequest::Reregister { request_id } = read(payload)?;
            let line = RequestMetrics::start(REREGISTER, &request_id.to_string());
            let reregister = async move |registrar: Arc<Registrar>, journal: Journal| {
                registrar.reregister(&journal).await
            };
            return self.work(line, time_left, reregister).await;
        }
        let request = read(payload)?;
        Ok(self.answer_cloudformation(request, time_left).await?)
    }

    /// Does what nobody waits to be answered.
    async fn work<E, F>(
        &self,
        line: RequestMetrics,
        time_left: Duration,
        work: impl FnOnce(Arc<Registrar>, Journal) -> F,
    ) -> Result<(), InvocationError>
    where
        E: Error + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let mut metrics = line.append_on_drop(self.metrics.clone());
        let journal = Journal::default();
        let work = work(Arc::clone(&self.registrar), journal.clone());
        let time = time_left.saturating_sub(ENDING);
        let done = guarded(time, &journal, Box::pin(work)).await;
        metrics.ended(&journal, done.as_ref().err());
        done.map_err(InvocationError::Failed)
    }
}

fn read<T: DeserializeOwned>(payload: Value) -> Result<T, InvocationError> {
    serde_json::from_value(payload).map_err(|_| InvocationError::Unknown)
}
