//! The spill: the place in the ledger table where a delivery waits while its queue can't be
//! reached.
//!
//! The spill holds the exact message that the queue didn't confirm. So it can be sent later without
//! knowing how it was made. If the queue had it all along, its deduplication id keeps it one
//! message for five minutes, and the ledger keeps it one event after that. The quarantine has no
//! ledger. It may then hold the message twice, with the same `deliveryId`.
//!
//! A delivery's shard and id are the table's keys. A query on one shard returns its deliveries
//! oldest first, because their ids are UUIDv7. The shards spread a burst over several partitions of
//! DynamoDB. All deliveries of one message group are in one shard, which keeps their order. No
//! entity's key starts with `spill/`, because entities' keys escape the slash.
//!
//! | attribute | holds |
//! | --- | --- |
//! | `pk` | `spill/<shard>`, 0 to 7 |
//! | `sk` | the delivery id. The further parts of a large body have `/<n>` behind it |
//! | `destination` | the queue that the message is for: `ingest` or `quarantine` |
//! | `parts` | how many items hold the body, including this one |
//! | `body` | the message's body, or this item's part of it |
//! | `groupId`, `deduplicationId` | the message's group id and deduplication id |
//! | `attributes` | the message attributes: texts as `S`, numbers as `N` |
//! | `expiresAt` | when DynamoDB's TTL may remove the item, in seconds since 1970 |
//!
//! An item is the only copy of a delivery until it is sent and removed. It expires after
//! [`RETENTION`]. After that time the ledger has forgotten the event, so it could not tell a repeated
//! delivery from a new event.

mod items;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use self::items::{is_part_of, items_of, key, partition, parts, read_whole, text, text_of};
use super::Malformed;
use super::table::Attributes;
use crate::aws::CallError;
use crate::queue::Outgoing;

/// How long a delivery can wait: 35 days, as long as the ledger remembers an event.
pub const RETENTION: SignedDuration = SignedDuration::from_hours(35 * 24);

/// The spill in the ledger table.
#[derive(Debug, Clone)]
pub struct Spill {
    client: Client,
    table: String,
}

impl Spill {
    /// The spill in the ledger table of this name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Puts a delivery into the spill, whole or not at all. Doing it again changes nothing.
    pub async fn put(&self, delivery: &Outgoing) -> Result<(), CallError> {
        match <[Attributes; 1]>::try_from(items_of(delivery)) {
            Ok([item]) => {
                let call = self.client.put_item().table_name(&self.table);
                let answer = call.set_item(Some(item)).send().await;
                answer.map_err(CallError::of("spill", "PutItem"))?;
                Ok(())
            }
            Err(items) => {
                let put = |item| {
                    let put = Put::builder().table_name(&self.table).set_item(Some(item));
                    Ok(TransactWriteItem::builder().put(put.build()?).build())
                };
                self.change(items.into_iter().map(put).collect()).await
            }
        }
    }

    /// Changes several items, all of them or none. A single item is not changed this way, because a
    /// transaction costs twice as much, and the SDK doesn't retry a throttled one.
    async fn change(
        &self,
        changes: Result<Vec<TransactWriteItem>, BuildError>,
    ) -> Result<(), CallError> {
        const OPERATION: &str = "TransactWriteItems";
        let changes = changes.map_err(CallError::not_built("spill", OPERATION))?;
        let call = self.client.transact_write_items();
        let answer = call.set_transact_items(Some(changes)).send().await;
        answer.map_err(CallError::of("spill", OPERATION))?;
        Ok(())
    }

    /// Reads up to `limit` deliveries of one shard (below [`SHARDS`](super::SHARDS)), oldest first.
    /// The page starts behind `after`, the position of a delivery of an earlier page. A delivery
    /// that can't be read is returned as unreadable.
    pub async fn page(
        &self,
        shard: u8,
        after: Option<&SpillPosition>,
        limit: usize,
    ) -> Result<Vec<Spilled>, CallError> {
        // Every key is greater than a space.
        let after = after.map_or(" ", |position| position.0.as_str());
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :shard AND sk > :after")
            .expression_attribute_values(":shard", text(partition(shard)))
            .expression_attribute_values(":after", text(after))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let failed = || CallError::of("spill", "Query");
        let mut found = Vec::new();
        let mut next = items.next().await.transpose().map_err(failed())?;
        while let Some(head) = next.take().filter(|_| found.len() < limit) {
            let mut parts = Vec::new();
            next = items.next().await.transpose().map_err(failed())?;
            while let Some(part) = next.take_if(|item| is_part_of(item, &head, parts.len() + 1)) {
                parts.push(part);
                next = items.next().await.transpose().map_err(failed())?;
            }
            found.push(Spilled::read(&head, &parts));
        }
        Ok(found)
    }

    /// Reads when each delivery of one shard arrived, oldest first, and nothing of its content. `None`
    /// stands for an item whose key is not a delivery's.
    pub async fn arrivals(&self, shard: u8) -> Result<Vec<Option<Timestamp>>, CallError> {
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :shard")
            .expression_attribute_values(":shard", text(partition(shard)))
            .projection_expression("sk")
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut arrivals = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(CallError::of("spill", "Query"))?;
            let key = text_of(&item, "sk").unwrap_or_default();
            // A further part of a delivery has a slash in its key.
            if !key.contains('/') {
                arrivals.push(key.parse().ok().and_then(arrived_at));
            }
        }
        Ok(arrivals)
    }

    /// Removes a delivery from the spill. Removing what isn't there changes nothing.
    pub async fn remove(&self, delivery: &Outgoing) -> Result<(), CallError> {
        let count = parts(&delivery.message.body).len();
        if count == 1 {
            let call = self.client.delete_item().table_name(&self.table);
            let answer = call.set_key(Some(key(delivery, 0))).send().await;
            answer.map_err(CallError::of("spill", "DeleteItem"))?;
            return Ok(());
        }
        let delete = |part| {
            let delete = Delete::builder().table_name(&self.table);
            let delete = delete.set_key(Some(key(delivery, part)));
            Ok(TransactWriteItem::builder().delete(delete.build()?).build())
        };
        self.change((0..count).map(delete).collect()).await
    }
}

/// A delivery that waits in the spill, or an item that can't be read.
#[derive(Debug)]
pub enum Spilled {
    /// A delivery.
    Delivery(Outgoing),
    /// An item that this version can't read. It stays where it is, as the only copy.
    Unreadable {
        /// The item's sort key.
        sort_key: String,
        /// The item's fault.
        error: Malformed,
    },
}

/// The position of a delivery in its shard.
#[derive(Debug, Clone)]
pub struct SpillPosition(String);

impl Spilled {
    fn read(head: &Attributes, parts: &[Attributes]) -> Self {
        match read_whole(head, parts) {
            Ok(delivery) => Self::Delivery(delivery),
            Err(error) => Self::Unreadable {
                sort_key: text_of(head, "sk").unwrap_or_default().to_owned(),
                error,
            },
        }
    }

    /// The position behind the last part of the delivery.
    #[must_use]
    pub fn position(&self) -> SpillPosition {
        SpillPosition(match self {
            // The keys of its parts have a slash behind the id, and a slash sorts before a zero.
            Self::Delivery(delivery) => format!("{}0", delivery.delivery_id),
            Self::Unreadable { sort_key, .. } => sort_key.clone(),
        })
    }

    /// The time of arrival in the item's key. `None` if the key is not a delivery's.
    #[must_use]
    pub fn arrived_at(&self) -> Option<Timestamp> {
        arrived_at(match self {
            Self::Delivery(delivery) => delivery.delivery_id,
            Self::Unreadable { sort_key, .. } => sort_key.split('/').next()?.parse().ok()?,
        })
    }
}

/// The time of arrival in a delivery's id. `None` if the id isn't one of ingest's.
#[must_use]
pub fn arrived_at(delivery_id: Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = delivery_id.get_timestamp()?.to_unix();
    Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::items::{MAX_PART_BYTES, parts_of, read, sort_key};
    use super::*;
    use crate::ledger::table::expires_at;
    use crate::queue::{Destination, Message, MessageAttribute};

    fn outgoing(body: String) -> Outgoing {
        Outgoing {
            delivery_id: Uuid::from_u128(0x0123),
            destination: Destination::Ingest,
            message: Message {
                body,
                group_id: "callout#5003".into(),
                deduplication_id: "id".into(),
                attributes: BTreeMap::from([("size".into(), MessageAttribute::Number("7".into()))]),
            },
        }
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let delivery = outgoing("{}".into());
        let items = items_of(&delivery);
        assert_eq!(items.len(), 1);
        assert_eq!(read(&items[0], "{}".into()).unwrap(), delivery);
    }

    #[test]
    fn what_is_not_whole_is_unreadable_and_keeps_its_place() {
        let items = items_of(&outgoing("x".repeat(MAX_PART_BYTES + 1)));
        let whole = Spilled::read(&items[0], &items[1..]);
        assert!(matches!(&whole, Spilled::Delivery(_)));
        let id = Uuid::from_u128(0x0123).to_string();
        let behind_its_parts = whole.position().0;
        assert!(behind_its_parts > sort_key(&id, 9));
        assert!(is_part_of(&items[1], &items[0], 1) && !is_part_of(&items[1], &items[0], 2));
        let torn = Spilled::read(&items[0], &[]);
        assert!(matches!(torn, Spilled::Unreadable { .. }));
        assert_eq!(torn.position().0, id);
    }

    #[test]
    fn its_id_says_when_it_arrived_and_when_it_expires() {
        let now = Timestamp::now();
        let delivery = Outgoing {
            delivery_id: Uuid::now_v7(),
            ..outgoing("{}".into())
        };
        let items = items_of(&delivery);
        let arrived = Spilled::Delivery(delivery).arrived_at().unwrap();
        assert!(arrived.duration_since(now).abs().as_secs() < 10);
        assert_eq!(items[0]["expiresAt"], expires_at(arrived, RETENTION));
    }

    #[test]
    fn a_large_body_is_split_between_characters() {
        // Each character has three bytes, so no part ends exactly at its limit.
        let body = "€".repeat(1024 * 1024 / 3);
        let items = items_of(&outgoing(body.clone()));
        assert_eq!(parts_of(&items[0]).unwrap(), items.len());
        let parts: Vec<&str> = items
            .iter()
            .map(|item| text_of(item, "body").unwrap())
            .collect();
        assert!(parts.iter().all(|part| part.len() <= MAX_PART_BYTES));
        assert_eq!(parts.concat(), body);
        assert!(items.is_sorted_by_key(|item| text_of(item, "sk").unwrap().to_owned()));
    }

    #[test]
    fn no_entity_has_a_key_of_the_spills() {
        let entity = crate::event::Entity {
            kind: "spill/3".into(),
            id: "1".into(),
        };
        assert!(!entity.key().starts_with("spill/"));
    }
}
