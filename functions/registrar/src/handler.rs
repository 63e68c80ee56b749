//! One request of CloudFormation, answered on every path.
//!
//! CloudFormation waits for an answer up to the resource's `ServiceTimeout`; until then the
//! whole stack stands still. So the work runs in a task of its own, under a time limit: an
//! error, a panic and a hang all end in an answer, before Lambda ends the function.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use metrique::writer::BoxEntrySink;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, RequestIds, SendError};
use crate::metrics::RegistrationMetrics;
use crate::registration::Registrar;

/// Kept back at the end of an invocation to send the answer, all its attempts included.
const ANSWERING_TIME: Duration = Duration::from_secs(10);

/// Everything that a request meets.
#[derive(Debug)]
pub struct Handler {
    /// Does the work.
    pub registrar: Arc<Registrar>,
    /// Sends the answers.
    pub http: reqwest::Client,
    /// Where each request's line goes.
    pub metrics: BoxEntrySink,
}

/// What CloudFormation sends. The properties are read later, so that wrong ones are answered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Request {
    #[serde(rename = "RequestType")]
    kind: RequestType,
    /// Whoever has it can answer in our name.
    #[serde(rename = "ResponseURL")]
    response_url: SecretString,
    #[serde(flatten)]
    ids: RequestIds,
    #[serde(default)]
    resource_properties: Value,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum RequestType {
    Create,
    Update,
    Delete,
}

impl Handler {
    /// Does what CloudFormation asks and answers it. `time_left` is until Lambda ends the
    /// invocation.
    ///
    /// # Errors
    ///
    /// The answer could not be sent. Everything else is in the answer.
    pub async fn handle(&self, request: Request, time_left: Duration) -> Result<(), SendError> {
        let metrics = RegistrationMetrics::start(request.kind.name(), &request.ids.request_id);
        let mut metrics = metrics.append_on_drop(self.metrics.clone());
        let outcome = match request.kind {
            RequestType::Create | RequestType::Update => {
                self.register(request.resource_properties, time_left).await
            }
            RequestType::Delete => Ok(deleted()),
        };
        metrics.outcome(&outcome);
        let answer = Answer::new(request.ids, outcome);
        answer
            .send(&self.http, request.response_url.expose_secret())
            .await?;
        metrics.answered();
        Ok(())
    }

    async fn register(&self, properties: Value, time_left: Duration) -> Result<Value, String> {
        let registrar = Arc::clone(&self.registrar);
        let work = tokio::spawn(async move { registrar.register(properties).await });
        let abort = work.abort_handle();
        match tokio::time::timeout(time_left.saturating_sub(ANSWERING_TIME), work).await {
            Ok(Ok(Ok(registered))) => {
                Ok(json!({"Events": registered.events.join(","), "Url": registered.url}))
            }
            Ok(Ok(Err(error))) => Err(with_causes(&error)),
            Ok(Err(_panic)) => Err("the registrar panicked; see its log".to_owned()),
            Err(_elapsed) => {
                abort.abort();
                Err(
                    "not done in time: AURA or Secrets Manager hangs; deploy again later"
                        .to_owned(),
                )
            }
        }
    }
}

impl RequestType {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
        }
    }
}

/// An error and what led to it, in one line.
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

/// Nothing can be done on delete but to say so.
fn deleted() -> Value {
    tracing::warn!(
        "the endpoint goes away, but AURA has no call to unregister it: deliveries to it will be \
         lost until AURA removes the webhook or another one is registered"
    );
    Value::Null
}

#[cfg(test)]
mod tests;
