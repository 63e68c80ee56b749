//! Points AURA at the deployed endpoint again, when the reconciler or an operator asks for it. Then AURA no
//! longer delivers here, because another registration has replaced ours or because AURA has lost it.
//!
//! During a rotation, AURA gets the pending value, after the same wait as in `setSecret`. The
//! current value would become the previous one with `finishSecret`, and `ingest` accepts the
//! previous value only until the next rotation. If the endpoint refuses the pending value, AURA
//! gets the current one, as in `testSecret`.
//!
//! A rotation may continue meanwhile in another invocation. So this reads the secret's values again
//! before it calls AURA, and again after AURA's answer. If they have changed, it starts over with
//! the new values.

use jiff::Timestamp;
use reqwest::StatusCode;
use shared::panic_api::Registration;

use crate::canary::{self, CanaryError};
use crate::journal::Journal;
use crate::registration::{Registrar, RegistrationCandidates, RegistrationError};
use crate::secret::until_known;

/// Handles a request to register the endpoint again.
#[derive(Debug, Clone, Copy)]
pub struct ReregistrationHandler<'a> {
    /// Proves and registers the endpoint.
    pub registrar: &'a Registrar,
    /// Journal of the steps.
    pub journal: &'a Journal,
}

impl ReregistrationHandler<'_> {
    /// Proves and registers the deployed endpoint, with the value of the secret that AURA should
    /// send.
    pub async fn handle(self) -> Result<(), RegistrationError> {
        let registrar = self.registrar;
        let stack = registrar.settled_stack().await?;
        let endpoint = registrar.endpoint()?;
        let aura = registrar
            .aura(&endpoint.aura_base_url, self.journal)
            .await?;
        loop {
            let candidates = registrar.candidates(&endpoint).await?;
            let proven = self.proven(&candidates).await?;
            if registrar.candidates(&endpoint).await? != candidates {
                continue;
            }
            registrar
                .register(&aura, proven, &stack, self.journal)
                .await?;
            if registrar.candidates(&endpoint).await? == candidates {
                return Ok(());
            }
        }
    }

    /// Picks the registration to send to AURA: the first whose value `ingest` has accepted with a
    /// canary.
    async fn proven(
        self,
        candidates: &RegistrationCandidates,
    ) -> Result<&Registration, RegistrationError> {
        let (current, made_at) = (&candidates.current, candidates.current_made_at);
        let Some(pending) = &candidates.pending else {
            let secret = self.registrar.secret();
            secret.until_current_is_known(made_at, self.journal).await?;
            self.prove(current).await?;
            return Ok(current);
        };
        // The wait doesn't depend on the version's age, as in a rotation.
        let interval = self.registrar.config.refresh_interval;
        until_known(interval, Timestamp::now(), self.journal).await;
        match self.prove(pending).await {
            // 503: `ingest` doesn't know the value, and can't read it from Secrets Manager.
            Err(
                CanaryError::Unauthorized
                | CanaryError::Refused {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    ..
                },
            ) => {
                tracing::warn!(
                    "the endpoint refused the pending secret value, trying the current one"
                );
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
