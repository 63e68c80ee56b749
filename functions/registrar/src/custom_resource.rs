//! One request of CloudFormation, answered on every path.
//!
//! CloudFormation waits for an answer up to the resource's `ServiceTimeout`; until then the
//! whole stack stands still. So the work is guarded: an error, a panic and a hang all end in an
//! answer, before Lambda ends the function.
//!
//! | request | does |
//! | --- | --- |
//! | Create, Update | proves the endpoint and registers it |
//! | Update, while the stack rolls back | the same; but the endpoint is registered even if its canary fails, since it was the last known good |
//! | Delete | registers `HandBackUrl`, if there is one: AURA has no call to unregister |
//! | Delete after a Create that never asked AURA | nothing |

use std::sync::Arc;
use std::time::Duration;

use metrique::writer::BoxEntrySink;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{Answer, NOT_REGISTERED, PHYSICAL_RESOURCE_ID, RequestIds, SendError};
use crate::canary::CanaryError;
use crate::endpoint::{Endpoint, Properties, PropertyError};
use crate::guard::guarded;
use crate::journal::{Entry, Journal, Step};
use crate::metrics::RequestMetrics;
use crate::registrar::{Registrar, RegistrationError};
use crate::stack::{self, Activity};

/// Kept back at the end of an invocation to send the answer, all its attempts included.
pub const ANSWERING_TIME: Duration = Duration::from_secs(10);

/// What a person can do whose stack can't be deleted.
const DELETE_HINT: &str = "AURA still delivers to this stack. Mend the cause and delete the stack \
    again, or delete it with --retain-resources AuraWebhook and tell AURA";

/// Everything that a request meets.
#[derive(Debug)]
pub struct CustomResource {
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
    physical_resource_id: Option<String>,
    #[serde(default)]
    resource_properties: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum RequestType {
    Create,
    Update,
    Delete,
}

impl CustomResource {
    /// Does what CloudFormation asks and answers it. `time_left` is until Lambda ends the
    /// invocation.
    ///
    /// # Errors
    ///
    /// The answer could not be sent. Everything else is in the answer.
    pub async fn handle(&self, request: Request, time_left: Duration) -> Result<(), SendError> {
        let metrics = RequestMetrics::start(request.kind.name(), &request.ids.request_id);
        let mut metrics = metrics.append_on_drop(self.metrics.clone());
        let journal = Journal::default();
        let outcome = self.work(&request, &journal, time_left).await;
        metrics.ended(&journal, outcome.as_ref().err());
        let physical_id = match outcome {
            Err(_) if request.kind == RequestType::Create && !journal.aura_may_have_changed() => {
                NOT_REGISTERED
            }
            _ => PHYSICAL_RESOURCE_ID,
        };
        let outcome = outcome.map(|()| data(&journal));
        let answer = Answer::new(request.ids, physical_id, outcome);
        answer
            .send(&self.http, request.response_url.expose_secret())
            .await?;
        metrics.answered();
        Ok(())
    }

    async fn work(
        &self,
        request: &Request,
        journal: &Journal,
        time_left: Duration,
    ) -> Result<(), String> {
        let time = time_left.saturating_sub(ANSWERING_TIME);
        let (registrar, noted) = (Arc::clone(&self.registrar), journal.clone());
        let properties = request.resource_properties.clone();
        match request.kind {
            RequestType::Create => {
                let work = async move { registrar.deploy(properties, None, &noted).await };
                guarded(time, journal, Box::pin(work)).await
            }
            RequestType::Update => {
                let stack_id = Some(request.ids.stack_id.clone());
                let work = async move { registrar.deploy(properties, stack_id, &noted).await };
                guarded(time, journal, Box::pin(work)).await
            }
            RequestType::Delete
                if request.physical_resource_id.as_deref() == Some(NOT_REGISTERED) =>
            {
                tracing::info!("the endpoint was never registered: nothing to take back");
                Ok(())
            }
            RequestType::Delete => {
                let work = async move { registrar.hand_back(properties, &noted).await };
                let done = guarded(time, journal, Box::pin(work)).await;
                done.map_err(|reason| format!("{reason}. {DELETE_HINT}"))
            }
        }
    }
}

impl Registrar {
    /// Proves and registers what the resource's properties say. `updated_stack` is the stack of an
    /// update: should it be rolling back, the endpoint is registered proven or not.
    async fn deploy(
        &self,
        properties: Value,
        updated_stack: Option<String>,
        journal: &Journal,
    ) -> Result<(), RegistrationError> {
        let endpoint = checked(properties)?;
        let registration = self.current_registration(&endpoint).await?;
        let aura = self.aura(&endpoint.aura_base_url, journal).await?;
        if let Err(error) = self.prove(&registration, journal).await {
            self.expect_rollback(updated_stack.as_deref(), error)
                .await?;
        }
        self.register(&aura, &registration, journal).await
    }

    /// Lets a failed canary pass if the stack is rolling back.
    async fn expect_rollback(
        &self,
        stack_id: Option<&str>,
        error: CanaryError,
    ) -> Result<(), RegistrationError> {
        let Some(stack_id) = stack_id else {
            return Err(error.into());
        };
        match stack::activity(&self.cloudformation, stack_id).await {
            Ok(Activity::RollingBack) => {
                tracing::warn!(
                    %error,
                    "the stack is rolling back: registered all the same, as the last known good"
                );
                Ok(())
            }
            Ok(_) => Err(error.into()),
            Err(unknown) => {
                tracing::warn!(error = %unknown, "taken for a stack that isn't rolling back");
                Err(error.into())
            }
        }
    }

    /// Registers where AURA is to deliver from now on, if the template says where.
    async fn hand_back(
        &self,
        properties: Value,
        journal: &Journal,
    ) -> Result<(), RegistrationError> {
        let mut endpoint = checked(properties)?;
        let Some(url) = endpoint.hand_back_url.take() else {
            tracing::warn!(
                "the endpoint goes away, but AURA has no call to unregister it: ask AURA to remove \
                 the webhook, or register another one; what is delivered until then is lost"
            );
            return Ok(());
        };
        endpoint.url = url;
        let registration = self.current_registration(&endpoint).await?;
        let aura = self.aura(&endpoint.aura_base_url, journal).await?;
        self.register(&aura, &registration, journal).await
    }
}

fn checked(properties: Value) -> Result<Endpoint, PropertyError> {
    let properties: Properties = serde_json::from_value(properties)?;
    Endpoint::check(&properties)
}

/// The resource's attributes: how each step went. All of them are always there, because asking
/// for one that isn't fails the stack.
fn data(journal: &Journal) -> Value {
    let entries = journal.entries();
    let told = |step: Step| {
        let entry = entries.iter().find(|entry| entry.step == step);
        entry.map_or_else(|| "not done".to_owned(), Entry::told)
    };
    let steps = [
        Step::Token,
        Step::Canary,
        Step::Registration,
        Step::Confirmation,
    ];
    let summary = steps.map(|step| format!("{}: {}", step.name(), told(step)));
    let each = steps.map(|step| (step.name().to_owned(), told(step).into()));
    let summary = ("Summary".to_owned(), summary.join("; ").into());
    Value::Object(each.into_iter().chain([summary]).collect())
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

#[cfg(test)]
mod tests;
