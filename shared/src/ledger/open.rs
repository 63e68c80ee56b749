//! The callouts that are open, as far as was told: what the reconciler compares with AURA's list.
//!
//! An item is written before `NEW_CALLOUT` is published and removed after `CALLOUT_CLOSED` was, so
//! that an opening that is published always has its item; what outlives its closing is found and
//! removed by the reconciler. A closing that finds none leaves one: its opening may have been missed,
//! and no list of AURA's has that callout any more. Unlike an event's item these never expire: a
//! callout may be open for months.
//!
//! | attribute | holds |
//! | --- | --- |
//! | `pk` | `open/<shard>`, 0 to 7: a burst of openings doesn't fall on one partition of DynamoDB |
//! | `sk` | the callout's id |
//! | `openedAt` | when its opening arrived, in milliseconds since 1970 |
//! | `closedAt` | when its closing arrived, likewise, if there was no item then |
//! | `seen` | what the reconciler remembers of it, in a form of its own |
//! | `run` | the number of the reconciler's run that wrote that: no earlier one can overwrite it |

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::aws;

/// How many partition keys the open callouts are spread over.
pub const SHARDS: u8 = 8;

/// A callout that was opened and not closed, as far as was told; or the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCallout {
    /// AURA's id.
    pub id: String,
    /// What was told.
    pub told: Told,
    /// What the reconciler remembers of it.
    pub seen: Option<String>,
}

/// What was told of a callout, and when that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Its opening.
    Opened(Timestamp),
    /// Its closing, and never its opening.
    ClosedAlone(Timestamp),
}

/// The open callouts in the ledger table.
#[derive(Debug, Clone)]
pub struct OpenCallouts {
    client: Client,
    table: String,
}

/// A call about open callouts that failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenCalloutsError {
    /// An item was not written, as far as we know.
    #[error("open callouts: {}", aws::describe(.0))]
    Update(#[from] Box<SdkError<UpdateItemError>>),
    /// An item was not removed, as far as we know.
    #[error("open callouts: {}", aws::describe(.0))]
    Delete(#[from] Box<SdkError<DeleteItemError>>),
    /// They can't be read.
    #[error("open callouts: {}", aws::describe(.0))]
    Query(#[from] Box<SdkError<QueryError>>),
    /// An item is there but not as this version writes it.
    #[error("open callouts: item not understood: attribute {attribute}")]
    Malformed {
        /// The attribute that is missing or has another type.
        attribute: &'static str,
    },
}

impl OpenCallouts {
    /// The open callouts in the ledger table of that name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Notes that a callout is open. What is known of it already stays.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn opened(&self, id: &str, at: Timestamp) -> Result<(), OpenCalloutsError> {
        let at = AttributeValue::N(at.as_millisecond().to_string());
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .update_expression("SET openedAt = if_not_exists(openedAt, :at)")
            .expression_attribute_values(":at", at)
            .send()
            .await
            .map_err(Box::new)?;
        Ok(())
    }

    /// Notes that a callout is no longer open; or that it was closed, if nobody knew that it was.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn closed(&self, id: &str, at: Timestamp) -> Result<(), OpenCalloutsError> {
        let answer = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .condition_expression("attribute_exists(openedAt)")
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => {
                    self.closed_alone(id, at).await
                }
                _ => Err(Box::new(error).into()),
            },
        }
    }

    async fn closed_alone(&self, id: &str, at: Timestamp) -> Result<(), OpenCalloutsError> {
        let at = AttributeValue::N(at.as_millisecond().to_string());
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .update_expression("SET closedAt = :at")
            .expression_attribute_values(":at", at)
            .send()
            .await
            .map_err(Box::new)?;
        Ok(())
    }

    /// Removes the note of a callout, whatever it says.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn forget(&self, id: &str) -> Result<(), OpenCalloutsError> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .send()
            .await
            .map_err(Box::new)?;
        Ok(())
    }

    /// The open callouts of one shard (below [`SHARDS`]), by id. An item that can't be read hides
    /// no other; its callout counts as not noted.
    ///
    /// # Errors
    ///
    /// DynamoDB doesn't answer.
    pub async fn of_shard(&self, shard: u8) -> Result<Vec<OpenCallout>, OpenCalloutsError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :shard")
            .expression_attribute_values(":shard", AttributeValue::S(partition(shard)))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut open = Vec::new();
        while let Some(item) = items.next().await.transpose().map_err(Box::new)? {
            match read(&item) {
                Ok(callout) => open.push(callout),
                Err(error) => tracing::error!(%error, shard, "left out"),
            }
        }
        Ok(open)
    }

    /// Remembers something of an open callout, unless a later run than `run` has, or it was closed
    /// meanwhile; whether it did.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn remember(
        &self,
        id: &str,
        seen: &str,
        run: u32,
    ) -> Result<bool, OpenCalloutsError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .condition_expression(
                "attribute_exists(pk) AND (attribute_not_exists(#run) OR #run <= :run)",
            )
            .update_expression("SET #seen = :seen, #run = :run")
            .expression_attribute_names("#seen", "seen")
            .expression_attribute_names("#run", "run")
            .expression_attribute_values(":seen", AttributeValue::S(seen.to_owned()))
            .expression_attribute_values(":run", AttributeValue::N(run.to_string()))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
                _ => Err(Box::new(error).into()),
            },
        }
    }
}

type Item = HashMap<String, AttributeValue>;

fn partition(shard: u8) -> String {
    format!("open/{shard}")
}

fn key(id: &str) -> Item {
    let digest: [u8; 32] = Sha256::digest(id).into();
    let [first, ..] = digest;
    Item::from([
        (
            "pk".to_owned(),
            AttributeValue::S(partition(first % SHARDS)),
        ),
        ("sk".to_owned(), AttributeValue::S(id.to_owned())),
    ])
}

fn read(item: &Item) -> Result<OpenCallout, OpenCalloutsError> {
    let text = |attribute| item.get(attribute)?.as_s().ok().cloned();
    let time = |attribute| {
        let milliseconds = item.get(attribute)?.as_n().ok()?.parse().ok()?;
        Timestamp::from_millisecond(milliseconds).ok()
    };
    let malformed = |attribute| OpenCalloutsError::Malformed { attribute };
    let opened = time("openedAt").map(Told::Opened);
    let told = opened.or_else(|| time("closedAt").map(Told::ClosedAlone));
    Ok(OpenCallout {
        id: text("sk").ok_or(malformed("sk"))?,
        told: told.ok_or(malformed("openedAt"))?,
        seen: text("seen"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_read_as_it_was_written() {
        let mut item = key("5003");
        assert!(item["pk"].as_s().unwrap().starts_with("open/"));
        assert!(matches!(
            read(&item),
            Err(OpenCalloutsError::Malformed {
                attribute: "openedAt"
            })
        ));
        let expected = |told| OpenCallout {
            id: "5003".to_owned(),
            told,
            seen: None,
        };
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        item.insert("closedAt".to_owned(), AttributeValue::N("2500".to_owned()));
        assert_eq!(read(&item).unwrap(), expected(Told::ClosedAlone(at(2500))));
        // Its opening came after all.
        item.insert("openedAt".to_owned(), AttributeValue::N("1500".to_owned()));
        assert_eq!(read(&item).unwrap(), expected(Told::Opened(at(1500))));
    }
}
