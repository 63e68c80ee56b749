//! What CloudFormation is doing with this function's stack.

use aws_sdk_cloudformation::Client;
use shared::aws;

/// A stack's status that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("the stack's status can't be read: {0}")]
pub struct StatusUnknown(String);

/// What a stack is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Nothing: the last operation is over.
    Idle,
    /// A create, update or delete.
    Changing,
    /// It goes back to what it was.
    RollingBack,
}

/// Asks CloudFormation.
///
/// # Errors
///
/// CloudFormation doesn't say.
pub async fn activity(client: &Client, stack_id: &str) -> Result<Activity, StatusUnknown> {
    let answer = client.describe_stacks().stack_name(stack_id).send().await;
    let stacks = answer
        .map_err(|error| StatusUnknown(aws::describe(&error)))?
        .stacks;
    let stack = stacks.unwrap_or_default().into_iter().next();
    let status = stack.and_then(|stack| stack.stack_status);
    let status = status.ok_or_else(|| StatusUnknown("no such stack".to_owned()))?;
    Ok(activity_of(status.as_str()))
}

/// By CloudFormation's names, which say it in the same words for every operation.
fn activity_of(status: &str) -> Activity {
    match (
        status.contains("ROLLBACK"),
        status.ends_with("_IN_PROGRESS"),
    ) {
        // What is left of an update that is in force already, or of one that was taken back.
        _ if status.ends_with("_CLEANUP_IN_PROGRESS") => Activity::Idle,
        (true, true) => Activity::RollingBack,
        (false, true) => Activity::Changing,
        (_, false) => Activity::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_goes_on() {
        let cases = [
            ("CREATE_IN_PROGRESS", Activity::Changing),
            ("UPDATE_IN_PROGRESS", Activity::Changing),
            ("DELETE_IN_PROGRESS", Activity::Changing),
            ("UPDATE_ROLLBACK_IN_PROGRESS", Activity::RollingBack),
            ("ROLLBACK_IN_PROGRESS", Activity::RollingBack),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Activity::Idle),
            (
                "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
                Activity::Idle,
            ),
            ("UPDATE_COMPLETE", Activity::Idle),
            ("UPDATE_ROLLBACK_FAILED", Activity::Idle),
        ];
        for (status, activity) in cases {
            assert_eq!(activity_of(status), activity, "{status}");
        }
    }
}
