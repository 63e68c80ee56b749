//! The reconciler's client of AURA:
//!
//! - It limits the calls at once and in a minute.
//! - It repeats a failed call after a pause if the error may go away. The pause is as long as AURA
//!   demands, if the run has enough time.
//! - It makes no more calls in a run after AURA has refused the credentials.

pub mod connector;
mod rate_limit;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use shared::panic_api::{ActiveCallouts, Lookup, PanicApi, PanicApiError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use self::rate_limit::{CallKind, RateLimiter};
use crate::Failure;
use crate::config::AuraLimits;

/// Number of retries of a failed call, and the first pause. The second pause is twice as long. Both
/// have jitter.
const TIMES_AGAIN: usize = 2;
const PAUSE: Duration = Duration::from_millis(250);
/// Number of calls in a row, each with its retries, that may fail. After that, this run makes no
/// more calls about single callouts.
const MOST_IN_A_ROW: u64 = 3;

/// Why there is no answer: no call was made.
const GIVEN_UP: &str = "AURA refused, or failed too often in a row; the next run asks again";
/// Why there is no answer: the time ran out.
const OUT_OF_TIME: &str = "no time was left to ask AURA; the next run continues";

/// A client of AURA. It is kept across runs, together with its token.
#[derive(Debug)]
pub struct Aura {
    api: PanicApi,
    at_once: Semaphore,
    rate: RateLimiter,
    /// The first pause before a retry.
    pause: Duration,
    counts: Mutex<AuraCounts>,
}

/// Results of a run's calls to AURA.
#[derive(Debug, Default)]
pub struct AuraCounts {
    /// Number of calls that have failed. Retries count too.
    pub failures: u64,
    /// Number of calls in a row that have failed after all retries.
    failures_in_a_row: u64,
    /// Number of calls about single callouts that AURA has answered with 403.
    pub forbidden: u64,
    /// Whether AURA has refused the credentials.
    pub has_refused: bool,
}

impl Aura {
    /// Wraps a client of the Panic API and sets the limits of its calls.
    #[must_use]
    pub fn new(api: PanicApi, limits: AuraLimits) -> Self {
        Self {
            api,
            at_once: Semaphore::new(limits.at_once.get().into()),
            rate: RateLimiter::new(limits.per_minute),
            pause: PAUSE,
            counts: Mutex::default(),
        }
    }

    /// Begins a run: sets all counts to zero.
    pub fn begin_run(&self) {
        *self.counts() = AuraCounts::default();
    }

    /// Returns the results of this run's calls so far.
    pub fn counts(&self) -> MutexGuard<'_, AuraCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of calls so far in all runs. Calls for a token count too.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.api.calls()
    }

    /// Whether this run makes no more calls about single callouts.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        let counts = self.counts();
        counts.has_refused || counts.failures_in_a_row >= MOST_IN_A_ROW
    }

    /// Asks for all active callouts.
    pub async fn active_callouts(&self, deadline: Instant) -> Result<ActiveCallouts, Failure> {
        let asking = self.ask(CallKind::List, deadline, || self.api.active_callouts());
        timeout_at(deadline, asking)
            .await
            .unwrap_or(Err(OUT_OF_TIME.into()))
    }

    /// Asks for one callout.
    pub async fn callout(&self, id: &str, deadline: Instant) -> Result<Lookup, Failure> {
        if self.is_given_up() {
            return Err(GIVEN_UP.into());
        }
        let asking = self.ask(CallKind::Single, deadline, || self.api.callout(id));
        timeout_at(deadline, asking)
            .await
            .unwrap_or(Err(OUT_OF_TIME.into()))
    }

    /// Makes a call, and repeats it if that may help and the time permits.
    async fn ask<T, F>(
        &self,
        kind: CallKind,
        deadline: Instant,
        call: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, PanicApiError>>,
    {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.pause)
            .with_max_times(TIMES_AGAIN)
            .with_jitter();
        let mut pauses = pauses.build();
        loop {
            let error = match self.ask_once(kind, &call).await? {
                Ok(answer) => {
                    self.counts().failures_in_a_row = 0;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.counts().failures += 1;
            if is_refusal(&error) {
                self.counts().has_refused = true;
                return Err(format!("AURA refuses to answer the reconciler: {error}").into());
            }
            // AURA may demand a longer pause than the run has time for.
            let has_time = |pause: &Duration| *pause < deadline.duration_since(Instant::now());
            let pause = pauses.next().filter(|_| error.is_transient());
            let pause = pause.map(|own| error.pause(own)).filter(has_time);
            let Some(pause) = pause else {
                self.count_in_a_row(&error);
                return Err(error.into());
            };
            tracing::info!(%error, "call to AURA failed, trying again");
            sleep(pause).await;
        }
    }

    /// Counts a failed call that is not repeated. A permanent error is AURA's answer to this call,
    /// and says nothing about other calls.
    fn count_in_a_row(&self, error: &PanicApiError) {
        let mut counts = self.counts();
        if error.is_transient() {
            counts.failures_in_a_row += 1;
        } else {
            counts.failures_in_a_row = 0;
        }
        if matches!(error, PanicApiError::Forbidden { .. }) {
            counts.forbidden += 1;
        }
    }

    async fn ask_once<T, F>(
        &self,
        kind: CallKind,
        call: impl Fn() -> F,
    ) -> Result<Result<T, PanicApiError>, Failure>
    where
        F: Future<Output = Result<T, PanicApiError>>,
    {
        // Acquiring can't fail, because the semaphore is never closed.
        let _permit = self.at_once.acquire().await;
        self.rate.call(kind).await;
        // While this call waited, AURA may have refused another.
        if self.counts().has_refused {
            return Err(GIVEN_UP.into());
        }
        Ok(call().await)
    }
}

/// Whether AURA refuses the credentials: by 401, or by 403 for the token or the list. A 403 for a
/// single callout is [`PanicApiError::Forbidden`].
fn is_refusal(error: &PanicApiError) -> bool {
    match error {
        PanicApiError::CredentialsRefused { .. } => true,
        PanicApiError::Refused { status, .. } => *status == 403,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use reqwest::StatusCode;
    use shared::http_client;
    use shared::panic_api::Credentials;

    use super::*;

    fn aura() -> Aura {
        let credentials = r#"{"clientId": "a", "clientSecret": "b"}"#.to_owned();
        let api = PanicApi::new(
            http_client::build().unwrap(),
            "http://127.0.0.1:9".parse().unwrap(),
            Credentials::parse(&credentials.into()).unwrap(),
        );
        let limits = AuraLimits {
            at_once: NonZero::new(1).unwrap(),
            per_minute: NonZero::new(1000).unwrap(),
        };
        let mut aura = Aura::new(api, limits);
        aura.pause = Duration::from_millis(1);
        aura
    }

    fn refused(call: &'static str, status: u16) -> PanicApiError {
        PanicApiError::Refused {
            call,
            status: StatusCode::from_u16(status).unwrap(),
            message: String::new(),
        }
    }

    /// Makes this number of calls about single callouts, each with this answer.
    async fn asked(times: u32, answer: impl Fn() -> PanicApiError) -> Aura {
        let aura = aura();
        for _ in 0..times {
            let deadline = Instant::now() + Duration::from_mins(1);
            let call = async || Err::<(), _>(answer());
            let settled = aura.ask(CallKind::Single, deadline, call).await;
            assert!(settled.is_err());
        }
        aura
    }

    #[tokio::test]
    async fn an_error_about_one_callout_does_not_stop_other_calls() {
        const CALL: &str = "Get a callout";
        let counts = |aura: &Aura| {
            let counts = aura.counts();
            (counts.forbidden, counts.failures)
        };
        let forbidden = || PanicApiError::Forbidden { call: CALL };
        let aura = asked(10, forbidden).await;
        assert!(!aura.is_given_up());
        assert_eq!(counts(&aura), (10, 10));
        aura.begin_run();
        assert_eq!(counts(&aura), (0, 0));
        for status in [400, 409, 410, 422, 451] {
            let aura = asked(10, || refused(CALL, status)).await;
            assert!(!aura.is_given_up(), "{status}");
            assert_eq!(aura.counts().forbidden, 0);
        }
        let malformed = || PanicApiError::Malformed { call: CALL };
        assert!(!asked(10, malformed).await.is_given_up());
    }

    #[tokio::test]
    async fn an_aura_that_fails_again_and_again_is_given_up_until_the_next_run() {
        let failed = || PanicApiError::Failed {
            call: "Get a callout",
            status: StatusCode::BAD_GATEWAY,
            retry_after: None,
        };
        assert!(!asked(2, failed).await.is_given_up());
        let aura = asked(3, failed).await;
        assert!(aura.is_given_up() && !aura.counts().has_refused);
        aura.begin_run();
        assert!(!aura.is_given_up());
    }

    #[tokio::test]
    async fn aura_refuses_with_401_and_with_403_for_the_token_or_the_list() {
        let unauthorized = || PanicApiError::CredentialsRefused {
            call: "Get a callout",
            status: StatusCode::UNAUTHORIZED,
        };
        assert!(asked(1, unauthorized).await.counts().has_refused);
        for call in ["the token", "Get active callouts"] {
            assert!(asked(1, || refused(call, 403)).await.counts().has_refused);
            assert!(!asked(1, || refused(call, 404)).await.counts().has_refused);
        }
    }
}
