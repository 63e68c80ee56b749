//! The overview: what needs a person, and the path of an event.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::Site;
use super::layout::{self, Frame, Tab, age, grouped, milliseconds, prose, seconds, time};
use super::losses::Recent;
use crate::status::{self, Depth, Need, Status};

/// The overview.
pub(super) async fn page(State(site): State<Arc<Site>>) -> Response {
    let status = status::read(&site.stack).await;
    let recent = site.last_hour.recent(&site.stack);
    let drawn = status.map(|status| draw(&site.frame, &status, recent));
    site.show(Tab::Overview, "Overview", drawn)
}

/// Where something happens to an event, or is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Aura,
    Ingest,
    IngestQueue,
    Processor,
    Bus,
    Consumers,
    Spill,
    Quarantine,
    DeadLetters,
    Reconciler,
    Registrar,
}

impl Place {
    /// The place that an alarm is about, by the alarm's name in the template.
    fn of_alarm(alarm: &str) -> Option<Self> {
        Some(match alarm.strip_suffix("Alarm")? {
            "WebhookDown" => Self::Aura,
            "DeliveriesFail"
            | "IngestFails"
            | "DeliveriesThrottled"
            | "IngestThrottled"
            | "RefusedWithSecret"
            | "DeliveriesRefused"
            | "RefusedFlood"
            | "ForeignCanary" => Self::Ingest,
            "DeliveriesWait" => Self::IngestQueue,
            "EventsFail" | "ProcessorFails" | "ProcessorThrottled" | "EventsUnmarked" => {
                Self::Processor
            }
            "RulesFail" => Self::Bus,
            "DeliveriesSpilled" | "SpillWaits" => Self::Spill,
            "EventsQuarantined" | "Quarantine" => Self::Quarantine,
            "RegistrarFails" | "CanaryFails" | "CanarySlow" => Self::Registrar,
            "AuraRefuses" | "CalloutsHeld" | "CalloutsUnsettled" | "ReconcilerFails"
            | "ReconcilerStopped" => Self::Reconciler,
            other if other.ends_with("DeadLetters") => Self::DeadLetters,
            "ForwardFails" | "ForwardRetries" => Self::Consumers,
            other if other.ends_with("EventsWait") => Self::Consumers,
            _ => return None,
        })
    }

    /// The page about it.
    fn page(self) -> Option<&'static str> {
        match self {
            Self::Spill => Some("spill"),
            Self::Quarantine => Some("quarantine"),
            Self::DeadLetters => Some("dead-letters"),
            Self::Reconciler => Some("losses"),
            Self::Registrar => Some("registration"),
            _ => None,
        }
    }
}

/// A station of the path as it is drawn.
struct Station<'a> {
    place: Place,
    name: &'a str,
    /// What it does, in a few words.
    does: &'a str,
    /// The number that matters, and what it counts.
    figure: (String, String),
    /// One more line, such as an age.
    note: String,
}

/// What can be seen at a glance.
pub(super) fn draw(frame: &Frame, status: &Status, recent: Option<Recent>) -> Markup {
    let path = path(status, recent);
    let beside = beside(status);
    let news = match status.needs.len() {
        0 => "Nothing needs a person.".to_owned(),
        1 => "1 thing needs a person.".to_owned(),
        many => format!("{many} things need a person."),
    };
    layout::live(
        &news,
        &html! {
            (needs(frame, &status.needs))
            section {
                h2 { "The path of an event" }
                ol.path {
                    @for one in &path { li { (station(frame, one, &status.needs)) } }
                    li.consumers { (consumers(status)) }
                }
            }
            section {
                h2 { "Beside the path" }
                ul.beside {
                    @for one in &beside { li { (station(frame, one, &status.needs)) } }
                }
            }
        },
    )
}

fn needs(frame: &Frame, needs: &[Need]) -> Markup {
    html! {
        section.needs.calm[needs.is_empty()] aria-labelledby="needs" {
            h2 #needs {
                @if needs.is_empty() { "Nothing needs a person" } @else { "Needs a person" }
            }
            @if needs.is_empty() {
                p { "No alarm rings, and nothing waits that only a person can decide." }
            } @else {
                ol { @for need in needs { li { (self::need(frame, need)) } } }
            }
        }
    }
}

fn need(frame: &Frame, need: &Need) -> Markup {
    // An address that isn't one of the web is text.
    let link = need.runbook.starts_with("http").then_some(&need.runbook);
    let page = Place::of_alarm(&need.alarm).and_then(Place::page);
    html! {
        p { (prose(&need.what)) }
        p.quiet {
            @if let Some(since) = need.since { "Since " (time(since)) ". " }
            @if let Some(page) = page { a href=(frame.to(page)) { "Look at it here" } ". " }
            @if let Some(command) = need.command { "Type " code { (command) } ". " }
            @if let Some(link) = link {
                a href=(link) target="_blank" rel="noreferrer" { "What to do: " (need.alarm) }
            } @else {
                "What to do: " (need.runbook)
            }
        }
    }
}

fn path<'a>(status: &Status, recent: Option<Recent>) -> Vec<Station<'a>> {
    let ingest = depth(status, "ingest");
    let recently = |number: fn(Recent) -> u64| {
        let number = recent.map_or_else(|| "…".to_owned(), |recent| grouped(number(recent)));
        (number, "in the last hour".to_owned())
    };
    let made = |place, name, does, figure, note| Station {
        place,
        name,
        does,
        figure,
        note,
    };
    vec![
        aura(status),
        made(
            Place::Ingest,
            "ingest",
            "checks and stores deliveries",
            recently(|recent| recent.delivered),
            match recent.map(|recent| recent.not_stored) {
                Some(0) | None => String::new(),
                Some(many) => format!("{} not stored", grouped(many)),
            },
        ),
        made(
            Place::IngestQueue,
            "ingest queue",
            "keeps each entity's order",
            ingest.map_or_else(unknown, |depth| waiting(depth.waiting)),
            ingest.map_or_else(String::new, oldest),
        ),
        made(
            Place::Processor,
            "processor",
            "publishes each event once",
            ingest.map_or_else(unknown, |depth| {
                counted(depth.hidden, "in work, or tried again later")
            }),
            String::new(),
        ),
        made(
            Place::Bus,
            "event bus",
            "hands events to the consumers",
            recently(|recent| recent.published),
            String::new(),
        ),
    ]
}

fn aura<'a>(status: &Status) -> Station<'a> {
    let (last, arrived) = match status.last_delivery {
        Some(at) => (age(at), "since its last delivery"),
        None => ("none".to_owned(), "of its deliveries has arrived yet"),
    };
    Station {
        place: Place::Aura,
        name: "AURA",
        does: "posts each event once",
        figure: (last, arrived.to_owned()),
        note: format!("asked for {}", asked_for(&status.registration.events)),
    }
}

/// A list of names, shortened to their number.
fn asked_for(events: &str) -> String {
    match events.split(',').filter(|name| !name.is_empty()).count() {
        0 => "an unknown list of events".to_owned(),
        1 => format!("{events} events"),
        many => format!("{many} kinds of events"),
    }
}

fn beside<'a>(status: &Status) -> [Station<'a>; 5] {
    let quarantine = depth(status, "quarantine");
    let dead: Vec<_> = status
        .queues
        .iter()
        .filter(|depth| is_dead_letters(depth))
        .collect();
    let oldest_dead = dead.iter().filter_map(|depth| depth.oldest_seconds).max();
    [
        Station {
            place: Place::Spill,
            name: "spill",
            does: "keeps deliveries while the queue can't be reached",
            figure: waiting(status.spill.waiting as u64),
            note: status
                .spill
                .oldest
                .map_or_else(String::new, |at| format!("oldest {}", age(at))),
        },
        Station {
            place: Place::Quarantine,
            name: "quarantine",
            does: "keeps what can't be understood or published",
            figure: quarantine.map_or_else(unknown, |depth| waiting(all(depth))),
            note: quarantine.map_or_else(String::new, oldest),
        },
        Station {
            place: Place::DeadLetters,
            name: "dead letters",
            does: "keep what failed in every try",
            figure: waiting(dead.iter().map(|depth| all(depth)).sum()),
            note: oldest_dead.map_or_else(String::new, oldest_of),
        },
        reconciler(status),
        registrar(status),
    ]
}

fn reconciler<'a>(status: &Status) -> Station<'a> {
    let run = status.reconciler.as_ref();
    let note = match run.map(|run| (&run.failure, run.at)) {
        Some((Some(_), at)) => format!("its last run failed, {} ago", age(at)),
        Some((None, at)) => format!("last run {} ago", age(at)),
        None if status.reconciler_scheduled => "no run within an hour".to_owned(),
        None => "it isn't scheduled".to_owned(),
    };
    Station {
        place: Place::Reconciler,
        name: "reconciler",
        does: "asks AURA what it didn't send",
        figure: run.map_or_else(nothing, |run| {
            counted(run.found, "found missing in its last run")
        }),
        note,
    }
}

fn registrar<'a>(status: &Status) -> Station<'a> {
    let canary = status.canary.as_ref();
    let figure = match canary.map(|canary| canary.milliseconds) {
        Some(Some(time)) => (
            milliseconds(i64::try_from(time).unwrap_or(i64::MAX)),
            "took the last canary to the bus".to_owned(),
        ),
        Some(None) => ("failed".to_owned(), "the last canary".to_owned()),
        None if status.canary_scheduled => ("–".to_owned(), "no canary within an hour".to_owned()),
        None => ("–".to_owned(), "canaries aren't scheduled".to_owned()),
    };
    Station {
        place: Place::Registrar,
        name: "registrar",
        does: "points AURA here, and sends canaries",
        figure,
        note: canary.map_or_else(String::new, |canary| format!("{} ago", age(canary.at))),
    }
}

fn station(frame: &Frame, station: &Station<'_>, needs: &[Need]) -> Markup {
    let ringing: Vec<_> = needs
        .iter()
        .filter(|need| Place::of_alarm(&need.alarm) == Some(station.place))
        .collect();
    html! {
        div.station.rings[!ringing.is_empty()] {
            h3 {
                @if let Some(page) = station.place.page() {
                    a href=(frame.to(page)) { (station.name) }
                } @else {
                    (station.name)
                }
            }
            p.does { (station.does) }
            p.figure { strong { (station.figure.0) } " " span { (station.figure.1) } }
            p.note { (station.note) }
            (alarms(&ringing))
        }
    }
}

fn alarms(ringing: &[&Need]) -> Markup {
    html! {
        p.alarms {
            @if ringing.is_empty() {
                span.quiet { "no alarm rings" }
            } @else {
                @for need in ringing {
                    @if need.rings {
                        span.badge.bad { (need.alarm) " rings" }
                    } @else {
                        span.badge.warn { "needs a person" }
                    }
                    " "
                }
            }
        }
    }
}

/// The queues of the four consumers, as one station.
fn consumers(status: &Status) -> Markup {
    let queues = status
        .queues
        .iter()
        .filter(|depth| !["ingest", "quarantine"].contains(&depth.name.as_str()))
        .filter(|depth| !is_dead_letters(depth));
    let ringing: Vec<_> = status
        .needs
        .iter()
        .filter(|need| Place::of_alarm(&need.alarm) == Some(Place::Consumers))
        .collect();
    html! {
        div.station.rings[!ringing.is_empty()] {
            h3 { "consumers" }
            p.does { "have this many events waiting, the oldest for so long" }
            dl {
                @for depth in queues {
                    div {
                        dt { (depth.name.trim_end_matches(" events")) }
                        dd { strong { (grouped(depth.waiting)) } }
                        dd.quiet { @if let Some(age) = depth.oldest_seconds { (span(age)) } }
                    }
                }
            }
            (alarms(&ringing))
        }
    }
}

fn depth<'a>(status: &'a Status, name: &str) -> Option<&'a Depth> {
    status.queues.iter().find(|depth| depth.name == name)
}

fn is_dead_letters(depth: &Depth) -> bool {
    depth.name.ends_with("dead letters")
}

/// All messages of a queue that nobody works on for long.
fn all(depth: &Depth) -> u64 {
    depth.waiting + depth.hidden
}

fn nothing() -> (String, String) {
    ("–".to_owned(), String::new())
}

fn unknown() -> (String, String) {
    ("–".to_owned(), "unknown".to_owned())
}

fn waiting(number: u64) -> (String, String) {
    counted(number, "waiting")
}

fn counted(number: u64, what: &str) -> (String, String) {
    (grouped(number), what.to_owned())
}

fn oldest(depth: &Depth) -> String {
    depth.oldest_seconds.map_or_else(String::new, oldest_of)
}

fn span(age: u64) -> String {
    seconds(i64::try_from(age).unwrap_or(i64::MAX))
}

fn oldest_of(age: u64) -> String {
    format!("oldest {}", span(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alarm_of_the_template_has_a_place() {
        let template = include_str!("../../../../template.yaml");
        let names = template.lines().filter_map(|line| {
            let name = line.strip_prefix("  ")?.strip_suffix(':')?;
            (name.ends_with("Alarm") && !name.starts_with(' ')).then_some(name)
        });
        let names: Vec<_> = names.collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert!(Place::of_alarm(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_list_of_events_is_shortened() {
        assert_eq!(asked_for("ALL"), "ALL events");
        assert_eq!(asked_for("A,B"), "2 kinds of events");
    }
}
