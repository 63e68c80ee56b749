//! What CloudFormation is doing with this function's stack. A registration belongs to the state
//! that it was begun in: when the stack has moved on meanwhile, it would undo what came after it.

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::primitives::DateTime;
use aws_sdk_cloudformation::types::StackStatus;
use shared::aws;

/// What CloudFormation was doing with a stack at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackState {
    status: String,
    /// When the last update began; nothing before the first.
    updated_at: Option<DateTime>,
}

/// Why nothing may be registered for a stack now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StackError(String);

impl StackState {
    /// Asks CloudFormation what it is doing.
    pub async fn take(client: &Client, stack_id: &str) -> Result<Self, StackError> {
        let answer = client.describe_stacks().stack_name(stack_id).send().await;
        let unknown = |reason| StackError(format!("the stack's status can't be read: {reason}"));
        let answer = answer.map_err(|error| unknown(aws::describe(&error)))?;
        let stack = answer.stacks.unwrap_or_default().into_iter().next();
        let stack = stack.ok_or_else(|| unknown("no such stack".to_owned()))?;
        let status = stack.stack_status.as_ref().map(StackStatus::as_str);
        let status = status.unwrap_or_default();
        // While what an update has replaced is being deleted, the update is in force.
        let status = status.trim_end_matches("_CLEANUP_IN_PROGRESS");
        Ok(Self {
            status: status.to_owned(),
            updated_at: stack.last_updated_time,
        })
    }

    /// Expects that nothing has begun or ended since this was taken.
    pub async fn expect_unchanged(
        &self,
        client: &Client,
        stack_id: &str,
    ) -> Result<(), StackError> {
        let now = Self::take(client, stack_id).await?;
        if now == *self {
            return Ok(());
        }
        let (before, now) = (&self.status, now.status);
        Err(StackError(format!(
            "the stack was {before} when this began and is {now}: nothing was registered, because \
             what came after it counts"
        )))
    }

    /// Expects that CloudFormation is creating the stack, updating it or rolling an update back:
    /// then it waits for a response.
    pub fn expect_in_progress(&self) -> Result<(), StackError> {
        match self.status.as_str() {
            "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" => Ok(()),
            _ if self.is_rolling_back() => Ok(()),
            status => Err(StackError(format!(
                "the stack is {status}: this request is over"
            ))),
        }
    }

    /// Expects that what is deployed is there to stay.
    pub fn expect_settled(&self) -> Result<(), StackError> {
        match self.status.as_str() {
            "CREATE_COMPLETE"
            | "UPDATE_COMPLETE"
            | "UPDATE_ROLLBACK_COMPLETE"
            | "IMPORT_COMPLETE"
            | "IMPORT_ROLLBACK_COMPLETE" => Ok(()),
            status => Err(StackError(format!(
                "the stack is {status}: nothing is registered until an update of it has succeeded \
                 or was rolled back"
            ))),
        }
    }

    /// Whether an update is being rolled back.
    #[must_use]
    pub fn is_rolling_back(&self) -> bool {
        self.status == "UPDATE_ROLLBACK_IN_PROGRESS"
    }

    /// Whether the whole stack is being deleted, and not a resource alone.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        matches!(
            self.status.as_str(),
            "DELETE_IN_PROGRESS" | "ROLLBACK_IN_PROGRESS"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_may_be_registered() {
        // Status; a deployment's request may be done, any other; it is a rollback, the end.
        let cases = [
            ("CREATE_IN_PROGRESS", true, false, false, false),
            ("UPDATE_IN_PROGRESS", true, false, false, false),
            ("DELETE_IN_PROGRESS", false, false, false, true),
            ("ROLLBACK_IN_PROGRESS", false, false, false, true),
            ("UPDATE_ROLLBACK_IN_PROGRESS", true, false, true, false),
            ("CREATE_COMPLETE", false, true, false, false),
            ("UPDATE_COMPLETE", false, true, false, false),
            ("UPDATE_ROLLBACK_COMPLETE", false, true, false, false),
            ("IMPORT_COMPLETE", false, true, false, false),
            ("ROLLBACK_COMPLETE", false, false, false, false),
            ("DELETE_COMPLETE", false, false, false, false),
            ("CREATE_FAILED", false, false, false, false),
            ("UPDATE_FAILED", false, false, false, false),
            ("UPDATE_ROLLBACK_FAILED", false, false, false, false),
            ("DELETE_FAILED", false, false, false, false),
        ];
        for (status, in_progress, settled, rolling_back, going_away) in cases {
            let stack = StackState {
                status: status.to_owned(),
                updated_at: None,
            };
            assert_eq!(stack.expect_in_progress().is_ok(), in_progress, "{status}");
            assert_eq!(stack.expect_settled().is_ok(), settled, "{status}");
            assert_eq!(stack.is_rolling_back(), rolling_back, "{status}");
            assert_eq!(stack.is_going_away(), going_away, "{status}");
        }
    }
}
