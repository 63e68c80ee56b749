//! The configuration of `registrar`, from its environment.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::config::{ConfigError, Environment};
use shared::webhook::refresh_interval;

use crate::canary;

pub use endpoint::{Endpoint, EndpointProperties};

mod endpoint;

/// The properties that identify a stack's AURA system.
const WHICH_AURA: [&str; 2] = ["AuraBaseUrl", "AuraCredentialsSecretArn"];

/// The function's configuration. template.yaml sets everything except the two times.
#[derive(Debug)]
pub struct RegistrarConfig {
    /// `WEBHOOK_SECRET_ARN`: the secret that AURA is told to send in the header.
    pub webhook_secret_arn: String,
    /// `AURA_CREDENTIALS_SECRET_ARN`: `{"clientId": "…", "clientSecret": "…"}`.
    pub aura_credentials_secret_arn: String,
    /// `LEDGER_TABLE_NAME`: the table in which the registrar follows canaries.
    pub ledger_table_name: String,
    /// `STACK_ID`: the stack that the function belongs to.
    pub stack_id: String,
    /// Shortest time between two readings of the secret that `ingest` makes because of unknown
    /// values; see [`refresh_interval`].
    pub refresh_interval: SignedDuration,
    /// `CANARY_PATIENCE_SECONDS`, which only tests set: the time limit of a proof.
    pub canary_patience: Duration,
    /// `REGISTER`: whether deployments and rotations may call AURA. A stack without it is a standby.
    pub registers: bool,
    /// `AURA_BASE_URL`, `WEBHOOK_URL`, `WEBHOOK_EVENTS` (separated by commas),
    /// `WEBHOOK_HEADER_NAME`, `WEBHOOK_HEADER_SCHEME` and `HAND_BACK_URL`. The registrar registers
    /// nothing else, whoever asks. [`Endpoint::check`] checks them later, so that the answer to
    /// CloudFormation can say what is wrong.
    pub deployed: EndpointProperties,
}

/// A property that can't be used, and why. The text shows a URL's scheme and host at most, because
/// the rest may be secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PropertyError(String);

impl PropertyError {
    /// Makes the error for a request whose properties differ from the deployed ones.
    #[must_use]
    pub fn not_deployed(differing: &[&str]) -> Self {
        Self(format!(
            "the request and this function's own configuration differ in {}, and nothing was sent \
             to AURA or the endpoint: the function uses only the configuration that it was \
             deployed with. If the request came from a deployment of yours, deploy again",
            differing.join(", ")
        ))
    }
}

impl RegistrarConfig {
    /// Reads the configuration. The error names the first variable that is missing.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let required = |name| environment.required(name).map(ToOwned::to_owned);
        let events = environment.required("WEBHOOK_EVENTS")?.split(',');
        let optional = |name| environment.optional(name).unwrap_or_default().to_owned();
        Ok(Self {
            webhook_secret_arn: required("WEBHOOK_SECRET_ARN")?,
            aura_credentials_secret_arn: required("AURA_CREDENTIALS_SECRET_ARN")?,
            ledger_table_name: required("LEDGER_TABLE_NAME")?,
            stack_id: required("STACK_ID")?,
            refresh_interval: refresh_interval(environment)?,
            canary_patience: environment.seconds_or("CANARY_PATIENCE_SECONDS", canary::PATIENCE)?,
            registers: environment.parsed("REGISTER")?,
            deployed: EndpointProperties {
                aura_base_url: required("AURA_BASE_URL")?,
                webhook_url: required("WEBHOOK_URL")?,
                events: events.map(ToOwned::to_owned).collect(),
                header_name: required("WEBHOOK_HEADER_NAME")?,
                header_scheme: optional("WEBHOOK_HEADER_SCHEME"),
                hand_back_url: optional("HAND_BACK_URL"),
            },
        })
    }

    /// The custom resource's properties that belong to this configuration. The resource may have
    /// more properties: they only make CloudFormation send a request.
    #[must_use]
    pub fn resource_properties(&self) -> Value {
        let deployed = &self.deployed;
        json!({
            "AuraBaseUrl": deployed.aura_base_url,
            "AuraCredentialsSecretArn": self.aura_credentials_secret_arn,
            "Events": deployed.events,
            "HandBackUrl": deployed.hand_back_url,
            "HeaderName": deployed.header_name,
            "HeaderScheme": deployed.header_scheme,
            "Register": self.registers.to_string(),
            "WebhookSecretArn": self.webhook_secret_arn,
            "WebhookUrl": deployed.webhook_url,
        })
    }

    /// Returns an error if a request's properties differ from the deployed ones. The properties of
    /// a deployment's request are equal, because CloudFormation updates the function, or rolls it
    /// back, before it sends the request. Another caller could send any properties, and would
    /// otherwise choose where the credentials and the secret go.
    pub fn expect_deployed(&self, asked: &Value) -> Result<(), PropertyError> {
        // An absent property counts as empty.
        const ABSENT: Value = Value::String(String::new());
        let deployed = self.resource_properties();
        let differing: Vec<_> = deployed
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| asked.get(name.as_str()).unwrap_or(&ABSENT) != *value)
            .map(|(name, _)| name.as_str())
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(PropertyError::not_deployed(&differing))
    }

    /// Returns an error if the endpoint that was registered before belongs to another AURA system.
    pub fn expect_same_aura(&self, before: &Value) -> Result<(), PropertyError> {
        let deployed = self.resource_properties();
        let differs = |name: &&str| {
            let before = before.get(*name);
            before.is_some_and(|before| Some(before) != deployed.get(*name))
        };
        let differing = WHICH_AURA.into_iter().find(differs);
        differing.map_or(Ok(()), |name| {
            Err(PropertyError(format!(
                "{name} of a registered stack can't be changed, and nothing was registered: ids of \
                 two AURA systems would collide in one ledger, and the old system would go on \
                 delivering here. Deploy a second stack for the other system. Store new \
                 credentials of the same system in the secret that the stack has"
            )))
        })
    }
}
