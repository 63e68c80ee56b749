//! How every function calls AWS: with one HTTP client, with our own time limits, and with errors
//! that hold no content.

mod trust;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::error::operation::BuildError;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use aws_types::sdk_config::StalledStreamProtectionConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::config::{ConfigError, Environment};

pub use self::trust::http_client;
pub use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// How long a call may take. The SDK's own defaults limit only the time to connect.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// The time to connect to the service.
    pub connect: Duration,
    /// The time of one attempt, including the time to connect.
    pub attempt: Duration,
    /// The time of the whole call: up to three attempts, and the pauses between them.
    pub call: Duration,
    /// The longest first pause between attempts. Pauses have jitter, and later ones are longer.
    pub pause: Duration,
}

/// The limits of a function that sets no limits of its own. They are below the shortest function
/// timeout (5 s). A function that makes several calls has to watch its deadline itself.
const DEFAULT_LIMITS: CallLimits = CallLimits {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(2),
    call: Duration::from_secs(4),
    pause: Duration::from_secs(1),
};

impl CallLimits {
    /// Copies a configuration and sets these limits in it.
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

/// Reads region, credentials and endpoints from the function's environment, and sets our own limits.
///
/// Lambda sets all that is read here. Files and the machine's metadata service are not asked, so the
/// functions do without the crate aws-config, which brings the SDKs of STS and SSO.
///
/// # Errors
///
/// [`ConfigError::Missing`] if there is no region, or if half of the credentials is missing.
pub fn sdk_config(environment: &Environment) -> Result<SdkConfig, ConfigError> {
    // Lambda starts a new process when the credentials change, so they are read once.
    let credentials = Credentials::new(
        environment.required("AWS_ACCESS_KEY_ID")?,
        environment.required("AWS_SECRET_ACCESS_KEY")?,
        environment.optional("AWS_SESSION_TOKEN").map(str::to_owned),
        None,
        "environment",
    );
    let region = environment.required("AWS_REGION")?.to_owned();
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new(region))
        .service_config(ServiceSettings(environment.clone()))
        .http_client(http_client())
        // It watches each body for bytes that stop. Our limits end an attempt whatever stops.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(DEFAULT_LIMITS.applied_to(&sdk))
}

/// The settings that an SDK looks up by itself, such as `AWS_ENDPOINT_URL`. As in AWS's other tools,
/// the variable of one service, such as `AWS_ENDPOINT_URL_SECRETS_MANAGER`, wins over that of all.
#[derive(Debug)]
struct ServiceSettings(Environment);

impl LoadServiceConfig for ServiceSettings {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        let of_service = self.0.optional(&format!("{}_{service}", key.env()));
        let value = of_service.or_else(|| self.0.optional(key.env()));
        value.map(str::to_owned)
    }
}

/// Describes a failed call by the kind of failure and the service's error code. The service's message
/// is not included, because it may quote the request.
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

/// A call to AWS that failed. It may have taken effect, if only the answer was lost.
///
/// Its text, such as `ledger: timed out (UpdateItem)`, holds nothing of the request; see [`describe`].
#[derive(Debug, thiserror::Error)]
#[error("{about}: {reason} ({operation})")]
pub struct CallError {
    about: &'static str,
    operation: &'static str,
    reason: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CallError {
    /// Turns the SDK's error into this one. `about` names what was called in this system's words, such as
    /// `open callouts`, and `operation` is AWS's name of the call.
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
            source: Some(error.into()),
        }
    }

    /// Makes the error of a call that AWS has answered without doing all of it.
    #[must_use]
    pub fn refused(about: &'static str, operation: &'static str, reason: String) -> Self {
        Self {
            about,
            operation,
            reason,
            source: None,
        }
    }

    /// Makes the error of a call that was not made, because a value is missing.
    pub fn not_built(
        about: &'static str,
        operation: &'static str,
    ) -> impl FnOnce(BuildError) -> Self {
        move |error| Self {
            about,
            operation,
            reason: "request could not be built".to_owned(),
            source: Some(error.into()),
        }
    }
}

/// The largest text that is sent to a queue, in bytes. SQS accepts 1 MiB in all. The rest is for an
/// envelope (about 150 bytes), or for the quarantine's attributes.
pub const MAX_QUEUED_BYTES: usize = 1024 * 1024 - 1024;

/// Whether SQS accepts a text as a message. Its API reference allows all characters except U+FFFE,
/// U+FFFF and control characters other than tab and line ends.
#[must_use]
pub fn is_queueable(text: &str) -> bool {
    let is_control = |byte: u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
    // A loop without an early end lets the compiler check many bytes at once.
    let controls = text
        .bytes()
        .fold(false, |found, byte| found | is_control(byte));
    // Both characters begin with a rare byte, whose absence is found quickly.
    let noncharacters = text.as_bytes().contains(&0xEF) && text.contains(['\u{FFFE}', '\u{FFFF}']);
    !(controls || noncharacters)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use aws_credential_types::provider::ProvideCredentials as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn environment() -> Environment {
        Environment::from([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_SESSION_TOKEN", "token"),
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://secrets"),
        ])
    }

    #[tokio::test]
    async fn region_and_credentials_come_from_the_environment() {
        let sdk = sdk_config(&environment()).unwrap();
        assert_eq!(sdk.region().unwrap().as_ref(), "eu-west-1");
        let provider = sdk.credentials_provider().unwrap();
        let credentials = provider.provide_credentials().await.unwrap();
        let (id, key) = (credentials.access_key_id(), credentials.secret_access_key());
        assert_eq!((id, key), ("id", "key"));
        assert_eq!(credentials.session_token(), Some("token"));
    }

    /// Answers one request with the first byte of two.
    async fn answer_by_half(listener: TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{";
        stream.write_all(half).await.unwrap();
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn an_answer_that_stops_ends_with_the_attempt() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(answer_by_half(listener));
        let limits = CallLimits {
            attempt: Duration::from_millis(50),
            call: Duration::from_hours(1),
            ..DEFAULT_LIMITS
        };
        let sdk = limits.applied_to(&sdk_config(&environment()).unwrap());
        let once = aws_sdk_sqs::config::Builder::from(&sdk)
            .endpoint_url(url)
            .retry_config(RetryConfig::disabled());
        let client = aws_sdk_sqs::Client::from_conf(once.build());
        let error = client.list_queues().send().await.unwrap_err();
        assert_eq!(describe(&error), "timed out");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let all = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        for missing in all {
            let environment = Environment::from(all.map(|name| match name {
                _ if name == missing => (name, ""),
                _ => (name, "set"),
            }));
            let message = sdk_config(&environment).unwrap_err().to_string();
            assert!(message.contains(missing), "{message}");
        }
    }

    #[test]
    fn the_endpoint_of_one_service_wins_over_that_of_all() {
        let settings = ServiceSettings(environment());
        let endpoint = |service| {
            let key = ServiceConfigKey::builder()
                .service_id(service)
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url");
            settings.load_config(key.build().unwrap())
        };
        assert_eq!(endpoint("Secrets Manager").unwrap(), "http://secrets");
        assert_eq!(endpoint("SQS").unwrap(), "http://all");
    }

    /// The rule of `SendMessage`, word for word from its API reference.
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
