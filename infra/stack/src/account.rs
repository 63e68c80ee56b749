//! One AWS account of the local AWS, and the SDKs' clients for it.
//!
//! Endpoint, region and credentials are set here one by one. Nothing comes from the environment,
//! `~/.aws` or instance metadata, so that no mistake can reach a real account.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_types::SdkConfig;

/// The region of everything local.
pub const REGION: &str = "us-east-1";
/// The secret access key of every account. MiniStack accepts any.
pub const SECRET_ACCESS_KEY: &str = "local";
/// How long one call may take, retries included. Only a MiniStack that hangs takes as long.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// An account of a running MiniStack. MiniStack uses an access key of 12 digits as the number of the
/// account. Accounts don't see each other's resources.
#[derive(Debug, Clone)]
pub struct Account {
    id: String,
    endpoint: String,
    config: SdkConfig,
}

impl Account {
    /// The account `id` (12 digits) of the MiniStack at `endpoint`.
    #[must_use]
    pub fn new(endpoint: &str, id: &str) -> Self {
        let credentials = Credentials::new(id, SECRET_ACCESS_KEY, None, None, "local");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(Region::from_static(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(shared::aws::http_client())
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_timeout(CALL_TIMEOUT)
                    .build(),
            )
            .build();
        Self {
            id: id.to_owned(),
            endpoint: endpoint.to_owned(),
            config,
        }
    }

    /// The account's number, which is also its access key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The URL at which MiniStack listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The configuration for a client that has no method here.
    #[must_use]
    pub fn sdk_config(&self) -> &SdkConfig {
        &self.config
    }

    /// A client of DynamoDB.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// A client of EventBridge.
    #[must_use]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.config)
    }

    /// A client of Secrets Manager.
    #[must_use]
    pub fn secretsmanager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }

    /// A client of SQS.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }
}
