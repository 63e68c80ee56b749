//! The registrations that may be sent to AURA: one for each value of the webhook's secret.

use jiff::Timestamp;
use secrecy::SecretString;
use shared::panic_api::Registration;

use super::{Registrar, RegistrationError};
use crate::config::Endpoint;

/// The registrations that may be sent to AURA: the deployed endpoint with each value of the secret
/// that AURA may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationCandidates {
    /// The registration with the current value.
    pub current: Registration,
    /// When the current value was made; `None` if Secrets Manager doesn't say.
    pub current_made_at: Option<Timestamp>,
    /// The registration with the pending value, if there is a pending value that differs from the
    /// current one.
    pub pending: Option<Registration>,
}

impl Registrar {
    /// Reads the secret and makes the registrations that may be sent to AURA.
    pub async fn candidates(
        &self,
        endpoint: &Endpoint,
    ) -> Result<RegistrationCandidates, RegistrationError> {
        // A rotation moves a value from pending to current. Reading in this order can't miss it.
        let pending = self.secret().pending().await?;
        self.candidates_with(pending, endpoint).await
    }

    /// Like [`candidates`](Self::candidates), for a caller that has read the pending value already.
    pub async fn candidates_with(
        &self,
        pending: Option<SecretString>,
        endpoint: &Endpoint,
    ) -> Result<RegistrationCandidates, RegistrationError> {
        let version = self.secret().current().await?;
        let pending = pending.map(|value| endpoint.registration(&value));
        let pending = pending.transpose()?;
        let current = endpoint.registration(&version.value)?;
        Ok(RegistrationCandidates {
            pending: pending.filter(|pending| *pending != current),
            current,
            current_made_at: version.made_at,
        })
    }
}
