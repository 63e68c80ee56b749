//! What `reconciler` is told by its environment.

use std::num::NonZero;
use std::time::Duration;

use shared::config::{ConfigError, Environment};
use url::Url;

use crate::verdict::Patience;

/// The function's configuration; template.yaml sets all of it.
#[derive(Debug)]
pub struct Config {
    /// `AURA_BASE_URL`: the AURA environment.
    pub aura_base_url: Url,
    /// `AURA_CREDENTIALS_SECRET_ARN`: `{"clientId": "…", "clientSecret": "…"}`.
    pub aura_credentials_secret_arn: String,
    /// `LEDGER_TABLE_NAME`: the ledger, with the spill and the open callouts.
    pub ledger_table: String,
    /// `INGEST_QUEUE_URL`: where what was missed is put.
    pub ingest_queue_url: String,
    /// `QUARANTINE_QUEUE_URL`: where a part of the spill was on its way to.
    pub quarantine_queue_url: String,
    /// `HEALING_FUNCTION_NAME`: who registers the endpoint again; nobody, if it is empty.
    pub healing_function: Option<String>,
    /// `AURA_CALLS_AT_ONCE` and `AURA_CALLS_PER_MINUTE`: how much AURA is asked at most.
    pub limits: AuraLimits,
    /// `AURA_LAG_SECONDS` and `SILENCE_AFTER_…`: when a callout is asked about.
    pub patience: Patience,
}

/// How much AURA is asked at most.
#[derive(Debug, Clone, Copy)]
pub struct AuraLimits {
    /// Calls under way.
    pub at_once: NonZero<u16>,
    /// Calls in a minute.
    pub per_minute: NonZero<u16>,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Names the first variable that is missing or wrong.
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
