//! What AURA was told, and the history of registrations and rotations.

use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::response::Response;
use futures::try_join;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde_json::Value;

use super::Site;
use super::actions::Action;
use super::layout::{Frame, MOST_ROWS, Tab, empty, facts, table, time, time_or};
use crate::logs::{self, Line};
use crate::status::{self, Registration};

/// The time that the history covers.
const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The registrar's lines about all requests but canaries.
const REQUESTS: &str = r#"{ $.Request = "*" && $.Request != "Canary" }"#;

/// The registration and its history.
pub(super) async fn page(State(site): State<Arc<Site>>) -> Response {
    let drawn = read(&site)
        .await
        .map(|(registration, history)| draw(&site.frame, &registration, &history));
    site.show(Tab::Registration, "Registration", drawn)
}

async fn read(site: &Site) -> Result<(Registration, Vec<Line>)> {
    let now = Timestamp::now();
    let history = logs::lines(&site.stack, "Registrar", REQUESTS, now - HISTORY, now);
    let (status, history) = try_join!(status::read(&site.stack), history)?;
    Ok((status.registration, history))
}

/// The registration, and the registrar's log lines, the oldest first.
pub(super) fn draw(frame: &Frame, registration: &Registration, history: &[Line]) -> Markup {
    let rows: Vec<_> = history.iter().rev().take(MOST_ROWS).map(row).collect();
    html! {
        (facts(&[
            ("AURA delivers to", html! { span.id { (registration.address()) } }),
            ("Events", html! { (registration.events.replace(',', ", ")) }),
            ("Registered", time_or(registration.at, "unknown")),
            ("Proven by", html! { (registration.proof) }),
            ("Secret rotated", time_or(registration.rotated_at, "not within the logs' memory")),
        ]))
        @if frame.allow_actions {
            section.actions {
                form action=(frame.to("confirm")) method="get" {
                    input type="hidden" name="action" value=(Action::Register.name());
                    button type="submit" { "Register again…" }
                }
            }
        }
        h2 { "Registrations and rotations of the last 30 days" }
        @if rows.is_empty() {
            (empty("The registrar's log has none."))
        } @else {
            (table("The newest first", ["When", "What", "Outcome", "Steps"], &rows))
        }
    }
}

fn row(line: &Line) -> [Markup; 4] {
    let steps = line.fields.get("Steps").and_then(Value::as_array);
    let steps = steps.into_iter().flatten().filter_map(Value::as_str);
    let succeeded = line.count("Succeeded") == 1;
    [
        time(line.at),
        html! { (request(line.text("Request").unwrap_or("unknown"))) },
        html! {
            @if succeeded {
                span.badge.good { "done" }
            } @else {
                span.badge.bad { "failed" } " " (line.text("Reason").unwrap_or_default())
            }
        },
        html! { ul.steps { @for step in steps { li { (step) } } } },
    ]
}

/// What a request to the registrar does.
fn request(name: &str) -> &str {
    match name {
        "Create" => "the stack was made: register",
        "Update" => "the stack was changed: register",
        "Delete" => "the stack was deleted: hand AURA back, if that was set",
        "createSecret" => "rotation, step 1: make a new secret",
        "setSecret" => "rotation, step 2: register with the new secret",
        "testSecret" => "rotation, step 3: test the new secret",
        "finishSecret" => "rotation, step 4: make the new secret current",
        "Reregister" => "register again",
        other => other,
    }
}
