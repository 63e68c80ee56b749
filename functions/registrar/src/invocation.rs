//! One invocation of the function: by CloudFormation, Secrets Manager, or the reconciler.
//!
//! CloudFormation waits for an answer up to the resource's `ServiceTimeout`; until then the whole
//! stack stands still. So all work is guarded: an error, a panic and a hang all end before Lambda
//! ends the function, and CloudFormation is answered on every path.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use metrique::writer::BoxEntrySink;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::reregister::ReregisterRequest;

use crate::custom_resource::{CustomResourceHandler, CustomResourceRequest};
use crate::journal::{Journal, RegistrationStep};
use crate::metrics::RegistrarMetrics;
use crate::registration::Registrar;
use crate::reregistration::ReregistrationHandler;
use crate::rotation::{RotationHandler, RotationRequest};

/// What the reconciler asks for, as it stands in its event and in the log line.
const REREGISTER: &str = "Reregister";
/// Time kept back at the end of an invocation that answers nobody, so that it fails with its own
/// error and not with Lambda's timeout.
const ENDING: Duration = Duration::from_secs(2);
/// Time kept back at the end of an invocation to answer CloudFormation, all attempts included.
const ANSWERING_TIME: Duration = Duration::from_secs(10);

/// An invocation that failed, for its caller and for the function's error metric.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// None of the three callers sends such a payload. It isn't shown: it may be half a request.
    #[error(
        "neither a request of CloudFormation's, nor a rotation of Secrets Manager's, nor an event \
         of the reconciler's"
    )]
    Unknown,
    /// CloudFormation didn't take the answer.
    #[error("CloudFormation was not answered: {0}")]
    NotAnswered(#[source] lambda_runtime::Error),
    /// A step of a rotation failed, and Secrets Manager goes by that; or AURA could not be pointed
    /// at the endpoint again, and the function's error metric tells.
    #[error("{0}")]
    Failed(String),
}

/// The function, as its three callers see it.
#[derive(Debug)]
pub struct Handler {
    /// Proves and registers.
    pub registrar: Arc<Registrar>,
    /// Where each request's line goes.
    pub metrics: BoxEntrySink,
}

impl Handler {
    /// Does what the payload asks for. `time_left` is until Lambda ends the invocation. A failure
    /// that CloudFormation is told of is no error.
    pub async fn handle(&self, payload: Value, time_left: Duration) -> Result<(), InvocationError> {
        if payload.get("Step").is_some() {
            let request: RotationRequest = read(payload)?;
            let line = RegistrarMetrics::start(request.step.name(), &request.client_request_token);
            let rotate = async move |registrar: Arc<Registrar>, journal: Journal| {
                let (registrar, journal) = (&registrar, &journal);
                RotationHandler { registrar, journal }
                    .handle(&request)
                    .await
            };
            return self.work(line, time_left, rotate).await;
        }
        if payload.get(REREGISTER).is_some() {
            let ReregisterRequest::Reregister { request_id } = read(payload)?;
            let line = RegistrarMetrics::start(REREGISTER, &request_id.to_string());
            let reregister = async move |registrar: Arc<Registrar>, journal: Journal| {
                let (registrar, journal) = (&registrar, &journal);
                ReregistrationHandler { registrar, journal }.handle().await
            };
            return self.work(line, time_left, reregister).await;
        }
        self.answer_cloudformation(read(payload)?, time_left).await
    }

    /// Does what CloudFormation asks for and answers it.
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

    /// Does work whose caller waits for no answer.
    async fn work<E, F>(
        &self,
        line: RegistrarMetrics,
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

/// Does the work in a task of its own, for at most so long. An error, a panic and a hang all end in
/// one line in time: the error with its causes, that the work panicked, or the step that hangs.
async fn guarded<E: Error + Send + 'static>(
    time: Duration,
    journal: &Journal,
    work: Pin<Box<dyn Future<Output = Result<(), E>> + Send>>,
) -> Result<(), String> {
    journal.ends_in(time);
    let mut work = tokio::spawn(work);
    let ended = match tokio::time::timeout(time, &mut work).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            work.abort();
            // The journal tells how far the work came only when it has ended.
            work.await
        }
    };
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(ended) if ended.is_panic() => {
            Err("the registrar panicked; its log says where".to_owned())
        }
        Err(_aborted) => {
            let step = journal
                .under_way()
                .map_or("Preparation", RegistrationStep::name);
            let seconds = time.as_secs();
            Err(format!(
                "not done in {seconds} s: {step} was still under way; try again later"
            ))
        }
    }
}

/// An error and its causes, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Transparent errors repeat their source.
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
