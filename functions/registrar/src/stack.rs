//! The state of this function's stack, as CloudFormation reports it. A registration is valid only
//! for the stack state in which it began: if the stack has changed since then, the registration
//! would undo a newer one.

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::primitives::DateTime;
use aws_sdk_cloudformation::types::StackStatus;
use shared::aws;

/// The state of a stack at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackState {
    status: String,
    /// When the last update began; `None` before the first update.
    updated_at: Option<DateTime>,
}

/// Why a registration is not allowed in the stack's state, or why the state can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StackError(String);

impl StackState {
    /// Reads the stack's state from CloudFormation.
    pub async fn take(client: &Client, stack_id: &str) -> Result<Self, StackError> {
        let answer = client.describe_stacks().stack_name(stack_id).send().await;
        let unknown = |reason| StackError(format!("the stack's status can't be read: {reason}"));
        let answer = answer.map_err(|error| unknown(aws::describe(&error)))?;
        let stack = answer.stacks.unwrap_or_default().into_iter().next();
        let stack = stack.ok_or_else(|| unknown("no such stack".to_owned()))?;
        let status = stack.stack_status.as_ref().map(StackStatus::as_str);
        let status = status.unwrap_or_default();
        // During the cleanup, CloudFormation deletes replaced resources. The update is in force.
        let status = status.trim_end_matches("_CLEANUP_IN_PROGRESS");
        Ok(Self {
            status: status.to_owned(),
            updated_at: stack.last_updated_time,
        })
    }

    /// Reads the state again and returns an error if it has changed.
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
             the newer operation on the stack counts"
        )))
    }

    /// Returns an error unless CloudFormation creates the stack, updates it, or rolls an update
    /// back. Only in these states does it wait for a response.
    pub fn expect_in_progress(&self) -> Result<(), StackError> {
        match self.status.as_str() {
            "CREATE_IN_PROGRESS" | "UPDATE_IN_PROGRESS" => Ok(()),
            _ if self.is_rolling_back() => Ok(()),
            status => Err(StackError(format!(
                "the stack is {status}: this request is over"
            ))),
        }
    }

    /// Returns an error unless the last operation on the stack has succeeded or was rolled back.
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

    /// Whether CloudFormation rolls an update back.
    #[must_use]
    pub fn is_rolling_back(&self) -> bool {
        self.status == "UPDATE_ROLLBACK_IN_PROGRESS"
    }

    /// Whether the whole stack is being deleted, not only a resource.
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
    fn a_status_decides_which_requests_are_allowed() {
        // Columns: status; whether a deployment's request is allowed; whether any other request is
        // allowed; whether it is a rollback; whether the stack is being deleted.
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
