//! The callouts that are under way, as far as was told: what the reconciler compares with AURA's
//! list.
//!
//! That a callout was opened is noted before `NEW_CALLOUT` is published, and that it was closed before
//! `CALLOUT_CLOSED` is. So neither is published without its note, and of a callout of which one was
//! told and the other wasn't there is something to see. When both are published, the reconciler
//! removes the item. Unlike an event's item it never expires: a callout may be open for months.
//!
//! | attribute | holds |
//! | --- | --- |
//! | `pk` | `open/<shard>`, 0 to 7: a burst of openings doesn't fall on one partition of DynamoDB |
//! | `sk` | the callout's id |
//! | `openedAt` | when its opening arrived, in milliseconds since 1970 |
//! | `closedAt` | when its closing arrived, likewise |
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

/// A callout of which something was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCallout {
    /// AURA's id.
    pub id: String,
    /// When its opening arrived, if it did.
    pub opened_at: Option<Timestamp>,
    /// When its closing arrived, if it did.
    pub closed_at: Option<Timestamp>,
    /// What the reconciler remembers of it.
    pub seen: Option<String>,
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

    /// Notes that a callout was opened. What is known of it already stays.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn opened(&self, id: &str, at: Timestamp) -> Result<(), OpenCalloutsError> {
        let note = "SET openedAt = if_not_exists(openedAt, :at)";
        self.note(id, note, at).await
    }

    /// Notes that a callout was closed. What is known of it already stays.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn closed(&self, id: &str, at: Timestamp) -> Result<(), OpenCalloutsError> {
        let note = "SET closedAt = if_not_exists(closedAt, :at)";
        self.note(id, note, at).await
    }

    async fn note(&self, id: &str, note: &str, at: Timestamp) -> Result<(), OpenCalloutsError> {
        let at = AttributeValue::N(at.as_millisecond().to_string());
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .update_expression(note)
            .expression_attribute_values(":at", at)
            .send()
            .await
            .map_err(Box::new)?;
        Ok(())
    }

    /// Removes the item of a callout.
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
                "attribute_exists(openedAt) AND (attribute_not_exists(#run) OR #run <= :run)",
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

/// The shard, below [`SHARDS`], of what has this id.
pub(super) fn shard_of(id: &str) -> u8 {
    let digest: [u8; 32] = Sha256::digest(id).into();
    let [first, ..] = digest;
    first % SHARDS
}

fn key(id: &str) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(partition(shard_of(id)))),
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
    let (opened_at, closed_at) = (time("openedAt"), time("closedAt"));
    if opened_at.or(closed_at).is_none() {
        return Err(malformed("openedAt"));
    }
    Ok(OpenCallout {
        id: text("sk").ok_or(malformed("sk"))?,
        opened_at,
        closed_at,
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
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        item.insert("closedAt".to_owned(), AttributeValue::N("2500".to_owned()));
        let mut expected = OpenCallout {
            id: "5003".to_owned(),
            opened_at: None,
            closed_at: at(2500),
            seen: None,
        };
        assert_eq!(read(&item).unwrap(), expected);
        item.insert("openedAt".to_owned(), AttributeValue::N("1500".to_owned()));
        expected.opened_at = at(1500);
        assert_eq!(read(&item).unwrap(), expected);
    }
}
