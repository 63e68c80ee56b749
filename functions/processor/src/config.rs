//! The function's configuration, from its environment.

use std::time::Duration;

use shared::config::{ConfigError, Environment};

/// The function's configuration. template.yaml sets every variable.
#[derive(Debug)]
pub struct ProcessorConfig {
    /// `LEDGER_TABLE_NAME`: the ledger.
    pub ledger_table: String,
    /// `LEDGER_RETENTION_DAYS`: how long the ledger remembers an event, in days of 24 hours. It
    /// must be longer than the retentions of the queue and of the dead letters together. Otherwise,
    /// a message that is redriven late is published again.
    pub ledger_retention: Duration,
    /// `REPEAT_WINDOW_SECONDS`, 300 if it is missing. Two deliveries of a recurring event with the
    /// same content are copies if they arrived within this time of each other. Otherwise, the
    /// second is another occurrence. If it is `None`, written as 0, they are always copies.
    pub repeat_window: Option<Duration>,
    /// `EVENT_BUS_NAME`: where events are published.
    pub event_bus: String,
    /// `INGEST_QUEUE_URL`: the queue that records come from.
    pub ingest_queue_url: String,
    /// `QUARANTINE_QUEUE_URL`: the queue for messages that can never be processed.
    pub quarantine_queue_url: String,
}

impl ProcessorConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Names the first variable that is missing or wrong.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        let days: u16 = environment.parsed("LEDGER_RETENTION_DAYS")?;
        // During an update, Lambda may run this code with the previous version's variables.
        let window: u32 = match environment.optional("REPEAT_WINDOW_SECONDS") {
            Some(_) => environment.parsed("REPEAT_WINDOW_SECONDS")?,
            None => 300,
        };
        Ok(Self {
            ledger_table: environment.required("LEDGER_TABLE_NAME")?.to_owned(),
            ledger_retention: Duration::from_hours(u64::from(days) * 24),
            repeat_window: (window > 0).then(|| Duration::from_secs(window.into())),
            event_bus: environment.required("EVENT_BUS_NAME")?.to_owned(),
            ingest_queue_url: environment.required("INGEST_QUEUE_URL")?.to_owned(),
            quarantine_queue_url: environment.required("QUARANTINE_QUEUE_URL")?.to_owned(),
        })
    }
}
