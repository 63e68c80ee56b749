//! The webhook registration: the request, and what AURA says that it registered.

use std::slice;

use http::{HeaderMap, HeaderValue};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use url::Url;

/// The fields of a webhook in AURA's answer, as documented.
const FIELDS: [&str; 4] = ["url", "events", "method", "headers"];

/// A webhook registration. It replaces the previous one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// The HTTPS URL that deliveries go to.
    pub url: Url,
    /// The event names to deliver.
    pub events: Vec<String>,
    /// The method: `webhook`.
    pub method: String,
    /// The headers that AURA sends with every delivery.
    #[serde(serialize_with = "header_map")]
    pub headers: HeaderMap,
}

/// A webhook as AURA says that it registered it. A field that is missing, or has another type than
/// documented, is `None`. The values of the headers are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredWebhook {
    /// The URL that AURA delivers to.
    pub url: Option<String>,
    /// The event names that it delivers.
    pub events: Option<Vec<String>>,
    /// The method: `webhook`.
    pub method: Option<String>,
    /// The names of the headers that it sends, in AURA's spelling.
    pub header_names: Option<Vec<String>>,
    /// How many other fields the answer has.
    pub other_fields: usize,
}

impl RegisteredWebhook {
    /// Reads one entry of the answer's `notifier.config`.
    fn read(entry: &Map<String, Value>) -> Self {
        let text = |key| Some(entry.get(key)?.as_str()?.to_owned());
        let events = entry.get("events").and_then(Value::as_array);
        let headers = entry.get("headers").and_then(Value::as_object);
        Self {
            url: text("url"),
            events: events.and_then(|names| {
                let names = names.iter().map(|name| Some(name.as_str()?.to_owned()));
                names.collect()
            }),
            method: text("method"),
            header_names: headers.map(|headers| headers.keys().cloned().collect()),
            other_fields: entry
                .keys()
                .filter(|key| !FIELDS.contains(&key.as_str()))
                .count(),
        }
    }
}

/// What AURA says that it registered; see [`RegisteredWebhook`].
pub(super) fn registered(body: &[u8]) -> Vec<RegisteredWebhook> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = match answer.pointer("/notifier/config") {
        Some(Value::Array(entries)) => entries,
        Some(entry) => slice::from_ref(entry),
        None => &[],
    };
    let entries = entries.iter().filter_map(Value::as_object);
    entries.map(RegisteredWebhook::read).collect()
}

/// A header's value, and the part of it behind the scheme.
pub(super) fn secrets_of(value: &HeaderValue) -> impl Iterator<Item = &str> {
    let whole = value.to_str().ok();
    let bare = whole.and_then(|whole| Some(whole.split_once(' ')?.1));
    whole.into_iter().chain(bare)
}

/// Writes headers as AURA's JSON map of strings.
fn header_map<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))),
    )
}
