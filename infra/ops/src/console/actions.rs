//! Changes: a page says what would happen, and a form with a second token makes it happen.

use std::sync::Arc;

use anyhow::{Context as _, Error, Result, bail};
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use clap::ValueEnum as _;
use maud::{Markup, html};
use serde::Deserialize;

use super::Site;
use super::guard::same;
use super::layout::{Frame, Tab, failed_change, prose};
use crate::consent::{Consent, NotYet};
use crate::dead_letters::{self, Letters};
use crate::quarantine::{self, Release};
use crate::register;
use crate::stack::Stack;

/// A change that the page offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    Release,
    ReleaseAsCorrection,
    Discard,
    Redrive,
    Register,
}

impl Action {
    /// Its name in a form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::ReleaseAsCorrection => "release-as-correction",
            Self::Discard => "discard",
            Self::Redrive => "redrive",
            Self::Register => "register",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Release => "Release",
            Self::ReleaseAsCorrection => "Release as a correction",
            Self::Discard => "Discard",
            Self::Redrive => "Put back",
            Self::Register => "Register",
        }
    }

    /// The page that it belongs to, and the page's path.
    fn home(self) -> (Tab, &'static str) {
        match self {
            Self::Release | Self::ReleaseAsCorrection | Self::Discard => {
                (Tab::Quarantine, "quarantine")
            }
            Self::Redrive => (Tab::DeadLetters, "dead-letters"),
            Self::Register => (Tab::Registration, "registration"),
        }
    }
}

/// What somebody wants to change.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Wish {
    action: Action,
    /// The delivery or message; empty for all messages of the queue.
    #[serde(default)]
    id: String,
    /// The queue of dead letters; empty if it doesn't matter.
    #[serde(default)]
    queue: String,
    /// The second token, from this page's form.
    #[serde(default)]
    form_token: String,
}

impl Wish {
    /// Makes the change, or without a consent fails with [`NotYet`]. Returns what was done.
    async fn make(self, stack: &Stack, consent: Consent) -> Result<String> {
        let Self {
            action, id, queue, ..
        } = self;
        let may_be_all =
            action == Action::Register || (action == Action::Redrive && !queue.is_empty());
        if id.is_empty() && !may_be_all {
            bail!("the form names no delivery: go back to the list, and choose one");
        }
        let ids = (!id.is_empty()).then(|| vec![id]);
        Ok(match action {
            Action::Release => {
                quarantine::release(stack, ids, Release::AsItIs, consent)
                    .await?
                    .what
            }
            Action::ReleaseAsCorrection => {
                quarantine::release(stack, ids, Release::AsCorrection, consent)
                    .await?
                    .what
            }
            Action::Discard => quarantine::discard(stack, ids, consent).await?.what,
            Action::Redrive => {
                let queue = letters(&queue)?;
                dead_letters::redrive(stack, queue, ids, Some(consent))
                    .await?
                    .what
            }
            Action::Register => Box::pin(register::register(stack, consent))
                .await?
                .to_string(),
        })
    }
}

/// The queue of this name; none if the name is empty.
fn letters(queue: &str) -> Result<Option<Letters>> {
    if queue.is_empty() {
        return Ok(None);
    }
    let letters = Letters::from_str(queue, false).map_err(Error::msg);
    letters.map(Some).context("there is no such queue")
}

/// A button that leads to the confirmation of a change of one delivery or message.
pub(super) fn button(frame: &Frame, action: Action, id: &str, label: &str) -> Markup {
    html! {
        form action=(frame.to("confirm")) method="get" {
            input type="hidden" name="action" value=(action.name());
            input type="hidden" name="id" value=(id);
            button type="submit" { (label) }
        }
    }
}

/// Says what would happen, in the words of the command.
pub(super) async fn confirm(State(site): State<Arc<Site>>, Query(wish): Query<Wish>) -> Response {
    let (tab, _) = wish.action.home();
    let title = format!("{}?", wish.action.title());
    let drawn = match wish.clone().make(&site.stack, Consent::NotYet).await {
        Ok(done) => Ok(html! { p.verdict { (prose(&done)) } }),
        Err(error) => match error.downcast_ref::<NotYet>() {
            Some(NotYet(sentence)) => Ok(draw(&site.frame, &site.form_token, &wish, sentence)),
            None => Ok(failed_change(&error, &site.frame.to("audit"))),
        },
    };
    site.show(tab, &title, drawn)
}

/// The confirmation.
pub(super) fn draw(frame: &Frame, form_token: &str, wish: &Wish, sentence: &str) -> Markup {
    let (_, home) = wish.action.home();
    html! {
        p.verdict { (prose(sentence)) }
        p { "The audit trail keeps who did it, and when." }
        section.actions {
            form action=(frame.to("act")) method="post" {
                input type="hidden" name="form_token" value=(form_token);
                input type="hidden" name="action" value=(wish.action.name());
                input type="hidden" name="id" value=(wish.id);
                input type="hidden" name="queue" value=(wish.queue);
                button.act type="submit" { (wish.action.title()) }
            }
            a href=(frame.to(home)) { "Don't" }
        }
    }
}

/// Makes the change.
pub(super) async fn act(State(site): State<Arc<Site>>, Form(wish): Form<Wish>) -> Response {
    let (tab, home) = wish.action.home();
    let title = wish.action.title();
    let audit = site.frame.to("audit");
    if !same(&wish.form_token, &site.form_token) {
        let refused = Error::msg("the form is of another start of this page: open it again");
        let page = site
            .frame
            .page(tab, title, &failed_change(&refused, &audit));
        return (StatusCode::FORBIDDEN, page).into_response();
    }
    // A task of its own, so that a browser that goes away doesn't stop it in the middle.
    let change = {
        let site = Arc::clone(&site);
        tokio::spawn(async move { wish.make(&site.stack, Consent::Given).await })
    };
    match change.await.unwrap_or_else(|error| Err(error.into())) {
        Ok(what) => site.show(tab, title, Ok(draw_done(&site.frame, home, &what))),
        Err(error) => {
            let page = site.frame.page(tab, title, &failed_change(&error, &audit));
            (StatusCode::BAD_GATEWAY, page).into_response()
        }
    }
}

/// What was done.
fn draw_done(frame: &Frame, home: &str, what: &str) -> Markup {
    html! {
        p.verdict role="status" { (prose(what)) }
        p {
            a href=(frame.to(home)) { "Back" } " · "
            a href=(frame.to("audit")) { "See it in the audit trail" }
        }
    }
}

/// A wish, for the samples.
#[cfg(test)]
pub(super) fn sample() -> Wish {
    Wish {
        action: Action::ReleaseAsCorrection,
        id: "01939b1e-7a5c-7d3e-8f00-0123456789ab".to_owned(),
        queue: String::new(),
        form_token: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_the_name_that_the_server_reads() {
        for action in [
            Action::Release,
            Action::ReleaseAsCorrection,
            Action::Discard,
            Action::Redrive,
            Action::Register,
        ] {
            let json = serde_json::json!(action.name());
            assert_eq!(serde_json::from_value::<Action>(json).unwrap(), action);
        }
    }

    #[test]
    fn a_queue_is_known_by_its_name() {
        assert_eq!(letters("").unwrap(), None);
        assert_eq!(letters("callout").unwrap(), Some(Letters::Callout));
        letters("bus").unwrap_err();
    }
}
