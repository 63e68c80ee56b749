//! The configuration of `ingest`, from its environment.

use jiff::SignedDuration;
use shared::config::{ConfigError, Environment};
use shared::webhook::{WebhookHeader, refresh_interval};

use crate::source::AllowedSources;

/// The function's configuration. template.yaml sets every variable except
/// `WEBHOOK_REFRESH_SECONDS`.
#[derive(Debug)]
pub struct IngestConfig {
    /// `INGEST_QUEUE_URL`: the FIFO queue that leads to the processor.
    pub ingest_queue_url: String,
    /// `QUARANTINE_QUEUE_URL`: where unreadable deliveries go.
    pub quarantine_queue_url: String,
    /// `LEDGER_TABLE_NAME`: the table that holds the spill.
    pub ledger_table: String,
    /// `ALLOWED_SOURCE_CIDRS`: the addresses that deliveries may come from. If it is empty or
    /// `any`, every address is allowed.
    pub allowed_sources: AllowedSources,
    /// `WEBHOOK_SECRET_ARN`: the secret that AURA sends in the header.
    pub webhook_secret_arn: String,
    /// `WEBHOOK_HEADER_NAME` and `WEBHOOK_HEADER_SCHEME`.
    pub webhook_header: WebhookHeader,
    /// How often unknown values may cause the secret to be read again; see [`refresh_interval`].
    pub refresh_interval: SignedDuration,
}

impl IngestConfig {
    /// Reads the configuration.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            ingest_queue_url: environment.required("INGEST_QUEUE_URL")?.to_owned(),
            quarantine_queue_url: environment.required("QUARANTINE_QUEUE_URL")?.to_owned(),
            ledger_table: environment.required("LEDGER_TABLE_NAME")?.to_owned(),
            allowed_sources: match environment.optional("ALLOWED_SOURCE_CIDRS") {
                Some(_) => environment.parsed("ALLOWED_SOURCE_CIDRS")?,
                None => AllowedSources::default(),
            },
            webhook_secret_arn: environment.required("WEBHOOK_SECRET_ARN")?.to_owned(),
            webhook_header: WebhookHeader::from_environment(environment)?,
            refresh_interval: refresh_interval(environment)?,
        })
    }
}
