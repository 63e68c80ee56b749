//! Deploys, updates and deletes the template as a CloudFormation stack in one account.
//!
//! CloudFormation creates the stack directly and does the SAM transform itself, as on AWS. `aws.py`
//! uploads, makes the calls and waits. This module says what to deploy, and reads the result.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::account::Account;
use crate::boto;
use crate::bundle::Bundle;
use crate::progress::Progress;

/// CloudFormation's reason for resources that it cancelled because another one failed.
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

/// The error of a deployment that failed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// CloudFormation began the deployment, and rolled it back because a resource failed.
    #[error(transparent)]
    RolledBack(#[from] StackFailure),
    /// Any other error: for example the template was refused, or a call failed.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// An operation on a stack that CloudFormation began and didn't complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stack {stack} ended as {status}.{}", listed(.failures))]
pub struct StackFailure {
    /// The stack's name.
    pub stack: String,
    /// The stack's status at the end, such as `ROLLBACK_COMPLETE`.
    pub status: String,
    /// The resources that failed, the first failure first.
    pub failures: Vec<ResourceFailure>,
}

/// A resource that CloudFormation couldn't create or update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceFailure {
    /// The resource's name in the template.
    pub resource: String,
    /// The resource's type, such as `AWS::SQS::Queue`.
    pub kind: String,
    /// The resource's status, such as `CREATE_FAILED`.
    pub status: String,
    /// The reason in the service's words. For the registration, the custom resource gives it.
    pub reason: String,
}

/// A change of a resource's status, as CloudFormation reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceEvent {
    /// The resource's new status, such as `UPDATE_IN_PROGRESS`.
    pub status: String,
    /// The reason, if there is one. For the registration, the custom resource gives it.
    pub reason: Option<String>,
    /// When the status changed.
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
        return " No resource gave a reason.".to_owned();
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
        let request = json!({
            "do": "deploy",
            "stack": name,
            "parameters": parameters,
            "upload": bundle.upload()?,
        });
        let deployed: Deployed = boto::ask(account, request, |note| stage.note(note)).await?;
        let stack = deployed.stack.succeeded(name)?.of(account, name);
        stage.done(&format!("stack {name} {}", deployed.outcome));
        Ok(stack)
    }

    /// Reads the stack with this name.
    ///
    /// # Errors
    ///
    /// There is no such stack.
    pub async fn find(account: &Account, name: &str) -> Result<Self> {
        let request = json!({"do": "describe", "stack": name});
        let found: Option<Described> = boto::ask(account, request, |_| ()).await?;
        let found = found.with_context(|| format!("there is no stack {name}"))?;
        Ok(found.of(account, name))
    }

    /// Deletes the stack and waits until it is gone.
    ///
    /// # Errors
    ///
    /// CloudFormation can't delete it.
    pub async fn delete(self, progress: Progress) -> Result<(), DeployError> {
        let mut stage = progress.stage(&format!("deleting stack {}", self.name));
        let request = json!({"do": "delete", "stack": self.name});
        let ended: Described = boto::ask(&self.account, request, |note| stage.note(note)).await?;
        ended.succeeded(&self.name)?;
        stage.done(&format!("stack {} deleted", self.name));
        Ok(())
    }

    /// The account that the stack is in.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The stack's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stack's parameters, defaults included.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The stack's outputs.
    #[must_use]
    pub fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }

    /// The value of one output.
    ///
    /// # Errors
    ///
    /// The template has no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        let value = self.outputs.get(name);
        Ok(value.with_context(|| format!("stack {} has no output {name}", self.name))?)
    }

    /// The id of one resource, by its name in the template.
    ///
    /// # Errors
    ///
    /// The stack has no such resource.
    pub async fn resource(&self, name: &str) -> Result<String> {
        let arguments = json!({"StackName": self.name, "LogicalResourceId": name});
        let (service, operation) = ("cloudformation", "describe_stack_resource");
        let described: Value = boto::call(&self.account, service, operation, arguments).await?;
        let id = described.pointer("/StackResourceDetail/PhysicalResourceId");
        let id = id.and_then(Value::as_str);
        Ok(id
            .with_context(|| format!("the resource {name} has no id"))?
            .to_owned())
    }

    /// The events of one resource, as from [`events_of`].
    ///
    /// # Errors
    ///
    /// As for [`events_of`].
    pub async fn events_of(&self, resource: &str) -> Result<Vec<ResourceEvent>> {
        events_of(&self.account, &self.name, resource).await
    }
}

/// All events of one resource of a stack, in order. The stack may also be deleted, or its creation may
/// have failed. `resource` is a name in the template.
///
/// # Errors
///
/// There is no such stack.
pub async fn events_of(
    account: &Account,
    stack: &str,
    resource: &str,
) -> Result<Vec<ResourceEvent>> {
    let arguments = json!({"StackName": stack});
    let answer = boto::call(
        account,
        "cloudformation",
        "describe_stack_events",
        arguments,
    );
    let StackEvents { stack_events } = answer.await?;
    let its = stack_events.into_iter().rev();
    Ok(its
        .filter(|event| event.logical_resource_id == resource)
        .map(resource_event)
        .collect())
}

/// The answer of `aws.py` to a deployment.
#[derive(Deserialize)]
struct Deployed {
    /// The outcome, such as `created`.
    outcome: String,
    stack: Described,
}

/// A stack as `aws.py` describes it.
#[derive(Deserialize)]
struct Described {
    status: String,
    parameters: Parameters,
    outputs: BTreeMap<String, String>,
    /// The events of an operation that failed, the newest first.
    events: Vec<StackEvent>,
}

impl Described {
    fn of(self, account: &Account, name: &str) -> Stack {
        Stack {
            account: account.clone(),
            name: name.to_owned(),
            parameters: self.parameters,
            outputs: self.outputs,
        }
    }

    fn succeeded(self, stack: &str) -> Result<Self, StackFailure> {
        if is_success(&self.status) {
            return Ok(self);
        }
        Err(StackFailure {
            stack: stack.to_owned(),
            failures: failures(stack, &self.events),
            status: self.status,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StackEvents {
    stack_events: Vec<StackEvent>,
}

/// An event in CloudFormation's form.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StackEvent {
    logical_resource_id: String,
    resource_type: String,
    resource_status: String,
    resource_status_reason: Option<String>,
    timestamp: Timestamp,
}

fn resource_event(event: StackEvent) -> ResourceEvent {
    // MiniStack returns an empty reason where AWS returns none.
    let reason = event.resource_status_reason;
    ResourceEvent {
        status: event.resource_status,
        reason: reason.filter(|reason| !reason.is_empty()),
        at: event.timestamp,
    }
}

fn is_success(status: &str) -> bool {
    matches!(
        status,
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "DELETE_COMPLETE"
    )
}

/// The resources that failed, the first failure first, from events in CloudFormation's order. Resources
/// that were only cancelled because another one failed are not included.
fn failures(stack: &str, events: &[StackEvent]) -> Vec<ResourceFailure> {
    events
        .iter()
        .rev()
        .filter_map(resource_failure)
        .filter(|failure| failure.resource != stack && !failure.reason.starts_with(CANCELLED))
        .collect()
}

fn resource_failure(event: &StackEvent) -> Option<ResourceFailure> {
    let reason = event.resource_status_reason.as_deref();
    event
        .resource_status
        .ends_with("_FAILED")
        .then(|| ResourceFailure {
            resource: event.logical_resource_id.clone(),
            kind: event.resource_type.clone(),
            status: event.resource_status.clone(),
            reason: reason.unwrap_or("no reason given").to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(resource: &str, status: &str, reason: &str) -> StackEvent {
        StackEvent {
            logical_resource_id: resource.to_owned(),
            resource_type: "AWS::X::Y".to_owned(),
            resource_status: status.to_owned(),
            resource_status_reason: Some(reason.to_owned()),
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_failure_names_the_cause_and_not_the_resources_cancelled_by_it() {
        let events = [
            event("aura", "ROLLBACK_COMPLETE", ""),
            event("aura", "CREATE_FAILED", "The following failed: [Table]"),
            event("Queue", "CREATE_FAILED", "Resource creation cancelled"),
            event("Table", "CREATE_FAILED", "limit exceeded"),
            event("Role", "CREATE_COMPLETE", ""),
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
                    event("Second", "UPDATE_FAILED", "b"),
                    event("First", "CREATE_FAILED", "a"),
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
    fn a_rollback_is_not_a_success() {
        assert!(is_success("UPDATE_COMPLETE"));
        for status in [
            "ROLLBACK_COMPLETE",
            "UPDATE_ROLLBACK_COMPLETE",
            "DELETE_FAILED",
        ] {
            assert!(!is_success(status), "{status}");
        }
    }
}
