//! The spill: where a delivery waits, in the ledger table, when its queue can't be reached.
//!
//! What waits is the very message that its queue didn't take, so that sending it later needs no
//! knowledge of how it was made. Should the queue have had it all along, its deduplication id keeps
//! it one message for five minutes, and the ledger keeps it one event after that; the quarantine,
//! which has no ledger, then holds it twice, with one `deliveryId`.
//!
//! A delivery's shard and id are the table's own keys: a query on one shard gives its deliveries
//! oldest first, because their ids are UUIDv7. The shards keep a burst off a single partition of
//! DynamoDB; a message group has one of them, so that its order is kept. No entity's key starts
//! with `spill/`: entities' keys escape the slash.
//!
//! | attribute | holds |
//! | --- | --- |
//! | `pk` | `spill/<shard>`, 0 to 7 |
//! | `sk` | the delivery id; the further parts of a large body have `/<n>` behind it |
//! | `destination` | `ingest` or `quarantine`: the queue that it is for |
//! | `parts` | how many items hold the body, this one included |
//! | `body` | the message's body, or this item's part of it |
//! | `groupId`, `deduplicationId` | the message's |
//! | `attributes` | message attributes: texts as `S`, numbers as `N` |
//!
//! Nothing expires: an item is the only copy of a delivery until it is sent and removed.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use jiff::Timestamp;

use super::Malformed;
use super::table::{Attributes, key_of, shard_of};
use crate::aws::CallError;
use crate::queue::{Destination, Message, MessageAttribute, Outgoing};

/// Largest part of a body in one item, in bytes. DynamoDB takes 400 KB with everything; a group
/// id, a deduplication id and the attributes of a quarantined delivery are less than the rest.
const MAX_PART_BYTES: usize = 390_000;

/// Changes all items that it names, or none.
const TRANSACTION: &str = "TransactWriteItems";

/// The spill in the ledger table.
#[derive(Debug, Clone)]
pub struct Spill {
    client: Client,
    table: String,
}

impl Spill {
    /// The spill in the ledger table of that name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Puts a delivery into the spill, whole or not at all. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn put(&self, delivery: &Outgoing) -> Result<(), CallError> {
        match <[Attributes; 1]>::try_from(items_of(delivery)) {
            Ok([item]) => self.put_item(item).await,
            Err(items) => self.put_items(items).await,
        }
    }

    /// Not a transaction of one: that costs twice as much, and the SDK doesn't retry one that was
    /// throttled.
    async fn put_item(&self, item: Attributes) -> Result<(), CallError> {
        let call = self.client.put_item().table_name(&self.table);
        let answer = call.set_item(Some(item)).send().await;
        answer.map_err(CallError::of("spill", "PutItem"))?;
        Ok(())
    }

    async fn put_items(&self, items: Vec<Attributes>) -> Result<(), CallError> {
        let mut call = self.client.transact_write_items();
        for item in items {
            let put = Put::builder().table_name(&self.table).set_item(Some(item));
            let put = put
                .build()
                .map_err(CallError::not_built("spill", TRANSACTION))?;
            call = call.transact_items(TransactWriteItem::builder().put(put).build());
        }
        call.send()
            .await
            .map_err(CallError::of("spill", TRANSACTION))?;
        Ok(())
    }

    /// Up to `limit` deliveries of one shard (below [`SHARDS`](super::SHARDS)), oldest first, that stand behind
    /// `after`, which a delivery of an earlier page says of itself. One that can't be read hides no
    /// other.
    ///
    /// # Errors
    ///
    /// DynamoDB doesn't answer.
    pub async fn page(
        &self,
        shard: u8,
        after: Option<&SpillPosition>,
        limit: usize,
    ) -> Result<Vec<Spilled>, CallError> {
        let after = after.map_or("", |place| place.0.as_str());
        let mut items = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :shard AND sk > :after")
            .expression_attribute_values(":shard", text(partition(shard)))
            // No key is empty, and none is smaller than a space.
            .expression_attribute_values(":after", text(if after.is_empty() { " " } else { after }))
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

    /// Removes a delivery from the spill. Removing what isn't there changes nothing.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn remove(&self, delivery: &Outgoing) -> Result<(), CallError> {
        match parts(&delivery.message.body).len() {
            1 => self.remove_item(key(delivery, 0)).await,
            _ => self.remove_items(delivery).await,
        }
    }

    /// Not a transaction of one; see [`Self::put_item`].
    async fn remove_item(&self, key: Attributes) -> Result<(), CallError> {
        let call = self.client.delete_item().table_name(&self.table);
        let answer = call.set_key(Some(key)).send().await;
        answer.map_err(CallError::of("spill", "DeleteItem"))?;
        Ok(())
    }

    async fn remove_items(&self, delivery: &Outgoing) -> Result<(), CallError> {
        let mut call = self.client.transact_write_items();
        for part in 0..parts(&delivery.message.body).len() {
            let delete = Delete::builder()
                .table_name(&self.table)
                .set_key(Some(key(delivery, part)))
                .build()
                .map_err(CallError::not_built("spill", TRANSACTION))?;
            call = call.transact_items(TransactWriteItem::builder().delete(delete).build());
        }
        call.send()
            .await
            .map_err(CallError::of("spill", TRANSACTION))?;
        Ok(())
    }
}

/// What waits in the spill.
#[derive(Debug)]
pub enum Spilled {
    /// A delivery.
    Delivery(Outgoing),
    /// An item that isn't one of this version's. It stays where it is, as the only copy.
    Unreadable {
        /// Its sort key.
        sort_key: String,
        /// What is wrong with it.
        error: Malformed,
    },
}

/// Where in a shard something stands.
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

    /// Where it stands, its last part included.
    #[must_use]
    pub fn place(&self) -> SpillPosition {
        SpillPosition(match self {
            // Its parts have a slash behind the id, which comes before a zero.
            Self::Delivery(delivery) => format!("{}0", delivery.delivery_id),
            Self::Unreadable { sort_key, .. } => sort_key.clone(),
        })
    }

    /// When it arrived, as far as its key says so.
    #[must_use]
    pub fn arrived_at(&self) -> Option<Timestamp> {
        let id = match self {
            Self::Delivery(delivery) => delivery.delivery_id,
            Self::Unreadable { sort_key, .. } => sort_key.split('/').next()?.parse().ok()?,
        };
        let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
        Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()
    }
}

/// Whether an item holds that part of the delivery whose first part is `head`.
fn is_part_of(item: &Attributes, head: &Attributes, number: usize) -> bool {
    let head = text_of(head, "sk").unwrap_or_default();
    text_of(item, "sk").is_ok_and(|key| key == sort_key(head, number))
}

fn read_whole(head: &Attributes, parts: &[Attributes]) -> Result<Outgoing, Malformed> {
    let mut body = text_of(head, "body")?.to_owned();
    if parts_of(head)? != parts.len() + 1 {
        return Err(Malformed("parts"));
    }
    for part in parts {
        body.push_str(text_of(part, "body")?);
    }
    read(head, body)
}

fn partition(shard: u8) -> String {
    format!("spill/{shard}")
}

fn key(delivery: &Outgoing, part: usize) -> Attributes {
    let shard = shard_of(&delivery.message.group_id);
    let sort = sort_key(&delivery.delivery_id.to_string(), part);
    key_of(partition(shard), &sort)
}

fn sort_key(delivery_id: &str, part: usize) -> String {
    match part {
        0 => delivery_id.to_owned(),
        _ => format!("{delivery_id}/{part}"),
    }
}

/// The parts of a body, each small enough for an item. They are at most ten, which their keys
/// sort as text: a message is not larger than 1 MiB.
fn parts(body: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = body;
    while rest.len() > MAX_PART_BYTES {
        let (part, behind) = rest.split_at(rest.floor_char_boundary(MAX_PART_BYTES));
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    parts
}

fn items_of(delivery: &Outgoing) -> Vec<Attributes> {
    let Outgoing {
        destination,
        message,
        ..
    } = delivery;
    let parts = parts(&message.body);
    let count = parts.len();
    let item_of = |(number, part): (usize, &str)| {
        let mut item = key(delivery, number);
        item.insert("body".to_owned(), text(part));
        if number == 0 {
            item.insert("destination".to_owned(), text(destination.name()));
            item.insert("parts".to_owned(), AttributeValue::N(count.to_string()));
            item.extend(envelope_of(message));
        }
        item
    };
    parts.into_iter().enumerate().map(item_of).collect()
}

/// All of a message but its body.
fn envelope_of(message: &Message) -> Attributes {
    let mut item = Attributes::new();
    item.insert("groupId".to_owned(), text(&message.group_id));
    item.insert(
        "deduplicationId".to_owned(),
        text(&message.deduplication_id),
    );
    let attributes = message.attributes.iter().map(|(name, value)| {
        let value = match value {
            MessageAttribute::Text(value) => text(value),
            MessageAttribute::Number(value) => AttributeValue::N(value.clone()),
        };
        (name.clone(), value)
    });
    item.insert(
        "attributes".to_owned(),
        AttributeValue::M(attributes.collect()),
    );
    item
}

fn read(head: &Attributes, body: String) -> Result<Outgoing, Malformed> {
    Ok(Outgoing {
        delivery_id: text_of(head, "sk")?.parse().map_err(|_| Malformed("sk"))?,
        destination: match text_of(head, "destination")? {
            "ingest" => Destination::Ingest,
            "quarantine" => Destination::Quarantine,
            _ => return Err(Malformed("destination")),
        },
        message: Message {
            body,
            group_id: text_of(head, "groupId")?.to_owned(),
            deduplication_id: text_of(head, "deduplicationId")?.to_owned(),
            attributes: attributes_of(head)?,
        },
    })
}

fn attributes_of(head: &Attributes) -> Result<BTreeMap<String, MessageAttribute>, Malformed> {
    let attributes = head
        .get("attributes")
        .and_then(|value| value.as_m().ok())
        .ok_or(Malformed("attributes"))?;
    attributes
        .iter()
        .map(|(name, value)| {
            let value = match value {
                AttributeValue::S(value) => MessageAttribute::Text(value.clone()),
                AttributeValue::N(value) => MessageAttribute::Number(value.clone()),
                _ => return Err(Malformed("attributes")),
            };
            Ok((name.clone(), value))
        })
        .collect()
}

fn parts_of(head: &Attributes) -> Result<usize, Malformed> {
    head.get("parts")
        .and_then(|value| value.as_n().ok()?.parse().ok())
        .ok_or(Malformed("parts"))
}

fn text_of<'a>(item: &'a Attributes, attribute: &'static str) -> Result<&'a str, Malformed> {
    item.get(attribute)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or(Malformed(attribute))
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

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
        let behind_its_parts = whole.place().0;
        assert!(behind_its_parts > sort_key(&id, 9));
        assert!(is_part_of(&items[1], &items[0], 1) && !is_part_of(&items[1], &items[0], 2));
        let torn = Spilled::read(&items[0], &[]);
        assert!(matches!(torn, Spilled::Unreadable { .. }));
        assert_eq!(torn.place().0, id);
    }

    #[test]
    fn its_id_says_when_it_arrived() {
        let now = Timestamp::now();
        let delivery = Outgoing {
            delivery_id: Uuid::now_v7(),
            ..outgoing("{}".into())
        };
        let arrived = Spilled::Delivery(delivery).arrived_at().unwrap();
        assert!(arrived.duration_since(now).abs().as_secs() < 10);
    }

    #[test]
    fn a_large_body_is_split_between_characters() {
        // Three bytes each: no part ends where its limit is.
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
