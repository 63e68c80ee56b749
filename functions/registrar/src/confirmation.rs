//! What AURA says that it registered, compared with what it was asked for.

use shared::panic_api::{RegisteredWebhook, Registration};
use url::Url;

/// How far AURA's answer can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// It says what was asked for.
    Confirmed,
    /// It says nothing else, but doesn't say all of it: these parts are missing.
    Partial(Vec<&'static str>),
}

/// AURA registered something else than it was asked for. From now on it delivers there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("AURA registered something else than it was asked for: {}; ask AURA why", .0.join("; "))]
pub struct Contradiction(pub Vec<String>);

/// Compares.
///
/// AURA's documentation shows the shape of the answer and not how complete it is: its example has
/// no header in it, for one. So what is missing is not held against it, and what is there is.
///
/// # Errors
///
/// [`Contradiction`] says which part differs how.
pub fn compare(
    asked: &Registration,
    registered: &[RegisteredWebhook],
) -> Result<Confirmation, Contradiction> {
    let is_its_url = |webhook: &&RegisteredWebhook| has_url(webhook, &asked.url);
    let Some(webhook) = registered.iter().find(is_its_url).or(registered.first()) else {
        return Ok(Confirmation::Partial(vec!["all of it"]));
    };
    let mut missing = Vec::new();
    let mut differences = Vec::new();
    match &webhook.url {
        None => missing.push("url"),
        Some(_) if has_url(webhook, &asked.url) => {}
        Some(_) => differences.push("another url".to_owned()),
    }
    match &webhook.method {
        None => missing.push("method"),
        Some(method) if *method == asked.method => {}
        Some(_) => differences.push("another method".to_owned()),
    }
    match &webhook.events {
        None => missing.push("events"),
        Some(events) => differences.extend(different_events(&asked.events, events)),
    }
    match webhook.header_names.as_deref() {
        None | Some([]) => missing.push("headers"),
        Some(names) => {
            let has = |name: &str| names.iter().any(|other| other.eq_ignore_ascii_case(name));
            let lacking = asked.headers.keys().filter(|name| !has(name.as_str()));
            differences.extend(lacking.map(|name| format!("no header {name}")));
        }
    }
    match (differences.is_empty(), missing.is_empty()) {
        (false, _) => Err(Contradiction(differences)),
        (true, false) => Ok(Confirmation::Partial(missing)),
        (true, true) => Ok(Confirmation::Confirmed),
    }
}

fn has_url(webhook: &RegisteredWebhook, asked: &Url) -> bool {
    let url = webhook.url.as_deref().map(Url::parse);
    url.is_some_and(|url| url.as_ref() == Ok(asked))
}

/// In whichever order. Events beyond those asked for do no harm: unknown names are carried.
fn different_events(asked: &[String], registered: &[String]) -> Option<String> {
    let is_lacking = |name: &&String| !registered.contains(name);
    let lacking: Vec<_> = asked.iter().filter(is_lacking).cloned().collect();
    (!lacking.is_empty()).then(|| format!("not the events {}", lacking.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Registration {
        Registration {
            url: "https://example.com/aura/events".parse().unwrap(),
            events: vec!["NEW_CALLOUT".into(), "CALLOUT_CLOSED".into()],
            method: "webhook".into(),
            headers: [("x-token".parse().unwrap(), "s3cret".parse().unwrap())]
                .into_iter()
                .collect(),
        }
    }

    fn registered() -> RegisteredWebhook {
        RegisteredWebhook {
            url: Some("https://example.com:443/aura/events".into()),
            events: Some(vec!["CALLOUT_CLOSED".into(), "NEW_CALLOUT".into()]),
            method: Some("webhook".into()),
            header_names: Some(vec!["X-Token".into()]),
        }
    }

    /// What is said to an answer with one thing changed.
    fn compared(
        change: impl FnOnce(&mut RegisteredWebhook),
    ) -> Result<Confirmation, Contradiction> {
        let mut registered = registered();
        change(&mut registered);
        compare(&asked(), &[registered])
    }

    #[test]
    fn the_same_is_confirmed_in_any_order_and_spelling() {
        assert_eq!(compared(|_| {}), Ok(Confirmation::Confirmed));
        let more = compared(|webhook| webhook.events.as_mut().unwrap().push("MORE".into()));
        assert_eq!(more, Ok(Confirmation::Confirmed));
        let other = RegisteredWebhook {
            url: Some("https://example.com/other".into()),
            ..registered()
        };
        let among_others = compare(&asked(), &[other, registered()]);
        assert_eq!(among_others, Ok(Confirmation::Confirmed));
    }

    #[test]
    fn what_is_missing_is_named_and_no_contradiction() {
        let partial = |parts: &[&'static str]| Ok(Confirmation::Partial(parts.to_vec()));
        assert_eq!(compare(&asked(), &[]), partial(&["all of it"]));
        assert_eq!(compared(|webhook| webhook.url = None), partial(&["url"]));
        let documented = compared(|webhook| webhook.header_names = Some(Vec::new()));
        assert_eq!(documented, partial(&["headers"]));
    }

    #[test]
    fn what_differs_is_named() {
        let said = |change: fn(&mut RegisteredWebhook)| compared(change).unwrap_err().to_string();
        let url = said(|webhook| webhook.url = Some("https://example.com/other".into()));
        assert!(url.contains("another url"), "{url}");
        let method = said(|webhook| webhook.method = Some("mail".into()));
        assert!(method.contains("another method"), "{method}");
        let fewer = said(|webhook| webhook.events = Some(vec!["NEW_CALLOUT".into()]));
        assert!(fewer.contains("not the events CALLOUT_CLOSED"), "{fewer}");
        let header = said(|webhook| webhook.header_names = Some(vec!["other".into()]));
        assert!(header.contains("no header x-token"), "{header}");
    }
}
