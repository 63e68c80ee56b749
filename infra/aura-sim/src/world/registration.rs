//! The webhook registration: AURA's rules for it, and the history of all registrations.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::loopback::is_loopback;
use url::Url;

use crate::{world::event::EventName, world::refusal::Refusal};

/// The URL of the registration that replaces ours in a plan. Nothing can listen on port 0.
const ELSEWHERE: &str = "https://127.0.0.1:0/registered-in-the-portal";

/// The only method that the documentation names, and the default.
const METHOD: &str = "webhook";

/// The body of `POST /notifiers/webhooks`.
#[derive(Serialize, Deserialize)]
pub(crate) struct RegistrationRequest {
    pub(crate) url: Option<String>,
    pub(crate) events: Option<Vec<String>>,
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// A registration that AURA accepted. Its serialized form shows the values of its headers, so only
/// `GET /_sim/registration` may return it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// URL to which deliveries go.
    pub url: String,
    /// Names of the events that are delivered.
    pub events: Vec<EventName>,
    /// Method of the delivery: always `webhook`.
    pub method: String,
    /// The headers of every delivery. Their values are secret.
    pub headers: BTreeMap<String, String>,
    /// When AURA accepted the registration.
    pub registered_at: Timestamp,
    #[serde(skip)]
    sent_headers: HeaderMap,
}

/// The answer of `GET /_sim/registration`.
#[derive(Clone, Serialize, Deserialize)]
pub struct RegistrationReport<R = Registration> {
    /// The registration in force.
    pub current: Option<R>,
    /// Every registration so far, oldest first. The one in force is last.
    pub history: Vec<R>,
}

/// A registration in the shape of AURA's answer. The documentation shows `headers` there as an
/// empty map, and doesn't say whether the answer has names and values. Here it has the names with
/// hidden values, so that a client can compare the names and no secret travels.
#[derive(Serialize)]
pub(crate) struct NotifierConfig {
    url: String,
    events: Vec<EventName>,
    method: String,
    headers: BTreeMap<String, &'static str>,
}

/// Every registration so far, oldest first. Only the last one is in force.
#[derive(Default)]
pub(crate) struct Registrations {
    accepted: Vec<Registration>,
}

impl Registration {
    /// Checks a request by AURA's rules.
    ///
    /// It also refuses a method other than `webhook`, because the documentation names no other, and
    /// a header that HTTP can't carry.
    pub(crate) fn check(
        request: RegistrationRequest,
        allow_http_loopback: bool,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let is_deprecated =
            |name: &&String| EventName::parse(name).is_some_and(EventName::is_deprecated);
        let names = request.events.as_deref().unwrap_or_default();
        if let Some(name) = names.iter().find(is_deprecated) {
            return Err(malformed(format!("event {name} is deprecated")));
        }
        Self::check_old(request, allow_http_loopback, now)
    }

    /// Checks a request by the rules from before an event name was deprecated.
    pub(crate) fn check_old(
        request: RegistrationRequest,
        allow_http_loopback: bool,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let method = request.method.unwrap_or_else(|| METHOD.to_owned());
        if method != METHOD {
            return Err(malformed(format!("method {method} is unknown")));
        }
        Ok(Self {
            url: checked_url(request.url, allow_http_loopback)?,
            events: checked_events(&request.events.unwrap_or_default())?,
            method,
            sent_headers: checked_headers(&request.headers)?,
            headers: request.headers,
            registered_at: now,
        })
    }

    /// The headers of every delivery.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.sent_headers
    }

    /// The name under which an event is delivered, if the registration lists it.
    ///
    /// An old registration that lists only the deprecated name of `RESPONDER_ACKNOWLEDGED_CALLOUT`
    /// still works, so it gets the event under that name. A registration that lists both names gets
    /// the event once.
    pub(crate) fn name_for(&self, message: EventName) -> Option<EventName> {
        let twin = (message == EventName::ResponderAcknowledgedCallout)
            .then_some(EventName::ResponderAcknowledgedCalloutWithEta);
        [Some(message), twin]
            .into_iter()
            .flatten()
            .find(|name| self.events.contains(name))
    }

    pub(crate) fn notifier_config(&self) -> NotifierConfig {
        NotifierConfig {
            url: self.url.clone(),
            events: self.events.clone(),
            method: self.method.clone(),
            headers: self
                .headers
                .keys()
                .map(|name| (name.clone(), "***"))
                .collect(),
        }
    }
}

impl Registrations {
    pub(crate) fn current(&self) -> Option<&Registration> {
        self.accepted.last()
    }

    pub(crate) fn history(&self) -> &[Registration] {
        &self.accepted
    }

    /// Replaces the registration in force by one of the same events with another URL, as when
    /// somebody registers another URL in AURA's portal.
    pub(crate) fn lose(&mut self, now: Timestamp) {
        let Some(current) = self.current() else {
            return;
        };
        let theirs = Registration {
            url: ELSEWHERE.to_owned(),
            events: current.events.clone(),
            method: METHOD.to_owned(),
            headers: BTreeMap::new(),
            registered_at: now,
            sent_headers: HeaderMap::new(),
        };
        self.replace(theirs);
    }

    pub(crate) fn replace(&mut self, registration: Registration) {
        self.accepted.push(registration);
    }
}

fn checked_url(url: Option<String>, allow_http_loopback: bool) -> Result<String, Refusal> {
    let text = url.ok_or_else(|| malformed("url is required"))?;
    let url = Url::parse(&text).map_err(|error| malformed(format!("url: {error}")))?;
    let plain_loopback = allow_http_loopback && url.scheme() == "http" && is_loopback(&url);
    if url.scheme() != "https" && !plain_loopback {
        return Err(malformed("url must be HTTPS"));
    }
    Ok(text)
}

fn checked_events(names: &[String]) -> Result<Vec<EventName>, Refusal> {
    if names.is_empty() {
        return Err(malformed("events is required: name at least one"));
    }
    names
        .iter()
        .map(|name| {
            EventName::parse(name).ok_or_else(|| malformed(format!("event {name} is unknown")))
        })
        .collect()
}

/// Makes HTTP headers of a map of strings. A refusal names the header and not its value.
pub(crate) fn checked_headers(headers: &BTreeMap<String, String>) -> Result<HeaderMap, Refusal> {
    headers
        .iter()
        .map(|(name, value)| {
            HeaderName::try_from(name)
                .ok()
                .zip(HeaderValue::try_from(value).ok())
                .ok_or_else(|| malformed(format!("header {name} can't be sent")))
        })
        .collect()
}

fn malformed(message: impl Into<String>) -> Refusal {
    Refusal::Malformed(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, events: &[&str]) -> RegistrationRequest {
        RegistrationRequest {
            url: Some(url.to_owned()),
            events: Some(events.iter().map(|&name| name.to_owned()).collect()),
            method: None,
            headers: BTreeMap::new(),
        }
    }

    fn check(request: RegistrationRequest) -> Result<Registration, String> {
        Registration::check(request, true, Timestamp::UNIX_EPOCH).map_err(|error| error.to_string())
    }

    #[test]
    fn a_new_registration_that_asks_for_a_deprecated_name_is_refused() {
        let deprecated = "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA";
        let names = ["NEW_CALLOUT", deprecated];
        assert_eq!(
            check(request("https://example.com", &names)).err().unwrap(),
            format!("event {deprecated} is deprecated")
        );
    }

    #[test]
    fn http_is_accepted_only_for_loopback_and_only_when_allowed() {
        let refused = Err("url must be HTTPS".to_owned());
        let url_of = |url, allowed| {
            checked_url(Some(str::to_owned(url)), allowed).map_err(|e| e.to_string())
        };
        assert!(url_of("https://example.com/aura", false).is_ok());
        assert!(url_of("http://localhost:4566/aura", true).is_ok());
        assert_eq!(url_of("http://localhost:4566/aura", false), refused);
        assert_eq!(url_of("http://example.com/aura", true), refused);
        assert_eq!(url_of("ftp://localhost/aura", true), refused);
    }

    #[test]
    fn headers_that_http_cannot_carry_are_refused_without_their_value() {
        let mut bad = request("https://example.com", &["NEW_CALLOUT"]);
        bad.headers = BTreeMap::from([("authorization".to_owned(), "se\ncret".to_owned())]);
        assert_eq!(
            check(bad).err().unwrap(),
            "header authorization can't be sent"
        );
    }

    #[test]
    fn an_unknown_method_is_refused() {
        let mut bad = request("https://example.com", &["NEW_CALLOUT"]);
        bad.method = Some("carrier-pigeon".to_owned());
        assert_eq!(
            check(bad).err().unwrap(),
            "method carrier-pigeon is unknown"
        );
    }

    #[test]
    fn an_old_registration_with_only_the_deprecated_name_gets_events_under_it() {
        use EventName::{
            NewCallout, ResponderAcknowledgedCallout as Current,
            ResponderAcknowledgedCalloutWithEta as Deprecated,
        };
        let name_for = |events: &[&str], name| {
            let request = request("https://example.com", events);
            Registration::check_old(request, true, Timestamp::UNIX_EPOCH)
                .unwrap()
                .name_for(name)
        };
        let deprecated = "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA";
        let both = [deprecated, "RESPONDER_ACKNOWLEDGED_CALLOUT"];
        assert_eq!(name_for(&[deprecated], Current), Some(Deprecated));
        assert_eq!(name_for(&both, Current), Some(Current));
        assert_eq!(name_for(&both, NewCallout), None);
    }
}
