//! Sends deliveries as AURA does, and notes their ids.

use anyhow::{Context as _, Result};
use stack::system::{System, Webhook};

/// Sends deliveries to a system's webhook.
pub struct Sender {
    webhook: Webhook,
    http: reqwest::Client,
}

impl Sender {
    /// A sender that knows the webhook's secret.
    ///
    /// # Errors
    ///
    /// The stack lacks an output, or its secret can't be read.
    pub async fn new(system: &System) -> Result<Self> {
        Ok(Self {
            webhook: system.webhook().await?,
            http: shared::http_client::build()?,
        })
    }

    /// Sends a delivery, and returns the id that the endpoint answered.
    ///
    /// # Errors
    ///
    /// The webhook doesn't answer, or answers no id.
    pub async fn send(&self, body: impl Into<Vec<u8>>) -> Result<String> {
        let answer = self.webhook.post(&self.http, body.into()).await?;
        let id = answer.delivery_id().map(ToOwned::to_owned);
        id.context("the endpoint answered no id")
    }
}
