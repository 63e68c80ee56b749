//! The ledger in DynamoDB: each step is one conditional update, and each condition says in
//! DynamoDB's language what [`shared::ledger`] says in Rust. An end-to-end test takes both through
//! the same steps.

use std::collections::HashMap;
use std::future::Future;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};
use jiff::{SignedDuration, Timestamp};
use shared::ledger::{self, Claim, Item, LedgerKey, Refusal, State};
use uuid::Uuid;

/// Who wants to publish what, and until when.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The event.
    pub key: LedgerKey,
    /// Its payload's digest.
    pub digest: String,
    /// The delivery that it came with.
    pub delivery_id: Uuid,
    /// Fresh for each attempt.
    pub owner: Uuid,
    /// The claimant's clock.
    pub now: Timestamp,
    /// From then on somebody else may claim it.
    pub lease_until: Timestamp,
}

/// What the processor asks of the ledger.
pub trait Ledger: Send + Sync + 'static {
    /// Claims an event. `Ok(Err(refusal))` is the ledger's answer, not a failure.
    fn claim(
        &self,
        request: &ClaimRequest,
    ) -> impl Future<Output = Result<Result<Claim, Refusal>, LedgerError>> + Send;

    /// Marks a claimed event as published, under the claim's fence.
    fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Ends a claim's lease at once, under its fence, so that a retry needn't wait for it.
    fn release(
        &self,
        key: &LedgerKey,
        claim: &Claim,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;
}

/// A step that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The claim is no longer ours: its lease ran out and somebody else holds the event.
    #[error("ledger: the claim has passed to another owner")]
    Stale,
    /// The item is there but not as this version writes it.
    #[error("ledger: item not understood: attribute {attribute}")]
    Malformed {
        /// The attribute that is missing or has another type.
        attribute: &'static str,
    },
    /// The call failed.
    #[error("ledger: {}", shared::aws::describe(.0))]
    Call(#[from] Box<SdkError<UpdateItemError>>),
}

/// The ledger table.
#[derive(Debug)]
pub struct DynamoLedger {
    client: Client,
    table: String,
    retention: SignedDuration,
}

const CLAIMED: &str = "CLAIMED";
const PUBLISHED: &str = "PUBLISHED";

/// [`ledger::claim`]: absent, or claimed with a lease that has run out or by this very owner.
const MAY_CLAIM: &str =
    "attribute_not_exists(pk) OR (#state = :claimed AND (leaseUntil <= :now OR #owner = :owner))";
/// [`ledger::holds`]: claimed by this owner for this attempt.
const HOLDS: &str = "#state = :claimed AND #owner = :owner AND attempt = :attempt";

impl DynamoLedger {
    /// The ledger in `table`, whose items TTL removes `retention` after they were last claimed.
    #[must_use]
    pub fn new(client: Client, table: String, retention: SignedDuration) -> Self {
        Self {
            client,
            table,
            retention,
        }
    }

    fn update(&self, key: &LedgerKey) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(&key.partition))
            .key("sk", text(&key.sort))
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":claimed", text(CLAIMED))
    }

    /// An update that only the holder of `claim` may do.
    fn fenced(&self, key: &LedgerKey, claim: &Claim) -> UpdateItemFluentBuilder {
        self.update(key)
            .condition_expression(HOLDS)
            .expression_attribute_values(":owner", text(&claim.owner.to_string()))
            .expression_attribute_values(":attempt", number(claim.attempt.into()))
    }
}

impl Ledger for DynamoLedger {
    async fn claim(&self, request: &ClaimRequest) -> Result<Result<Claim, Refusal>, LedgerError> {
        let expires_at = request
            .now
            .saturating_add(self.retention)
            .unwrap_or(Timestamp::MAX);
        let answer = self
            .update(&request.key)
            .condition_expression(MAY_CLAIM)
            .update_expression(
                "SET #state = :claimed, #owner = :owner, leaseUntil = :lease, digest = :digest, \
                 deliveryId = :delivery, expiresAt = :expires ADD attempt :one",
            )
            .expression_attribute_values(":now", number(request.now.as_millisecond()))
            .expression_attribute_values(":owner", text(&request.owner.to_string()))
            .expression_attribute_values(":lease", number(request.lease_until.as_millisecond()))
            .expression_attribute_values(":digest", text(&request.digest))
            .expression_attribute_values(":delivery", text(&request.delivery_id.to_string()))
            .expression_attribute_values(":expires", number(expires_at.as_second()))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(OnRefusal::AllOld)
            .send()
            .await;
        match answer {
            Ok(granted) => {
                let attempt = attempt_of(&granted.attributes.unwrap_or_default())?;
                Ok(Ok(Claim {
                    owner: request.owner,
                    attempt,
                }))
            }
            Err(error) => Ok(Err(refusal(request, &refused_item(error)?)?)),
        }
    }

    async fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let update = self
            .fenced(key, claim)
            .update_expression(
                "SET #state = :published, busEventId = :event, publishedAt = :now \
                 REMOVE leaseUntil",
            )
            .expression_attribute_values(":published", text(PUBLISHED))
            .expression_attribute_values(":event", text(bus_event_id))
            .expression_attribute_values(":now", number(now.as_millisecond()));
        let answer = update
            .return_values_on_condition_check_failure(OnRefusal::AllOld)
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => match refused_item(error) {
                Ok(item) if is_published_under(&item, claim) => Ok(()),
                Ok(_) => Err(LedgerError::Stale),
                Err(error) => Err(error),
            },
        }
    }

    async fn release(&self, key: &LedgerKey, claim: &Claim) -> Result<(), LedgerError> {
        let update = self
            .fenced(key, claim)
            .update_expression("SET leaseUntil = :zero")
            .expression_attribute_values(":zero", number(0));
        update.send().await.map_err(fence_error)?;
        Ok(())
    }
}

type Attributes = HashMap<String, AttributeValue>;

/// Whether the item was completed under this very claim: then a mark is refused because it is the
/// SDK's second try, and the first one was done though its answer was lost.
fn is_published_under(item: &Attributes, claim: &Claim) -> bool {
    text_of(item, "state").is_ok_and(|state| state == PUBLISHED)
        && owner_of(item).is_ok_and(|owner| owner == claim.owner)
        && attempt_of(item).is_ok_and(|attempt| attempt == claim.attempt)
}

/// Why a claim was refused, from the item that refused it. The pure rules say it; should they
/// grant what DynamoDB refused, the item changed its meaning and nothing may be published.
fn refusal(request: &ClaimRequest, item: &Attributes) -> Result<Refusal, LedgerError> {
    let item = read_item(item)?;
    match ledger::claim(Some(&item), &request.digest, request.owner, request.now) {
        Err(refusal) => Ok(refusal),
        Ok(_) => Err(LedgerError::Malformed {
            attribute: "leaseUntil",
        }),
    }
}

fn refused_item(error: SdkError<UpdateItemError>) -> Result<Attributes, LedgerError> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(refused)) => refused
            .item
            .clone()
            .ok_or(LedgerError::Malformed { attribute: "pk" }),
        _ => Err(Box::new(error).into()),
    }
}

fn fence_error(error: SdkError<UpdateItemError>) -> LedgerError {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(_)) => LedgerError::Stale,
        _ => Box::new(error).into(),
    }
}

/// Reads an item as [`DynamoLedger`] writes it.
fn read_item(item: &Attributes) -> Result<Item, LedgerError> {
    let state = match text_of(item, "state")? {
        PUBLISHED => State::Published,
        CLAIMED => State::Claimed {
            claim: Claim {
                owner: owner_of(item)?,
                attempt: attempt_of(item)?,
            },
            lease_until: Timestamp::from_millisecond(number_of(item, "leaseUntil")?).map_err(
                |_| LedgerError::Malformed {
                    attribute: "leaseUntil",
                },
            )?,
        },
        _ => return Err(LedgerError::Malformed { attribute: "state" }),
    };
    Ok(Item {
        digest: text_of(item, "digest")?.to_owned(),
        state,
    })
}

fn owner_of(item: &Attributes) -> Result<Uuid, LedgerError> {
    text_of(item, "owner")?
        .parse()
        .map_err(|_| LedgerError::Malformed { attribute: "owner" })
}

fn attempt_of(item: &Attributes) -> Result<u32, LedgerError> {
    number_of(item, "attempt")?
        .try_into()
        .map_err(|_| LedgerError::Malformed {
            attribute: "attempt",
        })
}

fn text_of<'a>(item: &'a Attributes, attribute: &'static str) -> Result<&'a str, LedgerError> {
    item.get(attribute)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or(LedgerError::Malformed { attribute })
}

fn number_of(item: &Attributes, attribute: &'static str) -> Result<i64, LedgerError> {
    item.get(attribute)
        .and_then(|value| value.as_n().ok()?.parse().ok())
        .ok_or(LedgerError::Malformed { attribute })
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
