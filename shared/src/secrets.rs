//! Secrets, read from Secrets Manager by ARN.

use aws_sdk_secretsmanager::Client;
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

/// Reads the current text value of a secret.
///
/// # Errors
///
/// [`SecretError::Unreadable`] when the call fails, [`SecretError::Malformed`] when the secret
/// holds no text.
pub async fn read(client: &Client, arn: &str) -> Result<SecretString, SecretError> {
    let answer = client
        .get_secret_value()
        .secret_id(arn)
        .send()
        .await
        .map_err(|error| SecretError::Unreadable {
            arn: arn.to_owned(),
            reason: aws::describe(&error),
        })?;
    match answer.secret_string {
        Some(value) if !value.is_empty() => Ok(SecretString::from(value)),
        _ => Err(SecretError::Malformed {
            arn: arn.to_owned(),
            expected: "store a non-empty text value",
        }),
    }
}
