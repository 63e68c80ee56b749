//! What `registrar` is told by its environment.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use shared::config::{ConfigError, Environment};
use shared::webhook::refresh_interval;

use crate::canary;
use crate::endpoint::{Properties, PropertyError};

/// The properties that say which AURA system a stack belongs to.
const WHICH_AURA: [&str; 2] = ["AuraBaseUrl", "AuraCredentialsSecretArn"];

/// The function's configuration; template.yaml sets all of it but the two times.
#[derive(Debug)]
pub struct Config {
    /// `WEBHOOK_SECRET_ARN`: the secret that AURA is told to send in the header.
    pub webhook_secret_arn: String,
    /// `AURA_CREDENTIALS_SECRET_ARN`: `{"clientId": "…", "clientSecret": "…"}`.
    pub aura_credentials_secret_arn: String,
    /// `LEDGER_TABLE_NAME`: where canaries are followed.
    pub ledger_table_name: String,
    /// `STACK_ID`: the stack that the function belongs to.
    pub stack_id: String,
    /// How often `ingest` reads the secret for values that are unknown; see [`refresh_interval`].
    pub refresh_interval: SignedDuration,
    /// `CANARY_PATIENCE_SECONDS`, which only tests set: the longest that a proof may take.
    pub canary_patience: Duration,
    /// `AURA_BASE_URL`, `WEBHOOK_URL`, `WEBHOOK_EVENTS` (with commas between), `WEBHOOK_HEADER_NAME`,
    /// `WEBHOOK_HEADER_SCHEME` and `HAND_BACK_URL`: all that is ever registered, whoever asks. They
    /// are not checked here, so that CloudFormation can be told what is wrong with them.
    pub deployed: Properties,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Names the first variable that is missing.
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
            deployed: Properties {
                aura_base_url: required("AURA_BASE_URL")?,
                webhook_url: required("WEBHOOK_URL")?,
                events: events.map(ToOwned::to_owned).collect(),
                header_name: required("WEBHOOK_HEADER_NAME")?,
                header_scheme: optional("WEBHOOK_HEADER_SCHEME"),
                hand_back_url: optional("HAND_BACK_URL"),
            },
        })
    }

    /// The custom resource's properties that go with this configuration. It may have others: they
    /// only make CloudFormation ask.
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
            "WebhookSecretArn": self.webhook_secret_arn,
            "WebhookUrl": deployed.webhook_url,
        })
    }

    /// Expects that a request is for what this function was deployed with, as a deployment's is:
    /// CloudFormation updates the function, or puts it back, before it asks. Anybody else may send
    /// anything, and would have the credentials and the secret sent to a place of their choice.
    ///
    /// # Errors
    ///
    /// [`PropertyError::NotDeployed`] names the properties that differ.
    pub fn expect_deployed(&self, asked: &Value) -> Result<(), PropertyError> {
        // What is not there is empty.
        const ABSENT: Value = Value::String(String::new());
        let deployed = self.resource_properties();
        let differing: Vec<_> = deployed
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| asked.get(name.as_str()).unwrap_or(&ABSENT) != *value)
            .map(|(name, _)| name.clone())
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(PropertyError::NotDeployed(differing))
    }

    /// Expects that what was registered before belongs to the same AURA system.
    ///
    /// # Errors
    ///
    /// [`PropertyError::AnotherAura`].
    pub fn expect_same_aura(&self, before: &Value) -> Result<(), PropertyError> {
        let deployed = self.resource_properties();
        let differs = |name: &&str| {
            let before = before.get(*name);
            before.is_some_and(|before| Some(before) != deployed.get(*name))
        };
        let differing = WHICH_AURA.into_iter().find(differs);
        differing.map_or(Ok(()), |name| Err(PropertyError::AnotherAura(name)))
    }
}
