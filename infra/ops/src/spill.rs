//! What waits in the spill, and why.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::envelope::Envelope;
use shared::event;
use shared::ledger::SHARDS;
use shared::ledger::spill::{self, RETENTION, Spill};

use crate::stack::Stack;
use crate::words::{Span, counted, table, time};

/// What waits in the spill, the oldest first.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpillList {
    /// The deliveries.
    pub deliveries: Vec<Spilled>,
    /// Why they wait, in a sentence.
    pub why: String,
}

/// A delivery in the spill.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spilled {
    /// The delivery's id, or the item's sort key if it can't be read.
    pub id: String,
    /// The queue that it is for: `ingest` or `quarantine`.
    pub destination: Option<String>,
    /// When it arrived.
    pub received_at: Option<Timestamp>,
    /// The entity's key, such as `callout#5003`, if it can be read.
    pub entity: Option<String>,
    /// Why the reconciler can't put it back, if it can't.
    pub fault: Option<String>,
}

/// Lists what waits in the spill.
///
/// # Errors
///
/// DynamoDB refuses a call.
pub async fn list(stack: &Stack) -> Result<SpillList> {
    let spill = Spill::new(stack.dynamodb(), stack.table()?.to_owned());
    let shards = (0..SHARDS).map(|shard| spill.page(shard, None, usize::MAX));
    let shards = try_join_all(shards).await?;
    let mut deliveries: Vec<_> = shards.into_iter().flatten().map(Spilled::of).collect();
    deliveries.sort_by_key(|delivery| delivery.received_at);
    let minutes = stack
        .reconciler_is_scheduled()
        .then(|| stack.parameter("ReconcilerMinutes").parse().ok())
        .flatten();
    let why = why(&deliveries, minutes, Timestamp::now());
    Ok(SpillList { deliveries, why })
}

/// Why deliveries wait. `minutes` are those between two runs of the reconciler; `None` if it is
/// off.
fn why(deliveries: &[Spilled], minutes: Option<i64>, now: Timestamp) -> String {
    let unreadable = deliveries.iter().filter(|one| one.fault.is_some()).count();
    let readable = deliveries.len() - unreadable;
    let mut sentences = Vec::new();
    if readable > 0 {
        let oldest = deliveries.iter().filter(|one| one.fault.is_none());
        let oldest = oldest.filter_map(|one| one.received_at).min();
        sentences.push(match minutes {
            Some(minutes) => by_reconciler(oldest, minutes, now),
            None => "The reconciler is off, and nothing else puts them back: deploy with \
                ReconcilerEnabled=true, and with Register=true if AURA delivers here."
                .to_owned(),
        });
    }
    if unreadable > 0 {
        let what = counted(unreadable, "item", "items");
        sentences.push(format!(
            "The reconciler can't read {what}: deploy the version that wrote them, or put them \
             back by hand. They are kept for {} days.",
            RETENTION.as_hours() / 24
        ));
    }
    if sentences.is_empty() {
        return "The spill is empty.".to_owned();
    }
    sentences.join(" ")
}

fn by_reconciler(oldest: Option<Timestamp>, minutes: i64, now: Timestamp) -> String {
    // A run may begin just before the delivery is in the spill.
    let twice = SignedDuration::from_mins(2 * minutes);
    let age = oldest.map(|oldest| now.duration_since(oldest));
    match age.filter(|age| *age > twice) {
        Some(age) => format!(
            "The reconciler runs every {minutes} min, and couldn't put the oldest back for {}: its \
             log says why.",
            Span(age)
        ),
        None => format!(
            "A queue couldn't be reached. The reconciler puts them back within {minutes} min."
        ),
    }
}

impl Spilled {
    fn of(spilled: spill::Spilled) -> Self {
        let received_at = spilled.arrived_at();
        match spilled {
            spill::Spilled::Delivery(delivery) => Self {
                id: delivery.delivery_id.to_string(),
                destination: Some(delivery.destination.name().to_owned()),
                received_at,
                entity: entity(&delivery.message.body),
                fault: None,
            },
            spill::Spilled::Unreadable { sort_key, error } => Self {
                id: sort_key,
                destination: None,
                received_at,
                entity: None,
                fault: Some(error.to_string()),
            },
        }
    }
}

/// The key of the entity that a message of the ingest queue is about.
fn entity(body: &str) -> Option<String> {
    let envelope = Envelope::parse(body).ok()?;
    let event = event::parse_payload(&envelope.payload).ok()?;
    Some(event.entity.key())
}

impl Display for SpillList {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.deliveries.is_empty() {
            return f.write_str(&self.why);
        }
        let unknown = || "unknown".to_owned();
        let row = |its: &Spilled| {
            [
                its.id.clone(),
                its.destination.clone().unwrap_or_else(unknown),
                its.entity.clone().unwrap_or_else(unknown),
                time(its.received_at),
                its.fault.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = self.deliveries.iter().map(row).collect();
        let heads = ["delivery", "for queue", "entity", "arrived", "fault"];
        write!(f, "{}\n\n{}", table(heads, &rows), self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spilled(second: i64, fault: Option<&str>) -> Spilled {
        Spilled {
            id: "d1".to_owned(),
            destination: None,
            received_at: Timestamp::from_second(second).ok(),
            entity: None,
            fault: fault.map(str::to_owned),
        }
    }

    #[test]
    fn the_reason_says_who_empties_the_spill() {
        let now = Timestamp::from_second(1000).unwrap();
        let why = |deliveries: &[Spilled], minutes| why(deliveries, minutes, now);
        assert_eq!(why(&[], None), "The spill is empty.");
        let fresh = [spilled(900, None)];
        assert!(why(&fresh, Some(5)).ends_with("puts them back within 5 min."));
        assert!(why(&fresh, None).starts_with("The reconciler is off"));
        let old = [spilled(100, None)];
        assert!(why(&old, Some(5)).contains("for 15 min 0 s: its log"));
        let unreadable = [spilled(100, Some("x"))];
        let text = why(&unreadable, Some(5));
        assert!(
            text.starts_with("The reconciler can't read 1 item:"),
            "{text}"
        );
    }
}
