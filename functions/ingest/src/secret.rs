//! The values of the webhook's secret that are valid now: its current one and, around a rotation,
//! the next and the one before, so that AURA is never locked out.
//!
//! They are read in the order in which a rotation moves a value from one to the next, so that no
//! value slips through between two reads. That happens when the function starts, and then they are
//! kept. They are read again
//!
//! - in the background, by a request that finds them older than [`REFRESH_AFTER`], without waiting;
//! - by a request with a value that isn't among them, at most once in [`REFRESH_INTERVAL`]: it may
//!   be a new one. That request waits for it, up to [`limits::SECRET_WAIT`].
//!
//! So a new value is known [`REFRESH_INTERVAL`] after it was made at the latest, if Secrets Manager
//! answers: a rotation has to wait for that long before it tells AURA. While Secrets Manager is
//! down, the values that are known go on working.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::{SignedDuration, Timestamp};
use lambda_http::http::HeaderValue;
use secrecy::SecretString;
use shared::secrets::{self, SecretError, Stage};
use shared::webhook::WebhookHeader;
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::limits;

/// Older values are read again in the background.
pub const REFRESH_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// However many unknown values come, the secret is not read more often than this by a process.
pub const REFRESH_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// The same while a version has never been read: then AURA's deliveries may be refused.
const FIRST_READ_INTERVAL: SignedDuration = SignedDuration::from_secs(1);

/// Where the secret is kept.
pub trait SecretSource: Send + Sync + 'static {
    /// Reads one version; `None` if there is none at that stage.
    fn read(
        &self,
        stage: Stage,
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
    async fn read(&self, stage: Stage) -> Result<Option<SecretString>, SecretError> {
        secrets::read_stage(&self.client, &self.arn, stage).await
    }
}

/// What is known of a header value that a request gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is one of the secret's values.
    Valid,
    /// It is none of them.
    Wrong,
    /// It is none of those that could be read so far, and not all could.
    Undecided,
}

/// The valid values, and how to get at new ones.
#[derive(Debug)]
pub struct ValidValues<S> {
    header: WebhookHeader,
    source: S,
    known: RwLock<Known>,
    /// When a reading was last begun; held while it is under way.
    reading: Mutex<Option<Timestamp>>,
}

/// What was read. A version that can't be read now stays as it was.
#[derive(Debug, Default)]
struct Known {
    pending: Version,
    current: Version,
    previous: Version,
    /// When all three were last read.
    complete_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
enum Version {
    #[default]
    NeverRead,
    /// There is none, or its text is no header value.
    Unusable,
    Value(HeaderValue),
}

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
        let values = Arc::clone(self);
        tokio::spawn(async move {
            if !values.read_again(now, SignedDuration::ZERO).await {
                *values.reading.lock().await = None;
            }
        })
    }

    /// Whether `given` is one of the values that are known, without asking anybody.
    pub fn knows(&self, given: &HeaderValue) -> bool {
        self.known(|known| known.verdict(given)) == Verdict::Valid
    }

    /// Says what is known of `given`, and reads the values again if need be.
    pub async fn check(self: &Arc<Self>, given: &HeaderValue, now: Timestamp) -> Verdict {
        let (verdict, old) = self.known(|known| (known.verdict(given), known.is_old(now)));
        match verdict {
            Verdict::Valid if old => {
                drop(self.read_in_background(now, REFRESH_INTERVAL));
                Verdict::Valid
            }
            Verdict::Valid => Verdict::Valid,
            Verdict::Wrong => self.check_again(given, now, REFRESH_INTERVAL).await,
            Verdict::Undecided => self.check_again(given, now, FIRST_READ_INTERVAL).await,
        }
    }

    async fn check_again(
        self: &Arc<Self>,
        given: &HeaderValue,
        now: Timestamp,
        interval: SignedDuration,
    ) -> Verdict {
        // Too long is as good as failed: the values stay as they are.
        let _ = timeout(limits::SECRET_WAIT, self.read_in_background(now, interval)).await;
        self.known(|known| known.verdict(given))
    }

    /// In a task of its own, so that it goes on when nobody waits for it any more.
    fn read_in_background(
        self: &Arc<Self>,
        now: Timestamp,
        interval: SignedDuration,
    ) -> JoinHandle<()> {
        let values = Arc::clone(self);
        tokio::spawn(async move {
            values.read_again(now, interval).await;
        })
    }

    /// Reads all versions, unless that was begun less than `interval` ago, and says whether all
    /// could be read. Who comes while it is under way waits for it.
    async fn read_again(&self, now: Timestamp, interval: SignedDuration) -> bool {
        let mut begun = self.reading.lock().await;
        if begun.is_some_and(|begun| now.duration_since(begun).abs() < interval) {
            return false;
        }
        *begun = Some(now);
        let pending = self.read(Stage::Pending).await;
        let current = self.read(Stage::Current).await;
        let previous = self.read(Stage::Previous).await;
        let complete = pending.is_some() && current.is_some() && previous.is_some();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.pending.update(pending);
        known.current.update(current);
        known.previous.update(previous);
        if complete {
            known.complete_at = Some(now);
        }
        complete
    }

    /// Reads one version; `None` if nothing can be said of it now.
    async fn read(&self, stage: Stage) -> Option<Version> {
        match self.source.read(stage).await {
            Ok(Some(secret)) => Some(self.version(stage, &secret)),
            // There always is a current version: who doesn't find it looks in the wrong place.
            Ok(None) if stage != Stage::Current => Some(Version::Unusable),
            Ok(None) => {
                tracing::warn!("webhook secret has no current version; known values stay valid");
                None
            }
            Err(error @ SecretError::Malformed { .. }) => {
                tracing::warn!(?stage, %error, "webhook secret not usable");
                Some(Version::Unusable)
            }
            Err(error @ SecretError::Unreadable { .. }) => {
                tracing::warn!(?stage, %error, "webhook secret not read; known values stay valid");
                None
            }
        }
    }

    fn version(&self, stage: Stage, secret: &SecretString) -> Version {
        self.header.value(secret).map_or_else(
            |error| {
                tracing::warn!(?stage, %error, "webhook secret not usable");
                Version::Unusable
            },
            Version::Value,
        )
    }

    fn known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn versions(&self) -> [&Version; 3] {
        [&self.pending, &self.current, &self.previous]
    }

    /// Compares with every value, so that the time taken tells neither which one matched nor how
    /// much of it.
    fn verdict(&self, given: &HeaderValue) -> Verdict {
        let matches = self.versions().map(|version| match version {
            Version::Value(value) => value.as_bytes().ct_eq(given.as_bytes()),
            Version::Unusable | Version::NeverRead => Choice::from(0),
        });
        let valid = matches
            .into_iter()
            .fold(Choice::from(0), |any, one| any | one);
        if valid.into() {
            Verdict::Valid
        } else if self.is_decisive() {
            Verdict::Wrong
        } else {
            Verdict::Undecided
        }
    }

    /// Whether a value that isn't known is wrong: every version was read, and one has a value.
    fn is_decisive(&self) -> bool {
        let versions = self.versions();
        let read = |version: &&Version| !matches!(version, Version::NeverRead);
        let usable = |version: &&Version| matches!(version, Version::Value(_));
        versions.iter().all(read) && versions.iter().any(usable)
    }

    fn is_old(&self, now: Timestamp) -> bool {
        self.complete_at
            .is_none_or(|read| now.duration_since(read).abs() > REFRESH_AFTER)
    }
}

impl Version {
    fn update(&mut self, read: Option<Self>) {
        if let Some(version) = read {
            *self = version;
        }
    }
}

#[cfg(test)]
mod tests;
