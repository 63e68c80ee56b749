//! The open callouts, as far as AURA has reported them. The reconciler compares them with AURA's
//! list.
//!
//! The processor notes that a callout was opened before it publishes `NEW_CALLOUT`, and that it was
//! closed before it publishes `CALLOUT_CLOSED`. So neither event is published without its note, and
//! a callout with only one of the two events still has an item. When both are published, the
//! reconciler removes the item. A callout may be open for months, so the item expires only when
//! nothing has changed it for [`RETENTION`].
//!
//! | attribute | holds |
//! | --- | --- |
//! | `pk` | `open/<shard>`, 0 to 7, so that a burst of openings doesn't fall on one partition of DynamoDB |
//! | `sk` | the callout's id |
//! | `openedAt` | when its opening arrived, in milliseconds since 1970 |
//! | `closedAt` | when its closing arrived, in milliseconds since 1970 |
//! | `seen` | what the reconciler remembers about it, in the reconciler's own form |
//! | `run` | the number of the reconciler's run that wrote `seen`: no earlier run can overwrite it |
//! | `expiresAt` | when DynamoDB's TTL may remove the item, in seconds since 1970 |

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};

use super::Malformed;
use super::table::{Attributes, expires_at, is_done, key_of, shard_of};
use crate::aws::CallError;

/// The subject of a failed call, in its error.
const ABOUT: &str = "open callouts";
/// How long an item stays after its last change: 400 days.
pub const RETENTION: SignedDuration = SignedDuration::from_hours(400 * 24);

/// A callout that AURA has opened, closed, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCallout {
    /// AURA's id.
    pub id: String,
    /// When its opening arrived, if it did.
    pub opened_at: Option<Timestamp>,
    /// When its closing arrived, if it did.
    pub closed_at: Option<Timestamp>,
    /// What the reconciler remembers about it.
    pub seen: Option<String>,
}

/// The open callouts in the ledger table.
#[derive(Debug, Clone)]
pub struct OpenCallouts {
    client: Client,
    table: String,
}

impl OpenCallouts {
    /// The open callouts in the ledger table of this name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Notes that a callout was opened. What is already known about it stays.
    pub async fn opened(&self, id: &str, at: Timestamp) -> Result<(), CallError> {
        let note = "SET openedAt = if_not_exists(openedAt, :at), expiresAt = :expiresAt";
        self.note(id, note, at).await
    }

    /// Notes that a callout was closed. What is already known about it stays.
    pub async fn closed(&self, id: &str, at: Timestamp) -> Result<(), CallError> {
        let note = "SET closedAt = if_not_exists(closedAt, :at), expiresAt = :expiresAt";
        self.note(id, note, at).await
    }

    async fn note(&self, id: &str, note: &str, at: Timestamp) -> Result<(), CallError> {
        let millisecond = AttributeValue::N(at.as_millisecond().to_string());
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .update_expression(note)
            .expression_attribute_values(":at", millisecond)
            .expression_attribute_values(":expiresAt", expires_at(at, RETENTION))
            .send()
            .await
            .map_err(CallError::of(ABOUT, "UpdateItem"))?;
        Ok(())
    }

    /// Removes the item of a callout.
    pub async fn forget(&self, id: &str) -> Result<(), CallError> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .send()
            .await
            .map_err(CallError::of(ABOUT, "DeleteItem"))?;
        Ok(())
    }

    /// Reads the open callouts of one shard (below [`SHARDS`](super::SHARDS)), by id. An item that
    /// can't be read is skipped. Its callout counts as not noted.
    pub async fn of_shard(&self, shard: u8) -> Result<Vec<OpenCallout>, CallError> {
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
        let failed = || CallError::of(ABOUT, "Query");
        while let Some(item) = items.next().await.transpose().map_err(failed())? {
            match read(&item) {
                Ok(callout) => open.push(callout),
                Err(error) => {
                    tracing::error!(
                        %error, shard,
                        "an open callout in the ledger could not be read and was skipped"
                    );
                }
            }
        }
        Ok(open)
    }

    /// Remembers something about an open callout. Returns whether it did. It doesn't if a run later
    /// than `run` has done so, or if the callout has no opening.
    pub async fn remember(
        &self,
        id: &str,
        seen: &str,
        run: u32,
        at: Timestamp,
    ) -> Result<bool, CallError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(id)))
            .condition_expression(
                "attribute_exists(openedAt) AND (attribute_not_exists(#run) OR #run <= :run)",
            )
            .update_expression("SET #seen = :seen, #run = :run, expiresAt = :expiresAt")
            .expression_attribute_names("#seen", "seen")
            .expression_attribute_names("#run", "run")
            .expression_attribute_values(":seen", AttributeValue::S(seen.to_owned()))
            .expression_attribute_values(":run", AttributeValue::N(run.to_string()))
            .expression_attribute_values(":expiresAt", expires_at(at, RETENTION))
            .send()
            .await;
        is_done(answer, ABOUT)
    }
}

fn partition(shard: u8) -> String {
    format!("open/{shard}")
}

fn key(id: &str) -> Attributes {
    key_of(partition(shard_of(id)), id)
}

fn read(item: &Attributes) -> Result<OpenCallout, Malformed> {
    let text = |attribute| item.get(attribute)?.as_s().ok().cloned();
    let time = |attribute| {
        let milliseconds = item.get(attribute)?.as_n().ok()?.parse().ok()?;
        Timestamp::from_millisecond(milliseconds).ok()
    };
    let (opened_at, closed_at) = (time("openedAt"), time("closedAt"));
    if opened_at.or(closed_at).is_none() {
        return Err(Malformed("openedAt"));
    }
    Ok(OpenCallout {
        id: text("sk").ok_or(Malformed("sk"))?,
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
        assert_eq!(read(&item), Err(Malformed("openedAt")));
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
