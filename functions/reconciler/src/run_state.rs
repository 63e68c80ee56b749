//! What a run hands on to the next, in an item of its own beside the lock.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::aws;

use crate::webhook_health::Line;

/// The partition of the lock and of this.
pub const PARTITION: &str = "reconciler";
/// Its sort key.
const SORT: &str = "memory";
/// Its attribute with what one run tells the next.
const MEMORY: &str = "memory";
/// Its attribute that says whose ledger it is. No other version's memory can overwrite it.
const AURA: &str = "aura";

/// What was put on the queue is on its way for this long: no run puts it there again. SQS has it,
/// and the ledger will; longer than usual, it is asked about once more.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(5);
/// While AURA's list is empty, two or more callouts that AURA doesn't know when asked count as closed
/// after this long.
const GONE_HOLD: SignedDuration = SignedDuration::from_mins(10);
/// How many of these are remembered; the item stays far below DynamoDB's 400 KB.
const MOST_ON_THEIR_WAY: usize = 2000;

/// How many callouts are remembered whose creation AURA doesn't tell: likewise.
const MOST_FIRST_LISTED: usize = 2000;

/// What a run hands on to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Whose the ledger's callouts are, as [`Asking::which_aura`](crate::aura::connector::Asking::which_aura)
    /// says it. [`MemoryItem::belong_to`] alone writes it.
    #[serde(skip)]
    pub aura: Option<String>,
    /// Whether AURA still delivers here.
    pub line: Line,
    /// The last callout that was begun with, of each kind of work: the next run goes on behind it.
    pub cursors: BTreeMap<String, String>,
    /// The first run of all.
    pub began_at: Option<Timestamp>,
    /// Since when AURA's list lacks too many callouts at once.
    pub vanished_since: Option<Timestamp>,
    /// Since when AURA's list is empty and AURA knows none of the open callouts when asked.
    pub gone_since: Option<Timestamp>,
    /// When a run first saw those callouts in AURA's list that aren't noted here, and whose time of
    /// creation can't be read.
    pub first_listed: BTreeMap<String, Timestamp>,
    /// Openings and closings that were put on the queue, by their keys in the ledger, and when.
    pub on_their_way: BTreeMap<String, Timestamp>,
}

type Item = HashMap<String, AttributeValue>;

/// The item.
#[derive(Debug)]
pub struct MemoryItem {
    client: Client,
    table: String,
}

/// The memory can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It can't be read.
    #[error("memory: {}", aws::describe(.0))]
    Get(#[from] Box<SdkError<GetItemError>>),
    /// It was not written, as far as we know.
    #[error("memory: {}", aws::describe(.0))]
    Update(#[from] Box<SdkError<UpdateItemError>>),
    /// It can't be written as JSON.
    #[error("memory: {0}")]
    Json(#[from] serde_json::Error),
}

impl Memory {
    /// Whether this AURA may be asked: ids of two AURA systems would collide in one ledger. What was
    /// never told anything, and has found nothing out, may still become another's.
    #[must_use]
    pub fn may_ask(&self, aura: &str, noted: usize, delivered_at: Option<Timestamp>) -> bool {
        let holds_nothing = noted == 0
            && delivered_at.is_none()
            && self.on_their_way.is_empty()
            && self.line == Line::default();
        let is_same = |whose: &String| whose == aura;
        self.aura.as_ref().is_none_or(is_same) || holds_nothing
    }

    /// Whether that was put on the queue lately.
    #[must_use]
    pub fn is_on_its_way(&self, key: &str, now: Timestamp) -> bool {
        let sent = self.on_their_way.get(key);
        sent.is_some_and(|at| now.duration_since(*at) < ON_ITS_WAY)
    }

    /// Whether it is only lately that AURA knows none of the open callouts. Had too many of them
    /// vanished before that, that was a sign of it, too.
    #[must_use]
    pub fn are_gone_lately(&self, now: Timestamp) -> bool {
        let since = [self.gone_since, self.vanished_since].into_iter().flatten();
        since
            .min()
            .is_none_or(|at| now.duration_since(at) < GONE_HOLD)
    }

    /// Forgets what is no longer on its way, and the oldest of too many.
    pub fn tidy(&mut self, now: Timestamp) {
        let is_late = |at: &Timestamp| now.duration_since(*at) >= ON_ITS_WAY;
        self.on_their_way.retain(|_, at| !is_late(at));
        while self.on_their_way.len() > MOST_ON_THEIR_WAY {
            let oldest = self.on_their_way.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.on_their_way.remove(&oldest);
        }
        // The oldest are the next that are told.
        if self.first_listed.len() > MOST_FIRST_LISTED {
            let mut listed: Vec<_> = std::mem::take(&mut self.first_listed).into_iter().collect();
            listed.sort_by_key(|(_, at)| *at);
            listed.truncate(MOST_FIRST_LISTED);
            self.first_listed = listed.into_iter().collect();
        }
    }
}

impl MemoryItem {
    /// The item in the ledger table of that name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads it. What isn't as this version writes it is begun anew: nothing in it can't be found
    /// out again, but for whose the ledger is, which isn't a part of that.
    ///
    /// # Errors
    ///
    /// DynamoDB doesn't answer.
    pub async fn read(&self) -> Result<Memory, MemoryError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key()))
            .consistent_read(true)
            .send()
            .await
            .map_err(Box::new)?;
        Ok(remembered(&answer.item.unwrap_or_default()))
    }

    /// Writes it, unless a later run has; whether it did.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn write(&self, memory: &Memory, run: u32) -> Result<bool, MemoryError> {
        self.set(MEMORY, serde_json::to_string(memory)?, run).await
    }

    /// Writes whose the ledger is, unless a later run has begun; whether it did.
    ///
    /// # Errors
    ///
    /// DynamoDB has not confirmed it.
    pub async fn belong_to(&self, aura: &str, run: u32) -> Result<bool, MemoryError> {
        self.set(AURA, aura.to_owned(), run).await
    }

    async fn set(&self, name: &str, value: String, run: u32) -> Result<bool, MemoryError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key()))
            .condition_expression("attribute_not_exists(pk) OR #run <= :run")
            .update_expression("SET #name = :value, #run = :run")
            .expression_attribute_names("#name", name)
            .expression_attribute_names("#run", "run")
            .expression_attribute_values(":value", AttributeValue::S(value))
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

/// What the item says.
fn remembered(item: &Item) -> Memory {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok());
    let memory = text(MEMORY).map_or_else(Memory::default, |text| {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "the last run's memory is begun anew");
            Memory::default()
        })
    });
    Memory {
        aura: text(AURA).cloned(),
        ..memory
    }
}

fn key() -> Item {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    [
        ("pk".to_owned(), text(PARTITION)),
        ("sk".to_owned(), text(SORT)),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn another_aura_may_be_asked_while_the_ledger_holds_nothing_of_the_first() {
        let of = |aura: Option<&str>| Memory {
            aura: aura.map(ToOwned::to_owned),
            ..Memory::default()
        };
        let on_its_way = Memory {
            on_their_way: [("a".to_owned(), at(0))].into(),
            ..of(Some("first"))
        };
        // A callout that nobody told of was found, and its closing, too.
        let found = Memory {
            line: Line::default().after_run(1, None),
            ..of(Some("first"))
        };
        let table = [
            (of(None), "first", 0, None, true),
            // As before this was remembered.
            (of(None), "first", 3, Some(at(1)), true),
            (of(Some("first")), "first", 3, Some(at(1)), true),
            (on_its_way.clone(), "first", 0, None, true),
            (of(Some("first")), "second", 0, None, true),
            (of(Some("first")), "second", 1, None, false),
            (of(Some("first")), "second", 0, Some(at(1)), false),
            (on_its_way, "second", 0, None, false),
            (found, "second", 0, None, false),
        ];
        for (memory, aura, noted, delivered_at, expected) in table {
            let may = memory.may_ask(aura, noted, delivered_at);
            assert_eq!(may, expected, "{memory:?} {aura} {noted} {delivered_at:?}");
        }
    }

    #[test]
    fn whose_the_ledger_is_stays_known_whatever_else_cannot_be_read() {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let item = |memory: &str| {
            let aura = (AURA.to_owned(), text("first"));
            remembered(&[(MEMORY.to_owned(), text(memory)), aura].into())
        };
        let memory = Memory {
            aura: Some("first".to_owned()),
            began_at: Some(at(1)),
            ..Memory::default()
        };
        assert_eq!(item(&serde_json::to_string(&memory).unwrap()), memory);
        let begun_anew = item("[]");
        assert_eq!((begun_anew.aura, begun_anew.began_at), (memory.aura, None));
        assert_eq!(remembered(&Item::new()), Memory::default());
    }

    #[test]
    fn that_aura_knows_none_is_believed_after_ten_minutes_or_if_too_many_vanished_before() {
        let memory = |gone: Option<i64>, vanished: Option<i64>| Memory {
            gone_since: gone.map(at),
            vanished_since: vanished.map(at),
            ..Memory::default()
        };
        assert!(memory(None, None).are_gone_lately(at(10_000)));
        assert!(memory(Some(0), None).are_gone_lately(at(599)));
        assert!(!memory(Some(0), None).are_gone_lately(at(600)));
        assert!(!memory(Some(600), Some(0)).are_gone_lately(at(600)));
        assert!(!memory(None, Some(0)).are_gone_lately(at(600)));
    }

    #[test]
    fn of_too_many_callouts_the_first_listed_are_remembered() {
        let mut memory = Memory::default();
        for n in 0..MOST_FIRST_LISTED + 10 {
            let second = i64::try_from(n).unwrap();
            memory
                .first_listed
                .insert(format!("{:05}", 99_999 - n), at(second));
        }
        memory.tidy(at(0));
        assert_eq!(memory.first_listed.len(), MOST_FIRST_LISTED);
        assert!(memory.first_listed.contains_key("99999"));
    }

    #[test]
    fn what_was_put_on_the_queue_is_on_its_way_for_a_while() {
        let mut memory = Memory::default();
        memory.on_their_way.insert("a".to_owned(), at(0));
        assert!(memory.is_on_its_way("a", at(299)) && !memory.is_on_its_way("a", at(300)));
        assert!(!memory.is_on_its_way("b", at(0)));
        memory.tidy(at(299));
        assert_eq!(memory.on_their_way.len(), 1);
        memory.tidy(at(300));
        assert!(memory.on_their_way.is_empty());
    }

    #[test]
    fn the_oldest_of_too_many_is_forgotten() {
        let mut memory = Memory::default();
        for n in 0..=MOST_ON_THEIR_WAY {
            let at = at(i64::from(u32::try_from(n).unwrap()) % 200);
            memory.on_their_way.insert(format!("{n:05}"), at);
        }
        memory.tidy(at(250));
        assert_eq!(memory.on_their_way.len(), MOST_ON_THEIR_WAY);
        assert!(!memory.on_their_way.contains_key("00000"));
    }
}
