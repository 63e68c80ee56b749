//! What waits for a person or for the reconciler: the quarantine, the dead letters, and the spill.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use clap::ValueEnum as _;
use maud::{Markup, html};
use serde::Deserialize;

use super::Site;
use super::actions::{Action, button};
use super::layout::{
    Frame, MOST_ROWS, Tab, absent, age, count, empty, facts, grouped, prose, table, time, time_or,
};
use crate::dead_letters::{self, DeadLetter, DeadLetters, Letters};
use crate::quarantine::{self, Quarantine, Quarantined};
use crate::spill::{self, SpillList};

/// The message that somebody looks at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct One {
    id: String,
    /// `1` if the payload is asked for.
    payload: String,
}

impl One {
    fn with_payload(&self) -> bool {
        self.payload == "1"
    }
}

/// The quarantine.
pub(super) async fn quarantine(State(site): State<Arc<Site>>) -> Response {
    let drawn = quarantine::list(&site.stack)
        .await
        .map(|quarantine| draw_quarantine(&site.frame, &quarantine));
    site.show(Tab::Quarantine, "Quarantine", drawn)
}

/// What is in the quarantine.
pub(super) fn draw_quarantine(frame: &Frame, quarantine: &Quarantine) -> Markup {
    let all = &quarantine.deliveries;
    let rows: Vec<_> = all
        .iter()
        .take(MOST_ROWS)
        .map(|one| {
            [
                waited(one.since.or(one.received_at)),
                html! { strong { (one.reason) } div.quiet { (prose(&one.meaning)) } },
                event(frame, one.message.as_deref(), one.entity.as_deref()),
                html! {
                    a href=(frame.about("quarantine/one", &[("id", &one.message_id)])) { "Look" }
                    " " span.id { (one.id) }
                },
            ]
        })
        .collect();
    html! {
        p { "Authentic deliveries that couldn't be understood or published. Each waits until a person \
             decides." }
        @if rows.is_empty() && quarantine.more == 0 {
            (empty("The quarantine is empty."))
        } @else {
            (table("The deliveries, the oldest first", ["Waits for", "Why", "Event", "Delivery"], &rows))
            (hidden(all.len(), quarantine.more))
        }
    }
}

/// One delivery in the quarantine.
pub(super) async fn quarantined(State(site): State<Arc<Site>>, Query(one): Query<One>) -> Response {
    let read = quarantine::show(&site.stack, &one.id, one.with_payload()).await;
    let drawn = read.map(|delivery| draw_quarantined(&site.frame, &delivery));
    site.show(Tab::Quarantine, "In the quarantine", drawn)
}

/// A delivery in the quarantine, and what can be done with it.
pub(super) fn draw_quarantined(frame: &Frame, one: &Quarantined) -> Markup {
    html! {
        p.verdict { (prose(&one.meaning)) }
        p { (prose(&one.advice)) }
        (facts(&[
            ("Delivery", frame.delivery(Some(&one.id))),
            ("Reason", html! { (one.reason) }),
            ("Event", event(frame, one.message.as_deref(), one.entity.as_deref())),
            ("Arrived", time_or(one.received_at, "unknown")),
            ("Quarantined", time_or(one.since, "unknown")),
            ("Size", size(one.bytes)),
            ("SQS's id", html! { span.id { (one.message_id) } }),
        ]))
        (payload(frame, "quarantine/one", &one.message_id, one.payload.as_deref()))
        @if frame.allow_actions {
            section.actions {
                h2 { "Decide" }
                @if one.reason == "conflict" {
                    (button(frame, Action::ReleaseAsCorrection, &one.message_id, "Release as a correction…"))
                } @else {
                    (button(frame, Action::Release, &one.message_id, "Release…"))
                }
                (button(frame, Action::Discard, &one.message_id, "Discard…"))
            }
        } @else {
            (read_only())
        }
    }
}

/// The dead letters.
pub(super) async fn dead_letters(State(site): State<Arc<Site>>) -> Response {
    let read = dead_letters::list(&site.stack, None).await;
    let drawn = read.map(|letters| draw_dead_letters(&site.frame, &letters));
    site.show(Tab::DeadLetters, "Dead letters", drawn)
}

/// What is in the dead letters.
pub(super) fn draw_dead_letters(frame: &Frame, letters: &DeadLetters) -> Markup {
    let all = &letters.messages;
    let rows: Vec<_> = all
        .iter()
        .take(MOST_ROWS)
        .map(|one| {
            [
                html! { (name(one.queue)) },
                waited(one.since.or(one.received_at)),
                html! { (prose(&one.reason)) },
                html! {
                    (event(frame, one.message.as_deref(), one.entity.as_deref()))
                    @if one.test == Some(true) { " " span.badge.warn { "drill" } }
                },
                html! {
                    a href=(frame.about("dead-letters/one", &[("id", &one.message_id)])) { "Look" }
                    " " span.id { (one.id) }
                },
            ]
        })
        .collect();
    let heads = ["Came from", "Waits for", "Why", "Event", "Message"];
    html! {
        p { "Messages that failed in every try: deliveries that couldn't be published, and events that a \
             consumer didn't take." }
        @if rows.is_empty() && letters.more == 0 {
            (empty("The dead letters are empty."))
        } @else {
            (table("The messages, by queue, each the oldest first", heads, &rows))
            (hidden(all.len(), letters.more))
            @if frame.allow_actions { (redrive_all(frame, all)) } @else { (read_only()) }
        }
    }
}

/// Buttons that put all messages of a queue back.
fn redrive_all(frame: &Frame, all: &[DeadLetter]) -> Markup {
    let queues = Letters::value_variants()
        .iter()
        .filter(|queue| all.iter().any(|one| one.queue == **queue));
    html! {
        section.actions {
            h2 { "Put back" }
            @for queue in queues {
                form action=(frame.to("confirm")) method="get" {
                    input type="hidden" name="action" value=(Action::Redrive.name());
                    input type="hidden" name="queue" value=(name(*queue));
                    button type="submit" { "Put back all dead letters of " (name(*queue)) "…" }
                }
            }
        }
    }
}

/// One dead letter.
pub(super) async fn dead_letter(State(site): State<Arc<Site>>, Query(one): Query<One>) -> Response {
    let read = dead_letters::show(&site.stack, &one.id, one.with_payload()).await;
    let drawn = read.map(|letter| draw_dead_letter(&site.frame, &letter));
    site.show(Tab::DeadLetters, "Dead letter", drawn)
}

/// A dead letter, and what can be done with it.
pub(super) fn draw_dead_letter(frame: &Frame, one: &DeadLetter) -> Markup {
    html! {
        p.verdict { (prose(&one.reason)) }
        (facts(&[
            ("Message", html! { span.id { (one.id) } }),
            ("Came from", html! { (name(one.queue)) }),
            ("Event", event(frame, one.message.as_deref(), one.entity.as_deref())),
            ("Arrived", time_or(one.received_at, "unknown")),
            ("Dead letter since", time_or(one.since, "unknown")),
            ("SQS's id", html! { span.id { (one.message_id) } }),
        ]))
        (payload(frame, "dead-letters/one", &one.message_id, one.payload.as_deref()))
        @if frame.allow_actions {
            section.actions {
                h2 { "Decide" }
                (button(frame, Action::Redrive, &one.message_id, "Put back…"))
            }
        } @else {
            (read_only())
        }
    }
}

/// The spill.
pub(super) async fn spill(State(site): State<Arc<Site>>) -> Response {
    let drawn = spill::list(&site.stack)
        .await
        .map(|spill| draw_spill(&site.frame, &spill));
    site.show(Tab::Spill, "Spill", drawn)
}

/// What waits in the spill.
pub(super) fn draw_spill(frame: &Frame, spill: &SpillList) -> Markup {
    let all = &spill.deliveries;
    let rows: Vec<_> = all
        .iter()
        .take(MOST_ROWS)
        .map(|one| {
            [
                waited(one.received_at),
                html! { @match &one.destination { Some(to) => (to), None => (absent("unknown")) } },
                frame.entity(one.entity.as_deref()),
                html! {
                    @match &one.fault {
                        Some(fault) => { span.badge.bad { "stuck" } " " (fault) }
                        None => "waits for the reconciler",
                    }
                },
                frame.delivery(Some(&one.id)),
            ]
        })
        .collect();
    let heads = ["Waits for", "For the queue", "Entity", "State", "Delivery"];
    html! {
        p { "Deliveries that ingest stored while the queue couldn't be reached. The reconciler puts them \
             back." }
        @if rows.is_empty() {
            (empty("The spill is empty."))
        } @else {
            p.verdict { (prose(&spill.why)) }
            (table("The deliveries, the oldest first", heads, &rows))
            (hidden(all.len(), 0))
        }
    }
}

/// Says that there is more than the page shows.
fn hidden(all: usize, unseen: u64) -> Markup {
    let cut = all.saturating_sub(MOST_ROWS) as u64;
    html! {
        @if cut > 0 {
            p { (count(cut, "more message")) " can't be shown here. The command line shows them." }
        }
        @if unseen > 0 {
            p {
                (count(unseen, "more message")) " can't be seen now: somebody else looks, or other messages \
                 of their entity come first."
            }
        }
    }
}

fn event(frame: &Frame, message: Option<&str>, entity: Option<&str>) -> Markup {
    html! {
        @match (message, entity) {
            (None, None) => (absent("can't be read")),
            (message, entity) => {
                @if let Some(message) = message { span.event { (message) } " " }
                div { (frame.entity(entity)) }
            }
        }
    }
}

fn waited(since: Option<jiff::Timestamp>) -> Markup {
    html! {
        @match since {
            Some(since) => { div { (age(since)) } div.quiet { (time(since)) } },
            None => (absent("unknown")),
        }
    }
}

fn size(bytes: Option<u64>) -> Markup {
    html! {
        @match bytes { Some(bytes) => { (grouped(bytes)) " bytes" } None => (absent("unknown")) }
    }
}

/// What AURA sent, if it was asked for; otherwise the way to ask.
fn payload(frame: &Frame, page: &str, id: &str, payload: Option<&str>) -> Markup {
    html! {
        section {
            h2 { "What AURA sent" }
            @match payload {
                Some(payload) => pre tabindex="0" { (payload) },
                None => {
                    form action=(frame.to(page)) method="get" {
                        input type="hidden" name="id" value=(id);
                        input type="hidden" name="payload" value="1";
                        button type="submit" { "Show it: personal data" }
                    }
                }
            }
        }
    }
}

fn read_only() -> Markup {
    html! {
        p.quiet {
            "This page is read-only. To act here, start it with "
            code { "aura-ops console --allow-actions" } "."
        }
    }
}

/// A queue's name, as the command line takes it.
fn name(queue: Letters) -> String {
    queue
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
