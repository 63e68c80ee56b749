//! State that a run writes for the next one, in an item of its own beside the lock.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::aws::CallError;
use shared::ledger::{Attributes, is_done, key_of};

use crate::webhook_health::WebhookHealth;

/// Partition of the lock and of the state.
pub const PARTITION: &str = "reconciler";
/// Name of the state in errors.
const ABOUT: &str = "run state";
/// Sort key of the state.
const SORT: &str = "memory";
/// Attribute with the state as JSON.
const STATE: &str = "memory";
/// Attribute with the id of the AURA system that the ledger belongs to. It is separate from the
/// state, so that no other version's state can overwrite it.
const AURA: &str = "aura";

/// Time during which an opening or closing that was put on the queue counts as on its way. No run
/// puts it there again meanwhile. If the ledger doesn't have it after that, a run asks AURA again.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_mins(5);
/// Time after which two or more callouts that AURA doesn't know when asked count as closed while
/// AURA's list is empty.
const GONE_HOLD: SignedDuration = SignedDuration::from_mins(10);
/// Largest number of events on their way in the state, and of callouts whose time of creation AURA
/// doesn't give. With it, the item stays far below DynamoDB's limit of 400 KB.
const MOST_REMEMBERED: usize = 2000;

/// State that a run writes for the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunState {
    /// Id of the AURA system whose callouts are in the ledger. Only [`RunStateItem::belong_to`]
    /// writes it.
    #[serde(skip)]
    pub aura: Option<String>,
    /// Whether AURA still delivers here.
    #[serde(rename = "line")]
    pub webhook_health: WebhookHealth,
    /// Id of the last callout that a run began with, by kind of work. The next run continues behind
    /// it.
    pub cursors: BTreeMap<String, String>,
    /// When the first run ended.
    pub began_at: Option<Timestamp>,
    /// Time since which AURA's list lacks too many callouts at once.
    pub vanished_since: Option<Timestamp>,
    /// Time since which AURA's list is empty and AURA knows no open callout when asked.
    pub gone_since: Option<Timestamp>,
    /// Times when runs first saw a callout in AURA's list that is not noted here and whose time of
    /// creation can't be read, by callout id.
    pub first_listed: BTreeMap<String, Timestamp>,
    /// Times when openings and closings were put on the queue, by their keys in the ledger.
    pub on_their_way: BTreeMap<String, Timestamp>,
    /// Names of the run's levels that alarms read and that are above zero. The run that finds one
    /// at zero says so to the alarm.
    pub raised: BTreeSet<String>,
}

/// The item in the ledger table that holds the state.
#[derive(Debug)]
pub struct RunStateItem {
    client: Client,
    table: String,
}

impl RunState {
    /// Whether the reconciler may ask this AURA system: ids of two systems would collide in one
    /// ledger. While the ledger holds nothing of the first system, it may become another system's.
    #[must_use]
    pub fn may_ask(&self, aura: &str, noted: usize, delivered_at: Option<Timestamp>) -> bool {
        let holds_nothing = noted == 0
            && delivered_at.is_none()
            && self.on_their_way.is_empty()
            && self.webhook_health == WebhookHealth::default();
        let is_same = |whose: &String| whose == aura;
        self.aura.as_ref().is_none_or(is_same) || holds_nothing
    }

    /// Whether a run has put the opening or closing with this key on the queue in the last minutes.
    #[must_use]
    pub fn is_on_its_way(&self, key: &str, now: Timestamp) -> bool {
        let sent = self.on_their_way.get(key);
        sent.is_some_and(|at| now.duration_since(*at) < ON_ITS_WAY)
    }

    /// Whether the time since AURA knows no open callout is still short. The time since too many of
    /// them vanished counts too.
    #[must_use]
    pub fn are_gone_lately(&self, now: Timestamp) -> bool {
        let since = [self.gone_since, self.vanished_since].into_iter().flatten();
        since
            .min()
            .is_none_or(|at| now.duration_since(at) < GONE_HOLD)
    }

    /// Removes events that are no longer on their way, and entries beyond the largest number.
    pub fn tidy(&mut self, now: Timestamp) {
        let is_late = |at: &Timestamp| now.duration_since(*at) >= ON_ITS_WAY;
        self.on_their_way.retain(|_, at| !is_late(at));
        while self.on_their_way.len() > MOST_REMEMBERED {
            let oldest = self.on_their_way.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.on_their_way.remove(&oldest);
        }
        // Keeps the oldest entries, because their openings are the next that are due.
        if self.first_listed.len() > MOST_REMEMBERED {
            let mut listed: Vec<_> = std::mem::take(&mut self.first_listed).into_iter().collect();
            listed.sort_by_key(|(_, at)| *at);
            listed.truncate(MOST_REMEMBERED);
            self.first_listed = listed.into_iter().collect();
        }
    }
}

impl RunStateItem {
    /// Makes a handle on the item in this ledger table.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads the state. If another version has written it in a form that can't be read, the state
    /// starts empty, because runs find its content again. Only the id of the AURA system is kept.
    pub async fn read(&self) -> Result<RunState, CallError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key()))
            .consistent_read(true)
            .send()
            .await
            .map_err(CallError::of(ABOUT, "GetItem"))?;
        Ok(state_of(&answer.item.unwrap_or_default()))
    }

    /// Writes the state, unless a later run has written one. Returns whether it was written.
    pub async fn write(&self, state: &RunState, run: u32) -> Result<bool, CallError> {
        let not_written = CallError::of::<UpdateItemError, ()>(ABOUT, "UpdateItem");
        let state = serde_json::to_string(state).map_err(SdkError::construction_failure);
        self.set(STATE, state.map_err(not_written)?, run).await
    }

    /// Writes the id of the AURA system that the ledger belongs to, unless a later run has written.
    /// Returns whether it was written.
    pub async fn belong_to(&self, aura: &str, run: u32) -> Result<bool, CallError> {
        self.set(AURA, aura.to_owned(), run).await
    }

    async fn set(&self, name: &str, value: String, run: u32) -> Result<bool, CallError> {
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
        is_done(answer, ABOUT)
    }
}

/// Reads the item.
fn state_of(item: &Attributes) -> RunState {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok());
    let state = text(STATE).map_or_else(RunState::default, |text| {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "the last run's state can't be read, starting without it");
            RunState::default()
        })
    });
    RunState {
        aura: text(AURA).cloned(),
        ..state
    }
}

fn key() -> Attributes {
    key_of(PARTITION.to_owned(), SORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn another_aura_may_be_asked_while_the_ledger_holds_nothing_of_the_first() {
        let of = |aura: Option<&str>| RunState {
            aura: aura.map(ToOwned::to_owned),
            ..RunState::default()
        };
        let on_its_way = RunState {
            on_their_way: [("a".to_owned(), at(0))].into(),
            ..of(Some("first"))
        };
        // A run found a callout without a delivery, and its closing.
        let found = RunState {
            webhook_health: WebhookHealth::default().after_run(1, None),
            ..of(Some("first"))
        };
        let table = [
            (of(None), "first", 0, None, true),
            // An item of an older version has no id of the AURA system.
            (of(None), "first", 3, Some(at(1)), true),
            (of(Some("first")), "first", 3, Some(at(1)), true),
            (on_its_way.clone(), "first", 0, None, true),
            (of(Some("first")), "second", 0, None, true),
            (of(Some("first")), "second", 1, None, false),
            (of(Some("first")), "second", 0, Some(at(1)), false),
            (on_its_way, "second", 0, None, false),
            (found, "second", 0, None, false),
        ];
        for (state, aura, noted, delivered_at, expected) in table {
            let may = state.may_ask(aura, noted, delivered_at);
            assert_eq!(may, expected, "{state:?} {aura} {noted} {delivered_at:?}");
        }
    }

    #[test]
    fn the_id_of_the_aura_system_is_kept_when_the_state_cannot_be_read() {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let item = |state: &str| {
            let aura = (AURA.to_owned(), text("first"));
            state_of(&[(STATE.to_owned(), text(state)), aura].into())
        };
        let state = RunState {
            aura: Some("first".to_owned()),
            began_at: Some(at(1)),
            ..RunState::default()
        };
        assert_eq!(item(&serde_json::to_string(&state).unwrap()), state);
        let begun_anew = item("[]");
        assert_eq!((begun_anew.aura, begun_anew.began_at), (state.aura, None));
        assert_eq!(state_of(&Attributes::new()), RunState::default());
    }

    #[test]
    fn closings_of_gone_callouts_are_held_for_ten_minutes_from_the_first_doubt() {
        let state = |gone: Option<i64>, vanished: Option<i64>| RunState {
            gone_since: gone.map(at),
            vanished_since: vanished.map(at),
            ..RunState::default()
        };
        assert!(state(None, None).are_gone_lately(at(10_000)));
        assert!(state(Some(0), None).are_gone_lately(at(599)));
        assert!(!state(Some(0), None).are_gone_lately(at(600)));
        assert!(!state(Some(600), Some(0)).are_gone_lately(at(600)));
        assert!(!state(None, Some(0)).are_gone_lately(at(600)));
    }

    #[test]
    fn of_too_many_callouts_those_listed_first_are_kept() {
        let mut state = RunState::default();
        for n in 0..MOST_REMEMBERED + 10 {
            let second = i64::try_from(n).unwrap();
            state
                .first_listed
                .insert(format!("{:05}", 99_999 - n), at(second));
        }
        state.tidy(at(0));
        assert_eq!(state.first_listed.len(), MOST_REMEMBERED);
        assert!(state.first_listed.contains_key("99999"));
    }

    #[test]
    fn an_event_that_was_put_on_the_queue_is_on_its_way_for_five_minutes() {
        let mut state = RunState::default();
        state.on_their_way.insert("a".to_owned(), at(0));
        assert!(state.is_on_its_way("a", at(299)) && !state.is_on_its_way("a", at(300)));
        assert!(!state.is_on_its_way("b", at(0)));
        state.tidy(at(299));
        assert_eq!(state.on_their_way.len(), 1);
        state.tidy(at(300));
        assert!(state.on_their_way.is_empty());
    }

    #[test]
    fn the_oldest_of_too_many_events_on_their_way_is_removed() {
        let mut state = RunState::default();
        for n in 0..=MOST_REMEMBERED {
            let at = at(i64::from(u32::try_from(n).unwrap()) % 200);
            state.on_their_way.insert(format!("{n:05}"), at);
        }
        state.tidy(at(250));
        assert_eq!(state.on_their_way.len(), MOST_REMEMBERED);
        assert!(!state.on_their_way.contains_key("00000"));
    }
}
