//! Writes a delivery to the items of the table, and reads it from them. The first item holds
//! everything except the further parts of a large body.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::{RETENTION, arrived_at};
use crate::ledger::Malformed;
use crate::ledger::table::{Attributes, expires_at, key_of, shard_of};
use crate::queue::{Destination, Message, MessageAttribute, Outgoing};

/// The largest part of a body in one item, in bytes. DynamoDB allows 400 KB for the whole item. A
/// group id, a deduplication id and the attributes of a quarantined delivery fit into the rest.
pub(super) const MAX_PART_BYTES: usize = 390_000;

/// Whether an item holds part `number` of the delivery whose first part is `head`.
pub(super) fn is_part_of(item: &Attributes, head: &Attributes, number: usize) -> bool {
    let head = text_of(head, "sk").unwrap_or_default();
    text_of(item, "sk").is_ok_and(|key| key == sort_key(head, number))
}

pub(super) fn read_whole(head: &Attributes, parts: &[Attributes]) -> Result<Outgoing, Malformed> {
    let mut body = text_of(head, "body")?.to_owned();
    if parts_of(head)? != parts.len() + 1 {
        return Err(Malformed("parts"));
    }
    for part in parts {
        body.push_str(text_of(part, "body")?);
    }
    read(head, body)
}

pub(super) fn partition(shard: u8) -> String {
    format!("spill/{shard}")
}

pub(super) fn key(delivery: &Outgoing, part: usize) -> Attributes {
    let shard = shard_of(&delivery.message.group_id);
    let sort = sort_key(&delivery.delivery_id.to_string(), part);
    key_of(partition(shard), &sort)
}

pub(super) fn sort_key(delivery_id: &str, part: usize) -> String {
    match part {
        0 => delivery_id.to_owned(),
        _ => format!("{delivery_id}/{part}"),
    }
}

/// Splits a body into parts that are small enough for an item. There are at most ten, because a
/// message is at most 1 MiB. So their keys sort as text.
pub(super) fn parts(body: &str) -> Vec<&str> {
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

pub(super) fn items_of(delivery: &Outgoing) -> Vec<Attributes> {
    let message = &delivery.message;
    let parts = parts(&message.body);
    let count = parts.len();
    let expiry = arrived_at(delivery.delivery_id).map(|at| expires_at(at, RETENTION));
    let item_of = |(number, part): (usize, &str)| {
        let mut item = key(delivery, number);
        item.insert("body".to_owned(), text(part));
        item.extend(expiry.clone().map(|at| ("expiresAt".to_owned(), at)));
        if number == 0 {
            item.insert("destination".to_owned(), text(delivery.destination.name()));
            item.insert("parts".to_owned(), AttributeValue::N(count.to_string()));
            item.extend(envelope_of(message));
        }
        item
    };
    parts.into_iter().enumerate().map(item_of).collect()
}

/// The attributes of a message without its body.
fn envelope_of(message: &Message) -> Attributes {
    let attributes = message.attributes.iter().map(|(name, value)| {
        let value = match value {
            MessageAttribute::Text(value) => text(value),
            MessageAttribute::Number(value) => AttributeValue::N(value.clone()),
        };
        (name.clone(), value)
    });
    let attributes = AttributeValue::M(attributes.collect());
    let id = &message.deduplication_id;
    Attributes::from([
        ("groupId".to_owned(), text(&message.group_id)),
        ("deduplicationId".to_owned(), text(id)),
        ("attributes".to_owned(), attributes),
    ])
}

pub(super) fn read(head: &Attributes, body: String) -> Result<Outgoing, Malformed> {
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

pub(super) fn parts_of(head: &Attributes) -> Result<usize, Malformed> {
    head.get("parts")
        .and_then(|value| value.as_n().ok()?.parse().ok())
        .ok_or(Malformed("parts"))
}

pub(super) fn text_of<'a>(
    item: &'a Attributes,
    attribute: &'static str,
) -> Result<&'a str, Malformed> {
    item.get(attribute)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or(Malformed(attribute))
}

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}
