//! Proves that an endpoint works: sends a canary through the public URL, with the same header that
//! AURA sends, and follows it in the ledger until it is published.
//!
//! Each canary is announced in the ledger first. The processor counts every canary that was not
//! announced: somebody else has sent it, and has the secret.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use backon::{ExponentialBuilder, Retryable as _};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use reqwest::header::{CONNECTION, CONTENT_TYPE};
use shared::ledger::notes::{Note, Notes};
use shared::ledger::{CLAIMED, ItemAttribute, PUBLISHED};
use shared::panic_api::Registration;
use shared::{aws, canary};
use uuid::Uuid;

/// Time limit of a whole proof. If the processor dies with the canary, the canary comes back after the
/// queue's visibility timeout: too late, if this is a minute or more. Waiting longer isn't possible:
/// Lambda ends the registrar after two minutes, and a rotation waits for 35 s before it sends a canary.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Time limit of a proof in a rollback. There, the endpoint is registered in any case.
pub const PATIENCE_IN_ROLLBACK: Duration = Duration::from_secs(20);
/// Time limit of a scheduled canary. It is far beyond the 5 s after which a canary counts as slow.
pub const PATIENCE_ON_SCHEDULE: Duration = Duration::from_secs(20);
/// Time during which a failed post of the canary is repeated. A new route or a changed function
/// needs some seconds until it works everywhere.
const SENDING_PATIENCE: Duration = Duration::from_secs(15);
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Time limit of one answer. `ingest` needs 5 s at most, and Lambda may have to start it first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which the canary is sent again if the processor hasn't claimed it. `ingest` may have
/// spilled it, for example because it was not yet permitted to send to its queue. For the ledger,
/// both deliveries are one event.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The pause between two reads of the ledger.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// How long an announcement is kept: as long as the ledger remembers the canary, which may wait in
/// the ingest queue and then in the dead letters.
const ANNOUNCED_FOR: SignedDuration = SignedDuration::from_hours(35 * 24);

/// Sends canaries.
#[derive(Debug, Clone, Copy)]
pub struct CanarySender<'a> {
    /// Calls the endpoint.
    pub http: &'a reqwest::Client,
    /// Reads the ledger.
    pub dynamodb: &'a aws_sdk_dynamodb::Client,
    /// Name of the ledger's table.
    pub table: &'a str,
}

/// Why a proof failed. The message becomes CloudFormation's `Reason`.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The endpoint gave no answer.
    #[error("the endpoint could not be reached: {0}")]
    Unreachable(&'static str),
    /// The endpoint doesn't accept the secret.
    #[error(
        "the endpoint answered 401: the function and the registrar read different secrets, or the \
         function looks for another header"
    )]
    Unauthorized,
    /// The endpoint gave another answer than 202.
    #[error("the endpoint answered {status} to the canary: {hint}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Where to look for the cause.
        hint: &'static str,
    },
    /// The endpoint accepted the canary, but the processor didn't claim it.
    #[error(
        "the endpoint accepted the canary, but the processor did not get it within {0} s: check \
         whether ingest may send to its queue (if not, its log says `the queue did not confirm the \
         delivery`), and whether the processor runs"
    )]
    NotClaimed(u64),
    /// The processor claimed the canary, but didn't publish it.
    #[error(
        "the processor claimed the canary, but did not publish it within {0} s: see the \
         processor's log"
    )]
    NotPublished(u64),
    /// The ledger can't be read.
    #[error("the ledger can't be read: {0}")]
    LedgerUnreadable(String),
    /// The ledger can't be told which canary will come.
    #[error("the canary can't be announced in the ledger: {0}")]
    NotAnnounced(String),
}

impl CanarySender<'_> {
    /// Sends a canary to the endpoint as AURA would, and returns when the canary is published. This
    /// takes at most `patience` plus the time limit of one answer. After all attempts, the error
    /// says how far the canary came.
    pub async fn send(
        &self,
        registration: &Registration,
        patience: Duration,
    ) -> Result<(), CanaryError> {
        let begun = Instant::now();
        let id = Uuid::now_v7();
        let (min, max) = PAUSES;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(min)
            .with_max_delay(max)
            .with_jitter()
            .without_max_times();
        // A role that was changed seconds ago may not permit this yet.
        (|| self.announce(id))
            .retry(pauses)
            .when(|_| begun.elapsed() < patience)
            .notify(|error, _| tracing::info!(%error, "canary not announced yet, trying again"))
            .await?;
        let announced = Instant::now();
        (|| self.post(registration, id))
            .retry(pauses)
            .when(|_| begun.elapsed() < patience && announced.elapsed() < SENDING_PATIENCE)
            .notify(|error, _| tracing::info!(%error, "canary not accepted yet, trying again"))
            .await?;
        self.follow(id, begun, patience, Some(registration)).await
    }

    /// Sends the canary with this id once, as AURA sends each event once. Returns the time from the
    /// request until the canary was seen as published. A lost connection fails the canary, because
    /// it would lose an event.
    pub async fn send_once(
        &self,
        registration: &Registration,
        id: Uuid,
        patience: Duration,
    ) -> Result<Duration, CanaryError> {
        self.announce(id).await?;
        let begun = Instant::now();
        self.post(registration, id).await?;
        self.follow(id, begun, patience, None).await?;
        Ok(begun.elapsed())
    }

    async fn announce(&self, id: Uuid) -> Result<(), CanaryError> {
        let notes = Notes::new(self.dynamodb.clone(), self.table.to_owned());
        let until = Timestamp::now() + ANNOUNCED_FOR;
        let announced = notes.write(&Note::canary(&id.to_string()), until).await;
        announced.map_err(|error| CanaryError::NotAnnounced(error.to_string()))
    }

    async fn post(&self, registration: &Registration, id: Uuid) -> Result<(), CanaryError> {
        let request = self
            .http
            .post(registration.url.clone())
            .headers(registration.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            // Lambda freezes the function between two canaries, and an open connection may die then.
            .header(CONNECTION, "close")
            .timeout(ANSWER_TIMEOUT)
            .body(canary::body(id));
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        let hint = match answer.status() {
            StatusCode::ACCEPTED => return Ok(()),
            StatusCode::UNAUTHORIZED => return Err(CanaryError::Unauthorized),
            StatusCode::FORBIDDEN => "something in front of the function refuses the request",
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                "WebhookUrl does not lead to this stack, or its route is missing"
            }
            status if status.is_server_error() => "see the log of ingest",
            status if status.is_redirection() => {
                "WebhookUrl is a redirect, and AURA does not say that it follows redirects"
            }
            _ => "WebhookUrl does not lead to this stack",
        };
        let status = answer.status();
        Err(CanaryError::Refused { status, hint })
    }

    /// Waits until the canary is published. Lambda may start to poll a newly connected queue with a
    /// delay. With `again`, the canary is sent there again if the processor doesn't get it.
    async fn follow(
        &self,
        id: Uuid,
        begun: Instant,
        patience: Duration,
        again: Option<&Registration>,
    ) -> Result<(), CanaryError> {
        let mut sent = Instant::now();
        loop {
            let seconds = begun.elapsed().as_secs();
            let not_yet = match self.state(id).await {
                Ok(Some(state)) if state == PUBLISHED => return Ok(()),
                Ok(Some(state)) if state == CLAIMED => CanaryError::NotPublished(seconds),
                Ok(_) => CanaryError::NotClaimed(seconds),
                Err(error) => error,
            };
            if begun.elapsed() > patience {
                return Err(not_yet);
            }
            if matches!(not_yet, CanaryError::NotClaimed(_))
                && sent.elapsed() > SEND_AGAIN_AFTER
                && let Some(registration) = again
            {
                if let Err(error) = self.post(registration, id).await {
                    tracing::info!(%error, "repeated canary not accepted");
                }
                sent = Instant::now();
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Reads the canary's state from the ledger.
    async fn state(&self, id: Uuid) -> Result<Option<String>, CanaryError> {
        let answer = self
            .dynamodb
            .query()
            .table_name(self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(canary::partition(id)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| CanaryError::LedgerUnreadable(aws::describe(&error)))?;
        let item = answer.items.unwrap_or_default().into_iter().next();
        let state = item.and_then(|mut item| item.remove(ItemAttribute::State.name()));
        Ok(state.and_then(|state| state.as_s().ok().cloned()))
    }
}

fn unreachable(error: &reqwest::Error) -> CanaryError {
    CanaryError::Unreachable(if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection was lost"
    })
}
