//! Telling AURA where to deliver.

use std::time::Duration;

use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use shared::panic_api::{Credentials, PanicApi, PanicApiError, Registration};
use shared::secrets::{self, SecretError};
use shared::webhook::{IllegalHeaderValue, WebhookHeader};
use url::Url;

use crate::config::Config;

/// What the custom resource asks for: its `ResourceProperties`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Properties {
    /// The AURA environment.
    pub aura_base_url: Url,
    /// Where AURA is to deliver.
    pub webhook_url: Url,
    /// The event names to deliver.
    pub events: Vec<String>,
    /// The header that carries the secret.
    pub header_name: String,
    /// What stands before the secret in it; empty for nothing.
    #[serde(default)]
    pub header_scheme: String,
}

/// Why AURA doesn't deliver to the endpoint. The message becomes CloudFormation's `Reason`.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The template passes something that can't be used.
    #[error("the resource's properties are wrong: {0}")]
    Properties(#[from] serde_json::Error),
    /// The header's name isn't one.
    #[error("HeaderName is not a legal HTTP header name")]
    HeaderName(#[from] http::header::InvalidHeaderName),
    /// The secret can't stand in a header.
    #[error(transparent)]
    HeaderValue(#[from] IllegalHeaderValue),
    /// A secret can't be read or has the wrong shape.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// AURA didn't register it.
    #[error(transparent)]
    Aura(#[from] PanicApiError),
}

/// Registers the webhook with AURA.
#[derive(Debug)]
pub struct Registrar {
    /// Reads the two secrets.
    pub secrets_manager: aws_sdk_secretsmanager::Client,
    /// Calls AURA.
    pub http: reqwest::Client,
    /// Which secrets.
    pub config: Config,
}

impl Registrar {
    /// Registers what the resource asks for, and returns what that was.
    ///
    /// # Errors
    ///
    /// Says what a person has to mend. AURA's registration is as it was, unless AURA registered
    /// and its answer was lost.
    pub async fn register(&self, properties: Value) -> Result<Registration, RegistrationError> {
        let properties: Properties = serde_json::from_value(properties)?;
        let registration = self.registration(&properties).await?;
        let credentials = self.credentials().await?;
        let aura = PanicApi::new(self.http.clone(), properties.aura_base_url, credentials);
        register(&aura, &registration).await?;
        Ok(registration)
    }

    async fn registration(
        &self,
        properties: &Properties,
    ) -> Result<Registration, RegistrationError> {
        let header = WebhookHeader {
            name: HeaderName::try_from(&properties.header_name)?,
            scheme: properties.header_scheme.clone(),
        };
        let arn = &self.config.webhook_secret_arn;
        let secret = secrets::read(&self.secrets_manager, arn).await?;
        let value = header.value(&secret)?;
        Ok(Registration {
            url: properties.webhook_url.clone(),
            events: properties.events.clone(),
            method: "webhook".to_owned(),
            headers: [(header.name, value)].into_iter().collect(),
        })
    }

    async fn credentials(&self) -> Result<Credentials, SecretError> {
        let arn = &self.config.aura_credentials_secret_arn;
        let secret: SecretString = secrets::read(&self.secrets_manager, arn).await?;
        // serde's message may quote the value, so only the expectation is told.
        serde_json::from_str(secret.expose_secret()).map_err(|_| SecretError::Malformed {
            arn: arn.clone(),
            expected: r#"store {"clientId": "…", "clientSecret": "…"}"#,
        })
    }
}

/// How often AURA is asked, and the first pause between; each pause is twice the one before.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Registers; again, after a pause, while AURA may recover. Registering twice does no harm.
async fn register(aura: &PanicApi, registration: &Registration) -> Result<(), PanicApiError> {
    let mut pause = PAUSE;
    for attempt in 1..ATTEMPTS {
        match aura.register_webhook(registration).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(attempt, %error, "trying again");
            }
            settled => return settled,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    aura.register_webhook(registration).await
}
