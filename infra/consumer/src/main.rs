//! An example consumer: counts the responders who arrived at each callout.
//!
//! It shows the two things that every consumer of AURA's events must do:
//!
//! 1. **It does each event's work once.** An event comes at least once: SQS, EventBridge and Lambda may
//!    each repeat it. Each copy has the same `key`. The consumer saves the key together with its work, in
//!    one transaction that fails if the key is there already.
//! 2. **It keeps drills and canaries away.** The rule in `template.yaml` leaves them out. The handler
//!    looks again, because a rule is changed more easily than code.

use std::time::{Duration, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use aws_smithy_http_client::Builder as HttpClient;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

/// How long a key is remembered. The publisher's ledger remembers an event for as long. Afterwards, the
/// same content is another event and may have the same key.
const REMEMBERED: Duration = Duration::from_hours(35 * 24);

/// The most time for one transaction, retries included. It is below the function's timeout.
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// The part of EventBridge's event that this consumer reads.
#[derive(Deserialize)]
struct Event {
    detail: Detail,
}

/// The part of the published detail that this consumer reads. The detail has more fields and may get
/// new ones, so fields that aren't read aren't checked.
#[derive(Deserialize)]
struct Detail {
    key: String,
    entity: Entity,
    test: bool,
    origin: String,
}

#[derive(Deserialize)]
struct Entity {
    id: String,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// The arrival was counted, and its key was saved.
    Counted,
    /// Another copy of the event was counted before.
    Double,
    /// A drill, or a canary of the publisher's.
    NoEmergency,
}

/// The printed line. It has nothing of the payload, which is about people.
#[derive(Serialize)]
struct Line<'a> {
    key: &'a str,
    outcome: Outcome,
}

/// The count of arrivals, in DynamoDB.
struct Arrivals {
    dynamodb: Client,
    keys_table: String,
    callouts_table: String,
}

// One thread: an instance has one event at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arrivals = Arrivals::from_environment().await?;
    lambda_runtime::run(service_fn(|event| handle(&arrivals, event))).await
}

/// Handles one event. After an error, Lambda calls again.
async fn handle(arrivals: &Arrivals, event: LambdaEvent<Event>) -> Result<(), Error> {
    let detail = event.payload.detail;
    let outcome = if is_emergency(&detail) {
        arrivals.count(&detail, SystemTime::now()).await?
    } else {
        Outcome::NoEmergency
    };
    let key = &detail.key;
    println!("{}", serde_json::to_string(&Line { key, outcome })?);
    Ok(())
}

/// Whether people may act on the event.
fn is_emergency(detail: &Detail) -> bool {
    !detail.test && detail.origin != "canary"
}

impl Arrivals {
    async fn from_environment() -> Result<Self, Error> {
        let tls = Provider::Rustls(CryptoMode::Ring);
        let timeouts = TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT);
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(HttpClient::new().tls_provider(tls).build_https())
            .timeout_config(timeouts.build());
        Ok(Self {
            dynamodb: Client::new(&config.load().await),
            keys_table: variable("KEYS_TABLE")?,
            callouts_table: variable("CALLOUTS_TABLE")?,
        })
    }

    /// Counts an arrival and saves its key, both or neither.
    async fn count(&self, detail: &Detail, now: SystemTime) -> Result<Outcome, Error> {
        // The SDK repeats a call whose answer is lost with the same token, so DynamoDB writes once.
        let call = self
            .dynamodb
            .transact_write_items()
            .transact_items(self.new_key(&detail.key, now)?)
            .transact_items(self.one_more(&detail.entity.id)?);
        match call.send().await {
            Ok(_) => Ok(Outcome::Counted),
            Err(error) if key_was_there(&error) => Ok(Outcome::Double),
            Err(error) => Err(error.into()),
        }
    }

    /// Saves a key, unless it is remembered already. DynamoDB deletes an expired one days later, so the
    /// condition looks at the time itself.
    fn new_key(&self, key: &str, now: SystemTime) -> Result<TransactWriteItem, Error> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH)?;
        let put = Put::builder()
            .table_name(&self.keys_table)
            .item("key", AttributeValue::S(key.to_owned()))
            .item("expiresAt", seconds(now + REMEMBERED))
            .condition_expression("attribute_not_exists(#key) OR expiresAt < :now")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":now", seconds(now));
        Ok(TransactWriteItem::builder().put(put.build()?).build())
    }

    /// The work: adds one to the callout's count.
    fn one_more(&self, callout: &str) -> Result<TransactWriteItem, Error> {
        let update = Update::builder()
            .table_name(&self.callouts_table)
            .key("id", AttributeValue::S(callout.to_owned()))
            .update_expression("ADD arrivals :one")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }
}

/// Whether the transaction's first condition failed, which is that of the key. Other reasons, such as a
/// conflict with another transaction, are errors: the work is not done.
fn key_was_there(error: &SdkError<TransactWriteItemsError>) -> bool {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return false;
    };
    let first = cancelled.cancellation_reasons().first();
    first.and_then(|reason| reason.code()) == Some("ConditionalCheckFailed")
}

fn seconds(time: Duration) -> AttributeValue {
    AttributeValue::N(time.as_secs().to_string())
}

fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_emergency_with(test: bool, origin: &str) -> bool {
        let event = serde_json::json!({
            "version": "0",
            "source": "aura",
            "detail-type": "RESPONDER_ARRIVED_ON_SCENE",
            "detail": {
                "key": "callout#5003/RESPONDER_ARRIVED_ON_SCENE#1f2e",
                "message": "RESPONDER_ARRIVED_ON_SCENE",
                "entity": {"kind": "callout", "id": "5003"},
                "receivedAt": "2026-11-22T08:00:00Z",
                "origin": origin,
                "test": test,
                "payload": {"callout": {"id": 5003}},
            },
        });
        let event: Event = serde_json::from_value(event).unwrap();
        is_emergency(&event.detail)
    }

    #[test]
    fn nobody_acts_on_a_drill_or_a_canary() {
        assert!(is_emergency_with(false, "webhook"));
        assert!(is_emergency_with(false, "reconciler"));
        assert!(!is_emergency_with(true, "webhook"));
        assert!(!is_emergency_with(false, "canary"));
    }
}
