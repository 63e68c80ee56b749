//! A request as its sender made it, and as API Gateway hands it on.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::{HeaderName, HeaderValue};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use shared::aws::MAX_QUEUED_BYTES;

use crate::handler::{HEALTH_PATH, WEBHOOK_PATH};
use crate::request::GatewayEvent;

/// Where deliveries may come from.
pub(super) const ALLOWED_SOURCES: &str = "192.0.2.0/24";

/// What AURA sends.
pub(super) const RIGHT: &str = "Bearer right";

/// A request as its sender made it.
#[derive(Debug, Clone)]
pub struct SentRequest {
    /// The HTTP method.
    pub method: String,
    /// The path, as API Gateway matched it.
    pub path: String,
    /// The source address, if it is known.
    pub address: Option<String>,
    /// The headers without [`Self::noise`]. A header with several values was sent more than once.
    pub headers: Vec<(&'static str, Vec<String>)>,
    /// The value of every other field that the sender controls. It may have any type.
    pub noise: Value,
    /// The name of an additional header that holds [`Self::noise`].
    pub noise_name: String,
    /// Whether API Gateway encodes the body as base64. It always encodes a body that isn't UTF-8.
    pub base64: bool,
    /// The body.
    pub body: Vec<u8>,
    /// Which stores work when the request arrives.
    pub store: StoreState,
}

/// Which of the stores work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreState {
    /// Whether the queues work.
    pub queues: bool,
    /// Whether the spill works.
    pub spill: bool,
}

impl StoreState {
    /// Everything works.
    pub const GOOD: Self = Self {
        queues: true,
        spill: true,
    };
}

impl SentRequest {
    /// A delivery from AURA, while everything works.
    #[must_use]
    pub fn delivery(body: Vec<u8>) -> Self {
        Self {
            method: "POST".into(),
            path: WEBHOOK_PATH.into(),
            address: Some("192.0.2.1".into()),
            headers: vec![("authorization", vec![RIGHT.into()])],
            noise: json!(""),
            noise_name: "x-noise".into(),
            base64: false,
            body,
            store: StoreState::GOOD,
        }
    }

    /// The event that the handler gets.
    #[must_use]
    pub fn event(&self) -> GatewayEvent {
        event(&self.json())
    }

    /// The event that Lambda gets from an HTTP API, payload format 2.0.
    #[must_use]
    pub fn json(&self) -> Value {
        let (is_base64, body) = match std::str::from_utf8(&self.body) {
            Ok(text) if !self.base64 => (false, text.to_owned()),
            _ => (true, STANDARD.encode(&self.body)),
        };
        let noise = &self.noise;
        json!({
            "version": "2.0",
            "routeKey": format!("ANY {}", self.path),
            "rawPath": self.path,
            "rawQueryString": noise,
            "queryStringParameters": {"q": noise},
            "cookies": [noise],
            "headers": self.header_map(),
            "requestContext": {
                "accountId": "000000000000", "apiId": "api", "domainName": noise,
                "http": {
                    "method": self.method, "path": self.path, "protocol": "HTTP/1.1",
                    "sourceIp": self.address, "userAgent": noise,
                },
                "requestId": "id", "stage": "$default", "timeEpoch": 0,
            },
            "body": body,
            "isBase64Encoded": is_base64,
        })
    }

    fn header_map(&self) -> Map<String, Value> {
        let noise = [
            "host",
            "content-type",
            "x-forwarded-proto",
            "x-forwarded-for",
            &self.noise_name,
        ]
        .map(|name| (name.to_owned(), self.noise.clone()));
        let own = self.headers.iter().map(|(name, values)| {
            let value = match values.as_slice() {
                [value] => json!(value),
                values => json!(values),
            };
            ((*name).to_owned(), value)
        });
        noise.into_iter().chain(own).collect()
    }

    /// The status of a request that must not be stored, whatever the stores' state.
    pub(super) fn expected_without_storing(&self) -> Option<u16> {
        let is = |method: &str, otherwise| {
            if self.method == method {
                otherwise
            } else {
                Some(405)
            }
        };
        if self.path == HEALTH_PATH {
            return if self.method == "HEAD" {
                Some(200)
            } else {
                is("GET", Some(200))
            };
        }
        if !self.is_allowed() {
            return Some(403);
        }
        if self.path != WEBHOOK_PATH {
            return Some(404);
        }
        is("POST", self.expected_of_delivery())
    }

    fn expected_of_delivery(&self) -> Option<u16> {
        if !is_authentic(&self.header_map()) {
            return Some(401);
        }
        (self.body.len() > MAX_QUEUED_BYTES).then_some(413)
    }

    fn is_allowed(&self) -> bool {
        let address = self.address.as_ref().and_then(|text| text.parse().ok());
        match address.map(|address: IpAddr| address.to_canonical()) {
            Some(IpAddr::V4(address)) => address.octets().starts_with(&[192, 0, 2]),
            _ => false,
        }
    }
}

/// An event as Lambda hands it over. Its runtime doesn't look at what follows the event's value.
pub(super) fn event(json: &Value) -> GatewayEvent {
    let text = json.to_string();
    GatewayEvent::deserialize(&mut serde_json::Deserializer::from_str(&text)).expect("an event")
}

/// Whether these headers carry the secret exactly once.
pub(super) fn is_authentic(headers: &Map<String, Value>) -> bool {
    let given = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        .flat_map(|(_, value)| match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        });
    let legal: Vec<_> = given
        .filter_map(Value::as_str)
        .filter(|value| HeaderValue::from_bytes(value.as_bytes()).is_ok())
        .collect();
    let [only] = legal.as_slice() else {
        return false;
    };
    let (scheme, secret) = RIGHT.split_once(' ').expect("a scheme");
    let given = only.split_once(' ');
    given.is_some_and(|(its, rest)| its.eq_ignore_ascii_case(scheme) && rest == secret)
}

/// Counts the values of these headers that HTTP doesn't allow.
pub(super) fn illegal(headers: &Map<String, Value>) -> usize {
    let is_legal = |name: &str, value: &Value| {
        let value = value.as_str().map(str::as_bytes);
        HeaderName::from_bytes(name.as_bytes()).is_ok()
            && value.is_some_and(|value| HeaderValue::from_bytes(value).is_ok())
    };
    let count = |(name, value): (&String, &Value)| match value {
        Value::Array(values) => values.iter().filter(|value| !is_legal(name, value)).count(),
        value => usize::from(!is_legal(name, value)),
    };
    headers.iter().map(count).sum()
}
