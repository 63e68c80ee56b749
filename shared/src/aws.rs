//! How every function talks to AWS: one HTTP client, limits of our own, errors without content.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;

pub use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::result::SdkError;

/// How long a call may take. By itself, the SDK limits no more than the time to connect.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// To connect to the service.
    pub connect: Duration,
    /// One attempt, connecting included.
    pub attempt: Duration,
    /// The whole call with its attempts, three at most, and the pauses between them.
    pub call: Duration,
    /// The first pause between attempts, at most: they have jitter, and later ones are longer.
    pub pause: Duration,
}

/// For who has nothing better. Less than the shortest function timeout (5 s); who makes several
/// calls keeps an eye on the deadline itself.
const DEFAULT_LIMITS: CallLimits = CallLimits {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(2),
    call: Duration::from_secs(4),
    pause: Duration::from_secs(1),
};

impl CallLimits {
    /// The same configuration with these limits.
    #[must_use]
    pub fn applied_to(self, sdk: &SdkConfig) -> SdkConfig {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.call)
            .build();
        let retries = RetryConfig::standard().with_initial_backoff(self.pause);
        sdk.to_builder()
            .timeout_config(timeouts)
            .retry_config(retries)
            .build()
    }
}

/// The HTTP client of all SDKs: rustls on ring, one pool of connections per function.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

/// Region, credentials and endpoint from the function's environment, with limits of our own.
pub async fn sdk_config() -> SdkConfig {
    // Lambda gives them by the environment. What is missing there is an error, and is not looked
    // for in files or asked of the machine's metadata service.
    let sdk = aws_config::defaults(BehaviorVersion::latest())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .region(EnvironmentVariableRegionProvider::new())
        .http_client(http_client())
        .load()
        .await;
    DEFAULT_LIMITS.applied_to(&sdk)
}

/// What went wrong with a call, in words that hold nothing of the request: the kind of failure
/// and the service's error code. A service's message may quote what it refused.
#[must_use]
pub fn describe<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    let kind = match error {
        SdkError::ConstructionFailure(_) => "request could not be built",
        SdkError::TimeoutError(_) => "timed out",
        SdkError::DispatchFailure(_) => "service out of reach",
        SdkError::ResponseError(_) => "answer not understood",
        _ => "refused",
    };
    match error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
    {
        Some(code) => format!("{kind}: {code}"),
        None => kind.to_owned(),
    }
}

/// A call to AWS that failed. What it was to do may be done all the same, if only the answer was lost.
///
/// The text holds nothing of the request, as [`describe`] says: `ledger: timed out (UpdateItem)`.
#[derive(Debug, thiserror::Error)]
#[error("{about}: {reason} ({operation})")]
pub struct CallError {
    about: &'static str,
    operation: &'static str,
    reason: String,
    source: Box<dyn Error + Send + Sync>,
}

impl CallError {
    /// Makes the error of a call to `operation`. `about` says, in this system's words, which service
    /// or part of a table was called.
    pub fn of<E, R>(
        about: &'static str,
        operation: &'static str,
    ) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        R: fmt::Debug + Send + Sync + 'static,
    {
        move |error| Self {
            about,
            operation,
            reason: describe(&error),
            source: error.into(),
        }
    }

    /// Makes the error of a call to `operation` that has a value missing, and was not made.
    pub fn not_built(
        about: &'static str,
        operation: &'static str,
    ) -> impl FnOnce(BuildError) -> Self {
        move |error| Self {
            about,
            operation,
            reason: "request could not be built".to_owned(),
            source: error.into(),
        }
    }
}

/// Largest text in bytes that is sent to a queue. SQS takes 1 MiB with everything; the rest is for
/// what goes around it: an envelope (about 150 bytes), or the quarantine's attributes.
pub const MAX_QUEUED_BYTES: usize = 1024 * 1024 - 1024;

/// Whether SQS takes a text as a message, by the characters that its API reference allows: all
/// but control characters (tab and line ends are none here), U+FFFE and U+FFFF.
#[must_use]
pub fn is_queueable(text: &str) -> bool {
    let is_control = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    // Without an early end, which lets the compiler look at many bytes at once.
    let controls = text
        .bytes()
        .fold(false, |found, byte| found | is_control(byte));
    // Both begin with a byte that is rare, and quickly found to be absent.
    let noncharacters = text.as_bytes().contains(&0xEF) && text.contains(['\u{FFFE}', '\u{FFFF}']);
    !(controls || noncharacters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Word for word what the API reference of `SendMessage` says.
    fn is_allowed(character: char) -> bool {
        matches!(character, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}'
            | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
    }

    #[test]
    fn every_character_is_queueable_as_sqs_says() {
        for character in '\0'..=char::MAX {
            let text = format!("before {character} behind");
            assert_eq!(is_queueable(&text), is_allowed(character), "{text:?}");
        }
    }
}
