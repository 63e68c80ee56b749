//! The search, an entity's timeline, and a delivery.

use std::sync::Arc;

use anyhow::Context as _;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::Site;
use super::layout::{
    self, Frame, MOST_ROWS, Tab, absent, count, empty, facts, grouped, live, milliseconds, prose,
    table, time, time_or,
};
use crate::delivery::{self, Delivery, Step};
use crate::timeline::{self, Happening, Timeline};

/// What somebody looks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    kind: String,
    id: String,
    /// The part of a long timeline, from 1; 0 is the last.
    part: usize,
}

/// The search, and from there the way to what was found.
pub(super) async fn search(
    State(site): State<Arc<Site>>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let (kind, id) = (wanted.kind.trim(), wanted.id.trim());
    if kind.is_empty() || id.is_empty() {
        let content = search_page(&site.frame);
        return site.show(Tab::Search, "Search", Ok(content));
    }
    let found = match kind {
        "delivery" => site.frame.about("delivery", &[("id", id)]),
        _ => site.frame.about("timeline", &[("kind", kind), ("id", id)]),
    };
    Redirect::to(&found).into_response()
}

fn search_page(frame: &Frame) -> Markup {
    html! {
        p { "Find everything that the ledger knows of a callout, a customer or a subscription, by AURA's \
             id of it. Or find what became of one delivery, by the id that ingest gave it." }
        (frame.search_form("here"))
        h2 { "Another kind" }
        p { "For a kind that AURA has added since, type its name as AURA writes it." }
        form.search action=(frame.to("search")) method="get" {
            label for="other-kind" { "Kind" }
            input #other-kind name="kind" placeholder="kind" required autocomplete="off";
            label for="other-id" { "Id" }
            input #other-id name="id" placeholder="id" required autocomplete="off";
            button type="submit" { "Find" }
        }
    }
}

/// An entity's timeline. It grows while events arrive.
pub(super) async fn timeline(
    State(site): State<Arc<Site>>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let (kind, id) = (wanted.kind.trim(), wanted.id.trim());
    let read = timeline::read(&site.stack, kind, id).await;
    let drawn = read.map(|timeline| draw_timeline(&site.frame, &timeline, wanted.part));
    site.show(Tab::Search, &format!("{kind} {id}"), drawn)
}

/// A timeline, or one part of a long one.
pub(super) fn draw_timeline(frame: &Frame, timeline: &Timeline, part: usize) -> Markup {
    let parts: Vec<_> = timeline.events.chunks(MOST_ROWS).collect();
    let shown = if part == 0 { parts.len() } else { part };
    let events = parts.get(shown.saturating_sub(1)).copied().unwrap_or(&[]);
    let published = timeline.events.iter().filter(|event| event.is_published());
    let (all, published) = (timeline.events.len(), published.count());
    let news = format!("{}, {published} published.", count(all as u64, "event"));
    live(
        &news,
        &html! {
            @if all == 0 {
                (empty(&format!(
                    "The ledger knows no event of {} {}. It keeps events for 35 days. Look whether kind \
                     and id are written as AURA writes them.",
                    timeline.kind, timeline.id
                )))
            } @else {
                p.summary {
                    strong { (grouped(all as u64)) } @if all == 1 { " event, " } @else { " events, " }
                    strong { (grouped(published as u64)) } " published. "
                    @if timeline.test { span.badge.warn { "Drill: AURA marked it as a test" } }
                }
                (self::parts(frame, timeline, shown, parts.len()))
                (happenings(frame, "Its events, in the order of their arrival", events))
                (self::parts(frame, timeline, shown, parts.len()))
            }
        },
    )
}

/// Links to the parts of a long timeline.
fn parts(frame: &Frame, timeline: &Timeline, shown: usize, all: usize) -> Markup {
    let to = |part: usize| {
        let part = part.to_string();
        let about = [
            ("kind", timeline.kind.as_str()),
            ("id", &timeline.id),
            ("part", &part),
        ];
        frame.about("timeline", &about)
    };
    html! {
        @if all > 1 {
            nav.parts aria-label="Parts of the timeline" {
                @if shown > 1 {
                    a href=(to(1)) { "First" } " " a href=(to(shown - 1)) { "Earlier" } " "
                }
                span { "Part " (shown) " of " (all) }
                @if shown < all {
                    " " a href=(to(shown + 1)) { "Later" } " " a href=(to(0)) { "Last" }
                }
            }
        }
    }
}

/// Events of the ledger, as a table.
fn happenings(frame: &Frame, caption: &str, events: &[Happening]) -> Markup {
    let rows: Vec<_> = events.iter().map(|event| row(frame, event)).collect();
    let heads = [
        "Arrived",
        "Event",
        "State",
        "Published after",
        "Origin",
        "Tries",
        "Delivery",
    ];
    table(caption, heads, &rows)
}

fn row(frame: &Frame, event: &Happening) -> [Markup; 7] {
    [
        time_or(event.received_at, "unknown"),
        html! {
            span.event { (event.message) }
            @if event.occurrence > 1 { " " span.quiet { "no. " (event.occurrence) } }
        },
        state(event),
        event
            .latency_milliseconds
            .map_or_else(|| absent("–"), |time| html! { (milliseconds(time)) }),
        event
            .origin
            .as_ref()
            .map_or_else(|| absent("unknown"), |origin| html! { (origin) }),
        event
            .attempts
            .map_or_else(|| absent("–"), |attempts| html! { (attempts) }),
        frame.delivery(event.delivery_id.as_deref()),
    ]
}

fn state(event: &Happening) -> Markup {
    html! {
        @if event.is_published() {
            span.badge.good { "published" }
        } @else {
            span.badge.bad { "not published" }
            @if let Some(until) = event.lease_until {
                " " span.quiet { "a try ends or ended at " (time(until)) }
            }
        }
    }
}

/// What became of a delivery.
pub(super) async fn delivery(
    State(site): State<Arc<Site>>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let id = Uuid::parse_str(wanted.id.trim());
    let id =
        id.context("this is no delivery id: one looks like 01939b1e-7a5c-7d3e-8f00-0123456789ab");
    let read = match id {
        Ok(id) => delivery::read(&site.stack, id).await,
        Err(error) => Err(error),
    };
    let drawn = read.map(|delivery| draw_delivery(&site.frame, &delivery));
    site.show(Tab::Search, "Delivery", drawn)
}

/// A delivery.
pub(super) fn draw_delivery(frame: &Frame, delivery: &Delivery) -> Markup {
    let waits = html! {
        @if delivery.waits_in.is_empty() { (absent("nowhere")) }
        @else { (delivery.waits_in.join(", ")) }
    };
    html! {
        p.verdict { (prose(&delivery.verdict)) }
        (facts(&[
            ("Id", html! { span.id { (delivery.id) } }),
            ("Arrived", time_or(delivery.received_at, "unknown")),
            ("Entity", frame.entity(delivery.entity.as_deref())),
            ("Waits in", waits),
        ]))
        @if delivery.events.is_empty() {
            h2 { "In the ledger" }
            (empty("The ledger has no event of this delivery."))
        } @else {
            (happenings(frame, "In the ledger", &delivery.events))
        }
        @if delivery.steps.is_empty() {
            h2 { "In the logs" }
            (empty("The logs have no line about this delivery."))
        } @else {
            (steps(&delivery.steps))
        }
    }
}

fn steps(steps: &[Step]) -> Markup {
    let rows: Vec<_> = steps
        .iter()
        .take(MOST_ROWS)
        .map(|step| {
            [
                time(step.at),
                html! { (step.function) },
                html! { (step.what) },
            ]
        })
        .collect();
    layout::table("In the logs", ["When", "Function", "What it says"], &rows)
}
