//! One request of CloudFormation, answered on every path.
//!
//! CloudFormation waits for an answer up to the resource's `ServiceTimeout`; until then the
//! whole stack stands still. So the work is guarded: an error, a panic and a hang all end in an
//! answer, before Lambda ends the function.
//!
//! | request | does |
//! | --- | --- |
//! | Create, Update | proves the endpoint that the function is deployed with, and registers it |
//! | Update of what is registered, to another AURA system | nothing: it is refused |
//! | Update, while the stack rolls back | proves and registers; but the endpoint is registered even if its canary fails, since it was the last known good |
//! | Delete, while the stack goes away | registers `HandBackUrl`, if there is one: AURA has no call to unregister |
//! | Delete after a Create that never asked AURA, was refused by it, or was killed | nothing |
//! | any of them, with other properties than the function was deployed with | nothing: it is refused |
//!
//! Whoever may invoke the function can send it requests. So a request only says when to act, and
//! never on what: its properties have to be the ones of the function's own environment.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use shared::secrets;

use crate::canary;
use crate::config::PropertyError;
use crate::invocation::{Handler, guarded};
use crate::journal::{Entry, Journal, Step};
use crate::metrics::RequestMetrics;
use crate::registration::{Registrar, RegistrationError, once_permitted};
use crate::stack::Snapshot;

pub use response::{Answer, NOT_REGISTERED, PHYSICAL_RESOURCE_ID, RequestIds, SendError, cut};

mod response;

/// Kept back at the end of an invocation to send the answer, all its attempts included.
pub const ANSWERING_TIME: Duration = Duration::from_secs(10);

/// What a person has to know whose deployment failed too late.
const CHANGED_HINT: &str = "AURA may deliver to this endpoint now: see whether it still does when \
    the deployment has been rolled back";

/// What a person can do whose stack can't be deleted.
const DELETE_HINT: &str = "AURA still delivers to this stack. Mend the cause and delete the stack \
    again, or delete it with --retain-resources AuraWebhook and tell AURA";

/// How much of a step's outcome is answered, and of all of them together: CloudFormation takes 4,096
/// bytes, and AURA may have had to say a lot.
const MAX_STEP_BYTES: usize = 300;
const MAX_SUMMARY_BYTES: usize = 1200;

/// The property that says where AURA is to deliver when the stack is deleted.
const HAND_BACK_URL: &str = "HandBackUrl";

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
    #[serde(default)]
    old_resource_properties: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
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
    pub async fn answer_cloudformation(
        &self,
        request: Request,
        time_left: Duration,
    ) -> Result<(), SendError> {
        let Request {
            kind,
            response_url,
            ids,
            physical_resource_id,
            resource_properties,
            old_resource_properties,
        } = request;
        let metrics = RequestMetrics::start(kind.name(), &ids.request_id);
        let mut metrics = metrics.append_on_drop(self.metrics.clone());
        let journal = Journal::default();

        let (registrar, noted) = (Arc::clone(&self.registrar), journal.clone());
        let is_made = physical_resource_id.as_deref() == Some(PHYSICAL_RESOURCE_ID);
        let work = async move {
            match kind {
                RequestType::Create | RequestType::Update => {
                    let is_update = kind == RequestType::Update && is_made;
                    let registered = is_update.then_some(&old_resource_properties);
                    let deploy = registrar.deploy(&resource_properties, registered, &noted);
                    deploy.await
                }
                RequestType::Delete if is_made => {
                    registrar.hand_back(&resource_properties, &noted).await
                }
                RequestType::Delete => {
                    tracing::warn!(
                        "the endpoint was not registered, as far as is known: AURA is left alone. \
                         Should it deliver here, ask AURA to remove the webhook"
                    );
                    Ok(())
                }
            }
        };
        let time = time_left.saturating_sub(ANSWERING_TIME);
        let outcome = guarded(time, &journal, Box::pin(work)).await;
        let outcome = outcome.map_err(|reason| with_hints(kind, reason, &journal));

        metrics.ended(&journal, outcome.as_ref().err());
        let is_made = is_made || journal.aura_may_have_changed();
        let physical_id = match (kind, &outcome, physical_resource_id) {
            (RequestType::Create | RequestType::Update, Ok(()), _) => {
                PHYSICAL_RESOURCE_ID.to_owned()
            }
            (RequestType::Update | RequestType::Delete, _, Some(id)) => id,
            _ if is_made => PHYSICAL_RESOURCE_ID.to_owned(),
            _ => NOT_REGISTERED.to_owned(),
        };
        let outcome = outcome.map(|()| data(&journal));
        let answer = Answer::new(ids, physical_id, outcome);
        answer
            .send(&self.http, response_url.expose_secret())
            .await?;
        metrics.answered();
        Ok(())
    }
}

/// A reason, with what a person has to know besides.
fn with_hints(kind: RequestType, reason: String, journal: &Journal) -> String {
    match kind {
        RequestType::Delete => format!("{reason}. {DELETE_HINT}"),
        _ if journal.aura_may_have_changed() => format!("{reason}. {CHANGED_HINT}"),
        _ => reason,
    }
}

impl Registrar {
    /// Proves and registers what the function is deployed with, if that is what it is asked for.
    /// `registered` are the properties of what is registered already.
    async fn deploy(
        &self,
        asked: &Value,
        registered: Option<&Value>,
        journal: &Journal,
    ) -> Result<(), RegistrationError> {
        // In a rollback CloudFormation has put the function back before it asks. So this also
        // refuses a late request of the update that is being taken back.
        self.config.expect_deployed(asked)?;
        let endpoint = self.endpoint()?;
        let stack = self.stack().await?;
        stack.expect_in_progress()?;
        let is_rollback = stack.is_rolling_back();
        // A rollback goes back to the stack's own AURA system.
        if let Some(registered) = registered.filter(|_| !is_rollback) {
            self.config.expect_same_aura(registered)?;
        }
        let (client, arn) = (&self.secrets_manager, &self.config.webhook_secret_arn);
        let secret = once_permitted(async || Ok(secrets::read_current(client, arn).await?)).await?;
        let registration = endpoint.registration(&secret.value)?;
        let aura = self.aura(&endpoint.aura_base_url, journal).await?;
        self.until_current_is_known(secret.made_at, journal).await?;
        let patience = if is_rollback {
            canary::PATIENCE_IN_ROLLBACK
        } else {
            canary::PATIENCE
        };
        match self.prove(&registration, patience, journal).await {
            Err(error) if is_rollback => tracing::warn!(
                %error,
                "the stack is rolling back: registered all the same, as the last known good"
            ),
            proven => proven?,
        }
        self.register(&aura, &registration, &stack, journal).await
    }

    /// Registers where AURA is to deliver from now on, if the template says where and the stack
    /// goes away. Looks at nothing else first, so that nothing keeps a stack from being deleted.
    async fn hand_back(&self, asked: &Value, journal: &Journal) -> Result<(), RegistrationError> {
        let asked = asked.get(HAND_BACK_URL).and_then(Value::as_str);
        let is_deployed = asked.unwrap_or_default() == self.config.deployed.hand_back_url;
        if is_deployed && !self.config.deployed.is_handed_back() {
            tracing::warn!(
                "the endpoint goes away, but AURA has no call to unregister it: ask AURA to remove \
                 the webhook, or register another one; what is delivered until then is lost"
            );
            return Ok(());
        }
        let stack = self.stack().await?;
        if !stack.is_going_away() {
            tracing::info!("the stack stays: not handed back");
            return Ok(());
        }
        if !is_deployed {
            return Err(PropertyError::NotDeployed(vec![HAND_BACK_URL.to_owned()]).into());
        }
        let mut endpoint = self.endpoint()?;
        endpoint.url = endpoint.hand_back_url.clone().unwrap_or(endpoint.url);
        let (client, arn) = (&self.secrets_manager, &self.config.webhook_secret_arn);
        let registration = endpoint.registration(&secrets::read(client, arn).await?)?;
        let aura = self.aura(&endpoint.aura_base_url, journal).await?;
        self.register(&aura, &registration, &stack, journal).await
    }

    async fn stack(&self) -> Result<Snapshot, RegistrationError> {
        let take = async || {
            let stack = Snapshot::take(&self.cloudformation, &self.config.stack_id);
            Ok(stack.await?)
        };
        once_permitted(take).await
    }
}

/// The resource's attributes: how each step went. All of them are always there, because asking
/// for one that isn't fails the stack.
fn data(journal: &Journal) -> Value {
    let entries = journal.entries();
    let steps = [
        Step::Token,
        Step::Wait,
        Step::Canary,
        Step::Registration,
        Step::Confirmation,
    ];
    let each = steps.map(|step| {
        let entry = entries.iter().find(|entry| entry.step == step);
        let told = entry.map_or_else(|| "not done".to_owned(), Entry::told);
        (step.name().to_owned(), cut(&told, MAX_STEP_BYTES).into())
    });
    let summary: Vec<_> = entries
        .iter()
        .map(|entry| format!("{}: {}", entry.step.name(), entry.told()))
        .collect();
    let summary = summary.join("; ");
    let summary = cut(&summary, MAX_SUMMARY_BYTES);
    let summary = ("Summary".to_owned(), summary.into());
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
