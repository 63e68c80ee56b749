//! What became of one delivery.
//!
//! No index leads from a delivery's id to its event. So the whole ledger table is read, and each
//! item is compared. A delivery in the spill is an item of the same table.

use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::{join, join3, try_join_all};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use shared::aws::CallError;
use shared::ledger::ItemAttribute;
use shared::ledger::spill::arrived_at;
use uuid::Uuid;

use crate::logs::{self, Line};
use crate::stack::Stack;
use crate::timeline::{self, Happening};
use crate::words::{Span, Time, table};
use crate::{dead_letters, quarantine};

/// How many parts of the table are read at once.
const SEGMENTS: i32 = 8;
/// How long before the time in its id a delivery may have been logged, because clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_mins(1);
/// How long after its arrival ingest and the reconciler may have logged a delivery.
const AFTER: SignedDuration = SignedDuration::from_hours(1);
/// How long after its arrival the processor's log is read, because it may have needed many tries.
const AFTER_IN_PROCESSOR: SignedDuration = SignedDuration::from_hours(24);
/// The start of the partition keys of the spill.
const SPILL: &str = "spill/";

/// What became of one delivery.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The delivery's id.
    pub id: Uuid,
    /// What became of it, in a sentence.
    pub verdict: String,
    /// When it arrived, by its id.
    pub received_at: Option<Timestamp>,
    /// The entity's key, such as `callout#5003`, if it is known.
    pub entity: Option<String>,
    /// What the ledger knows of it.
    pub events: Vec<Happening>,
    /// Where it waits now: `ingest dead letters`, `quarantine (conflict)`, `spill` and so on.
    pub waits_in: Vec<String>,
    /// What the logs say of it, in order.
    pub steps: Vec<Step>,
}

/// A line of a log about the delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// The function that wrote it.
    pub function: String,
    /// What it says, such as `accepted` or `published`.
    pub what: String,
}

/// Reads what became of a delivery.
///
/// # Errors
///
/// AWS refuses a call.
pub async fn read(stack: &Stack, id: Uuid) -> Result<Delivery> {
    let received_at = arrived_at(id);
    // Each search comes to its end, even if another one fails. A look into a queue that ends too
    // early leaves messages hidden.
    let (in_queues, ledger, steps) = join3(
        search_queues(stack, id),
        search_ledger(stack, id),
        steps(stack, id, received_at),
    )
    .await;
    let (in_queues, ledger, steps) = (in_queues?, ledger?, steps?);
    let InLedger { events, in_spill } = ledger;
    let spilled = in_spill.then(|| Waiting {
        place: "spill".to_owned(),
        why: "its queue couldn't be reached when it arrived. The reconciler puts it back"
            .to_owned(),
        entity: None,
    });
    let InQueues { seen, unseen } = in_queues;
    let waiting: Vec<_> = seen.into_iter().chain(spilled).collect();
    let of_event = events.first().and_then(|event| event.key.split_once('/'));
    let of_event = of_event.map(|(entity, _)| entity.to_owned());
    let verdict = verdict(&Found {
        events: &events,
        waiting: &waiting,
        unseen,
        steps: &steps,
        id_has_time: received_at.is_some(),
        log_days: stack.parameter("LogRetentionDays"),
    });
    Ok(Delivery {
        id,
        verdict,
        received_at,
        entity: of_event.or_else(|| waiting.iter().find_map(|its| its.entity.clone())),
        events,
        waits_in: waiting.into_iter().map(|its| its.place).collect(),
        steps,
    })
}

/// What the logs say of the delivery, in order. Without its time of arrival, no log is read.
async fn steps(stack: &Stack, id: Uuid, received_at: Option<Timestamp>) -> Result<Vec<Step>> {
    let Some(received_at) = received_at else {
        return Ok(vec![]);
    };
    let functions = [
        ("Ingest", AFTER),
        ("Processor", AFTER_IN_PROCESSOR),
        ("Reconciler", AFTER),
    ];
    let pattern = format!(r#"{{ $.DeliveryId = "{id}" || $.delivery_id = "{id}" }}"#);
    let pattern = &pattern;
    let of_function = functions.map(async |(function, after)| {
        let from = received_at - BEFORE;
        let until = (received_at + after).min(Timestamp::now() + BEFORE);
        let lines = logs::lines(stack, function, pattern, from, until).await?;
        let step = |line: &Line| Step::read(function, line);
        anyhow::Ok(lines.iter().map(step).collect::<Vec<_>>())
    });
    let mut steps = try_join_all(of_function).await?.concat();
    steps.sort_by_key(|step| step.at);
    Ok(steps)
}

impl Step {
    fn read(function: &str, line: &Line) -> Self {
        Self {
            at: line.at,
            function: function.to_lowercase(),
            what: what(&line.fields),
        }
    }
}

/// What a line says: the answer or the outcome of a unit of work, otherwise its message.
fn what(fields: &Value) -> String {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let outcome = text("Answer").or_else(|| text("Outcome"));
    let (what, why) = match outcome {
        Some("accepted") if fields.get("Spilled").and_then(Value::as_u64) == Some(1) => {
            ("accepted", Some("it is in the spill"))
        }
        Some(outcome) => (outcome, text("Reason")),
        None => (text("message").unwrap_or("wrote a line"), text("error")),
    };
    match why {
        Some(why) => format!("{what} ({why})"),
        None => what.to_owned(),
    }
}

/// What the ledger table has of a delivery.
#[derive(Debug, Default)]
struct InLedger {
    events: Vec<Happening>,
    in_spill: bool,
}

/// Reads the whole table, and then the events that the delivery was published or tried for.
async fn search_ledger(stack: &Stack, id: Uuid) -> Result<InLedger> {
    let text = &id.to_string();
    let segments = (0..SEGMENTS).map(|segment| search_segment(stack, text, segment));
    let found: BTreeSet<_> = try_join_all(segments)
        .await?
        .into_iter()
        .flatten()
        .collect();
    let (spilled, partitions): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|partition| partition.starts_with(SPILL));
    let timelines = partitions
        .iter()
        .map(|partition| timeline::happenings(stack, partition));
    let mut events = try_join_all(timelines).await?.concat();
    events.retain(|event| event.delivery_id.as_ref() == Some(text));
    Ok(InLedger {
        events,
        in_spill: !spilled.is_empty(),
    })
}

/// The partitions of one part of the table that have an item about the delivery.
async fn search_segment(stack: &Stack, id: &str, segment: i32) -> Result<Vec<String>> {
    let mut items = stack
        .dynamodb()
        .scan()
        .table_name(stack.table()?)
        .segment(segment)
        .total_segments(SEGMENTS)
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut partitions = Vec::new();
    while let Some(item) = items.next().await {
        let item = item.map_err(CallError::of("ledger", "Scan"))?;
        partitions.extend(partition_if_about(&item, id));
    }
    Ok(partitions)
}

/// The item's partition, if the item is an event that this delivery reported, or the delivery
/// itself in the spill.
fn partition_if_about(item: &HashMap<String, AttributeValue>, id: &str) -> Option<String> {
    let partition = item.get("pk")?.as_s().ok()?;
    let is = |value: &AttributeValue| value.as_s().is_ok_and(|text| text == id);
    let is_about = if partition.starts_with(SPILL) {
        item.get("sk").is_some_and(is)
    } else {
        let is_delivery_id = |name: &str| {
            let read = ItemAttribute::read(name);
            read.is_some_and(|(attribute, _)| attribute == ItemAttribute::DeliveryId)
        };
        item.iter()
            .any(|(name, value)| is_delivery_id(name) && is(value))
    };
    is_about.then(|| partition.clone())
}

/// A place where the delivery waits.
#[derive(Debug, Clone)]
struct Waiting {
    /// The place, as in [`Delivery::waits_in`].
    place: String,
    /// Why it waits there.
    why: String,
    /// The entity's key, if it can be read there.
    entity: Option<String>,
}

/// What the quarantine and the dead letters have of a delivery.
struct InQueues {
    seen: Vec<Waiting>,
    /// How many messages there are that couldn't be seen.
    unseen: u64,
}

/// Looks for the delivery in the quarantine and in the dead letters.
async fn search_queues(stack: &Stack, id: Uuid) -> Result<InQueues> {
    let looks = join(quarantine::list(stack), dead_letters::list(stack, None)).await;
    let (quarantine, letters) = (looks.0?, looks.1?);
    let unseen = quarantine.more.saturating_add(letters.more);
    let id = id.to_string();
    let quarantined = quarantine.deliveries.into_iter().filter(|its| its.id == id);
    let quarantined = quarantined.map(|its| Waiting {
        place: format!("quarantine ({})", its.reason),
        why: its.meaning,
        entity: its.entity,
    });
    let dead = letters.messages.into_iter().filter(|its| its.id == id);
    let dead = dead.map(|its| Waiting {
        place: format!("{:?} dead letters", its.queue).to_lowercase(),
        why: its.reason,
        entity: its.entity,
    });
    let seen = quarantined.chain(dead).collect();
    Ok(InQueues { seen, unseen })
}

/// All that was found of a delivery.
struct Found<'a> {
    events: &'a [Happening],
    waiting: &'a [Waiting],
    /// How many messages of the quarantine and the dead letters couldn't be seen.
    unseen: u64,
    steps: &'a [Step],
    /// Whether the id says when the delivery arrived, as each id of ingest does.
    id_has_time: bool,
    /// How many days the logs are kept.
    log_days: &'a str,
}

/// What became of the delivery, in a sentence or two.
fn verdict(found: &Found<'_>) -> String {
    let places = found.waiting.iter().map(|Waiting { place, why, .. }| {
        let why = why.trim_end_matches('.');
        format!("It waits in the {place}: {why}.")
    });
    let mut places = places.collect::<Vec<_>>().join(" ");
    let is_published = found.events.first().is_some_and(Happening::is_published);
    if found.unseen > 0 && places.is_empty() && !is_published {
        places = format!(
            "{} messages in the quarantine and the dead letters could not be seen, and it may be \
             one of them: try again in a minute.",
            found.unseen
        );
    }
    let fate = match found.events.first() {
        Some(event) if event.is_published() => published(event),
        Some(event) => format!(
            "Not published: {} was claimed, and {}.",
            event.message,
            event.why_not_published(Timestamp::now())
        ),
        None if !found.waiting.is_empty() => "Not published.".to_owned(),
        None => by_the_logs(found),
    };
    [fate, places].join(" ").trim_end().to_owned()
}

fn published(event: &Happening) -> String {
    let message = &event.message;
    let Some(at) = event.published_at.map(Time) else {
        return format!("Published: {message}.");
    };
    match event.latency_milliseconds.map(SignedDuration::from_millis) {
        Some(latency) => format!(
            "Published as {message} at {at}, {} after it arrived.",
            Span(latency)
        ),
        None => format!("Published as {message} at {at}."),
    }
}

/// What became of a delivery that only the logs know. The processor comes after ingest and the
/// reconciler, whichever line CloudWatch got first.
fn by_the_logs(found: &Found<'_>) -> String {
    let of = |is_processor: bool| {
        let steps = found.steps.iter().rev();
        steps.filter(move |step| (step.function == "processor") == is_processor)
    };
    let fate = of(true).chain(of(false)).find_map(Step::fate);
    if !found.id_has_time {
        return "No delivery has such an id: ingest makes UUIDs of version 7.".to_owned();
    }
    fate.unwrap_or_else(|| {
        format!(
            "Nothing here knows this delivery. Either it never arrived at this stack, or it is \
             older than the logs ({} days) and the ledger (35 days).",
            found.log_days
        )
    })
}

impl Step {
    /// What became of the delivery by this line. `None` if the line doesn't tell it.
    fn fate(&self) -> Option<String> {
        let at = Time(self.at);
        let word = self.what.split(' ').next().unwrap_or_default();
        Some(match (self.function.as_str(), word) {
            ("processor", "duplicate") => format!(
                "Duplicate: another delivery of the same event was published. This one was dropped \
                 at {at}."
            ),
            ("processor", "published") => {
                format!("Published at {at}. The ledger has forgotten it since.")
            }
            ("processor", "unmarked") => {
                format!("Published at {at}. The ledger could not be told.")
            }
            ("processor", "conflict" | "quarantined") | ("ingest", "quarantined") => format!(
                "Not published: it went into the quarantine at {at}, and is no longer there. \
                 `aura-ops audit` says who released or discarded it.",
            ),
            ("processor", "held" | "failed" | "panicked" | "postponed") => format!(
                "Not published: its last try ended at {at} ({word}). It waits in the ingest queue \
                 for its next try."
            ),
            ("ingest", "accepted") => format!(
                "Not published: it was accepted at {at}, and no try is logged. It waits in the \
                 ingest queue."
            ),
            ("ingest", "store-unavailable" | "too-large") => {
                format!("Not stored: ingest answered {word} at {at}. AURA doesn't send it again.")
            }
            ("reconciler", "missed") => format!(
                "Not published: the reconciler put it on the ingest queue at {at}, and no try is \
                 logged. It waits there."
            ),
            _ => return None,
        })
    }
}

impl Display for Delivery {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        if let Some(at) = self.received_at {
            let is_known =
                !(self.events.is_empty() && self.waits_in.is_empty() && self.steps.is_empty());
            let name = if is_known {
                "arrived"
            } else {
                "made at, by its id"
            };
            write!(f, "\n\n{name}  {}", Time(at))?;
        }
        if let Some(entity) = &self.entity {
            let (kind, id) = entity.split_once('#').unwrap_or((entity, ""));
            write!(
                f,
                "\nentity   {kind} {id}   (`aura-ops timeline {kind} {id}`)"
            )?;
        }
        if !self.events.is_empty() {
            write!(f, "\n\n{}", timeline::lines(&self.events))?;
        }
        if !self.steps.is_empty() {
            let row = |step: &Step| {
                [
                    Time(step.at).to_string(),
                    step.function.clone(),
                    step.what.clone(),
                ]
            };
            let rows: Vec<_> = self.steps.iter().map(row).collect();
            write!(f, "\n\n{}", table(["logged", "by", "what"], &rows))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(function: &str, what: &str) -> Step {
        Step {
            at: Timestamp::UNIX_EPOCH,
            function: function.to_owned(),
            what: what.to_owned(),
        }
    }

    fn waiting(place: &str) -> Waiting {
        Waiting {
            place: place.to_owned(),
            why: "It isn't JSON.".to_owned(),
            entity: None,
        }
    }

    fn verdict_of(steps: &[Step], waiting: &[Waiting]) -> String {
        verdict(&Found {
            events: &[],
            waiting,
            unseen: 0,
            steps,
            id_has_time: true,
            log_days: "30",
        })
    }

    #[test]
    fn the_processors_word_counts_more_than_a_later_line_of_ingest() {
        let steps = [
            step(
                "ingest",
                "the queue did not confirm the delivery (SQS: timed out)",
            ),
            step("processor", "failed"),
            step("processor", "duplicate"),
            step("ingest", "accepted (it is in the spill)"),
        ];
        assert!(verdict_of(&steps, &[]).starts_with("Duplicate: "));
        assert!(verdict_of(&steps[..2], &[]).contains("its last try ended"));
        let [.., accepted] = &steps;
        assert!(verdict_of(std::slice::from_ref(accepted), &[]).contains("no try is logged"));
        assert!(verdict_of(&steps[..1], &[]).starts_with("Nothing here knows"));
        let none = verdict_of(&[], &[]);
        assert!(none.contains("the logs (30 days)"), "{none}");
    }

    #[test]
    fn a_delivery_that_waits_somewhere_is_not_lost() {
        let quarantined = step("ingest", "quarantined (not-json)");
        let here = [waiting("quarantine (not-json)")];
        assert_eq!(
            verdict_of(std::slice::from_ref(&quarantined), &here),
            "Not published. It waits in the quarantine (not-json): It isn't JSON."
        );
        let gone = verdict_of(&[quarantined], &[]);
        assert!(gone.contains("is no longer there"), "{gone}");
    }

    #[test]
    fn a_message_that_could_not_be_seen_may_be_the_delivery() {
        let text = verdict(&Found {
            events: &[],
            waiting: &[],
            unseen: 2,
            steps: &[step("processor", "conflict")],
            id_has_time: true,
            log_days: "30",
        });
        assert!(
            text.ends_with("it may be one of them: try again in a minute."),
            "{text}"
        );
    }

    #[test]
    fn a_line_says_its_outcome_or_its_message() {
        let lines = [
            (json!({"Answer": "accepted", "Spilled": 0}), "accepted"),
            (
                json!({"Answer": "accepted", "Spilled": 1}),
                "accepted (it is in the spill)",
            ),
            (
                json!({"Answer": "quarantined", "Reason": "not-json"}),
                "quarantined (not-json)",
            ),
            (json!({"Outcome": "published", "Message": "A"}), "published"),
            (
                json!({"message": "held", "error": "ledger: timed out"}),
                "held (ledger: timed out)",
            ),
        ];
        for (fields, text) in lines {
            assert_eq!(what(&fields), text);
        }
    }

    #[test]
    fn an_item_is_about_its_delivery_whichever_occurrence_reported_it() {
        let id = Uuid::now_v7().to_string();
        let item = |pairs: &[(&str, &str)]| {
            let text = |text: &str| AttributeValue::S(text.to_owned());
            let pairs = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), text(value)));
            pairs.collect::<HashMap<_, _>>()
        };
        let about = |pairs: &[(&str, &str)]| partition_if_about(&item(pairs), &id);
        let found = Some("callout#1".to_owned());
        assert_eq!(about(&[("pk", "callout#1"), ("deliveryId", &id)]), found);
        assert_eq!(about(&[("pk", "callout#1"), ("deliveryId_12", &id)]), found);
        assert_eq!(about(&[("pk", "callout#1"), ("owner", &id)]), None);
        assert_eq!(
            about(&[("pk", "spill/3"), ("sk", &id)]),
            Some("spill/3".to_owned())
        );
        assert_eq!(
            about(&[("pk", "note/3"), ("sk", &format!("kept/{id}"))]),
            None
        );
    }
}
