//! The webhook's secret: the values that AURA may be told to send, which are the current one and,
//! during a rotation, the one that is to be the next; and when `ingest` takes a new value, because
//! AURA must not be told of it before.

use std::convert::Infallible;

use aws_sdk_secretsmanager::Client as SecretsManager;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use shared::panic_api::Registration;
use shared::secrets::{self, SecretError, SecretVersion, VersionStage};

use crate::config::Endpoint;
use crate::journal::{Journal, RegistrationStep};
use crate::registration::{Registrar, RegistrationError};

/// Time added to the [interval](shared::webhook::refresh_interval) of `ingest`: for the reading itself, for the time until all readers of
/// Secrets Manager see a new value, and because a value's age is told in whole seconds.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// The webhook's secret in Secrets Manager.
#[derive(Debug, Clone, Copy)]
pub struct WebhookSecret<'a> {
    /// The client that reads and rotates it.
    pub client: &'a SecretsManager,
    /// Its ARN.
    pub arn: &'a str,
    /// How often `ingest` reads it for values that are unknown.
    pub refresh_interval: SignedDuration,
}

/// What AURA may be asked for: the deployed endpoint, with each value that AURA may be told to
/// send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationCandidates {
    /// The registration with the current value.
    pub current: Registration,
    /// When the current value was made; nothing if Secrets Manager doesn't say.
    pub current_made_at: Option<Timestamp>,
    /// The registration with the pending value, if there is one that isn't the current one by now.
    pub pending: Option<Registration>,
}

impl<'a> WebhookSecret<'a> {
    /// The secret of a registrar's stack.
    #[must_use]
    pub fn of(registrar: &'a Registrar) -> Self {
        Self {
            client: &registrar.secrets_manager,
            arn: &registrar.config.webhook_secret_arn,
            refresh_interval: registrar.config.refresh_interval,
        }
    }

    /// Reads the current version.
    pub async fn current(self) -> Result<SecretVersion, SecretError> {
        secrets::read_current(self.client, self.arn).await
    }

    /// Reads the value of the pending version, if it has one.
    pub async fn pending(self) -> Result<Option<SecretString>, SecretError> {
        let version = secrets::read_stage(self.client, self.arn, VersionStage::Pending).await?;
        Ok(version.map(|version| version.value))
    }

    /// Reads what AURA may be asked for.
    pub async fn candidates(
        self,
        endpoint: &Endpoint,
    ) -> Result<RegistrationCandidates, RegistrationError> {
        // In the order in which a rotation moves a value on, so that it doesn't slip through.
        let pending = self.pending().await?;
        self.candidates_with(pending, endpoint).await
    }

    /// Reads what AURA may be asked for, after the pending value was read.
    pub async fn candidates_with(
        self,
        pending: Option<SecretString>,
        endpoint: &Endpoint,
    ) -> Result<RegistrationCandidates, RegistrationError> {
        let version = self.current().await?;
        let pending = pending.map(|value| endpoint.registration(&value));
        let pending = pending.transpose()?;
        let current = endpoint.registration(&version.value)?;
        Ok(RegistrationCandidates {
            pending: pending.filter(|pending| *pending != current),
            current,
            current_made_at: version.made_at,
        })
    }

    /// Waits until every instance of `ingest` takes the current value, which was made at that time.
    /// The first value is older than the functions; another one may be too new for them.
    pub async fn until_current_is_known(
        self,
        made_at: Option<Timestamp>,
        journal: &Journal,
    ) -> Result<(), SecretError> {
        let before = secrets::read_stage(self.client, self.arn, VersionStage::Previous).await?;
        if before.is_some() {
            let made_at = made_at.unwrap_or_else(Timestamp::now);
            until_known(self.refresh_interval, made_at, journal).await;
        }
        Ok(())
    }
}

/// Waits until every instance of `ingest` knows a value that was made at that time, or may read it.
pub async fn until_known(interval: SignedDuration, made_at: Timestamp, journal: &Journal) {
    let wait = wait(interval, made_at, Timestamp::now()).unsigned_abs();
    let work = async {
        tokio::time::sleep(wait).await;
        Ok::<_, Infallible>(())
    };
    let told = |(): &()| "ingest takes the value".to_owned();
    let _ = journal.step(RegistrationStep::Wait, work, told).await;
}

/// How long to wait: no longer than for a value of this moment, whatever the clocks say.
fn wait(interval: SignedDuration, made_at: Timestamp, now: Timestamp) -> SignedDuration {
    let whole = interval + MARGIN;
    (whole - now.duration_since(made_at)).clamp(SignedDuration::ZERO, whole)
}

#[cfg(test)]
mod tests {
    use shared::webhook::REFRESH_INTERVAL;

    use super::*;

    #[test]
    fn a_value_is_waited_for_until_it_is_old_enough() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let cases = [(100, 35), (101, 34), (135, 0), (10_000, 0), (50, 35)];
        for (now, expected) in cases {
            let waited = wait(REFRESH_INTERVAL, second(100), second(now));
            assert_eq!(waited, SignedDuration::from_secs(expected), "at {now}");
        }
    }
}
