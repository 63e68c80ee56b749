//! Pointing AURA at the deployed endpoint again, when the reconciler asks for it: AURA no longer
//! delivers here, because another registration has replaced ours, or because AURA has lost it.
//!
//! While a rotation is under way, AURA is given the pending value, after the wait that `setSecret`
//! makes for it: the current one would be the previous one as soon as `finishSecret` is done, and
//! `ingest` takes that only until the next rotation. Should the endpoint refuse the pending value,
//! AURA is given the current one, as by `testSecret`.
//!
//! A rotation may go on meanwhile, in an invocation of its own. So the secret's values are read
//! once more before AURA is asked and when it has answered. If they have changed, all is done again
//! with the new ones.

use jiff::Timestamp;
use reqwest::StatusCode;
use shared::panic_api::Registration;

use crate::canary::{self, CanaryError};
use crate::journal::Journal;
use crate::registration::{Registrar, RegistrationError};
use crate::secret::{RegistrationCandidates, WebhookSecret, until_known};

/// Registers again when the reconciler asks for it.
#[derive(Debug, Clone, Copy)]
pub struct ReregistrationHandler<'a> {
    /// Proves and registers.
    pub registrar: &'a Registrar,
    /// Where the steps are noted.
    pub journal: &'a Journal,
}

impl ReregistrationHandler<'_> {
    /// Proves the deployed endpoint and registers it, with the value that AURA should send now.
    pub async fn handle(self) -> Result<(), RegistrationError> {
        let registrar = self.registrar;
        let stack = registrar.settled_stack().await?;
        let endpoint = registrar.endpoint()?;
        let aura = registrar
            .aura(&endpoint.aura_base_url, self.journal)
            .await?;
        let secret = WebhookSecret::of(registrar);
        loop {
            let candidates = secret.candidates(&endpoint).await?;
            let proven = self.proven(&candidates).await?;
            if secret.candidates(&endpoint).await? != candidates {
                continue;
            }
            registrar
                .register(&aura, proven, &stack, self.journal)
                .await?;
            if secret.candidates(&endpoint).await? == candidates {
                return Ok(());
            }
        }
    }

    /// Picks the registration that AURA should be asked for, once a canary has shown that `ingest`
    /// takes its value.
    async fn proven(
        self,
        candidates: &RegistrationCandidates,
    ) -> Result<&Registration, RegistrationError> {
        let (current, made_at) = (&candidates.current, candidates.current_made_at);
        let Some(pending) = &candidates.pending else {
            let secret = WebhookSecret::of(self.registrar);
            secret.until_current_is_known(made_at, self.journal).await?;
            self.prove(current).await?;
            return Ok(current);
        };
        // Not by the version's age, as in a rotation.
        let interval = self.registrar.config.refresh_interval;
        until_known(interval, Timestamp::now(), self.journal).await;
        match self.prove(pending).await {
            // 503: `ingest` doesn't know the value, and can't ask Secrets Manager.
            Err(
                CanaryError::Unauthorized
                | CanaryError::Refused {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    ..
                },
            ) => {
                tracing::warn!("the pending value is refused: the current one is tried");
                self.prove(current).await?;
                Ok(current)
            }
            proven => Ok(proven.map(|()| pending)?),
        }
    }

    async fn prove(self, registration: &Registration) -> Result<(), CanaryError> {
        let proof = self
            .registrar
            .prove(registration, canary::PATIENCE, self.journal);
        proof.await
    }
}
