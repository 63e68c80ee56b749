//! The values of the webhook's secret that are valid now: its current one and, around a rotation,
//! the next and the one before, so that AURA is never locked out.
//!
//! They are read when the function starts and then kept. They are read again
//!
//! - in the background, by a request that finds them older than [`REFRESH_AFTER`], while its
//!   delivery is stored. It waits for the end of it, up to [`limits::REFRESH_WAIT`], because Lambda
//!   freezes the process after the answer;
//! - by a request with a value that isn't among them, at most once in [`REFRESH_INTERVAL`]: it may
//!   be a new one. That request waits for it, up to [`limits::SECRET_WAIT`]. After a reading that
//!   failed the next one may come a second later.
//!
//! So [`REFRESH_INTERVAL`] after a new value was made, every instance has read it or may read it: a
//! rotation has to wait for that long before it tells AURA.
//!
//! A reading goes through the versions in the order in which a rotation moves a value on, so that
//! none slips through between two of its reads. Only a reading of all three takes a value away:
//! while Secrets Manager fails, the values that are known go on working, and any other may be a
//! new one, which nobody can decide.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use shared::secrets::{self, SecretError, VersionStage};
use shared::webhook::{REFRESH_INTERVAL, WebhookHeader};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::limits;

/// Older values are read again in the background.
pub const REFRESH_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// The same while a version could not be read: then AURA's deliveries may be refused.
const FAILED_READ_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// Where the secret is kept.
pub trait SecretSource: Send + Sync + 'static {
    /// Reads one version; `None` if there is none at that stage.
    fn read(
        &self,
        stage: VersionStage,
    ) -> impl Future<Output = Result<Option<SecretString>, SecretError>> + Send;
}

/// The secret in Secrets Manager.
#[derive(Debug)]
pub struct SecretsManager {
    /// The client.
    pub client: aws_sdk_secretsmanager::Client,
    /// The secret.
    pub arn: String,
}

impl SecretSource for SecretsManager {
    async fn read(&self, stage: VersionStage) -> Result<Option<SecretString>, SecretError> {
        let version = secrets::read_stage(&self.client, &self.arn, stage).await?;
        Ok(version.map(|version| version.value))
    }
}

/// What is known of a value that a request gave as the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is one of the secret's values.
    Valid,
    /// It is none of them.
    Wrong,
    /// It is none of those that are known, and not all versions could be read now or ever: it may be
    /// a new one.
    Undecided,
}

/// The valid values, and how to get at new ones.
#[derive(Debug)]
pub struct ValidValues<S> {
    header: WebhookHeader,
    source: S,
    known: RwLock<Known>,
    /// The last reading that was begun; held while it is under way.
    reading: Mutex<Option<Reading>>,
}

/// A reading of all versions.
#[derive(Debug)]
struct Reading {
    begun: Timestamp,
    complete: bool,
}

/// What was read so far.
#[derive(Debug, Default)]
struct Known {
    values: Vec<SecretString>,
    /// When all versions were last read.
    complete_at: Option<Timestamp>,
    /// The last reading has failed, in part at least.
    has_failed: bool,
}

/// One version as it was read: its value, if it has one that a header can carry.
type Version = Option<SecretString>;

/// A version of which nothing can be said now. It is logged.
struct NotRead;

impl<S: SecretSource> ValidValues<S> {
    /// Nothing is known yet; see [`Self::load`].
    #[must_use]
    pub fn new(header: WebhookHeader, source: S) -> Arc<Self> {
        Arc::new(Self {
            header,
            source,
            known: RwLock::default(),
            reading: Mutex::default(),
        })
    }

    /// The header that carries them.
    #[must_use]
    pub fn header(&self) -> &WebhookHeader {
        &self.header
    }

    /// Reads them for the first time. Failing is no error: the first request tries again. It goes
    /// on when nobody waits for it any more.
    #[must_use]
    pub fn load(self: &Arc<Self>, now: Timestamp) -> JoinHandle<()> {
        self.read_in_background(now, None)
    }

    /// Waits for a reading that is under way, up to [`limits::REFRESH_WAIT`].
    pub async fn settled(&self) {
        let _ = timeout(limits::REFRESH_WAIT, self.reading.lock()).await;
    }

    /// Whether `given` is one of the values that are known, without asking anybody.
    pub fn knows(&self, given: &[u8]) -> bool {
        self.known(|known| known.verdict(given)) == Verdict::Valid
    }

    /// Says what is known of `given`, and reads the values again if need be.
    pub async fn check(self: &Arc<Self>, given: &[u8], now: Timestamp) -> Verdict {
        let (verdict, old) = self.known(|known| (known.verdict(given), known.is_old(now)));
        match verdict {
            Verdict::Valid if old => {
                drop(self.read_in_background(now, Some(REFRESH_INTERVAL)));
                Verdict::Valid
            }
            Verdict::Valid => Verdict::Valid,
            Verdict::Wrong => self.check_again(given, now, REFRESH_INTERVAL).await,
            Verdict::Undecided => self.check_again(given, now, FAILED_READ_INTERVAL).await,
        }
    }

    async fn check_again(
        self: &Arc<Self>,
        given: &[u8],
        now: Timestamp,
        interval: SignedDuration,
    ) -> Verdict {
        let reading = self.read_in_background(now, Some(interval));
        let in_time = timeout(limits::SECRET_WAIT, reading).await.is_ok();
        match self.known(|known| known.verdict(given)) {
            // Too long is as good as failed.
            Verdict::Wrong if !in_time => Verdict::Undecided,
            verdict => verdict,
        }
    }

    /// In a task of its own, so that it goes on when nobody waits for it any more.
    fn read_in_background(
        self: &Arc<Self>,
        now: Timestamp,
        interval: Option<SignedDuration>,
    ) -> JoinHandle<()> {
        let values = Arc::clone(self);
        tokio::spawn(async move { values.read_all(now, interval).await })
    }

    /// Reads all versions, unless that was begun less than `interval` ago. Who comes while it is
    /// under way waits for it. Without an interval it is the first time, and one that fails is
    /// not held against the next.
    async fn read_all(&self, now: Timestamp, interval: Option<SignedDuration>) {
        let mut last = self.reading.lock().await;
        let recently = |interval| {
            last.as_ref()
                .is_some_and(|last| last.is_recent(now, interval))
        };
        if interval.is_some_and(recently) {
            return;
        }
        let versions = [
            self.read(VersionStage::Pending).await,
            self.read(VersionStage::Current).await,
            self.read(VersionStage::Previous).await,
        ];
        let complete = versions.iter().all(Result::is_ok);
        if complete || interval.is_some() {
            *last = Some(Reading {
                begun: now,
                complete,
            });
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.has_failed = !complete;
        if complete {
            known.values.clear();
            known.complete_at = Some(now);
        }
        for value in versions.into_iter().flatten().flatten() {
            if !known.has(value.expose_secret().as_bytes()) {
                known.values.push(value);
            }
        }
    }

    async fn read(&self, stage: VersionStage) -> Result<Version, NotRead> {
        match self.source.read(stage).await {
            Ok(Some(secret)) => Ok(self.usable(stage, secret)),
            // There always is a current version: who doesn't find it looks in the wrong place.
            Ok(None) if stage == VersionStage::Current => {
                tracing::warn!("webhook secret has no current version");
                Err(NotRead)
            }
            Ok(None) => Ok(None),
            Err(error @ SecretError::Malformed { .. }) => {
                tracing::warn!(?stage, %error, "webhook secret not usable");
                Ok(None)
            }
            Err(error @ SecretError::Unreadable { .. }) => {
                tracing::warn!(?stage, %error, "webhook secret not read");
                Err(NotRead)
            }
        }
    }

    fn usable(&self, stage: VersionStage, secret: SecretString) -> Version {
        if let Err(error) = self.header.value(&secret) {
            tracing::warn!(?stage, %error, "webhook secret not usable");
            return None;
        }
        Some(secret)
    }

    fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reading {
    /// Whether it is too early for the next one. One that failed has nothing to say of a value
    /// that was made before it, and must not keep that out for long.
    fn is_recent(&self, now: Timestamp, interval: SignedDuration) -> bool {
        let interval = if self.complete {
            interval
        } else {
            interval.min(FAILED_READ_INTERVAL)
        };
        now.duration_since(self.begun).abs() < interval
    }
}

impl Known {
    fn verdict(&self, given: &[u8]) -> Verdict {
        let all_are_known = self.complete_at.is_some() && !self.has_failed;
        if self.has(given) {
            Verdict::Valid
        } else if all_are_known && !self.values.is_empty() {
            Verdict::Wrong
        } else {
            Verdict::Undecided
        }
    }

    /// Compares with every value, so that the time taken tells neither which one matched nor how
    /// much of it.
    fn has(&self, given: &[u8]) -> bool {
        let matches = self.values.iter();
        let matches = matches.map(|value| value.expose_secret().as_bytes().ct_eq(given));
        matches.fold(Choice::from(0), |any, one| any | one).into()
    }

    fn is_old(&self, now: Timestamp) -> bool {
        self.complete_at
            .is_none_or(|read| now.duration_since(read).abs() > REFRESH_AFTER)
    }
}

#[cfg(test)]
mod tests;
