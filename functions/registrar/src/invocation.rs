//! Handles one invocation of the function by CloudFormation, Secrets Manager, the reconciler, the
//! canary's schedule or an operator.
//!
//! CloudFormation waits for a response until the resource's `ServiceTimeout`, and the whole stack
//! waits with it. So all work is guarded: errors, panics and hangs all end before Lambda's timeout,
//! and CloudFormation gets a response on every path.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use metrique::writer::BoxEntrySink;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::canary::{CanaryAnswer, CanaryRequest};
use shared::reregister::{ReregisterAnswer, ReregisterRequest};
use uuid::Uuid;

use crate::custom_resource::{CustomResourceHandler, CustomResourceRequest};
use crate::journal::{Journal, RegistrationStep};
use crate::metrics::RegistrarMetrics;
use crate::registration::Registrar;
use crate::reregistration::ReregistrationHandler;
use crate::rotation::{RotationHandler, RotationRequest};

/// The key of a reregistration's request in its event, and the request's name in the log line.
const REREGISTER: &str = "Reregister";
/// The key of a canary's request in its event, and the request's name in the log line.
const CANARY: &str = "Canary";
/// Time reserved at the end of an invocation without a response, so that it fails with its own
/// error and not with Lambda's timeout.
const ENDING: Duration = Duration::from_secs(2);
/// Time reserved at the end of an invocation for the response to CloudFormation, with all attempts.
const ANSWERING_TIME: Duration = Duration::from_secs(10);

/// Why an invocation failed. The caller gets this error, and the function's error metric counts it.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The payload is not a request of any of the five callers. The message doesn't show it, because
    /// it may hold secret parts of a request.
    #[error(
        "the payload is not a request of CloudFormation, of Secrets Manager's rotation, of the \
         reconciler, of the canary's schedule or of aura-ops"
    )]
    Unknown,
    /// CloudFormation didn't accept the response.
    #[error("the response to CloudFormation could not be sent: {0}")]
    NotAnswered(#[source] lambda_runtime::Error),
    /// A step of a rotation failed, and Secrets Manager acts on the error. Or a reregistration
    /// failed, and the function's error metric shows it.
    #[error("{0}")]
    Failed(String),
}

/// Handles the requests of all callers.
#[derive(Debug)]
pub struct Handler {
    /// Proves and registers the endpoint.
    pub registrar: Arc<Registrar>,
    /// Sink for each request's log line and metrics.
    pub metrics: BoxEntrySink,
}

impl Handler {
    /// Handles a payload. `time_left` is the time until Lambda ends the invocation. A failure that
    /// was reported to CloudFormation is not an error here. Returns the answer for an operator, a
    /// [`CanaryAnswer`] or a [`ReregisterAnswer`]; other callers get null.
    pub async fn handle(
        &self,
        payload: Value,
        time_left: Duration,
    ) -> Result<Value, InvocationError> {
        if payload.get("Step").is_some() {
            let request: RotationRequest = read(payload)?;
            let line = RegistrarMetrics::start(request.step.name(), &request.client_request_token);
            let rotate = async move |registrar: Arc<Registrar>, journal: Journal| {
                let (registrar, journal) = (&registrar, &journal);
                RotationHandler { registrar, journal }
                    .handle(&request)
                    .await
            };
            self.work(line, time_left, rotate).await?;
            return Ok(Value::Null);
        }
        if payload.get(REREGISTER).is_some() {
            let ReregisterRequest::Reregister { request_id } = read(payload)?;
            let line = RegistrarMetrics::start(REREGISTER, &request_id.to_string());
            let reregister = async move |registrar: Arc<Registrar>, journal: Journal| {
                let (registrar, journal) = (&registrar, &journal);
                ReregistrationHandler { registrar, journal }.handle().await
            };
            let steps = self.work(line, time_left, reregister).await?;
            return Ok(json!(ReregisterAnswer { steps }));
        }
        if payload.get(CANARY).is_some() {
            let CanaryRequest::Canary { id } = read(payload)?;
            let id = id.unwrap_or_else(Uuid::now_v7);
            return Ok(json!(self.send_canary(id, time_left).await));
        }
        self.answer_cloudformation(read(payload)?, time_left)
            .await?;
        Ok(Value::Null)
    }

    /// Handles a request of CloudFormation and sends the response.
    async fn answer_cloudformation(
        &self,
        request: CustomResourceRequest,
        time_left: Duration,
    ) -> Result<(), InvocationError> {
        let line = RegistrarMetrics::start(request.kind.name(), &request.ids.request_id);
        let mut metrics = line.append_on_drop(self.metrics.clone());
        let (registrar, journal) = (Arc::clone(&self.registrar), Journal::default());
        let (asked, noted) = (request.clone(), journal.clone());
        let work = async move {
            let (registrar, journal) = (&registrar, &noted);
            CustomResourceHandler { registrar, journal }
                .handle(&asked)
                .await
        };
        let time = time_left.saturating_sub(ANSWERING_TIME);
        let outcome = guarded(time, &journal, Box::pin(work)).await;
        let outcome = outcome.map_err(|reason| request.with_hints(reason, &journal));
        metrics.ended(&journal, outcome.as_ref().err());
        let response = request.response(outcome, &journal);
        response
            .send(&self.registrar.http, &request)
            .await
            .map_err(InvocationError::NotAnswered)?;
        metrics.answered();
        Ok(())
    }

    /// Sends a canary for the schedule or for an operator. A failure is in the log line and is no error
    /// of the function: one alone must wake nobody, and the canary's own alarm rings for two in a row.
    /// An operator's canary counts there like a scheduled one: it took the same way.
    async fn send_canary(&self, id: Uuid, time_left: Duration) -> CanaryAnswer {
        let line = RegistrarMetrics::start(CANARY, &id.to_string());
        let mut metrics = line.append_on_drop(self.metrics.clone());
        let (registrar, journal) = (Arc::clone(&self.registrar), Journal::default());
        let noted = journal.clone();
        let work = async move { registrar.test_path(id, &noted).await };
        let time = time_left.saturating_sub(ENDING);
        let sent = guarded(time, &journal, Box::pin(work)).await;
        metrics.ended(&journal, sent.as_ref().err());
        metrics.canary(*sent.as_ref().unwrap_or(&Duration::ZERO));
        match sent {
            Ok(time) => CanaryAnswer::Published {
                id,
                sent_at: Timestamp::now() - time,
                milliseconds: time.as_millis().try_into().unwrap_or(u64::MAX),
            },
            Err(failure) => CanaryAnswer::Failed { id, failure },
        }
    }

    /// Does work for a caller that needs no response but an error. Returns the steps.
    async fn work<E, F>(
        &self,
        line: RegistrarMetrics,
        time_left: Duration,
        work: impl FnOnce(Arc<Registrar>, Journal) -> F,
    ) -> Result<Vec<String>, InvocationError>
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
        done.map_err(InvocationError::Failed)?;
        Ok(journal.lines())
    }
}

fn read<T: DeserializeOwned>(payload: Value) -> Result<T, InvocationError> {
    serde_json::from_value(payload).map_err(|_| InvocationError::Unknown)
}

/// Does the work in its own task, for at most `time`. An error, a panic and a hang each become one
/// line of text: the error with its causes, the fact that the work panicked, or the step that
/// hangs.
async fn guarded<T: Send + 'static, E: Error + Send + 'static>(
    time: Duration,
    journal: &Journal,
    work: Pin<Box<dyn Future<Output = Result<T, E>> + Send>>,
) -> Result<T, String> {
    journal.ends_in(time);
    let mut work = tokio::spawn(work);
    let ended = match tokio::time::timeout(time, &mut work).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            work.abort();
            // Waits for the end of the task, because only then the journal is final.
            work.await
        }
    };
    match ended {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(ended) if ended.is_panic() => {
            Err("the registrar panicked; its log names the place".to_owned())
        }
        Err(_aborted) => {
            let step = journal
                .under_way()
                .map_or("Preparation", RegistrationStep::name);
            let seconds = time.as_secs();
            Err(format!(
                "the work was not done in {seconds} s: {step} was still under way; try again later"
            ))
        }
    }
}

/// Describes an error and its causes in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // A transparent error has the same text as its source.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests;
