//! What `registrar` is told by its environment.

use shared::config::{ConfigError, Environment};

use crate::endpoint::Properties;

/// The function's configuration; template.yaml sets all of it.
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
    /// `AURA_BASE_URL`, `WEBHOOK_URL`, `WEBHOOK_EVENTS` (with commas between), `WEBHOOK_HEADER_NAME`
    /// and `WEBHOOK_HEADER_SCHEME`: what a rotation registers, and what AURA
    /// is pointed at again. CloudFormation sends its own, and is
    /// told if they can't be used, so they are not checked here.
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
        let scheme = environment.optional("WEBHOOK_HEADER_SCHEME");
        Ok(Self {
            webhook_secret_arn: required("WEBHOOK_SECRET_ARN")?,
            aura_credentials_secret_arn: required("AURA_CREDENTIALS_SECRET_ARN")?,
            ledger_table_name: required("LEDGER_TABLE_NAME")?,
            stack_id: required("STACK_ID")?,
            deployed: Properties {
                aura_base_url: required("AURA_BASE_URL")?,
                webhook_url: required("WEBHOOK_URL")?,
                events: events.map(ToOwned::to_owned).collect(),
                header_name: required("WEBHOOK_HEADER_NAME")?,
                header_scheme: scheme.unwrap_or_default().to_owned(),
                hand_back_url: String::new(),
            },
        })
    }
}
