//! Who changed what.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};
use uuid::Uuid;

use super::Site;
use super::layout::{Frame, MOST_ROWS, Tab, absent, empty, grouped, table, time_or};
use crate::audit::{self, Audit, Changed};

/// How many ids of a change are shown.
const MOST_SUBJECTS: usize = 5;

/// The audit trail.
pub(super) async fn page(State(site): State<Arc<Site>>) -> Response {
    let read = audit::read(&site.stack, MOST_ROWS).await;
    let drawn = read.map(|audit| draw(&site.frame, &audit));
    site.show(Tab::Audit, "Audit", drawn)
}

/// The newest changes.
pub(super) fn draw(frame: &Frame, audit: &Audit) -> Markup {
    let rows: Vec<_> = audit
        .changes
        .iter()
        .map(|change| row(frame, change))
        .collect();
    let heads = ["When", "Who", "What", "How many", "Of what", "Outcome"];
    html! {
        p { "Each change that was made with " code { "aura-ops" } " or this page, the newest first." }
        @if rows.is_empty() {
            (empty("Nobody has changed anything yet."))
        } @else {
            (table("Changes", heads, &rows))
        }
    }
}

fn row(frame: &Frame, change: &Changed) -> [Markup; 6] {
    let more = change.subjects.len().saturating_sub(MOST_SUBJECTS);
    [
        time_or(change.at, "unknown"),
        html! { span.id { (change.who) } },
        html! { (change.action) },
        change
            .count
            .map_or_else(|| absent("–"), |count| html! { (grouped(count)) }),
        html! {
            @for subject in change.subjects.iter().take(MOST_SUBJECTS) {
                div { (self::subject(frame, subject)) }
            }
            @if more > 0 { div.quiet { "and " (more) " more" } }
        },
        html! {
            @match (&change.failure, change.count) {
                (Some(failure), _) => { span.badge.bad { "failed" } " " (failure) }
                (None, Some(_)) => span.badge.good { "done" },
                (None, None) => span.badge.warn { "under way, or killed" },
            }
        },
    ]
}

/// An id of what was changed, with a link if it is a delivery's.
fn subject(frame: &Frame, id: &str) -> Markup {
    // SQS's message ids are UUIDs of another version.
    let is_delivery = Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 7);
    if is_delivery {
        return frame.delivery(Some(id));
    }
    html! { span.id { (id) } }
}
