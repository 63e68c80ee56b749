//! AURA as the reconciler asks it: so many calls at once and in a minute at most, again after a
//! pause where AURA may recover (as long as AURA wishes, if the run has so much time), and not at all
//! once it has refused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use shared::panic_api::{ActiveCallouts, Lookup, PanicApi, PanicApiError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::AuraLimits;
use crate::pace::{Call, Pace};

/// How often a call is tried again that AURA failed at, and the first pause. The next one is twice
/// as long; both have jitter.
const TIMES_AGAIN: usize = 2;
const PAUSE: Duration = Duration::from_millis(250);
/// After so many questions in a row that came to nothing, each tried again as above, AURA isn't asked
/// about single callouts until the next run.
const MOST_IN_A_ROW: u64 = 3;

/// A client of AURA that is kept across runs, and with it the token.
#[derive(Debug)]
pub struct Aura {
    api: PanicApi,
    at_once: Semaphore,
    pace: Pace,
    failures: AtomicU64,
    failures_in_a_row: AtomicU64,
    has_refused: AtomicBool,
}

/// Why AURA wasn't heard.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    /// AURA refuses who asks: no further call can do better.
    #[error("AURA refuses: {0}")]
    Refused(PanicApiError),
    /// It answered something that is no answer to the call, or nothing.
    #[error(transparent)]
    Failed(#[from] PanicApiError),
    /// It has refused in this run, or failed too often.
    #[error("AURA refused, or failed too often in a row; the next run asks again")]
    GivenUp,
    /// The run's time is over.
    #[error("no time was left to ask AURA; the next run goes on")]
    OutOfTime,
}

impl Aura {
    /// AURA behind this client, within these limits.
    #[must_use]
    pub fn new(api: PanicApi, limits: AuraLimits) -> Self {
        Self {
            api,
            at_once: Semaphore::new(limits.at_once.get().into()),
            pace: Pace::new(limits.per_minute),
            failures: AtomicU64::new(0),
            failures_in_a_row: AtomicU64::new(0),
            has_refused: AtomicBool::new(false),
        }
    }

    /// Begins to count anew.
    pub fn begin_run(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.has_refused.store(false, Ordering::Relaxed);
    }

    /// How many calls were made so far, those for a token among them.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.api.calls()
    }

    /// How many calls have failed in this run.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether AURA isn't asked about single callouts until the next run.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.has_refused() || self.failures_in_a_row.load(Ordering::Relaxed) >= MOST_IN_A_ROW
    }

    /// Whether AURA has refused who asks, in this run.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }

    /// Every active callout.
    ///
    /// # Errors
    ///
    /// AURA wasn't heard.
    pub async fn active_callouts(&self, deadline: Instant) -> Result<ActiveCallouts, Unheard> {
        let asking = self.ask(Call::List, deadline, || self.api.active_callouts());
        timeout_at(deadline, asking)
            .await
            .unwrap_or(Err(Unheard::OutOfTime))
    }

    /// One callout.
    ///
    /// # Errors
    ///
    /// AURA wasn't heard.
    pub async fn callout(&self, id: &str, deadline: Instant) -> Result<Lookup, Unheard> {
        if self.is_given_up() {
            return Err(Unheard::GivenUp);
        }
        let asking = self.ask(Call::Single, deadline, || self.api.callout(id));
        timeout_at(deadline, asking)
            .await
            .unwrap_or(Err(Unheard::OutOfTime))
    }

    async fn ask<T, F>(
        &self,
        kind: Call,
        deadline: Instant,
        call: impl Fn() -> F,
    ) -> Result<T, Unheard>
    where
        F: Future<Output = Result<T, PanicApiError>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(PAUSE)
            .with_max_times(TIMES_AGAIN)
            .with_jitter();
        let mut pauses = pauses.build();
        loop {
            let error = match self.ask_once(kind, &call).await? {
                Ok(answer) => {
                    self.failures_in_a_row.store(0, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.failures.fetch_add(1, Ordering::Relaxed);
            if is_refusal(&error) {
                self.has_refused.store(true, Ordering::Relaxed);
                return Err(Unheard::Refused(error));
            }
            // AURA may ask for more patience than the run has.
            let has_time = |pause: &Duration| *pause < deadline.duration_since(Instant::now());
            let pause = pauses.next().filter(|_| error.is_transient());
            let pause = pause.map(|own| error.pause(own)).filter(has_time);
            let Some(pause) = pause else {
                self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
                return Err(error.into());
            };
            tracing::info!(%error, "asking AURA again");
            sleep(pause).await;
        }
    }

    async fn ask_once<T, F>(
        &self,
        kind: Call,
        call: impl Fn() -> F,
    ) -> Result<Result<T, PanicApiError>, Unheard>
    where
        F: Future<Output = Result<T, PanicApiError>>,
    {
        // It is never closed.
        let _permit = self.at_once.acquire().await;
        self.pace.call(kind).await;
        // While this one waited, another may have been refused.
        if self.has_refused() {
            return Err(Unheard::GivenUp);
        }
        Ok(call().await)
    }
}

/// 401 or 403.
fn is_refusal(error: &PanicApiError) -> bool {
    match error {
        PanicApiError::CredentialsRefused { .. } => true,
        PanicApiError::Refused { status, .. } => *status == 403,
        _ => false,
    }
}
