//! Notes that the ledger keeps beside the events. They say which callouts are drills, which omitted
//! payloads are in the quarantine, and which canaries are the registrar's. They expire.
//!
//! | attribute | holds |
//! | --- | --- |
//! | `pk` | `note/<shard>`, 0 to 7, so that a burst of notes doesn't fall on one partition of DynamoDB |
//! | `sk` | `drill/<callout id>`, `kept/<delivery id>` or `canary/<canary id>` |
//! | `expiresAt` | when DynamoDB's TTL may remove the note, in seconds since 1970 |

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::table::{Attributes, expires_at, key_of, shard_of};
use crate::aws::CallError;

/// One thing that the ledger may hold a note of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Note(String);

impl Note {
    /// The note that AURA has marked the callout with this id as a test.
    #[must_use]
    pub fn drill(callout_id: &str) -> Self {
        Self(format!("drill/{callout_id}"))
    }

    /// The note that this delivery's payload is in the quarantine, because its event is published
    /// without it.
    #[must_use]
    pub fn kept(delivery_id: Uuid) -> Self {
        Self(format!("kept/{delivery_id}"))
    }

    /// The note that the registrar has sent the canary with this id.
    #[must_use]
    pub fn canary(canary_id: &str) -> Self {
        Self(format!("canary/{canary_id}"))
    }

    fn key(&self) -> Attributes {
        key_of(format!("note/{}", shard_of(&self.0)), &self.0)
    }
}

/// The notes that were looked up, and whether each exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoteLookup(HashMap<Note, bool>);

impl NoteLookup {
    /// Whether the note exists. `None` if DynamoDB left it unread.
    #[must_use]
    pub fn is_noted(&self, note: &Note) -> Option<bool> {
        self.0.get(note).copied()
    }
}

impl FromIterator<(Note, bool)> for NoteLookup {
    fn from_iter<T: IntoIterator<Item = (Note, bool)>>(notes: T) -> Self {
        Self(notes.into_iter().collect())
    }
}

impl Extend<(Note, bool)> for NoteLookup {
    fn extend<T: IntoIterator<Item = (Note, bool)>>(&mut self, notes: T) {
        self.0.extend(notes);
    }
}

/// The notes in the ledger table.
#[derive(Debug, Clone)]
pub struct Notes {
    client: Client,
    table: String,
}

impl Notes {
    /// The notes in the ledger table of this name.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Writes a note that expires at `at`. A note that exists expires then, too.
    pub async fn write(&self, note: &Note, at: Timestamp) -> Result<(), CallError> {
        let expires_at = expires_at(at, SignedDuration::ZERO);
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(note.key()))
            .update_expression("SET expiresAt = :at")
            .expression_attribute_values(":at", expires_at)
            .send()
            .await
            .map_err(CallError::of("notes", "UpdateItem"))?;
        Ok(())
    }

    /// Looks up at most a hundred different notes with one consistent read. DynamoDB may leave some
    /// unread.
    pub async fn look_up(&self, notes: &[Note]) -> Result<NoteLookup, CallError> {
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(notes.iter().map(Note::key).collect()))
            .projection_expression("sk")
            .consistent_read(true)
            .build()
            .map_err(CallError::not_built("notes", "BatchGetItem"))?;
        let call = self
            .client
            .batch_get_item()
            .request_items(&self.table, keys);
        let answer = call.send().await;
        let answer = answer.map_err(CallError::of("notes", "BatchGetItem"))?;
        let of_table = |mut tables: HashMap<String, Vec<Attributes>>| tables.remove(&self.table);
        let found = answer.responses.and_then(of_table).unwrap_or_default();
        let unread = answer
            .unprocessed_keys
            .and_then(|mut tables| tables.remove(&self.table))
            .map_or_else(Vec::new, |unread| unread.keys);
        Ok(read(notes, &found, &unread))
    }

    /// Looks up a note that nobody writes. This opens the connection for the first batch.
    pub async fn connect(&self) -> Result<(), CallError> {
        self.look_up(&[Note("nothing".to_owned())]).await?;
        Ok(())
    }
}

/// Reads an answer about the notes that were asked for.
fn read(notes: &[Note], found: &[Attributes], unread: &[Attributes]) -> NoteLookup {
    let is_in = |items: &[Attributes], note: &Note| {
        let sort = |item: &Attributes| Some(item.get("sk")?.as_s().ok()? == &note.0);
        items.iter().any(|item| sort(item) == Some(true))
    };
    let notes = notes.iter().filter(|note| !is_in(unread, note));
    notes
        .map(|note| (note.clone(), is_in(found, note)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_note_that_dynamodb_leaves_unread_is_not_known_and_a_missing_one_is_not_noted() {
        let [found, absent, unread] = ["1", "2", "3"].map(Note::drill);
        let asked = [found.clone(), absent.clone(), unread.clone()];
        let noted = read(&asked, &[found.key()], &[unread.key()]);
        assert_eq!(noted.is_noted(&found), Some(true));
        assert_eq!(noted.is_noted(&absent), Some(false));
        assert_eq!(noted.is_noted(&unread), None);
    }

    #[test]
    fn a_note_stands_beside_the_events_and_each_kind_has_keys_of_its_own() {
        let id = Uuid::from_u128(7);
        let text = id.to_string();
        let notes = [Note::drill(&text), Note::kept(id), Note::canary(&text)];
        for note in &notes {
            let partition = note.key()["pk"].as_s().unwrap().clone();
            assert!(partition.starts_with("note/"), "{partition}");
            assert!(!partition.contains('#'), "{partition}");
        }
        let different: HashSet<_> = notes.iter().collect();
        assert_eq!(different.len(), notes.len());
    }
}
