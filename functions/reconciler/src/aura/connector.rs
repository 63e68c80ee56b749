//! How AURA is reached: its client is made at the first run and kept, and with it the token.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use sha2::{Digest as _, Sha256};
use shared::panic_api::{Credentials, MalformedCredentials, PanicApi};
use shared::secrets::{self, SecretError};
use tokio::sync::Mutex;
use url::Url;

use crate::aura::Aura;
use crate::config::AuraLimits;

/// What it takes to ask AURA.
#[derive(Debug)]
pub struct Asking {
    /// Has the credentials.
    pub secrets_manager: Client,
    /// Their secret.
    pub credentials_arn: String,
    /// The AURA environment.
    pub base_url: Url,
    /// Calls AURA.
    pub http: reqwest::Client,
    /// How much.
    pub limits: AuraLimits,
    /// The client, once it is made.
    pub kept: Mutex<Option<Arc<Aura>>>,
}

/// AURA can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskingError {
    /// The credentials can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// They have the wrong shape.
    #[error(
        "the secret with AURA's credentials can't be used: {0}; store \
         {{\"clientId\": \"…\", \"clientSecret\": \"…\"}}"
    )]
    Credentials(#[from] MalformedCredentials),
}

impl Asking {
    /// Which AURA it is that is asked: a digest of its URL and the secret's ARN. New credentials in
    /// the same secret are the same AURA's.
    #[must_use]
    pub fn which_aura(&self) -> String {
        let (url, arn) = (&self.base_url, &self.credentials_arn);
        hex::encode(Sha256::digest(format!("{url}\n{arn}")))
    }

    /// The client of AURA.
    ///
    /// # Errors
    ///
    /// The credentials can't be read, or used.
    pub async fn aura(&self) -> Result<Arc<Aura>, AskingError> {
        let mut kept = self.kept.lock().await;
        if let Some(aura) = kept.as_ref() {
            return Ok(Arc::clone(aura));
        }
        let secret = secrets::read(&self.secrets_manager, &self.credentials_arn).await?;
        let credentials = Credentials::parse(&secret)?;
        let api = PanicApi::new(self.http.clone(), self.base_url.clone(), credentials);
        let aura = Arc::new(Aura::new(api, self.limits));
        Ok(Arc::clone(kept.insert(aura)))
    }

    /// Reads the credentials anew before the next run.
    pub async fn forget(&self) {
        *self.kept.lock().await = None;
    }
}
