//! The loss ledger of the last day: each delivery is in exactly one class.
//!
//! The logs of ingest, the processor and the reconciler tell it. A canary counts as a delivery,
//! too.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::extract::{Query, State};
use axum::response::Response;
use futures::try_join;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;
use shared::ledger::spill::arrived_at;

use super::Site;
use super::layout::{Frame, MOST_ROWS, Tab, absent, empty, grouped, milliseconds, table, time};
use crate::logs::{self, Line};
use crate::stack::Stack;

/// The time that the loss ledger covers.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The time that the overview's numbers cover.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// How old the overview's numbers may be.
const FRESH: Duration = Duration::from_secs(10);

/// Ingest's lines about deliveries with the right secret, and about those that it couldn't store.
const DELIVERIES: &str = r#"{ $.DeliveryId = "*" || $.Unavailable = 1 }"#;
/// The processor's lines about records.
const RECORDS: &str = r#"{ $.Outcome = "*" && $.DeliveryId = "*" }"#;
/// The reconciler's lines about events that it found missing.
const FINDINGS: &str = r#"{ $.message = "missed event put on the queue" }"#;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Class {
    /// Nothing confirmed it, and AURA was answered 503.
    NotStored,
    /// It is stored, and no end of it is known.
    UnderWay,
    /// It is in the quarantine, or was discarded from there.
    Quarantined,
    /// The reconciler found the event, and it was published.
    Recovered,
    /// Its event was on the bus already.
    Duplicate,
    /// It was published.
    Published,
}

impl Class {
    const ALL: [Self; 6] = [
        Self::Published,
        Self::Duplicate,
        Self::Quarantined,
        Self::Recovered,
        Self::UnderWay,
        Self::NotStored,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NotStored => "not-stored",
            Self::UnderWay => "under-way",
            Self::Quarantined => "quarantined",
            Self::Recovered => "recovered",
            Self::Duplicate => "duplicate",
            Self::Published => "published",
        }
    }

    fn badge(self) -> Markup {
        html! {
            @match self {
                Self::Published => span.badge.good { "published" },
                Self::Recovered => span.badge.good { "recovered" },
                Self::Duplicate => span.badge { "duplicate" },
                Self::Quarantined => span.badge.warn { "quarantined" },
                Self::UnderWay => span.badge.warn { "under way" },
                Self::NotStored => span.badge.bad { "not stored" },
            }
        }
    }

    /// The class of a record's outcome, if it says how the delivery ended.
    fn of_outcome(outcome: &str) -> Option<Self> {
        match outcome {
            "published" | "unmarked" => Some(Self::Published),
            "duplicate" => Some(Self::Duplicate),
            "conflict" | "quarantined" => Some(Self::Quarantined),
            _ => None,
        }
    }
}

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fate {
    /// The delivery's id; `None` if it has none, because it wasn't stored.
    pub id: Option<String>,
    /// When it arrived, or when the reconciler found it.
    pub at: Timestamp,
    /// The event's documented name, or `other`.
    pub message: Option<String>,
    /// Whether the reconciler found the event, because AURA didn't deliver it.
    pub is_finding: bool,
    /// What became of it.
    pub class: Class,
    /// Milliseconds from its arrival until it was published.
    pub delay: Option<i64>,
}

/// What became of all deliveries, the newest first.
#[derive(Debug)]
pub(super) struct Losses {
    pub fates: Vec<Fate>,
}

impl Losses {
    async fn read(stack: &Stack, span: SignedDuration) -> Result<Self> {
        let until = Timestamp::now();
        let from = until - span;
        let (deliveries, records, findings) = try_join!(
            logs::lines(stack, "Ingest", DELIVERIES, from, until),
            logs::lines(stack, "Processor", RECORDS, from, until),
            logs::lines(stack, "Reconciler", FINDINGS, from, until),
        )?;
        Ok(Self::of(&deliveries, &records, &findings, from))
    }

    /// Puts each delivery since `from` into its class.
    fn of(deliveries: &[Line], records: &[Line], findings: &[Line], from: Timestamp) -> Self {
        let mut fates: HashMap<String, Fate> = HashMap::new();
        let mut nameless = Vec::new();
        for (line, recovered) in deliveries
            .iter()
            .map(|line| (line, false))
            .chain(findings.iter().map(|line| (line, true)))
        {
            let fate = begun(line, recovered);
            match fate.id.clone() {
                Some(id) => drop(fates.insert(id, fate)),
                None => nameless.push(fate),
            }
        }
        for line in records {
            if let Some(fate) = line.text("DeliveryId").and_then(|id| fates.get_mut(id)) {
                ended(fate, line);
            }
        }
        let mut fates: Vec<_> = fates.into_values().chain(nameless).collect();
        fates.retain(|fate| fate.at >= from);
        fates.sort_by(|one, other| (other.at, &other.id).cmp(&(one.at, &one.id)));
        Self { fates }
    }

    fn recent(&self) -> Recent {
        let count = |class| self.fates.iter().filter(|fate| fate.class == class).count() as u64;
        let not_stored = count(Class::NotStored);
        Recent {
            delivered: self.fates.len() as u64 - not_stored,
            published: count(Class::Published) + count(Class::Recovered),
            not_stored,
        }
    }
}

/// A delivery as ingest or the reconciler told of it.
fn begun(line: &Line, is_finding: bool) -> Fate {
    let id = line.text(if is_finding {
        "delivery_id"
    } else {
        "DeliveryId"
    });
    let message = line.text(if is_finding { "event" } else { "Message" });
    let class = match line.text("Answer") {
        _ if is_finding => Class::UnderWay,
        Some("accepted") => Class::UnderWay,
        Some("quarantined") => Class::Quarantined,
        _ => Class::NotStored,
    };
    Fate {
        id: id.map(str::to_owned),
        at: id
            .and_then(|id| arrived_at(id.parse().ok()?))
            .unwrap_or_else(|| written(line)),
        message: message.map(str::to_owned),
        is_finding,
        class,
        delay: None,
    }
}

/// Notes how the delivery ended. A publication is never taken back by a later line.
fn ended(fate: &mut Fate, line: &Line) {
    let Some(class) = line.text("Outcome").and_then(Class::of_outcome) else {
        return;
    };
    if fate.delay.is_some() {
        return;
    }
    fate.class = if fate.is_finding && class == Class::Published {
        Class::Recovered
    } else {
        class
    };
    if class == Class::Published {
        let delay = written(line).duration_since(fate.at).as_millis();
        fate.delay = i64::try_from(delay).ok();
    }
}

/// When a unit of work wrote the line, or else when CloudWatch got it.
fn written(line: &Line) -> Timestamp {
    let at = line.fields.pointer("/_aws/Timestamp");
    let at = at.and_then(serde_json::Value::as_i64);
    at.and_then(|at| Timestamp::from_millisecond(at).ok())
        .unwrap_or(line.at)
}

/// What happened in the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recent {
    /// Deliveries that are stored.
    pub delivered: u64,
    /// Of these, those that are published.
    pub published: u64,
    /// Deliveries that weren't stored.
    pub not_stored: u64,
}

/// What happened in the last hour, read in the background, so that the overview doesn't wait for
/// the logs.
#[derive(Debug, Clone, Default)]
pub(super) struct LastHour(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    recent: Option<Recent>,
    /// When somebody last began to read it.
    asked: Option<Instant>,
}

impl LastHour {
    /// What is known of the last hour. If that is old, it is read again for the next look.
    pub fn recent(&self, stack: &Stack) -> Option<Recent> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            known.asked = Some(Instant::now());
            let (stack, known) = (stack.clone(), Arc::clone(&self.0));
            tokio::spawn(async move {
                let recent = Losses::read(&stack, HOUR).await.ok();
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                known.recent = recent.map(|losses| losses.recent());
            });
        }
        known.recent
    }
}

/// Which deliveries are listed.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    class: Option<Class>,
}

/// The loss ledger.
pub(super) async fn page(State(site): State<Arc<Site>>, Query(filter): Query<Filter>) -> Response {
    let read = Losses::read(&site.stack, DAY).await;
    let drawn = read.map(|losses| draw(&site.frame, &losses, filter.class));
    site.show(Tab::Losses, "Loss ledger of the last day", drawn)
}

/// The loss ledger; with a class, only the deliveries of that class are listed.
pub(super) fn draw(frame: &Frame, losses: &Losses, class: Option<Class>) -> Markup {
    let listed: Vec<_> = losses
        .fates
        .iter()
        .filter(|fate| class.is_none_or(|class| fate.class == class))
        .collect();
    html! {
        p { "Each delivery of the last 24 hours is in one class, by the logs. Canaries count, too; their \
             event is " code { "other" } "." }
        @if losses.fates.is_empty() {
            (empty("Nothing was delivered within the last day."))
        } @else {
            (totals(&losses.fates))
            (classes(frame, class))
            (list(frame, &listed))
        }
    }
}

fn totals(fates: &[Fate]) -> Markup {
    let mut hours: BTreeMap<i64, Vec<&Fate>> = BTreeMap::new();
    for fate in fates {
        let hour = fate.at.as_second().div_euclid(3600);
        hours.entry(hour).or_default().push(fate);
    }
    let all: Vec<_> = fates.iter().collect();
    let mut rows = vec![total(html! { strong { "The whole day" } }, &all)];
    rows.extend(hours.iter().rev().filter_map(|(hour, fates)| {
        let begin = Timestamp::from_second(hour * 3600).ok()?;
        Some(total(html! { "from " (time(begin)) }, fates))
    }));
    let heads = [
        "Hour",
        "Delivered",
        "Published",
        "Duplicate",
        "Quarantined",
        "Recovered",
        "Under way",
        "Not stored",
        "Median delay",
        "Longest delay",
    ];
    html! { div.numbers { (table("Deliveries by hour", heads, &rows)) } }
}

fn total(name: Markup, fates: &[&Fate]) -> [Markup; 10] {
    let of = |class| {
        let count = fates.iter().filter(|fate| fate.class == class).count();
        if count == 0 {
            absent("0")
        } else {
            html! { (grouped(count as u64)) }
        }
    };
    let stored = fates.iter().filter(|fate| fate.class != Class::NotStored);
    let mut delays: Vec<_> = fates.iter().filter_map(|fate| fate.delay).collect();
    delays.sort_unstable();
    let span = |delay: Option<&i64>| {
        delay.map_or_else(|| absent("–"), |delay| html! { (milliseconds(*delay)) })
    };
    [
        name,
        html! { (grouped(stored.count() as u64)) },
        of(Class::Published),
        of(Class::Duplicate),
        of(Class::Quarantined),
        of(Class::Recovered),
        of(Class::UnderWay),
        of(Class::NotStored),
        span(delays.get(delays.len() / 2)),
        span(delays.last()),
    ]
}

/// Links that list one class alone.
fn classes(frame: &Frame, chosen: Option<Class>) -> Markup {
    html! {
        nav.parts aria-label="Classes" {
            a href=(frame.to("losses")) aria-current=[chosen.is_none().then_some("true")] { "All" }
            @for class in Class::ALL {
                " " a href=(frame.about("losses", &[("class", class.name())]))
                    aria-current=[(chosen == Some(class)).then_some("true")] {
                    (class.name().replace('-', " "))
                }
            }
        }
    }
}

fn list(frame: &Frame, fates: &[&Fate]) -> Markup {
    let rows: Vec<_> = fates
        .iter()
        .take(MOST_ROWS)
        .map(|fate| {
            let delay = fate.delay;
            [
                time(fate.at),
                html! { span.event { (fate.message.as_deref().unwrap_or("–")) } },
                fate.class.badge(),
                delay.map_or_else(|| absent("–"), |delay| html! { (milliseconds(delay)) }),
                frame.delivery(fate.id.as_deref()),
            ]
        })
        .collect();
    let heads = ["Arrived", "Event", "Class", "Published after", "Delivery"];
    html! {
        @if rows.is_empty() {
            (empty("No delivery of the last day is in this class."))
        } @else {
            (table("Deliveries, the newest first", heads, &rows))
            @if fates.len() > MOST_ROWS {
                p { "The list shows the newest " (MOST_ROWS) " of " (grouped(fates.len() as u64)) "." }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use uuid::Uuid;

    use super::*;

    const START: i64 = 1_700_000_000_000;

    fn line(fields: Value) -> Line {
        let at = Timestamp::from_millisecond(START).unwrap();
        Line { at, fields }
    }

    /// An id of a delivery that arrived some milliseconds after the start.
    fn id(milliseconds: u64) -> String {
        let at = uuid::Timestamp::from_unix(
            uuid::NoContext,
            (u64::try_from(START).unwrap() + milliseconds) / 1000,
            u32::try_from(milliseconds % 1000).unwrap() * 1_000_000,
        );
        Uuid::new_v7(at).to_string()
    }

    fn answer(id: &str, answer: &str) -> Line {
        line(json!({"DeliveryId": id, "Message": "NEW_CALLOUT", "Answer": answer}))
    }

    fn outcome(id: &str, outcome: &str, milliseconds: i64) -> Line {
        line(json!({
            "DeliveryId": id, "Outcome": outcome, "_aws": {"Timestamp": START + milliseconds},
        }))
    }

    #[test]
    fn each_delivery_is_in_one_class() {
        let ids: Vec<_> = (0..7).map(|number| id(number * 10)).collect();
        let deliveries = [
            answer(&ids[0], "accepted"),
            answer(&ids[1], "accepted"),
            answer(&ids[2], "quarantined"),
            answer(&ids[3], "accepted"),
            answer(&ids[4], "store-unavailable"),
            answer(&ids[5], "accepted"),
            line(json!({"Answer": "secret-unavailable"})),
        ];
        let finding = json!({"delivery_id": ids[6], "event": "CALLOUT_CLOSED"});
        let records = [
            outcome(&ids[0], "failed", 20),
            outcome(&ids[0], "published", 250),
            outcome(&ids[0], "duplicate", 300),
            outcome(&ids[1], "duplicate", 40),
            outcome(&ids[3], "conflict", 50),
            outcome(&ids[5], "held", 60),
            outcome(&ids[6], "published", 90),
        ];
        let from = Timestamp::from_millisecond(START).unwrap();
        let losses = Losses::of(&deliveries, &records, &[line(finding)], from);
        let class = |id: &String| {
            let fate = losses
                .fates
                .iter()
                .find(|fate| fate.id.as_ref() == Some(id));
            fate.map(|fate| fate.class).unwrap()
        };
        let classes: Vec<_> = ids.iter().map(class).collect();
        assert_eq!(
            classes,
            [
                Class::Published,
                Class::Duplicate,
                Class::Quarantined,
                Class::Quarantined,
                Class::NotStored,
                Class::UnderWay,
                Class::Recovered,
            ]
        );
        assert_eq!(losses.fates.len(), 8);
        let first = losses
            .fates
            .iter()
            .find(|fate| fate.id.as_ref() == Some(&ids[0]));
        assert_eq!(first.unwrap().delay, Some(250));
        let recent = Recent {
            delivered: 6,
            published: 2,
            not_stored: 2,
        };
        assert_eq!(losses.recent(), recent);
    }
}
