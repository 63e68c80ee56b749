//! AURA is pointed at the deployed endpoint again, because it no longer delivers here: another
//! registration has replaced ours, or AURA has lost it. Asked for by the reconciler.
//!
//! While a rotation is under way, AURA is given the pending value, after the wait that `setSecret`
//! makes for it: the current one would be the previous one as soon as `finishSecret` is done, and
//! `ingest` takes that only until the next rotation. Should the endpoint refuse the pending value,
//! AURA is given the current one, as by `testSecret`.
//!
//! A rotation may go on meanwhile, in an invocation of its own. So the values are read once more
//! before AURA is asked and when it has answered: if others count by then, it is all done again
//! with those.

use jiff::Timestamp;
use reqwest::StatusCode;
use shared::panic_api::Registration;

use crate::canary::{self, CanaryError};
use crate::journal::Journal;
use crate::known::until_known;
use crate::registrar::{Registrar, RegistrationError};
use crate::values::Values;

impl Registrar {
    /// Proves the deployed endpoint and registers it, with the value that AURA should send now.
    ///
    /// # Errors
    ///
    /// Says what a person has to mend, or that a later try may succeed.
    pub async fn reregister(&self, journal: &Journal) -> Result<(), RegistrationError> {
        let stack = self.settled_stack().await?;
        let endpoint = self.endpoint()?;
        let aura = self.aura(&endpoint.aura_base_url, journal).await?;
        loop {
            let values = self.values(&endpoint).await?;
            let proven = self.proven(&values, journal).await?;
            if self.values(&endpoint).await? != values {
                continue;
            }
            self.register(&aura, proven, &stack, journal).await?;
            if self.values(&endpoint).await? == values {
                return Ok(());
            }
        }
    }

    /// What AURA should be asked for, as soon as `ingest` takes it and a canary has shown that.
    async fn proven<'a>(
        &self,
        values: &'a Values,
        journal: &Journal,
    ) -> Result<&'a Registration, RegistrationError> {
        let (current, made_at) = (&values.current, values.current_made_at);
        let Some(pending) = &values.pending else {
            self.until_current_is_known(made_at, journal).await?;
            self.prove(current, canary::PATIENCE, journal).await?;
            return Ok(current);
        };
        // Not by the version's age, as in a rotation.
        until_known(self.config.refresh_interval, Timestamp::now(), journal).await;
        match self.prove(pending, canary::PATIENCE, journal).await {
            // 503: `ingest` doesn't know the value, and can't ask Secrets Manager.
            Err(
                CanaryError::Unauthorized
                | CanaryError::Refused {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    ..
                },
            ) => {
                tracing::warn!("the pending value is refused: the current one is tried");
                self.prove(current, canary::PATIENCE, journal).await?;
                Ok(current)
            }
            proven => Ok(proven.map(|()| pending)?),
        }
    }
}
