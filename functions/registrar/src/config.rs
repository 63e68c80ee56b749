//! What `registrar` is told by its environment. What it registers comes with each request.

use shared::config::{ConfigError, Environment};

/// The function's configuration; template.yaml sets all of it.
#[derive(Debug)]
pub struct Config {
    /// `WEBHOOK_SECRET_ARN`: the secret that AURA is told to send in the header.
    pub webhook_secret_arn: String,
    /// `AURA_CREDENTIALS_SECRET_ARN`: `{"clientId": "…", "clientSecret": "…"}`.
    pub aura_credentials_secret_arn: String,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    ///
    /// Names the first variable that is missing or wrong.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigError> {
        Ok(Self {
            webhook_secret_arn: environment.required("WEBHOOK_SECRET_ARN")?.to_owned(),
            aura_credentials_secret_arn: environment
                .required("AURA_CREDENTIALS_SECRET_ARN")?
                .to_owned(),
        })
    }
}
