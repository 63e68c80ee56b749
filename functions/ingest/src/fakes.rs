//! Stand-ins for what `ingest` talks to, for tests and the fuzz target.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lambda_http::http::HeaderName;
use metrique::writer::sink::DevNullSink;
use secrecy::SecretString;
use shared::aws::CallError;
use shared::queue::Outgoing;
use shared::secrets::{SecretError, VersionStage};
use shared::webhook::{REFRESH_INTERVAL, WebhookHeader};

use crate::auth::Authenticator;
use crate::handler::Ingest;
use crate::secret::{SecretSource, ValidValues};
use crate::source::AllowedSources;
use crate::store::Store;

/// An `ingest` with a [`FakeStore`]. It already knows the secret `right`: AURA sends
/// `authorization: Bearer right`. Its clock stands still.
pub async fn ingest() -> Ingest<FakeSecret, FakeStore> {
    ingest_with(FakeSecret::with(&[(VersionStage::Current, "right")])).await
}

/// The same as [`ingest`], with the given secret.
pub async fn ingest_with(secret: FakeSecret) -> Ingest<FakeSecret, FakeStore> {
    let valid = ValidValues::new(webhook_header(), secret, REFRESH_INTERVAL);
    let now = || Timestamp::UNIX_EPOCH;
    let _ = valid.load(now()).await;
    Ingest {
        allowed_sources: AllowedSources::default(),
        authenticator: Authenticator::new(valid),
        store: FakeStore::default(),
        now,
        metrics: DevNullSink::boxed(),
    }
}

/// The header that [`ingest`] expects: `authorization: Bearer <secret>`.
#[must_use]
pub fn webhook_header() -> WebhookHeader {
    WebhookHeader {
        name: HeaderName::from_static("authorization"),
        scheme: "Bearer".into(),
    }
}

/// The id that [`FakeStore`] gives each message.
pub const MESSAGE_ID: &str = "11111111-2222-3333-4444-555555555555";

/// A store that remembers what was stored, and that fails while a test sets it to be down.
#[derive(Debug, Default)]
pub struct FakeStore {
    /// Whether the queues are down. Then they confirm nothing.
    pub queues_down: AtomicBool,
    /// Whether the spill is down. Then it confirms nothing.
    pub spill_down: AtomicBool,
    queued: Mutex<Vec<Outgoing>>,
    spilled: Mutex<Vec<Outgoing>>,
}

impl FakeStore {
    /// Takes what was sent to the queues.
    pub fn take_queued(&self) -> Vec<Outgoing> {
        std::mem::take(&mut lock(&self.queued))
    }

    /// Takes what was spilled.
    pub fn take_spilled(&self) -> Vec<Outgoing> {
        std::mem::take(&mut lock(&self.spilled))
    }
}

impl Store for FakeStore {
    async fn send(&self, delivery: &Outgoing) -> Result<Option<String>, CallError> {
        if self.queues_down.load(Ordering::Relaxed) {
            return Err(down("SQS", "SendMessage"));
        }
        lock(&self.queued).push(delivery.clone());
        Ok(Some(MESSAGE_ID.to_owned()))
    }

    async fn spill(&self, delivery: &Outgoing) -> Result<(), CallError> {
        if self.spill_down.load(Ordering::Relaxed) {
            return Err(down("spill", "PutItem"));
        }
        lock(&self.spilled).push(delivery.clone());
        Ok(())
    }
}

fn down(about: &'static str, operation: &'static str) -> CallError {
    let error = aws_sdk_sqs::error::BuildError::other("down, as the test orders");
    CallError::not_built(about, operation)(error)
}

/// A secret with its versions. It counts the reads. Clones share one secret.
#[derive(Debug, Clone, Default)]
pub struct FakeSecret(Arc<Versions>);

type Values = Vec<(VersionStage, String)>;

#[derive(Debug, Default)]
struct Versions {
    values: Mutex<Values>,
    unreadable: Mutex<Vec<VersionStage>>,
    hanging: Mutex<Vec<VersionStage>>,
    change: Mutex<Option<(usize, Values)>>,
    reads: AtomicUsize,
}

impl FakeSecret {
    /// A secret with these versions.
    #[must_use]
    pub fn with(values: &[(VersionStage, &str)]) -> Self {
        let secret = Self::default();
        secret.set(values);
        secret
    }

    /// Replaces all versions.
    pub fn set(&self, values: &[(VersionStage, &str)]) {
        *lock(&self.0.values) = owned(values);
    }

    /// Replaces all versions after this number of reads.
    pub fn change_after(&self, reads: usize, values: &[(VersionStage, &str)]) {
        *lock(&self.0.change) = Some((reads, owned(values)));
    }

    /// Makes these versions unreadable from now on.
    pub fn hide(&self, stages: &[VersionStage]) {
        *lock(&self.0.unreadable) = stages.to_vec();
    }

    /// Makes every later read of these versions hang.
    pub fn hang(&self, stages: &[VersionStage]) {
        *lock(&self.0.hanging) = stages.to_vec();
    }

    /// How often a version was asked for.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.0.reads.load(Ordering::Relaxed)
    }
}

impl SecretSource for FakeSecret {
    async fn read(&self, stage: VersionStage) -> Result<Option<SecretString>, SecretError> {
        let reads = self.0.reads.fetch_add(1, Ordering::Relaxed);
        if let Some((_, values)) = lock(&self.0.change).take_if(|(after, _)| *after == reads) {
            *lock(&self.0.values) = values;
        }
        if lock(&self.0.hanging).contains(&stage) {
            return std::future::pending().await;
        }
        // A call over a network lets other tasks run.
        tokio::task::yield_now().await;
        if lock(&self.0.unreadable).contains(&stage) {
            return Err(SecretError::Unreadable {
                arn: "the secret".into(),
                reason: "down, as the test orders".into(),
            });
        }
        let values = lock(&self.0.values);
        let value = values.iter().find(|(its, _)| *its == stage);
        Ok(value.map(|(_, value)| SecretString::from(value.clone())))
    }
}

fn owned(values: &[(VersionStage, &str)]) -> Values {
    let owned = |(stage, value): &(VersionStage, &str)| (*stage, (*value).to_owned());
    values.iter().map(owned).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
