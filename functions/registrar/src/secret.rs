//! The secret's values that AURA may be told to send: the current one and, during a rotation, the
//! one that is to be the next.

use std::convert::Infallible;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use shared::panic_api::Registration;
use shared::secrets::{self, SecretError, Stage};
use shared::webhook::REFRESH_INTERVAL;

use crate::config::Endpoint;
use crate::journal::{Journal, Step};
use crate::registration::{Registrar, RegistrationError};

/// On top of [`REFRESH_INTERVAL`]: for the reading itself, for the time that a new value takes to
/// be the same for all readers of Secrets Manager, and because a value's age is told in seconds.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

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
        let version = secrets::read_stage(&self.secrets_manager, arn, Stage::Pending).await?;
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
        let before = secrets::read_stage(&self.secrets_manager, arn, Stage::Previous).await?;
        if before.is_some() {
            until_known(made_at.unwrap_or_else(Timestamp::now), journal).await;
        }
        Ok(())
    }
}

/// Waits until every instance of `ingest` knows a value that was made then, or may read it.
pub async fn until_known(made_at: Timestamp, journal: &Journal) {
    let wait = wait(made_at, Timestamp::now()).unsigned_abs();
    let work = async {
        tokio::time::sleep(wait).await;
        Ok::<_, Infallible>(())
    };
    let told = |(): &()| "ingest takes the value".to_owned();
    let _ = journal.step(Step::Wait, work, told).await;
}

/// No longer than for a value of this moment, whatever the clocks say.
fn wait(made_at: Timestamp, now: Timestamp) -> SignedDuration {
    let whole = REFRESH_INTERVAL + MARGIN;
    (whole - now.duration_since(made_at)).clamp(SignedDuration::ZERO, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_waited_for_until_it_is_old_enough() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let cases = [(100, 35), (101, 34), (135, 0), (10_000, 0), (50, 35)];
        for (now, expected) in cases {
            let waited = wait(second(100), second(now));
            assert_eq!(waited, SignedDuration::from_secs(expected), "at {now}");
        }
    }
}
