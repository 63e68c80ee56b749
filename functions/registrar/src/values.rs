//! The secret's values that AURA may be told to send: the current one and, during a rotation, the
//! one that is to be the next.

use jiff::Timestamp;
use secrecy::SecretString;
use shared::panic_api::Registration;
use shared::secrets::{self, SecretError, VersionStage};

use crate::endpoint::Endpoint;
use crate::journal::Journal;
use crate::known::until_known;
use crate::registrar::{Registrar, RegistrationError};

/// One endpoint with each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// With the current value.
    pub current: Registration,
    /// When that was made; nothing if Secrets Manager doesn't say.
    pub current_made_at: Option<Timestamp>,
    /// With the pending value, if there is one that isn't the current one by now.
    pub pending: Option<Registration>,
}

impl Registrar {
    /// What AURA may be asked for.
    ///
    /// # Errors
    ///
    /// A value can't be read, or no header takes it.
    pub async fn values(&self, endpoint: &Endpoint) -> Result<Values, RegistrationError> {
        // In the order in which a rotation moves a value on, so that it doesn't slip through.
        let pending = self.pending_value().await?;
        self.values_with(pending, endpoint).await
    }

    /// The same, after the pending value was read.
    pub(crate) async fn values_with(
        &self,
        pending: Option<SecretString>,
        endpoint: &Endpoint,
    ) -> Result<Values, RegistrationError> {
        let arn = &self.config.webhook_secret_arn;
        let current = secrets::read_current(&self.secrets_manager, arn).await?;
        let pending = pending.map(|value| endpoint.registration(&value));
        let (pending, made_at) = (pending.transpose()?, current.made_at);
        let current = endpoint.registration(&current.value)?;
        Ok(Values {
            pending: pending.filter(|pending| *pending != current),
            current,
            current_made_at: made_at,
        })
    }

    /// The value of the pending version, if it has one.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub async fn pending_value(&self) -> Result<Option<SecretString>, SecretError> {
        let arn = &self.config.webhook_secret_arn;
        let version =
            secrets::read_stage(&self.secrets_manager, arn, VersionStage::Pending).await?;
        Ok(version.map(|version| version.value))
    }

    /// Waits until every instance of `ingest` takes the current value, which was made then. The
    /// first value is older than the functions; another one may be too new for them.
    ///
    /// # Errors
    ///
    /// Whether it is the first can't be read.
    pub async fn until_current_is_known(
        &self,
        made_at: Option<Timestamp>,
        journal: &Journal,
    ) -> Result<(), SecretError> {
        let arn = &self.config.webhook_secret_arn;
        let before =
            secrets::read_stage(&self.secrets_manager, arn, VersionStage::Previous).await?;
        if before.is_some() {
            until_known(made_at.unwrap_or_else(Timestamp::now), journal).await;
        }
        Ok(())
    }
}
