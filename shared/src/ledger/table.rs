//! The ledger in DynamoDB. Each transition is one conditional update. Its expressions are written
//! from [`RULES`].

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnRefusal,
};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::expression::Expressions;
use super::{
    AfterRefusal, Claim, ClaimRefusal, ClaimRequest, Item, ItemAttribute, LedgerKey, Malformed,
    Occurrences, RULES, Transition, Value, is_published_under,
};
use crate::aws::CallError;

/// An item, or its key, in the types of DynamoDB's SDK.
pub type Attributes = HashMap<String, AttributeValue>;

/// The number of partition keys for each kind of item that isn't an event, so that a burst doesn't
/// fall on one partition of DynamoDB.
pub const SHARDS: u8 = 8;

/// The shard of the item with this id. It is below [`SHARDS`].
pub(super) fn shard_of(id: &str) -> u8 {
    let digest: [u8; 32] = Sha256::digest(id).into();
    let [first, ..] = digest;
    first % SHARDS
}

/// The key of an item.
#[must_use]
pub fn key_of(partition: String, sort: &str) -> Attributes {
    Attributes::from([
        ("pk".to_owned(), AttributeValue::S(partition)),
        ("sk".to_owned(), AttributeValue::S(sort.to_owned())),
    ])
}

/// The value of `expiresAt`, after which DynamoDB's TTL may remove an item.
pub(super) fn expires_at(changed: Timestamp, retention: SignedDuration) -> AttributeValue {
    let second = changed.as_second().saturating_add(retention.as_secs());
    AttributeValue::N(second.to_string())
}

/// Whether a conditional update was done. A condition that doesn't hold is an answer, not a
/// failure. `about` names the item in an error.
///
/// # Errors
///
/// The call failed.
pub fn is_done(
    answer: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
    about: &'static str,
) -> Result<bool, CallError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
            _ => Err(CallError::of(about, "UpdateItem")(error)),
        },
    }
}

/// A transition that changed nothing, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The claim is no longer valid: its lease has ended, and another worker holds the event.
    #[error("ledger: the claim has passed to another owner")]
    Stale,
    /// The item exists, but in another form than this version writes.
    #[error("ledger: {0}")]
    Malformed(#[from] Malformed),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The ledger table.
#[derive(Debug)]
pub struct EventLedger {
    client: Client,
    table: String,
    claim: Expressions,
    complete: Expressions,
    release: Expressions,
}

impl EventLedger {
    /// Makes the ledger in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self {
            client,
            table,
            claim: Expressions::new(&RULES.claim),
            complete: Expressions::new(&RULES.complete),
            release: Expressions::new(&RULES.release),
        }
    }

    /// Prepares the call that makes a transition. The answer holds the changes, or the item that
    /// refused them.
    fn update(
        &self,
        key: &LedgerKey,
        expressions: &Expressions,
        transition: &Transition,
        forgotten: Option<u32>,
    ) -> UpdateItemFluentBuilder {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key_of(key.partition.clone(), &key.sort)))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(OnRefusal::AllOld);
        expressions.with_transition(update, transition, forgotten)
    }

    /// Claims an event with one call. A recurring event that happened before may take a second
    /// call. `Ok(Err(refusal))` is the ledger's answer, not a failure.
    pub async fn claim(
        &self,
        request: &ClaimRequest,
    ) -> Result<Result<Claim, ClaimRefusal>, LedgerError> {
        let (mut occurrence, mut forgotten) = (1, None);
        loop {
            let transition = RULES.claim(request, occurrence);
            let update = self.update(&request.key, &self.claim, &transition, forgotten);
            let error = match update.send().await {
                Ok(granted) => {
                    let mut granted = read(&granted.attributes.unwrap_or_default());
                    let item = granted.0.remove(&occurrence).unwrap_or_default();
                    return Ok(Ok(item.claim()?));
                }
                Err(error) => error,
            };
            let occurrences = refusing(error)?;
            match occurrences.after_refusal(occurrence, request)? {
                AfterRefusal::Answer(answer) => return Ok(answer),
                AfterRefusal::Claim(next) => {
                    (occurrence, forgotten) = (next, occurrences.to_forget(next));
                }
            }
        }
    }

    /// Marks a claimed event as published, under the claim's fence.
    pub async fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let transition = RULES.complete(claim, bus_event_id, now);
        let update = self.update(key, &self.complete, &transition, None);
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => match refusing(error)?.0.get(&claim.occurrence) {
                Some(item) if is_published_under(item, claim) => Ok(()),
                _ => Err(LedgerError::Stale),
            },
        }
    }

    /// Ends a claim's lease at once, under its fence, so that a retry need not wait.
    pub async fn release(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let transition = RULES.release(claim, now);
        let update = self.update(key, &self.release, &transition, None);
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) => refusing(error).and(Err(LedgerError::Stale)),
        }
    }

    /// Reads every event of one entity: the sort key and the item of each occurrence.
    pub async fn timeline(&self, partition: &str) -> Result<Vec<(String, Item)>, LedgerError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :partition")
            .expression_attribute_values(":partition", AttributeValue::S(partition.to_owned()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut timeline = Vec::new();
        let failed = || CallError::of("ledger", "Query");
        while let Some(item) = items.next().await.transpose().map_err(failed())? {
            timeline.extend(occurrences(&item));
        }
        Ok(timeline)
    }
}

/// The occurrences in an item of the table: the sort key and the item of each. None if it has no key.
#[must_use]
pub fn occurrences(item: &Attributes) -> Vec<(String, Item)> {
    let text = |name: &str| Some(item.get(name)?.as_s().ok()?.clone());
    let Some((partition, sort)) = text("pk").zip(text("sk")) else {
        return Vec::new();
    };
    let key = LedgerKey { partition, sort };
    let named = |(number, item)| (key.of_occurrence(number).sort, item);
    read(item).0.into_iter().map(named).collect()
}

/// The event whose state refused a transition. It has no occurrences if there is no item, for
/// example after its expiry.
fn refusing(error: SdkError<UpdateItemError>) -> Result<Occurrences, LedgerError> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
            Ok(read(refused.item.as_ref().unwrap_or(&Attributes::new())))
        }
        _ => Err(CallError::of("ledger", "UpdateItem")(error).into()),
    }
}

/// Reads the attributes that the ledger knows, and skips all others.
fn read(attributes: &Attributes) -> Occurrences {
    let read = |(name, value): (&String, &AttributeValue)| {
        let (attribute, occurrence) = ItemAttribute::read(name)?;
        let value = match value {
            AttributeValue::S(text) => Value::Text(text.clone()),
            AttributeValue::N(number) => Value::Number(number.parse().ok()?),
            _ => return None,
        };
        Some((attribute, occurrence, value))
    };
    let mut occurrences = Occurrences::default();
    for (attribute, occurrence, value) in attributes.iter().filter_map(read) {
        let item: &mut Item = occurrences.0.entry(occurrence).or_default();
        item.0.insert(attribute, value);
    }
    let first = occurrences.0.get(&1);
    let expiry = first.and_then(|item| item.0.get(&ItemAttribute::ExpiresAt).cloned());
    occurrences.expiring(expiry.as_ref())
}
