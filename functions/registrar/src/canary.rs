//! The proof that an endpoint works: a canary, sent through the public URL with the very header
//! that AURA is to send, and followed in the ledger until it is published.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use backon::{ExponentialBuilder, Retryable as _};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use shared::ledger::{CLAIMED, ItemAttribute, PUBLISHED};
use shared::panic_api::Registration;
use shared::{aws, canary};
use uuid::Uuid;

/// How long a proof may take in all.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long a proof may take in a rollback, whose endpoint is registered in any case.
pub const PATIENCE_IN_ROLLBACK: Duration = Duration::from_secs(20);
/// How long the endpoint is asked again: a new route or a changed function takes some seconds to
/// be everywhere.
const SENDING_PATIENCE: Duration = Duration::from_secs(15);
/// The first pause between two tries, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// Time for one answer of the endpoint: `ingest` takes 5 s at most, and Lambda has to start it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which a canary that the processor doesn't get is sent again: `ingest` may have
/// spilled it, say before it was permitted to send to its queue. The ledger counts both as one.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The pause between two looks at the ledger.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Sends canaries.
#[derive(Debug, Clone, Copy)]
pub struct CanarySender<'a> {
    /// Calls the endpoint.
    pub http: &'a reqwest::Client,
    /// Reads the ledger.
    pub dynamodb: &'a aws_sdk_dynamodb::Client,
    /// The ledger's table.
    pub table: &'a str,
}

/// Why an endpoint isn't proven. The message becomes CloudFormation's `Reason`.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The endpoint gave no answer.
    #[error("the endpoint could not be reached: {0}")]
    Unreachable(&'static str),
    /// The secret isn't the one that the function knows.
    #[error(
        "the endpoint answered 401: the function and the registrar read different secrets, or the \
         function looks for another header"
    )]
    Unauthorized,
    /// The endpoint gave another answer than 202.
    #[error("the endpoint answered {status} to the canary: {hint}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Where to look.
        hint: &'static str,
    },
    /// The canary was accepted, and the processor never had it.
    #[error(
        "the endpoint accepted the canary, but the processor did not get it within {0} s: see \
         whether ingest may send to its queue (its log says `queue not reached`), and whether the \
         processor runs"
    )]
    NotClaimed(u64),
    /// The processor had the canary and didn't publish it.
    #[error(
        "the processor claimed the canary, but did not publish it within {0} s: its log says why"
    )]
    NotPublished(u64),
    /// The canary can't be followed.
    #[error("the ledger can't be read: {0}")]
    LedgerUnreadable(String),
}

impl CanarySender<'_> {
    /// Sends a canary to where AURA is to deliver, as AURA would, and returns when it is published:
    /// within `patience` and the time of one answer. The error says how far it came, after all
    /// tries.
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
        (|| self.post(registration, id))
            .retry(pauses)
            .when(|_| begun.elapsed() < patience.min(SENDING_PATIENCE))
            .notify(|error, _| tracing::info!(%error, "canary not accepted yet"))
            .await?;
        self.follow(registration, id, begun, patience).await
    }

    async fn post(&self, registration: &Registration, id: Uuid) -> Result<(), CanaryError> {
        let request = self
            .http
            .post(registration.url.clone())
            .headers(registration.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .timeout(ANSWER_TIMEOUT)
            .body(canary::body(id));
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        let hint = match answer.status() {
            StatusCode::ACCEPTED => return Ok(()),
            StatusCode::UNAUTHORIZED => return Err(CanaryError::Unauthorized),
            StatusCode::FORBIDDEN => "something before the function keeps it out",
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                "WebhookUrl is not this stack's, or its route is missing"
            }
            status if status.is_server_error() => "the log of ingest says why",
            status if status.is_redirection() => {
                "WebhookUrl is a redirect, and AURA is not known \
                to follow any"
            }
            _ => "WebhookUrl is not this stack's",
        };
        let status = answer.status();
        Err(CanaryError::Refused { status, hint })
    }

    /// Waits until the canary is published. A queue that was just connected may be polled a while
    /// later.
    async fn follow(
        &self,
        registration: &Registration,
        id: Uuid,
        begun: Instant,
        patience: Duration,
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
            if matches!(not_yet, CanaryError::NotClaimed(_)) && sent.elapsed() > SEND_AGAIN_AFTER {
                if let Err(error) = self.post(registration, id).await {
                    tracing::info!(%error, "canary not accepted again");
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
        "the connection broke"
    })
}
