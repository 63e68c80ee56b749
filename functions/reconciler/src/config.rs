//! Configuration of `reconciler`, from its environment.

use std::num::NonZero;
use std::time::Duration;

use shared::config::{ConfigError, Environment};
use url::Url;

use crate::verdict::Patience;

/// The function's configuration. template.yaml sets all of it.
#[derive(Debug)]
pub struct ReconcilerConfig {
    /// `AURA_BASE_URL`: base URL of the AURA system.
    pub aura_base_url: Url,
    /// `AURA_CREDENTIALS_SECRET_ARN`: the secret with `{"clientId": "…", "clientSecret": "…"}`.
    pub aura_credentials_secret_arn: String,
    /// `LEDGER_TABLE_NAME`: the ledger, with the spill and the open callouts.
    pub ledger_table: String,
    /// `INGEST_QUEUE_URL`: the queue that gets missed events and spilled deliveries.
    pub ingest_queue_url: String,
    /// `QUARANTINE_QUEUE_URL`: the queue that gets spilled deliveries that can't be understood.
    pub quarantine_queue_url: String,
    /// `HEALING_FUNCTION_NAME`: the function that registers the endpoint again. If the variable is
    /// empty, the reconciler doesn't ask for that.
    pub healing_function: Option<String>,
    /// `AURA_CALLS_AT_ONCE` and `AURA_CALLS_PER_MINUTE`: limits of the calls to AURA.
    pub limits: AuraLimits,
    /// `AURA_LAG_SECONDS` and `SILENCE_AFTER_…`: waiting times of the verdicts, in seconds.
    pub patience: Patience,
}

/// Limits of the calls to AURA.
#[derive(Debug, Clone, Copy)]
pub struct AuraLimits {
    /// Largest number of calls under way at once.
    pub at_once: NonZero<u16>,
    /// Largest number of calls in any minute.
    pub per_minute: NonZero<u16>,
}

impl ReconcilerConfig {
    /// Reads the configuration. An error names the first variable that is missing or wrong.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let required = |name| environment.required(name).map(ToOwned::to_owned);
        let seconds = |name| environment.parsed(name).map(Duration::from_secs);
        Ok(Self {
            aura_base_url: environment.parsed("AURA_BASE_URL")?,
            aura_credentials_secret_arn: required("AURA_CREDENTIALS_SECRET_ARN")?,
            ledger_table: required("LEDGER_TABLE_NAME")?,
            ingest_queue_url: required("INGEST_QUEUE_URL")?,
            quarantine_queue_url: required("QUARANTINE_QUEUE_URL")?,
            healing_function: environment
                .optional("HEALING_FUNCTION_NAME")
                .map(ToOwned::to_owned),
            limits: AuraLimits {
                at_once: environment.parsed("AURA_CALLS_AT_ONCE")?,
                per_minute: environment.parsed("AURA_CALLS_PER_MINUTE")?,
            },
            patience: Patience {
                lag: seconds("AURA_LAG_SECONDS")?,
                created: seconds("SILENCE_AFTER_CREATED")?,
                dispatched: seconds("SILENCE_AFTER_DISPATCHED")?,
                arrived: seconds("SILENCE_AFTER_ARRIVED")?,
                completed: seconds("SILENCE_AFTER_COMPLETED")?,
                cancelled: seconds("SILENCE_AFTER_CANCELLED")?,
            },
        })
    }
}
