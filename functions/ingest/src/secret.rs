//! The values of the webhook's secret that are valid now: its current one and, around a rotation,
//! the pending and the previous one, so that AURA is never locked out.
//!
//! The values are read when the function starts, and kept. They are read again
//!
//! - in the background, when a request finds them older than [`REFRESH_AFTER`]. Meanwhile its delivery
//!   is stored. The request waits for the reading, up to [`limits::REFRESH_WAIT`], because Lambda
//!   freezes the process after the answer;
//! - when a request has an unknown value, which may be a new one, at most once in [`refresh_interval`].
//!   The request waits for the reading, up to [`limits::SECRET_WAIT`]. After a reading that failed, the
//!   next one may begin a second later.
//!
//! So at [`refresh_interval`] after a new value was made, every instance has read it or may read
//! it. A rotation has to wait that long before it tells AURA the value.
//!
//! A reading reads the versions in the order in which a rotation moves a value, so that no value is
//! missed between two reads. Each value works as soon as it is read. Only a reading of all three versions
//! removes values, so the known values still work while Secrets Manager fails. An unknown value can't be
//! decided then, because it may be new.
//!
//! [`refresh_interval`]: shared::webhook::refresh_interval

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use shared::secrets::{self, SecretError, VersionStage};
use shared::webhook::WebhookHeader;
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::limits;

/// The age from which values are read again in the background.
pub const REFRESH_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// The time between two readings after one that failed. It is short, because until the next one AURA's
/// deliveries may be refused.
const FAILED_READ_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// A rotation moves a value from each of these stages to the next.
const IN_ORDER_OF_ROTATION: [VersionStage; 3] = [
    VersionStage::Pending,
    VersionStage::Current,
    VersionStage::Previous,
];

/// Where the secret is kept.
pub trait SecretSource: Send + Sync + 'static {
    /// Reads one version. `None` if there is none at that stage.
    fn read(
        &self,
        stage: VersionStage,
    ) -> impl Future<Output = Result<Option<SecretString>, SecretError>> + Send;
}

/// The secret in Secrets Manager.
#[derive(Debug)]
pub struct SecretsManager {
    /// The client of Secrets Manager.
    pub client: aws_sdk_secretsmanager::Client,
    /// The secret's ARN.
    pub arn: String,
}

impl SecretSource for SecretsManager {
    async fn read(&self, stage: VersionStage) -> Result<Option<SecretString>, SecretError> {
        let version = secrets::read_stage(&self.client, &self.arn, stage).await?;
        Ok(version.map(|version| version.value))
    }
}

/// The verdict on a value that a request gave as the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretVerdict {
    /// The value is one of the secret's.
    Valid,
    /// The value is not one of the secret's.
    Wrong,
    /// The value matches no known version, and not every version could be read. It may be a new one.
    Undecided,
}

/// The values that are valid, and the source of new ones.
#[derive(Debug)]
pub struct ValidValues<S> {
    header: WebhookHeader,
    source: S,
    refresh_interval: SignedDuration,
    known: RwLock<KnownValues>,
    /// The last reading. Locked while it is under way.
    reading: Mutex<Option<Reading>>,
}

/// A reading of all versions.
#[derive(Debug)]
struct Reading {
    begun: Timestamp,
    complete: bool,
}

/// The values that were read so far.
#[derive(Debug, Default)]
struct KnownValues {
    values: Vec<SecretString>,
    /// When all versions were last read.
    complete_at: Option<Timestamp>,
    /// Whether the last reading failed, at least in part.
    has_failed: bool,
}

/// The value of one version, if it has one that a header can carry.
type Version = Option<SecretString>;

/// A version that could not be read. The reason is logged.
struct NotRead;

impl<S: SecretSource> ValidValues<S> {
    /// Creates it without any value; see [`Self::load`].
    #[must_use]
    pub fn new(header: WebhookHeader, source: S, refresh_interval: SignedDuration) -> Arc<Self> {
        Arc::new(Self {
            header,
            source,
            refresh_interval,
            known: RwLock::default(),
            reading: Mutex::default(),
        })
    }

    /// The header that carries the secret.
    #[must_use]
    pub fn header(&self) -> &WebhookHeader {
        &self.header
    }

    /// Reads the values for the first time. A failure is not an error, because the first request
    /// tries again. The reading continues even if nobody waits for it.
    #[must_use]
    pub fn load(self: &Arc<Self>, now: Timestamp) -> JoinHandle<()> {
        self.read_in_background(now, None)
    }

    /// Waits for a reading that is under way, up to [`limits::REFRESH_WAIT`].
    pub async fn wait_for_refresh(&self) {
        let _ = timeout(limits::REFRESH_WAIT, self.reading.lock()).await;
    }

    /// Whether `given` is one of the known values. Makes no call.
    pub fn knows(&self, given: &[u8]) -> bool {
        self.known(|known| known.verdict(given)) == SecretVerdict::Valid
    }

    /// Checks `given`, and reads the values again if necessary.
    pub async fn check(self: &Arc<Self>, given: &[u8], now: Timestamp) -> SecretVerdict {
        let (verdict, old) = self.known(|known| (known.verdict(given), known.is_old(now)));
        match verdict {
            SecretVerdict::Valid if old => {
                drop(self.read_in_background(now, Some(self.refresh_interval)));
                SecretVerdict::Valid
            }
            SecretVerdict::Valid => SecretVerdict::Valid,
            SecretVerdict::Wrong => self.check_again(given, now, self.refresh_interval).await,
            SecretVerdict::Undecided => self.check_again(given, now, FAILED_READ_INTERVAL).await,
        }
    }

    async fn check_again(
        self: &Arc<Self>,
        given: &[u8],
        now: Timestamp,
        interval: SignedDuration,
    ) -> SecretVerdict {
        let reading = self.read_in_background(now, Some(interval));
        let in_time = timeout(limits::SECRET_WAIT, reading).await.is_ok();
        match self.known(|known| known.verdict(given)) {
            // A reading that takes too long counts as failed.
            SecretVerdict::Wrong if !in_time => SecretVerdict::Undecided,
            verdict => verdict,
        }
    }

    /// Reads in a task of its own, which continues even if nobody waits for it.
    fn read_in_background(
        self: &Arc<Self>,
        now: Timestamp,
        interval: Option<SignedDuration>,
    ) -> JoinHandle<()> {
        let values = Arc::clone(self);
        tokio::spawn(async move { values.read_all(now, interval).await })
    }

    /// Reads all versions, unless the last reading began less than `interval` ago. A call while a reading
    /// is under way waits for it. The first reading has no interval, and if it fails the next one may
    /// begin at once.
    async fn read_all(&self, now: Timestamp, interval: Option<SignedDuration>) {
        let mut last = self.reading.lock().await;
        let recently = |interval| {
            last.as_ref()
                .is_some_and(|last| last.is_recent(now, interval))
        };
        if interval.is_some_and(recently) {
            return;
        }
        let mut complete = true;
        let mut values = Vec::new();
        for stage in IN_ORDER_OF_ROTATION {
            match self.read(stage).await {
                Ok(version) => values.extend(version.inspect(|value| self.learn(value))),
                Err(NotRead) => complete = false,
            }
        }
        if complete || interval.is_some() {
            *last = Some(Reading {
                begun: now,
                complete,
            });
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.has_failed = !complete;
        if complete {
            known.values = values;
            known.complete_at = Some(now);
        }
    }

    /// Adds a value to the known ones.
    fn learn(&self, value: &SecretString) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.has(value.expose_secret().as_bytes()) {
            known.values.push(value.clone());
        }
    }

    async fn read(&self, stage: VersionStage) -> Result<Version, NotRead> {
        match self.source.read(stage).await {
            Ok(Some(secret)) => Ok(self.usable(stage, secret)),
            // A secret always has a current version. Without one, this is not the secret.
            Ok(None) if stage == VersionStage::Current => {
                tracing::warn!("the webhook secret has no current version");
                Err(NotRead)
            }
            Ok(None) => Ok(None),
            Err(error @ SecretError::Malformed { .. }) => {
                tracing::warn!(?stage, %error, "a version of the webhook secret is not usable");
                Ok(None)
            }
            Err(error @ SecretError::Unreadable { .. }) => {
                tracing::warn!(?stage, %error, "a version of the webhook secret could not be read");
                Err(NotRead)
            }
        }
    }

    fn usable(&self, stage: VersionStage, secret: SecretString) -> Version {
        if let Err(error) = self.header.value(&secret) {
            tracing::warn!(?stage, %error, "a version of the webhook secret is not usable");
            return None;
        }
        Some(secret)
    }

    fn known<T>(&self, look: impl FnOnce(&KnownValues) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reading {
    /// Whether it is too early for the next reading. A reading that failed may have missed a new
    /// value, and must not delay that value for long.
    fn is_recent(&self, now: Timestamp, interval: SignedDuration) -> bool {
        let interval = if self.complete {
            interval
        } else {
            interval.min(FAILED_READ_INTERVAL)
        };
        now.duration_since(self.begun).abs() < interval
    }
}

impl KnownValues {
    fn verdict(&self, given: &[u8]) -> SecretVerdict {
        let all_are_known = self.complete_at.is_some() && !self.has_failed;
        if self.has(given) {
            SecretVerdict::Valid
        } else if all_are_known && !self.values.is_empty() {
            SecretVerdict::Wrong
        } else {
            SecretVerdict::Undecided
        }
    }

    /// Compares with every value. So the time that it takes reveals neither which value matched nor
    /// how much of it.
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
