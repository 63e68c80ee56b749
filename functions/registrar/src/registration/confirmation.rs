//! Compares AURA's answer to a registration with the request.
//!
//! When AURA answers, it delivers to the new URL already. If a harmless difference failed the
//! deployment, the rollback would remove the endpoint to which AURA delivers. So only another URL
//! is an error: then AURA delivers elsewhere. Every other difference is logged.

use std::fmt::{self, Display, Formatter};

use shared::catalogue::current_name;
use shared::panic_api::{RegisteredWebhook, Registration};
use url::Url;

/// Differences between AURA's answer and the request that do no harm: AURA doesn't deliver
/// elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// What the answer says differently, in words.
    pub differences: Vec<String>,
    /// The fields that the answer lacks.
    pub not_told: Vec<&'static str>,
}

/// AURA has registered another URL than the requested one, and delivers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("AURA registered another URL than it was asked for, and delivers there: ask AURA why")]
pub struct RegisteredElsewhere;

impl Display for Confirmation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(
            match (self.differences.is_empty(), self.not_told.is_empty()) {
                (true, true) => return f.write_str("as asked"),
                (true, false) => "no difference found, ",
                (false, _) => "WARNING, not as asked: ",
            },
        )?;
        f.write_str(&self.differences.join(", "))?;
        if self.not_told.is_empty() {
            return Ok(());
        }
        let joint = if self.differences.is_empty() {
            "but"
        } else {
            "; and"
        };
        write!(
            f,
            "{joint} missing from AURA's answer: {}",
            self.not_told.join(", ")
        )
    }
}

/// Compares AURA's answer with the request.
///
/// AURA's documentation doesn't say how complete the answer is: the answer in its example has no
/// headers. So a missing field is not a difference. It is an error if the answer names URLs and
/// ours is not among them.
pub fn compare(
    asked: &Registration,
    registered: &[RegisteredWebhook],
) -> Result<Confirmation, RegisteredElsewhere> {
    let mut found = Confirmation::default();
    let is_its_url = |webhook: &&RegisteredWebhook| url_of(webhook).as_ref() == Some(&asked.url);
    let Some(webhook) = registered.iter().find(is_its_url).or(registered.first()) else {
        found.not_told.push("everything");
        return Ok(found);
    };
    match (&webhook.url, url_of(webhook)) {
        (_, Some(url)) if url == asked.url => {}
        (_, Some(_)) => return Err(RegisteredElsewhere),
        (Some(_), None) => found.differences.push("an invalid url".to_owned()),
        (None, None) => found.not_told.push("url"),
    }
    match &webhook.method {
        None => found.not_told.push("method"),
        Some(method) if *method == asked.method => {}
        Some(method) if method.eq_ignore_ascii_case(&asked.method) => {
            found
                .differences
                .push("the method in another letter case".to_owned());
        }
        Some(_) => found.differences.push("another method".to_owned()),
    }
    match &webhook.events {
        None => found.not_told.push("events"),
        Some(events) => found.compare_events(&asked.events, events),
    }
    match webhook.header_names.as_deref() {
        None | Some([]) => found.not_told.push("headers"),
        Some(names) => found.compare_headers(asked, names),
    }
    found.note_more(webhook.other_fields, "fields that AURA doesn't document");
    Ok(found)
}

fn url_of(webhook: &RegisteredWebhook) -> Option<Url> {
    webhook.url.as_deref()?.parse().ok()
}

impl Confirmation {
    /// Compares the events in any order. A deprecated name equals the current one.
    fn compare_events(&mut self, asked: &[String], registered: &[String]) {
        let has = |names: &[String], name: &str| {
            let mut names = names.iter().map(|name| current_name(name));
            names.any(|other| other == current_name(name))
        };
        let lacking: Vec<_> = asked.iter().filter(|name| !has(registered, name)).collect();
        if !lacking.is_empty() {
            let lacking: Vec<_> = lacking.into_iter().map(String::as_str).collect();
            self.differences
                .push(format!("without the events {}", lacking.join(" ")));
        }
        let more = registered.iter().filter(|name| !has(asked, name)).count();
        self.note_more(more, "events that were not asked for");
    }

    fn compare_headers(&mut self, asked: &Registration, registered: &[String]) {
        let is_registered = |name: &str| {
            registered
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name))
        };
        let lacking = asked
            .headers
            .keys()
            .filter(|name| !is_registered(name.as_str()));
        let lacking = lacking.map(|name| format!("without the header {name}"));
        self.differences.extend(lacking);
        let is_asked = |name: &&String| asked.headers.contains_key(name.as_str());
        let more = registered.iter().filter(|name| !is_asked(name)).count();
        self.note_more(more, "headers that were not asked for");
    }

    /// Notes how many names AURA added. It doesn't repeat the names: they may hold anything.
    fn note_more(&mut self, count: usize, of_what: &str) {
        if count > 0 {
            self.differences.push(format!("{count} {of_what}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Registration {
        let events = ["NEW_CALLOUT", "RESPONDER_ACKNOWLEDGED_CALLOUT"];
        Registration {
            url: "https://example.com/aura/events".parse().unwrap(),
            events: events.map(ToOwned::to_owned).into(),
            method: "webhook".into(),
            headers: [("x-token".parse().unwrap(), "s3cret".parse().unwrap())]
                .into_iter()
                .collect(),
        }
    }

    fn registered() -> RegisteredWebhook {
        let events = ["RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA", "NEW_CALLOUT"];
        RegisteredWebhook {
            url: Some("https://example.com:443/aura/events".into()),
            events: Some(events.map(ToOwned::to_owned).into()),
            method: Some("webhook".into()),
            header_names: Some(vec!["X-Token".into()]),
            other_fields: 0,
        }
    }

    /// The confirmation, in words, of an answer with one change.
    fn told(change: impl FnOnce(&mut RegisteredWebhook)) -> String {
        let mut registered = registered();
        change(&mut registered);
        compare(&asked(), &[registered]).unwrap().to_string()
    }

    fn at(url: &str) -> RegisteredWebhook {
        RegisteredWebhook {
            url: Some(url.into()),
            ..registered()
        }
    }

    #[test]
    fn the_same_is_confirmed_in_any_order_and_spelling_and_under_a_deprecated_name() {
        assert_eq!(told(|_| {}), "as asked");
        let among_others = [at("https://example.com/other"), registered()];
        let among_others = compare(&asked(), &among_others);
        assert_eq!(among_others, Ok(Confirmation::default()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let nothing = compare(&asked(), &[]).unwrap().to_string();
        let prefix = "no difference found, but missing from AURA's answer: ";
        assert_eq!(nothing, format!("{prefix}everything"));
        assert_eq!(told(|its| its.url = None), format!("{prefix}url"));
        let documented = told(|its| its.header_names = Some(Vec::new()));
        assert_eq!(documented, format!("{prefix}headers"));
        let both = told(|its| (its.events, its.method) = (None, None));
        assert_eq!(both, format!("{prefix}method, events"));
    }

    #[test]
    fn only_another_url_is_an_error() {
        for other in [
            "https://example.com/other",
            "https://example.org/aura/events",
        ] {
            assert_eq!(compare(&asked(), &[at(other)]), Err(RegisteredElsewhere));
        }
        let others = [at("https://example.com/a"), at("https://example.com/b")];
        assert_eq!(compare(&asked(), &others), Err(RegisteredElsewhere));
    }

    type Change = fn(&mut RegisteredWebhook);

    #[test]
    fn what_differs_and_does_no_harm_is_named() {
        let cases: [(Change, &str); 8] = [
            (|its| its.url = Some("***".into()), "an invalid url"),
            (
                |its| its.method = Some("WEBHOOK".into()),
                "the method in another letter case",
            ),
            (|its| its.method = Some("mail".into()), "another method"),
            (
                |its| its.events = Some(vec!["NEW_CALLOUT".into()]),
                "without the events RESPONDER_ACKNOWLEDGED_CALLOUT",
            ),
            (
                |its| its.events.as_mut().unwrap().push("MORE".into()),
                "1 events that were not asked for",
            ),
            (
                |its| its.header_names = Some(vec!["other".into()]),
                "without the header x-token, 1 headers that were not asked for",
            ),
            (
                |its| its.other_fields = 2,
                "2 fields that AURA doesn't document",
            ),
            (
                |its| (its.other_fields, its.url) = (1, None),
                "1 fields that AURA doesn't document; and missing from AURA's answer: url",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(told(change), format!("WARNING, not as asked: {expected}"));
        }
    }
}
