//! The endpoint that AURA must deliver to. Its properties are checked before any call.

use http::HeaderName;
use http::header;
use secrecy::SecretString;
use shared::catalogue::{current_name, names_to_register};
use shared::loopback::is_loopback;
use shared::panic_api::Registration;
use shared::webhook::{IllegalHeaderValue, WebhookHeader};
use url::Url;

use super::PropertyError;

/// The only method that AURA documents.
const METHOD: &str = "webhook";

/// The name that means every documented event, so that a new version also registers new events.
const ALL_EVENTS: &str = "ALL";

/// Headers that HTTP itself sets or reads. They can't carry a secret.
const HTTPS_OWN: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The unchecked properties of the endpoint, as the template passes them in the function's
/// environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointProperties {
    /// Base URL of the AURA environment.
    pub aura_base_url: String,
    /// URL that AURA must deliver to.
    pub webhook_url: String,
    /// The event names to deliver, or `ALL` alone.
    pub events: Vec<String>,
    /// The header that carries the secret.
    pub header_name: String,
    /// The word before the secret in the header. It may be empty.
    pub header_scheme: String,
    /// URL that AURA must deliver to after the stack is deleted. Empty if there is no such URL.
    pub hand_back_url: String,
}

/// The checked endpoint: its URL, its events, and the header that carries the secret.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Base URL of the AURA environment.
    pub aura_base_url: Url,
    /// URL that AURA must deliver to.
    pub url: Url,
    /// The names of the events to deliver. Deprecated names are replaced by the current ones.
    pub events: Vec<String>,
    /// The header that carries the secret.
    pub header: WebhookHeader,
    /// URL that AURA must deliver to after the stack is deleted.
    pub hand_back_url: Option<Url>,
}

impl EndpointProperties {
    /// Whether the template has a URL that AURA must deliver to after the stack is deleted.
    #[must_use]
    pub fn is_handed_back(&self) -> bool {
        !self.hand_back_url.is_empty()
    }
}

impl Endpoint {
    /// Checks the properties. The error names the property that can't be used. It shows the value
    /// unless the value may be secret.
    pub fn check(properties: &EndpointProperties) -> Result<Self, PropertyError> {
        let hand_back_url = properties
            .is_handed_back()
            .then_some(properties.hand_back_url.as_str());
        Ok(Self {
            aura_base_url: checked_url("AuraBaseUrl", &properties.aura_base_url)?,
            url: checked_url("WebhookUrl", &properties.webhook_url)?,
            events: checked_events(&properties.events)?,
            header: WebhookHeader {
                name: checked_header_name(&properties.header_name)?,
                scheme: checked_scheme(&properties.header_scheme)?,
            },
            hand_back_url: hand_back_url
                .map(|url| checked_url("HandBackUrl", url))
                .transpose()?,
        })
    }

    /// Makes the registration to send to AURA, with this value of the secret. Returns an error if a
    /// header can't hold the value.
    pub fn registration(&self, secret: &SecretString) -> Result<Registration, IllegalHeaderValue> {
        let header = (self.header.name.clone(), self.header.value(secret)?);
        Ok(Registration {
            url: self.url.clone(),
            events: self.events.clone(),
            method: METHOD.to_owned(),
            headers: [header].into_iter().collect(),
        })
    }
}

fn checked_url(property: &str, text: &str) -> Result<Url, PropertyError> {
    let refused = |reason: String| Err(PropertyError(format!("{property} {reason}")));
    let url: Url = match text.parse() {
        Ok(url) => url,
        Err(error) => return refused(format!("is not a URL: {error}")),
    };
    let is_http_here = url.scheme() == "http" && is_loopback(&url);
    if url.scheme() != "https" && !is_http_here {
        let (scheme, host) = (url.scheme(), url.host_str().unwrap_or_default());
        return refused(format!(
            "must be https (http is allowed for loopback addresses only), but is {scheme}://{host}"
        ));
    }
    // A user name or a password would appear in logs.
    if !url.username().is_empty() || url.password().is_some() {
        return refused("must not hold a user name or password".to_owned());
    }
    Ok(url)
}

fn checked_events(names: &[String]) -> Result<Vec<String>, PropertyError> {
    let refused = |reason: String| Err(PropertyError(format!("Events {reason}")));
    if names.is_empty() {
        return refused("is empty: name at least one event".to_owned());
    }
    if names == [ALL_EVENTS] {
        return Ok(names_to_register().map(ToOwned::to_owned).collect());
    }
    if names.iter().any(|name| name == ALL_EVENTS) {
        let reason = "holds ALL and other names: use ALL alone, or name each event without ALL";
        return refused(reason.to_owned());
    }
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() || !name.bytes().all(is_legal) {
            let rule = "event names consist of letters, digits and underscores";
            return refused(format!("holds {name:?}: {rule}"));
        }
        if names.iter().take(index).any(|before| before == name) {
            return refused(format!("holds {name} twice"));
        }
    }
    let mut current: Vec<String> = Vec::new();
    // A stack that was deployed with both names of one event still has both.
    for name in names.iter().map(|name| current_name(name)) {
        if !current.iter().any(|before| before == name) {
            current.push(name.to_owned());
        }
    }
    Ok(current)
}

fn checked_header_name(text: &str) -> Result<HeaderName, PropertyError> {
    let refused = |reason: String| PropertyError(format!("HeaderName {reason}"));
    let name = HeaderName::try_from(text)
        .map_err(|_| refused(format!("{text:?} is not a legal HTTP header name")))?;
    if HTTPS_OWN.contains(&name) {
        let reason = "is reserved by HTTP: name a header that can carry a secret";
        return Err(refused(format!("{name} {reason}")));
    }
    Ok(name)
}

fn checked_scheme(text: &str) -> Result<String, PropertyError> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(PropertyError(format!(
        "HeaderScheme {text:?} is not one word of visible ASCII characters"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties() -> EndpointProperties {
        EndpointProperties {
            aura_base_url: "https://panic.aura.services".into(),
            webhook_url: "https://example.com/aura/events".into(),
            events: vec!["NEW_CALLOUT".into(), "A_NEW_NAME".into()],
            header_name: "authorization".into(),
            header_scheme: "Bearer".into(),
            hand_back_url: String::new(),
        }
    }

    /// The error for properties with one change.
    fn refused(change: impl FnOnce(&mut EndpointProperties)) -> String {
        let mut properties = properties();
        change(&mut properties);
        Endpoint::check(&properties).unwrap_err().to_string()
    }

    fn with_events(events: &[&str]) -> String {
        refused(|properties| properties.events = events.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn usable_properties_are_accepted() {
        let mut properties = properties();
        assert!(Endpoint::check(&properties).is_ok());
        properties.webhook_url = "http://[::1]:4566/aura/events".into();
        properties.aura_base_url = "http://127.0.0.1:5000".into();
        properties.hand_back_url = "https://example.com/old".into();
        assert!(Endpoint::check(&properties).is_ok());
    }

    #[test]
    fn an_invalid_or_unsafe_url_is_refused_by_name() {
        let told = refused(|properties| properties.webhook_url = "no URL".into());
        assert!(told.starts_with("WebhookUrl is not a URL"), "{told}");
        let told = refused(|properties| properties.aura_base_url = "http://example.com/a?b".into());
        assert!(told.starts_with("AuraBaseUrl must be https"), "{told}");
        assert!(told.ends_with("http://example.com"), "{told}");
        let told = refused(|properties| properties.hand_back_url = "ftp://localhost/".into());
        assert!(told.starts_with("HandBackUrl must be https"), "{told}");
        let told =
            refused(|properties| properties.hand_back_url = "https://marker:marker@a.b/".into());
        assert!(told.starts_with("HandBackUrl"), "{told}");
        assert!(!told.contains("marker"), "{told}");
    }

    #[test]
    fn missing_invalid_and_repeated_event_names_are_refused_by_name() {
        assert!(with_events(&[]).contains("empty"));
        assert!(with_events(&["NEW_CALLOUT", ""]).contains("\"\""));
        assert!(with_events(&["NEW_CALLOUT", " CALLOUT_CLOSED"]).contains("\" CALLOUT_CLOSED\""));
        let twice = with_events(&["NEW_CALLOUT", "CALLOUT_CLOSED", "NEW_CALLOUT"]);
        assert!(twice.contains("NEW_CALLOUT twice"), "{twice}");
    }

    fn events(names: &[&str]) -> Vec<String> {
        let properties = EndpointProperties {
            events: names.iter().map(ToString::to_string).collect(),
            ..properties()
        };
        Endpoint::check(&properties).unwrap().events
    }

    #[test]
    fn all_events_are_what_the_catalogue_has_for_new_registrations() {
        let all: Vec<_> = names_to_register().collect();
        assert_eq!(events(&["ALL"]), all);
        for mixed in [
            ["ALL", "NEW_CALLOUT"],
            ["NEW_CALLOUT", "ALL"],
            ["ALL", "ALL"],
        ] {
            let told = with_events(&mixed);
            assert!(told.contains("ALL and other names"), "{told}");
        }
    }

    #[test]
    fn a_deprecated_name_is_registered_as_the_current_one_and_once() {
        let (old, new) = (
            "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA",
            "RESPONDER_ACKNOWLEDGED_CALLOUT",
        );
        assert_eq!(events(&[old]), [new]);
        assert_eq!(events(&[new, "NEW_CALLOUT", old]), [new, "NEW_CALLOUT"]);
        assert_eq!(events(&[old, "A_NEW_NAME", new]), [new, "A_NEW_NAME"]);
    }

    #[test]
    fn a_header_that_can_carry_no_secret_is_named() {
        let told = refused(|properties| properties.header_name = "no name".into());
        assert!(told.contains("\"no name\""), "{told}");
        let told = refused(|properties| properties.header_name = "Content-Length".into());
        assert!(told.contains("content-length"), "{told}");
        let told = refused(|properties| properties.header_scheme = "two words".into());
        assert!(told.contains("\"two words\""), "{told}");
    }
}
