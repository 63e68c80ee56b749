//! Everything that the ledger knows about an entity, in order.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context as _, Result};
use futures::future::try_join;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::event::{CALLOUT, Entity};
use shared::ledger::notes::{Note, Notes};
use shared::ledger::{CLAIMED, EventLedger, Item, ItemAttribute, LedgerKey, PUBLISHED};

use crate::stack::Stack;
use crate::words::{Span, Time, table};

/// The events of an entity.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// The entity's kind.
    pub kind: String,
    /// The entity's id.
    pub id: String,
    /// Whether AURA has marked it as a drill. The ledger knows this only of callouts.
    pub test: bool,
    /// Its events, in the order of their arrival.
    pub events: Vec<Happening>,
}

/// One event, or one occurrence of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happening {
    /// The key that each copy of the event carries.
    pub key: String,
    /// AURA's event name.
    pub message: String,
    /// The number of the occurrence, from 1.
    pub occurrence: u32,
    /// `PUBLISHED` or `CLAIMED`.
    pub state: String,
    /// When the delivery arrived.
    pub received_at: Option<Timestamp>,
    /// When it was marked as published.
    pub published_at: Option<Timestamp>,
    /// Milliseconds between the two.
    pub latency_milliseconds: Option<i64>,
    /// When the lease of the last try ends or ended, if the event isn't published.
    pub lease_until: Option<Timestamp>,
    /// Who reported it.
    pub origin: Option<String>,
    /// How often it was claimed.
    pub attempts: Option<i64>,
    /// The delivery that was published, or tried last.
    pub delivery_id: Option<String>,
    /// The bus's id of the event.
    pub bus_event_id: Option<String>,
}

/// Reads the timeline of an entity.
///
/// # Errors
///
/// DynamoDB refuses the call.
pub async fn read(stack: &Stack, kind: &str, id: &str) -> Result<Timeline> {
    let entity = Entity {
        kind: kind.to_owned(),
        id: id.to_owned(),
    };
    let partition = entity.key();
    let (events, test) = try_join(happenings(stack, &partition), is_drill(stack, &entity)).await?;
    let Entity { kind, id } = entity;
    Ok(Timeline {
        kind,
        id,
        test,
        events,
    })
}

/// The events of the entity with this key, in the order of their arrival.
pub(crate) async fn happenings(stack: &Stack, partition: &str) -> Result<Vec<Happening>> {
    let ledger = EventLedger::new(stack.dynamodb(), stack.table()?.to_owned());
    let items = ledger.timeline(partition).await?;
    let read = |(sort, item): &(String, Item)| Happening::read(partition, sort, item);
    let mut events: Vec<_> = items.iter().map(read).collect();
    // An item of an older version has no time of arrival. It arrived before it was published.
    events.sort_by_key(|event| event.received_at.or(event.published_at));
    Ok(events)
}

async fn is_drill(stack: &Stack, entity: &Entity) -> Result<bool> {
    if entity.kind != CALLOUT {
        return Ok(false);
    }
    let note = Note::drill(&entity.id);
    let notes = Notes::new(stack.dynamodb(), stack.table()?.to_owned());
    let found = notes.look_up(std::slice::from_ref(&note)).await?;
    found
        .is_noted(&note)
        .context("DynamoDB is too busy to say whether this is a drill: try again")
}

impl Happening {
    fn read(partition: &str, sort: &str, item: &Item) -> Self {
        let text = |attribute| item.text(attribute).ok().map(str::to_owned);
        let time = |attribute| item.time(attribute).ok();
        let key = LedgerKey {
            partition: partition.to_owned(),
            sort: sort.to_owned(),
        };
        let received_at = time(ItemAttribute::ReceivedAt);
        let published_at = time(ItemAttribute::PublishedAt);
        let latency = |(received, published): (Timestamp, Timestamp)| {
            published.as_millisecond() - received.as_millisecond()
        };
        Self {
            key: key.to_string(),
            message: message_of(sort, item),
            occurrence: item.occurrence().unwrap_or(1),
            state: text(ItemAttribute::State).unwrap_or_else(|| "unknown".to_owned()),
            received_at,
            published_at,
            latency_milliseconds: received_at.zip(published_at).map(latency),
            lease_until: time(ItemAttribute::LeaseUntil),
            origin: text(ItemAttribute::Origin),
            attempts: item.number(ItemAttribute::Attempt).ok(),
            delivery_id: text(ItemAttribute::DeliveryId),
            bus_event_id: text(ItemAttribute::BusEventId),
        }
    }

    /// Whether the event is on the bus, as far as the ledger knows.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.state == PUBLISHED
    }

    /// How long after its arrival the event was published, in words.
    fn published_after(&self) -> String {
        match (self.latency_milliseconds, self.is_published()) {
            (Some(milliseconds), true) => {
                Span(SignedDuration::from_millis(milliseconds)).to_string()
            }
            (None, true) => "yes".to_owned(),
            (_, false) => "NOT YET".to_owned(),
        }
    }

    /// What it means that the event isn't published.
    pub(crate) fn why_not_published(&self, now: Timestamp) -> String {
        if self.state != CLAIMED {
            return "its item in the ledger has a form that this version doesn't know".to_owned();
        }
        let tries = self.attempts.unwrap_or(1);
        match self.lease_until {
            Some(until) if until > now => {
                format!(
                    "try {tries} is under way, until {} at the latest",
                    Time(until)
                )
            }
            Some(until) => format!(
                "the lease of try {tries} ended at {}, and it waits for its next try",
                Time(until)
            ),
            None => format!("try {tries} has no lease"),
        }
    }
}

/// The event's name: the sort key without the discriminator of a recurring event (its digest), of a
/// signal (its delivery), or of a further occurrence (its number).
pub(crate) fn message_of(sort: &str, item: &Item) -> String {
    let occurrence = item.occurrence().unwrap_or(1);
    let number = format!("#{occurrence}");
    let sort = match sort.strip_suffix(&number) {
        Some(first) if occurrence > 1 => first,
        _ => sort,
    };
    let discriminators = [ItemAttribute::Digest, ItemAttribute::DeliveryId];
    let mut discriminators = discriminators
        .into_iter()
        .filter_map(|attribute| item.text(attribute).ok());
    let message = discriminators.find_map(|its| sort.strip_suffix(its)?.strip_suffix('#'));
    message.unwrap_or(sort).to_owned()
}

/// A time in the reader's zone, such as `2026-11-28 21:04:05 SAST`. A list has one in each line.
fn here(at: Timestamp) -> String {
    let zoned = at.to_zoned(TimeZone::system());
    if zoned.offset().is_zero() {
        zoned.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
    } else {
        zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }
}

/// The events as lines, in columns.
pub(crate) fn lines(events: &[Happening]) -> String {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let row = |event: &Happening| {
        [
            event.received_at.map_or_else(|| "unknown".to_owned(), here),
            event.message.clone(),
            event.published_after(),
            or_unknown(&event.origin),
            event
                .attempts
                .map_or_else(String::new, |tries| tries.to_string()),
            or_unknown(&event.delivery_id),
        ]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    let heads = [
        "arrived",
        "event",
        "published after",
        "origin",
        "tries",
        "delivery",
    ];
    table(heads, &rows)
}

impl Timeline {
    /// Says that there is nothing, and where to look instead.
    fn write_unknown(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, id, .. } = self;
        write!(
            f,
            "The ledger knows no {kind} {id}: none of its events was published in the last 35 days.\n\
             - Write the kind and the id as AURA does: a callout, a customer or a subscription, such as \
             `callout 5003`\n\
             - What could not be read has no entity: look into `aura-ops quarantine list`\n\
             - You have the id of a delivery: type `aura-ops delivery ID`"
        )
    }
}

impl Display for Timeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, id, .. } = self;
        let count = match self.events.len() {
            0 => return self.write_unknown(f),
            1 => "1 event".to_owned(),
            count => format!("{count} events"),
        };
        let open: Vec<_> = self
            .events
            .iter()
            .filter(|its| !its.is_published())
            .collect();
        let published = match open.len() {
            0 => "published".to_owned(),
            open => format!("{open} NOT published"),
        };
        let drill = if self.test {
            ". AURA marked it as a drill"
        } else {
            ""
        };
        write!(
            f,
            "{kind} {id}: {count}, {published}{drill}.\n\n{}\n\n\
             Published is on the bus.\n\
             - `aura-ops status` shows what waits there for its consumer\n\
             - `aura-ops quarantine list` shows what was put aside",
            lines(&self.events)
        )?;
        let now = Timestamp::now();
        for event in open {
            let why = event.why_not_published(now);
            write!(f, "\n\n{} is not published: {why}.", event.message)?;
            if let Some(delivery) = &event.delivery_id {
                write!(f, "\n`aura-ops delivery {delivery}` says where it is.")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shared::ledger::Value;

    use super::*;

    const DIGEST: &str = "abc123";
    const DELIVERY: &str = "01937e2c-5a1f-7000-8000-000000000001";

    fn item(state: &str, occurrence: i64) -> Item {
        let text = |text: &str| Value::Text(text.to_owned());
        Item(
            [
                (ItemAttribute::State, text(state)),
                (ItemAttribute::Digest, text(DIGEST)),
                (ItemAttribute::DeliveryId, text(DELIVERY)),
                (ItemAttribute::Occurrence, Value::Number(occurrence)),
                (ItemAttribute::Attempt, Value::Number(2)),
                (ItemAttribute::ReceivedAt, Value::Number(1_000)),
                (ItemAttribute::LeaseUntil, Value::Number(31_000)),
            ]
            .into(),
        )
    }

    fn happening(sort: &str, item: &Item) -> Happening {
        Happening::read("callout#5003", sort, item)
    }

    #[test]
    fn the_name_of_an_event_has_no_discriminator() {
        let names = [
            ("NEW_CALLOUT".to_owned(), 1, "NEW_CALLOUT"),
            (format!("CALLOUT_OWNED#{DIGEST}"), 1, "CALLOUT_OWNED"),
            (format!("CALLOUT_OWNED#{DIGEST}#2"), 2, "CALLOUT_OWNED"),
            (
                format!("CALLOUT_EVENTS_CHANGED#{DELIVERY}"),
                1,
                "CALLOUT_EVENTS_CHANGED",
            ),
            (format!("NEW#2#{DIGEST}"), 1, "NEW#2"),
            ("NEW#1".to_owned(), 1, "NEW#1"),
        ];
        for (sort, occurrence, name) in names {
            let read = happening(&sort, &item(PUBLISHED, occurrence));
            assert_eq!(read.message, name);
            assert_eq!(read.key, format!("callout#5003/{sort}"));
        }
    }

    #[test]
    fn the_latency_is_the_time_from_arrival_until_the_mark() {
        let mut item = item(PUBLISHED, 1);
        assert_eq!(happening("A", &item).latency_milliseconds, None);
        assert_eq!(happening("A", &item).published_after(), "yes");
        item.0
            .insert(ItemAttribute::PublishedAt, Value::Number(1_095));
        assert_eq!(happening("A", &item).latency_milliseconds, Some(95));
        assert_eq!(happening("A", &item).published_after(), "95 ms");
    }

    #[test]
    fn an_unpublished_event_says_what_it_waits_for() {
        let claimed = happening("A", &item(CLAIMED, 1));
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(
            claimed.why_not_published(at(30)),
            format!("try 2 is under way, until {} at the latest", Time(at(31)))
        );
        assert!(
            claimed
                .why_not_published(at(31))
                .ends_with("it waits for its next try")
        );
        let odd = happening("A", &item("MALFORMED", 1)).why_not_published(at(0));
        assert!(
            odd.contains("a form that this version doesn't know"),
            "{odd}"
        );
    }

    #[test]
    fn a_timeline_has_a_line_for_each_event_and_says_what_is_open() {
        let mut timeline = Timeline {
            kind: "callout".to_owned(),
            id: "5003".to_owned(),
            test: true,
            events: vec![],
        };
        assert!(
            timeline
                .to_string()
                .starts_with("The ledger knows no callout 5003: ")
        );
        timeline.events = vec![happening("NEW_CALLOUT", &item(PUBLISHED, 1))];
        let text = timeline.to_string();
        assert!(text.starts_with("callout 5003: 1 event, published. AURA marked it as a drill."));
        timeline
            .events
            .push(happening("CALLOUT_CLOSED", &item(CLAIMED, 1)));
        let text = timeline.to_string();
        assert!(
            text.starts_with("callout 5003: 2 events, 1 NOT published."),
            "{text}"
        );
        assert!(
            text.contains("\nCALLOUT_CLOSED is not published: "),
            "{text}"
        );
        let mut lines = lines(&timeline.events).lines().map(str::len).max();
        assert!(lines.take().is_some_and(|longest| longest <= 120), "{text}");
    }
}
