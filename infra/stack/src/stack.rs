//! The template as a CloudFormation stack in one account: deploy, update, delete.
//!
//! The stack is created straight through CloudFormation, which does the SAM transform itself, as
//! it does on AWS. Every operation carries a token of its own, and CloudFormation puts it on the
//! operation's events: so a failure shows the events of this operation and of no earlier one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudformation::types::{Capability, Parameter, StackEvent};
use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use crate::account::Account;
use crate::bundle::Bundle;
use crate::progress::{Progress, Stage};

/// What the template needs leave for: roles, roles with names, and the SAM transform.
const CAPABILITIES: [Capability; 3] = [
    Capability::CapabilityIam,
    Capability::CapabilityNamedIam,
    Capability::CapabilityAutoExpand,
];
/// How long an operation may take. Its slowest part, the custom resource, has a timeout of its
/// own that is shorter.
const OPERATION_TIMEOUT: Duration = Duration::from_mins(5);
/// Between two looks at an operation.
const POLL: Duration = Duration::from_millis(100);
/// What CloudFormation says about resources that only stopped because another one failed.
const CANCELLED: &str = "Resource creation cancelled";

/// Template parameters by name.
pub type Parameters = BTreeMap<String, String>;

/// A deployed template.
#[derive(Debug, Clone)]
pub struct Stack {
    account: Account,
    name: String,
    parameters: Parameters,
    outputs: BTreeMap<String, String>,
}

/// A deployment that didn't come about.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// CloudFormation took it, and rolled it back because of a resource.
    #[error(transparent)]
    RolledBack(#[from] StackFailure),
    /// Anything else: the template is refused, a call fails.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// An operation on a stack that CloudFormation began and didn't complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stack {stack} ended as {status}.{}", listed(.failures))]
pub struct StackFailure {
    /// The stack's name.
    pub stack: String,
    /// Its status at the end, such as `ROLLBACK_COMPLETE`.
    pub status: String,
    /// The resources that failed, the first cause first.
    pub failures: Vec<ResourceFailure>,
}

/// A resource that CloudFormation couldn't create or update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceFailure {
    /// Its name in the template.
    pub resource: String,
    /// Its type, such as `AWS::SQS::Queue`.
    pub kind: String,
    /// Its status, such as `CREATE_FAILED`.
    pub status: String,
    /// Why, in the service's words; the custom resource's own for the registration.
    pub reason: String,
}

/// What CloudFormation says of a resource at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceEvent {
    /// Its status from then on, such as `UPDATE_IN_PROGRESS`.
    pub status: String,
    /// Why, if it says so; the custom resource's own words for the registration.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

fn listed(failures: &[ResourceFailure]) -> String {
    let line = |failure: &ResourceFailure| {
        let ResourceFailure {
            resource,
            kind,
            status,
            reason,
        } = failure;
        format!("\n  {resource} ({kind}) {status}: {reason}")
    };
    if failures.is_empty() {
        return " No resource says why.".to_owned();
    }
    failures.iter().map(line).collect()
}

impl Stack {
    /// Creates the stack, or updates it if there is one of this name.
    ///
    /// # Errors
    ///
    /// [`DeployError::RolledBack`] names the resources that failed and their reasons.
    pub async fn deploy(
        account: &Account,
        name: &str,
        bundle: &Bundle,
        parameters: Parameters,
        progress: Progress,
    ) -> Result<Self, DeployError> {
        let mut stage = progress.stage(&format!("deploying stack {name}"));
        stage.note("uploading");
        // Boxed, as the start below: the SDKs' futures are tens of kilobytes.
        let template_url = Box::pin(bundle.upload(account)).await?;
        stage.note("calling CloudFormation");
        let client = account.cloudformation();
        let operation = Operation {
            client: &client,
            name,
            token: Uuid::now_v7().to_string(),
        };
        let started = Box::pin(operation.start(&template_url, &parameters)).await?;
        if started != Started::Nothing {
            operation.wait(&mut stage).await?;
        }
        let stack = Self::find(account, name).await?;
        stage.done(&format!("stack {name} {}", started.outcome()));
        Ok(stack)
    }

    /// The stack of this name, as it is.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn find(account: &Account, name: &str) -> Result<Self> {
        let found = describe(&account.cloudformation(), name)
            .await?
            .with_context(|| format!("there is no stack {name}"))?;
        let parameters = found.parameters.unwrap_or_default().into_iter();
        let outputs = found.outputs.unwrap_or_default().into_iter();
        Ok(Self {
            account: account.clone(),
            name: name.to_owned(),
            parameters: parameters
                .filter_map(|parameter| {
                    Some((parameter.parameter_key?, parameter.parameter_value?))
                })
                .collect(),
            outputs: outputs
                .filter_map(|output| Some((output.output_key?, output.output_value?)))
                .collect(),
        })
    }

    /// Deletes the stack and waits until it is gone.
    ///
    /// # Errors
    ///
    /// CloudFormation can't delete it.
    pub async fn delete(self, progress: Progress) -> Result<(), DeployError> {
        let mut stage = progress.stage(&format!("deleting stack {}", self.name));
        let client = self.account.cloudformation();
        let token = Uuid::now_v7().to_string();
        client
            .delete_stack()
            .stack_name(&self.name)
            .client_request_token(&token)
            .send()
            .await
            .context("DeleteStack failed")?;
        Operation {
            client: &client,
            name: &self.name,
            token,
        }
        .wait(&mut stage)
        .await?;
        stage.done(&format!("stack {} deleted", self.name));
        Ok(())
    }

    /// The account it is in.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its parameters, defaults included.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Its outputs.
    #[must_use]
    pub fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }

    /// One output.
    ///
    /// # Errors
    ///
    /// The template has no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        let value = self.outputs.get(name);
        Ok(value.with_context(|| format!("stack {} has no output {name}", self.name))?)
    }

    /// What CloudFormation did with one resource, as [`events_of`].
    ///
    /// # Errors
    ///
    /// As for [`events_of`].
    pub async fn events_of(&self, resource: &str) -> Result<Vec<ResourceEvent>> {
        events_of(&self.account, &self.name, resource).await
    }

    /// Where AURA's deliveries go, in a form that needs no name resolution. The output
    /// `WebhookUrl` is `http://{apiId}.execute-api.localhost:PORT/…`, and not every resolver
    /// knows that names below `localhost` are this machine.
    ///
    /// # Errors
    ///
    /// The output is missing or no such URL.
    pub fn webhook_url(&self) -> Result<String> {
        loopback_url(self.account.endpoint(), self.output("WebhookUrl")?)
    }
}

/// What CloudFormation did with one resource of a stack since it was created, in order; also of a
/// stack whose creation failed, or that was deleted. `resource` is a name in the template.
///
/// # Errors
///
/// There is no such stack.
pub async fn events_of(
    account: &Account,
    stack: &str,
    resource: &str,
) -> Result<Vec<ResourceEvent>> {
    let events = events(&account.cloudformation(), stack).await?;
    let its = events.iter().rev();
    its.filter(|event| event.logical_resource_id() == Some(resource))
        .map(resource_event)
        .collect()
}

fn resource_event(event: &StackEvent) -> Result<ResourceEvent> {
    let status = event.resource_status().context("an event has no status")?;
    let at = event.timestamp().context("an event has no time")?;
    let nanoseconds = i32::try_from(at.subsec_nanos()).context("an event has no time")?;
    // MiniStack gives an empty one where AWS gives none.
    let reason = event.resource_status_reason();
    let reason = reason.filter(|reason| !reason.is_empty());
    Ok(ResourceEvent {
        status: status.as_str().to_owned(),
        reason: reason.map(str::to_owned),
        at: Timestamp::new(at.secs(), nanoseconds).context("an event has no time")?,
    })
}

/// A stack's events, the newest first.
async fn events(client: &Client, stack: &str) -> Result<Vec<StackEvent>> {
    let events = client.describe_stack_events().stack_name(stack);
    let events = events.into_paginator().items().send().try_collect().await;
    events.context("DescribeStackEvents failed")
}

/// `{endpoint}/_aws/execute-api/{apiId}{path}` for `http://{apiId}.execute-api.…{path}`.
pub fn loopback_url(endpoint: &str, url: &str) -> Result<String> {
    let parsed = Url::parse(url).with_context(|| format!("WebhookUrl {url} is no URL"))?;
    let api = parsed
        .host_str()
        .and_then(|host| host.split_once(".execute-api."))
        .with_context(|| format!("WebhookUrl {url} is none of API Gateway"))?
        .0;
    Ok(format!(
        "{endpoint}/_aws/execute-api/{api}{}",
        parsed.path()
    ))
}

async fn describe(
    client: &Client,
    name: &str,
) -> Result<Option<aws_sdk_cloudformation::types::Stack>> {
    match client.describe_stacks().stack_name(name).send().await {
        Ok(answer) => Ok(answer.stacks.unwrap_or_default().into_iter().next()),
        Err(error) if says(&error, "does not exist") => Ok(None),
        Err(error) => Err(error).context("DescribeStacks failed"),
    }
}

/// Services have one code for much that matters, as CloudFormation's `ValidationError`; the words
/// tell.
pub fn says<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, words: &str) -> bool {
    let message = error.as_service_error().and_then(|error| error.message());
    message.is_some_and(|message| message.contains(words))
}

/// What a deployment came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Started {
    Create,
    Update,
    Nothing,
}

impl Started {
    fn outcome(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Nothing => "is up to date",
        }
    }
}

/// A create, update or delete that runs.
struct Operation<'a> {
    client: &'a Client,
    name: &'a str,
    token: String,
}

impl Operation<'_> {
    /// Starts what it takes to make the stack what it should be.
    async fn start(&self, template_url: &str, parameters: &Parameters) -> Result<Started> {
        let parameters = Some(parameters.iter().map(parameter).collect());
        match describe(self.client, self.name).await? {
            None => self.create(template_url, parameters).await,
            Some(_) => self.update(template_url, parameters).await,
        }
    }

    async fn create(&self, url: &str, parameters: Option<Vec<Parameter>>) -> Result<Started> {
        self.client
            .create_stack()
            .stack_name(self.name)
            .template_url(url)
            .set_parameters(parameters)
            .set_capabilities(Some(CAPABILITIES.to_vec()))
            .client_request_token(&self.token)
            .send()
            .await
            .map_err(|error| refusal("CreateStack", &error))?;
        Ok(Started::Create)
    }

    async fn update(&self, url: &str, parameters: Option<Vec<Parameter>>) -> Result<Started> {
        let answer = self
            .client
            .update_stack()
            .stack_name(self.name)
            .template_url(url)
            .set_parameters(parameters)
            .set_capabilities(Some(CAPABILITIES.to_vec()))
            .client_request_token(&self.token)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(Started::Update),
            Err(error) if says(&error, "No updates are to be performed") => Ok(Started::Nothing),
            Err(error) => Err(refusal("UpdateStack", &error)),
        }
    }

    /// Waits for the end; an error if it isn't the one that was wanted.
    async fn wait(&self, stage: &mut Stage) -> Result<(), DeployError> {
        let deadline = Instant::now() + OPERATION_TIMEOUT;
        loop {
            let Some(stack) = describe(self.client, self.name).await? else {
                return Ok(());
            };
            let status = stack
                .stack_status
                .map(|status| status.to_string())
                .unwrap_or_default();
            if is_success(&status) {
                return Ok(());
            }
            if !status.ends_with("_IN_PROGRESS") {
                return Err(self.failure(status).await?.into());
            }
            if Instant::now() > deadline {
                let seconds = OPERATION_TIMEOUT.as_secs();
                return Err(
                    anyhow!("stack {} is still {status} after {seconds} s", self.name).into(),
                );
            }
            if let Some(event) = self.events().await?.first() {
                stage.note(&told(event));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn failure(&self, status: String) -> Result<StackFailure> {
        let events = self.events().await?;
        Ok(StackFailure {
            stack: self.name.to_owned(),
            status,
            failures: failures(self.name, &events),
        })
    }

    /// This operation's events, the newest first.
    async fn events(&self) -> Result<Vec<StackEvent>> {
        let events = events(self.client, self.name).await?;
        let mine = |event: &StackEvent| event.client_request_token() == Some(self.token.as_str());
        Ok(events.into_iter().filter(mine).collect())
    }
}

fn parameter((name, value): (&String, &String)) -> Parameter {
    Parameter::builder()
        .parameter_key(name)
        .parameter_value(value)
        .build()
}

/// The service's own words: the SDK's error shows only that the service refused.
pub fn refusal<E, R>(call: &str, error: &SdkError<E, R>) -> anyhow::Error
where
    E: ProvideErrorMetadata,
{
    match error.as_service_error().and_then(|error| error.message()) {
        Some(message) => anyhow!("{call} was refused: {message}"),
        None => anyhow!("{call} failed: {}", shared::aws::describe(error)),
    }
}

fn is_success(status: &str) -> bool {
    matches!(
        status,
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "DELETE_COMPLETE"
    )
}

fn told(event: &StackEvent) -> String {
    let status = event.resource_status().map_or("", |status| status.as_str());
    let status = status.to_lowercase().replace('_', " ");
    format!(
        "{} {status}",
        event.logical_resource_id().unwrap_or_default()
    )
}

/// The resources that failed, the first first, from events in CloudFormation's order. What was
/// only cancelled because of another's failure is left out.
fn failures(stack: &str, events: &[StackEvent]) -> Vec<ResourceFailure> {
    events
        .iter()
        .rev()
        .filter_map(resource_failure)
        .filter(|failure| failure.resource != stack && !failure.reason.starts_with(CANCELLED))
        .collect()
}

fn resource_failure(event: &StackEvent) -> Option<ResourceFailure> {
    let status = event.resource_status()?.as_str();
    status.ends_with("_FAILED").then(|| ResourceFailure {
        resource: event.logical_resource_id().unwrap_or_default().to_owned(),
        kind: event.resource_type().unwrap_or_default().to_owned(),
        status: status.to_owned(),
        reason: event
            .resource_status_reason()
            .unwrap_or("no reason given")
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::ResourceStatus;

    use super::*;

    fn event(resource: &str, status: ResourceStatus, reason: &str) -> StackEvent {
        StackEvent::builder()
            .logical_resource_id(resource)
            .resource_type("AWS::X::Y")
            .resource_status(status)
            .resource_status_reason(reason)
            .build()
    }

    #[test]
    fn a_failure_names_the_cause_and_leaves_out_its_victims() {
        let events = [
            event("aura", ResourceStatus::RollbackComplete, ""),
            event(
                "aura",
                ResourceStatus::CreateFailed,
                "The following failed: [Table]",
            ),
            event(
                "Queue",
                ResourceStatus::CreateFailed,
                "Resource creation cancelled",
            ),
            event("Table", ResourceStatus::CreateFailed, "limit exceeded"),
            event("Role", ResourceStatus::CreateComplete, ""),
        ];
        let expected = ResourceFailure {
            resource: "Table".into(),
            kind: "AWS::X::Y".into(),
            status: "CREATE_FAILED".into(),
            reason: "limit exceeded".into(),
        };
        assert_eq!(failures("aura", &events), [expected]);
    }

    #[test]
    fn failures_are_shown_in_the_order_in_which_they_happened() {
        let failure = StackFailure {
            stack: "aura".into(),
            status: "ROLLBACK_COMPLETE".into(),
            failures: failures(
                "aura",
                &[
                    event("Second", ResourceStatus::UpdateFailed, "b"),
                    event("First", ResourceStatus::CreateFailed, "a"),
                ],
            ),
        };
        assert_eq!(
            failure.to_string(),
            "stack aura ended as ROLLBACK_COMPLETE.\n  First (AWS::X::Y) CREATE_FAILED: a\
             \n  Second (AWS::X::Y) UPDATE_FAILED: b"
        );
    }

    #[test]
    fn a_rollback_is_no_success() {
        assert!(is_success("UPDATE_COMPLETE"));
        for status in [
            "ROLLBACK_COMPLETE",
            "UPDATE_ROLLBACK_COMPLETE",
            "DELETE_FAILED",
        ] {
            assert!(!is_success(status), "{status}");
        }
    }

    #[test]
    fn the_webhook_is_reachable_without_resolving_localhosts_children() {
        let url = "http://0a1b2c3d.execute-api.localhost:4566/aura/events";
        assert_eq!(
            loopback_url("http://127.0.0.1:4566", url).unwrap(),
            "http://127.0.0.1:4566/_aws/execute-api/0a1b2c3d/aura/events"
        );
        assert!(loopback_url("http://127.0.0.1:4566", "http://example.com/aura/events").is_err());
    }
}
