//! Explains each double, and compares the ledger with what consumers received.
//!
//! No system can close the window between a publish and its mark. So a double is explained only if
//! the processor was in that window, by evidence that isn't the processor's own:
//!
//! - the bus carried out the earlier call;
//! - no mark of the event came before the later call;
//! - something was done to the processor in between that kept it from marking.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde::Serialize;

use crate::torture::campaign::Moment;
use crate::torture::journal::{Journal, Publish};
use crate::torture::rig::Kill;
use stack::consumers::Published;
use stack::system::PROCESSOR_TIMEOUT;

/// The time within which everything that a process sent before it died has arrived, even on a busy
/// machine. The local AWS waits for a second before it starts the next process.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A copy of an event beyond its first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Double {
    /// The event's key.
    pub key: String,
    /// When the copy before it was published.
    pub published: Option<Timestamp>,
    /// When this copy was published.
    pub again: Option<Timestamp>,
    /// Why the event was published again.
    #[serde(flatten)]
    pub reason: Reason,
}

/// Why an event was published again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Reason {
    /// The processor was killed between publish and mark.
    Killed {
        /// The moment of the kill.
        moment: Moment,
        /// The time of the kill.
        at: Timestamp,
    },
    /// The bus took the event, and the processor never got its answer.
    AnswerLost,
    /// The event was marked before, and must not have been published again.
    Marked {
        /// When it was marked.
        at: Timestamp,
    },
    /// None of the processor's calls put this copy on the bus.
    NotPublished,
    /// Consumers received one copy twice.
    ReceivedTwice,
    /// Nothing that was done to the processor explains it.
    Unexplained,
}

impl Reason {
    /// Whether it is one of the two reasons that no system can prevent.
    #[must_use]
    pub fn explains(self) -> bool {
        matches!(self, Self::Killed { .. } | Self::AnswerLost)
    }

    /// Name of the reason, for totals.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Killed { moment, .. } => format!("killed {}", moment.name()),
            Self::AnswerLost => "answer lost".to_owned(),
            Self::Marked { .. } | Self::NotPublished | Self::ReceivedTwice | Self::Unexplained => {
                "UNEXPLAINED".to_owned()
            }
        }
    }
}

impl Double {
    /// The double as one line for people.
    #[must_use]
    pub fn told(&self) -> String {
        let time = |time: Timestamp| time.strftime("%T%.3f").to_string();
        let published = |at: Option<Timestamp>| at.map_or("?".to_owned(), time);
        let reason = match self.reason {
            Reason::Killed { moment, at } => format!("killed at {} ({})", time(at), moment.name()),
            Reason::AnswerLost => "the bus's answer to the first publish was lost".to_owned(),
            Reason::Marked { at } => format!("UNEXPLAINED: it was marked at {}", time(at)),
            Reason::NotPublished => "UNEXPLAINED: no call published this copy".to_owned(),
            Reason::ReceivedTwice => "UNEXPLAINED: it is one copy, received twice".to_owned(),
            Reason::Unexplained => "UNEXPLAINED: no kill and no lost answer in between".to_owned(),
        };
        let (first, again) = (published(self.published), published(self.again));
        format!("{} published at {first} and {again}: {reason}", self.key)
    }
}

/// Explains all doubles, in the order of their keys.
#[must_use]
pub fn doubles(published: &[Published], journal: &Journal, kills: &[Kill]) -> Vec<Double> {
    let evidence = Evidence::of(journal, kills);
    by_key(published)
        .into_iter()
        .flat_map(|(key, copies)| evidence.doubles_of(key, &copies))
        .collect()
}

/// Ids of each event's copies.
fn by_key(published: &[Published]) -> BTreeMap<&str, Vec<&str>> {
    let mut copies: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in published {
        copies.entry(&event.detail.key).or_default().push(&event.id);
    }
    copies
}

struct Evidence<'a> {
    journal: &'a Journal,
    kills: &'a [Kill],
    /// Calls that put events on the bus, by the bus's ids of these events.
    calls: HashMap<&'a str, &'a Publish>,
}

impl<'a> Evidence<'a> {
    fn of(journal: &'a Journal, kills: &'a [Kill]) -> Self {
        let entries = journal.publishes.iter().flat_map(|publish| {
            let ids = publish.entries.iter();
            ids.map(move |entry| (entry.bus_event_id.as_str(), publish))
        });
        Self {
            journal,
            kills,
            calls: entries.collect(),
        }
    }

    fn doubles_of(&self, key: &str, copies: &[&str]) -> Vec<Double> {
        let call = |id: &str| self.calls.get(id).copied();
        let arrived = |id: &str| call(id).map(|call| call.arrived);
        let mut copies = copies.to_vec();
        // Copies with the same id come next to each other.
        copies.sort_by_key(|id| (arrived(id), *id));
        let pairs = copies.iter().zip(copies.iter().skip(1));
        pairs
            .map(|(before, after)| Double {
                key: key.to_owned(),
                published: arrived(before),
                again: arrived(after),
                reason: match (call(before), call(after)) {
                    _ if before == after => Reason::ReceivedTwice,
                    (Some(before), Some(after)) => self.reason(key, before, after),
                    _ => Reason::NotPublished,
                },
            })
            .collect()
    }

    fn reason(&self, key: &str, before: &Publish, after: &Publish) -> Reason {
        let marks = self.journal.marks.iter();
        let mark = marks
            .filter(|mark| mark.key == key)
            .map(|mark| mark.arrived);
        if let Some(at) = mark.min().filter(|at| *at < after.arrived) {
            return Reason::Marked { at };
        }
        if before.answer_lost {
            return Reason::AnswerLost;
        }
        let between = before.arrived..after.arrived;
        let is_between = |kill: &&Kill| between.contains(&(kill.at + LAST_WORDS));
        let mut kills = self.kills.iter().filter(is_between);
        match kills.find(|kill| self.hit(kill, before)) {
            Some(Kill { moment, at }) => Reason::Killed {
                moment: *moment,
                at: *at,
            },
            None => Reason::Unexplained,
        }
    }

    /// Whether a kill hit the invocation that published an event before it had marked it. An
    /// invocation marks a wave before it claims the next one, and begins with a claim. So it was
    /// still in that wave if nothing was claimed in between. And no invocation outlives its
    /// timeout.
    fn hit(&self, kill: &Kill, publish: &Publish) -> bool {
        let between = publish.arrived..=kill.at + LAST_WORDS;
        let claims = &self.journal.claims;
        kill.at <= publish.arrived + PROCESSOR_TIMEOUT
            && !claims.iter().any(|claim| between.contains(claim))
    }
}

/// An item of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    key: String,
    state: String,
    bus_event_id: Option<String>,
}

impl From<HashMap<String, AttributeValue>> for Item {
    fn from(item: HashMap<String, AttributeValue>) -> Self {
        let text = |name: &str| item.get(name)?.as_s().ok().cloned();
        let partition = text("pk").unwrap_or_default();
        let sort = text("sk").unwrap_or_default();
        Self {
            key: format!("{partition}/{sort}"),
            state: text("state").unwrap_or_default(),
            bus_event_id: text("busEventId"),
        }
    }
}

/// Differences between the ledger and the consumers. Each published event must have one item, which
/// is marked as published with the id of a copy that consumers received.
#[must_use]
pub fn differences(items: &[Item], published: &[Published]) -> Vec<String> {
    let copies = by_key(published);
    let items: BTreeMap<&str, &Item> = items.iter().map(|item| (item.key.as_str(), item)).collect();
    let of_items = items.values().filter_map(|item| {
        let copies = copies.get(item.key.as_str()).map(Vec::as_slice);
        Some(format!("{}: {}", item.key, difference(item, copies)?))
    });
    let unknown = copies.keys().filter(|key| !items.contains_key(*key));
    let unknown = unknown.map(|key| format!("{key}: published, but not in the ledger"));
    of_items.chain(unknown).collect()
}

fn difference(item: &Item, copies: Option<&[&str]>) -> Option<String> {
    let Some(copies) = copies else {
        return Some("in the ledger, but no consumer received it".to_owned());
    };
    if item.state != "PUBLISHED" {
        return Some(format!("published, but {} in the ledger", item.state));
    }
    let marked = item.bus_event_id.as_deref();
    let is_known = marked.is_some_and(|id| copies.contains(&id));
    (!is_known).then(|| "marked with the id of a copy that no consumer received".to_owned())
}

#[cfg(test)]
mod tests;
