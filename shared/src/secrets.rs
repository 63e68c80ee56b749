//! Secrets, read from Secrets Manager by ARN.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use secrecy::SecretString;

use crate::aws;

/// A secret that can't be used. The ARN is named, the value never.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager didn't give it.
    #[error("secret {arn} can't be read: {reason}")]
    Unreadable {
        /// Which secret.
        arn: String,
        /// The kind of failure and the service's code.
        reason: String,
    },
    /// It has no text value, or the wrong shape.
    #[error("secret {arn} has the wrong shape: {expected}")]
    Malformed {
        /// Which secret.
        arn: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Which of a secret's versions is meant: during a rotation there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The version in use.
    Current,
    /// The version that is to be the next.
    Pending,
    /// The version that was in use before.
    Previous,
}

impl Stage {
    /// Secrets Manager's staging label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Pending => "AWSPENDING",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// Reads the current text value of a secret.
///
/// # Errors
///
/// [`SecretError::Unreadable`] when the call fails, [`SecretError::Malformed`] when the secret
/// holds no text.
pub async fn read(client: &Client, arn: &str) -> Result<SecretString, SecretError> {
    let value = read_stage(client, arn, Stage::Current).await?;
    value.ok_or_else(|| SecretError::Unreadable {
        arn: arn.to_owned(),
        reason: "there is no such secret, or it has no current value".to_owned(),
    })
}

/// Reads the text value that a secret has at a stage; `None` if it has no such version.
///
/// # Errors
///
/// As for [`read`].
pub async fn read_stage(
    client: &Client,
    arn: &str,
    stage: Stage,
) -> Result<Option<SecretString>, SecretError> {
    let answer = client
        .get_secret_value()
        .secret_id(arn)
        .version_stage(stage.label())
        .send()
        .await;
    match answer {
        Ok(answer) => match answer.secret_string {
            Some(value) if !value.is_empty() => Ok(Some(SecretString::from(value))),
            _ => Err(no_text(arn)),
        },
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(SecretError::Unreadable {
            arn: arn.to_owned(),
            reason: aws::describe(&error),
        }),
    }
}

fn is_absent(error: &SdkError<GetSecretValueError>) -> bool {
    error
        .as_service_error()
        .is_some_and(GetSecretValueError::is_resource_not_found_exception)
}

fn no_text(arn: &str) -> SecretError {
    SecretError::Malformed {
        arn: arn.to_owned(),
        expected: "store a non-empty text value",
    }
}
