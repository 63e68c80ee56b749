//! Connection to AURA. The connector makes the client when a run first needs it, and keeps it
//! together with its token.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use sha2::{Digest as _, Sha256};
use shared::panic_api::{Credentials, PanicApi};
use shared::secrets;
use tokio::sync::Mutex;
use url::Url;

use super::Aura;
use crate::Failure;
use crate::config::AuraLimits;

/// Makes the client of AURA and keeps it.
#[derive(Debug)]
pub struct AuraConnector {
    /// Client of Secrets Manager, which holds AURA's credentials.
    pub secrets_manager: Client,
    /// ARN of the secret with the credentials.
    pub credentials_arn: String,
    /// Base URL of the AURA system.
    pub base_url: Url,
    /// HTTP client for the calls to AURA.
    pub http: reqwest::Client,
    /// Limits of the calls to AURA.
    pub limits: AuraLimits,
    /// The client of AURA; `None` until the first run needs it.
    pub kept: Mutex<Option<Arc<Aura>>>,
}

impl AuraConnector {
    /// Id of this AURA system: a digest of its URL and the secret's ARN. New credentials in the
    /// same secret don't change the id.
    #[must_use]
    pub fn system_id(&self) -> String {
        let (url, arn) = (&self.base_url, &self.credentials_arn);
        hex::encode(Sha256::digest(format!("{url}\n{arn}")))
    }

    /// Returns the client of AURA. Makes it if there is no client yet.
    pub async fn connect(&self) -> Result<Arc<Aura>, Failure> {
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

    /// Drops the client, so that the next run reads the credentials again.
    pub async fn disconnect(&self) {
        *self.kept.lock().await = None;
    }
}
