//! The webhook's secret. AURA may be told to send the current value or, during a rotation, the
//! pending value. This module also waits until `ingest` accepts a new value, because AURA must not
//! get the value before.

use std::convert::Infallible;

use aws_sdk_secretsmanager::Client as SecretsManager;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use shared::secrets::{self, SecretError, SecretVersion, VersionStage};

use crate::journal::{Journal, RegistrationStep};

/// Time added to the [interval](shared::webhook::refresh_interval) of `ingest`. It covers the
/// reading itself, the time until all readers of Secrets Manager see a new value, and the rounding
/// of a value's age to whole seconds.
const MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// The webhook's secret in Secrets Manager.
#[derive(Debug, Clone, Copy)]
pub struct WebhookSecret<'a> {
    /// Client that reads and rotates the secret.
    pub client: &'a SecretsManager,
    /// ARN of the secret.
    pub arn: &'a str,
    /// Shortest time between two readings of the secret that `ingest` makes because of unknown
    /// values.
    pub refresh_interval: SignedDuration,
}

impl WebhookSecret<'_> {
    /// Reads the current version.
    pub async fn current(self) -> Result<SecretVersion, SecretError> {
        secrets::read_current(self.client, self.arn).await
    }

    /// Reads the value of the pending version, if it has one.
    pub async fn pending(self) -> Result<Option<SecretString>, SecretError> {
        let version = secrets::read_stage(self.client, self.arn, VersionStage::Pending).await?;
        Ok(version.map(|version| version.value))
    }

    /// Waits until every instance of `ingest` accepts the current value, which was made at
    /// `made_at`. There is no wait for the secret's first value, because it is older than the
    /// functions. A later value may be too new for them.
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

/// Waits until every instance of `ingest` knows a value that was made at `made_at`, or may read it.
pub async fn until_known(interval: SignedDuration, made_at: Timestamp, journal: &Journal) {
    let wait = wait(interval, made_at, Timestamp::now()).unsigned_abs();
    let work = async {
        tokio::time::sleep(wait).await;
        Ok::<_, Infallible>(())
    };
    let told = |(): &()| "ingest takes the value".to_owned();
    let _ = journal.step(RegistrationStep::Wait, work, told).await;
}

/// Time to wait. Even if the clocks differ, it is at most the time for a value that was made now.
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
