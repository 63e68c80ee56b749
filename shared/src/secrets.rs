//! Secrets, read from Secrets Manager by ARN.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::aws;

/// A secret that can't be used. The text names the ARN, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager didn't return the secret. Try again later.
    #[error("secret {arn} can't be read: {reason}")]
    Unreadable {
        /// The secret's ARN.
        arn: String,
        /// The kind of failure and the service's code.
        reason: String,
    },
    /// The secret holds no text, or text of the wrong shape. Somebody has to store another value.
    #[error("secret {arn} has the wrong shape: {expected}")]
    Malformed {
        /// The secret's ARN.
        arn: String,
        /// What the value should be.
        expected: &'static str,
    },
}

/// One version of a secret.
#[derive(Debug, Clone)]
pub struct SecretVersion {
    /// The version's text.
    pub value: SecretString,
    /// When it was made, to the second. `None` if Secrets Manager doesn't say.
    pub made_at: Option<Timestamp>,
}

/// The stage of a version. During a rotation a secret has several versions, each at its own stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionStage {
    /// The version in use.
    Current,
    /// The version that a rotation makes, which will be in use next.
    Pending,
    /// The version that was in use before.
    Previous,
}

impl VersionStage {
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
/// [`SecretError::Unreadable`] if the call fails, [`SecretError::Malformed`] if the secret holds no
/// text.
pub async fn read(client: &Client, arn: &str) -> Result<SecretString, SecretError> {
    Ok(read_current(client, arn).await?.value)
}

/// Reads the current version of a secret.
pub async fn read_current(client: &Client, arn: &str) -> Result<SecretVersion, SecretError> {
    let version = read_stage(client, arn, VersionStage::Current).await?;
    version.ok_or_else(|| SecretError::Unreadable {
        arn: arn.to_owned(),
        reason: "there is no such secret, or it has no current value".to_owned(),
    })
}

/// Reads the version of a secret at a stage. `None` if the secret has no version there, or none
/// with a value.
pub async fn read_stage(
    client: &Client,
    arn: &str,
    stage: VersionStage,
) -> Result<Option<SecretVersion>, SecretError> {
    let answer = client
        .get_secret_value()
        .secret_id(arn)
        .version_stage(stage.label())
        .send()
        .await;
    match answer {
        Ok(answer) => match answer.secret_string {
            Some(value) if !value.is_empty() => Ok(Some(SecretVersion {
                value: value.into(),
                made_at: answer
                    .created_date
                    .and_then(|at| Timestamp::from_second(at.secs()).ok()),
            })),
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
