//! The frame of each page, times, and tables.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maud::{DOCTYPE, Markup, html};
use url::form_urlencoded::Serializer;

use crate::words::Span;

/// The style of all pages.
pub(super) const STYLE: &str = include_str!("page.css");
/// Seconds between two looks at what is live.
const EVERY: u32 = 5;
/// How many rows a page shows at most.
pub(super) const MOST_ROWS: usize = 500;

/// What is around each page.
#[derive(Debug)]
pub(super) struct Frame {
    /// The first part of each path: `/` and the token.
    pub base: String,
    /// The stack's name.
    pub stack: String,
    /// Its region.
    pub region: String,
    /// Whether the page may change something.
    pub allow_actions: bool,
}

/// A page of the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Search,
    Quarantine,
    DeadLetters,
    Spill,
    Losses,
    Registration,
    Audit,
}

impl Tab {
    const ALL: [(Self, &str, &str); 8] = [
        (Self::Overview, "", "Overview"),
        (Self::Search, "search", "Search"),
        (Self::Quarantine, "quarantine", "Quarantine"),
        (Self::DeadLetters, "dead-letters", "Dead letters"),
        (Self::Spill, "spill", "Spill"),
        (Self::Losses, "losses", "Loss ledger"),
        (Self::Registration, "registration", "Registration"),
        (Self::Audit, "audit", "Audit"),
    ];
}

impl Frame {
    /// The path of a page.
    pub fn to(&self, page: &str) -> String {
        format!("{}/{page}", self.base)
    }

    /// The path of a page about something.
    pub fn about(&self, page: &str, values: &[(&str, &str)]) -> String {
        let query = Serializer::new(String::new()).extend_pairs(values).finish();
        format!("{}/{page}?{query}", self.base)
    }

    /// A link to the timeline of an entity, by its key, such as `callout#5003`.
    pub fn entity(&self, key: Option<&str>) -> Markup {
        let parts = key.and_then(|key| key.split_once('#'));
        html! {
            @match (key, parts) {
                (_, Some((kind, id))) => {
                    a href=(self.about("timeline", &[("kind", kind), ("id", id)])) {
                        (kind) " " (id)
                    }
                }
                (Some(key), None) => (key),
                (None, None) => (absent("unknown")),
            }
        }
    }

    /// A link to a delivery.
    pub fn delivery(&self, id: Option<&str>) -> Markup {
        html! {
            @match id {
                Some(id) => a.id href=(self.about("delivery", &[("id", id)])) { (id) },
                None => (absent("none")),
            }
        }
    }

    /// A whole page.
    pub fn page(&self, tab: Tab, title: &str, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · " (self.stack) }
                    link rel="icon" href=(self.to("icon.svg"));
                    link rel="stylesheet" href=(self.to("page.css"));
                    script defer src=(self.to("page.js")) {}
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    (self.header(tab))
                    main #main tabindex="-1" {
                        h1 { (title) }
                        (content)
                    }
                    (footer())
                }
            }
        }
    }

    fn header(&self, tab: Tab) -> Markup {
        html! {
            header {
                div.top {
                    p.stack {
                        strong { (self.stack) }
                        " " span.quiet { (self.region) }
                        " " @if self.allow_actions {
                            span.badge.warn { "Changes allowed" }
                        } @else {
                            span.badge { "Read-only" }
                        }
                    }
                    (self.search_form("top"))
                }
                nav aria-label="Pages" {
                    ul {
                        @for (its, path, name) in Tab::ALL {
                            li {
                                a href=(self.to(path)) aria-current=[(its == tab).then_some("page")] {
                                    (name)
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// The form that finds an entity or a delivery. `place` makes its ids unique.
    pub fn search_form(&self, place: &str) -> Markup {
        let kinds = ["callout", "customer", "subscription", "delivery"];
        html! {
            form.search role="search" action=(self.to("search")) method="get"
                aria-label="Find an entity or a delivery" {
                label for={ (place) "-kind" } { "Kind" }
                select id={ (place) "-kind" } name="kind" {
                    @for kind in kinds {
                        option value=(kind) { (kind) }
                    }
                }
                label for={ (place) "-id" } { "Id" }
                input id={ (place) "-id" } name="id" placeholder="such as 5003"
                    autocomplete="off" spellcheck="false" required;
                button type="submit" { "Find" }
            }
        }
    }
}

fn footer() -> Markup {
    html! {
        footer {
            p #read-at { "As of " (time(Timestamp::now())) }
            p { label hidden { input #pause type="checkbox"; " Don't refresh this page" } }
            p #said role="status" {}
        }
    }
}

/// A part of a page that is read again every few seconds. `news` is what a screen reader says when
/// it changes.
pub(super) fn live(news: &str, content: &Markup) -> Markup {
    html! {
        div data-every=(EVERY) {
            div hidden data-news=(news) {}
            (content)
        }
    }
}

/// A time in the zone of this machine, which the page's script replaces by the browser's, and in
/// UTC.
pub(super) fn time(at: Timestamp) -> Markup {
    let zoned = at.to_zoned(TimeZone::system());
    let utc = at.to_zoned(TimeZone::UTC).strftime("%H:%M:%SZ").to_string();
    let is_utc = zoned.offset().seconds() == 0;
    html! {
        time datetime=(at) {
            span.date { (zoned.strftime("%Y-%m-%d")) } " "
            @if is_utc {
                span.here { (utc) } span.utc {}
            } @else {
                span.here { (zoned.strftime("%H:%M:%S")) } span.utc { " (" (utc) ")" }
            }
        }
    }
}

/// A time that may be unknown.
pub(super) fn time_or(at: Option<Timestamp>, otherwise: &str) -> Markup {
    at.map_or_else(|| absent(otherwise), time)
}

/// A sentence of a view. What stands between backticks in it is drawn as code.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

/// A word for what isn't there.
pub(super) fn absent(word: &str) -> Markup {
    html! { span.quiet { (word) } }
}

/// How long ago something was, in whole seconds.
pub(super) fn age(then: Timestamp) -> String {
    seconds(Timestamp::now().duration_since(then).as_secs())
}

/// A number of seconds as a time span.
pub(super) fn seconds(seconds: i64) -> String {
    let seconds = seconds.max(0);
    if seconds < 10 {
        return format!("{seconds} s");
    }
    Span(SignedDuration::from_secs(seconds)).to_string()
}

/// A number of milliseconds as a time span.
pub(super) fn milliseconds(milliseconds: i64) -> String {
    Span(SignedDuration::from_millis(milliseconds)).to_string()
}

/// A number and its noun, such as `1 message` or `2 messages`.
pub(super) fn count(number: impl Into<u64>, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        number => format!("{} {noun}s", grouped(number)),
    }
}

/// A number with a space between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A table. On a narrow screen each row is a card, and each cell has its column's head beside it.
pub(super) fn table<const N: usize>(
    caption: &str,
    heads: [&str; N],
    rows: &[[Markup; N]],
) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    @for head in heads { th scope="col" role="columnheader" { (head) } }
                }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (cell, head) in row.iter().zip(heads) {
                            td role="cell" data-head=(head) { div { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// Facts about one thing, by their names.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// What a page says instead of an empty list.
pub(super) fn empty(text: &str) -> Markup {
    html! { p.empty { (text) } }
}

/// Why there is nothing to show.
pub(super) fn failure(error: &anyhow::Error) -> Markup {
    html! {
        section.failure role="alert" {
            h2 { "This can't be shown" }
            p.said { (format!("{error:#}")) }
            p {
                "If AWS refuses the call, look at the credentials that "
                code { "aura-ops console" }
                " was started with: they may have expired, or lack a permission. Then reload this page."
            }
        }
    }
}

/// Why a change wasn't made, or not in full.
pub(super) fn failed_change(error: &anyhow::Error, audit: &str) -> Markup {
    html! {
        section.failure role="alert" {
            h2 { "This failed" }
            p.said { (format!("{error:#}")) }
            p { "The " a href=(audit) { "audit trail" } " has an entry of it, if anything was changed." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::samples;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(1_u64, "message"), "1 message");
        assert_eq!(count(0_u64, "message"), "0 messages");
        assert_eq!(seconds(-3), "0 s");
        assert_eq!(seconds(200), "3 min 20 s");
    }

    #[test]
    fn code_in_a_sentence_is_marked() {
        let drawn = prose("Type `ls <x>`.").into_string();
        assert_eq!(drawn, "Type <code>ls &lt;x&gt;</code>.");
    }

    #[test]
    fn what_others_wrote_is_text_in_a_page_and_in_an_address() {
        let frame = samples::frame(false);
        let link = frame.entity(Some("<script>#a&b=c")).into_string();
        assert!(
            link.contains("kind=%3Cscript%3E&amp;id=a%26b%3Dc"),
            "{link}"
        );
        assert!(link.contains("&lt;script&gt; a&amp;b=c"), "{link}");
    }
}
