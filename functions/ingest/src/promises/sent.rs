//! A request as its sender made it, and as API Gateway hands it on.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda_http::Request;
use lambda_http::request::LambdaRequest;
use serde_json::{Map, Value, json};
use shared::aws::MAX_QUEUED_BYTES;

use crate::handler::{HEALTH_PATH, WEBHOOK_PATH};
use crate::service;

/// Where deliveries may come from.
pub(super) const ALLOWED_SOURCES: &str = "192.0.2.0/24";

/// What AURA sends.
pub(super) const RIGHT: &str = "Bearer right";

/// A request as its sender made it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The HTTP method: letters.
    pub method: String,
    /// The path, as API Gateway matched it.
    pub path: String,
    /// Where it comes from, if that is known.
    pub address: Option<String>,
    /// Headers but for [`Self::noise`]. A list is a header that is given more than once.
    pub headers: Vec<(&'static str, Vec<String>)>,
    /// What is in every other field that the sender has a say in.
    pub noise: String,
    /// Whether API Gateway hands the body on as base64; what isn't UTF-8 always is.
    pub base64: bool,
    /// The body.
    pub body: Vec<u8>,
    /// What works when it arrives.
    pub store: StoreState,
}

/// Which of the stores work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreState {
    /// The queues.
    pub queues: bool,
    /// The spill.
    pub spill: bool,
}

impl Sent {
    /// A delivery of AURA's on a good day.
    #[must_use]
    pub fn delivery(body: Vec<u8>) -> Self {
        Self {
            method: "POST".into(),
            path: WEBHOOK_PATH.into(),
            address: Some("192.0.2.1".into()),
            headers: vec![("authorization", vec![RIGHT.into()])],
            noise: String::new(),
            base64: false,
            body,
            store: StoreState {
                queues: true,
                spill: true,
            },
        }
    }

    /// The request that the handler gets.
    #[must_use]
    pub fn request(&self) -> Request {
        let event = self.event().to_string();
        let mut event: LambdaRequest = serde_json::from_str(&event).expect("an event");
        service::without_uri(&mut event);
        event.into()
    }

    /// The event that Lambda gets from an HTTP API, payload format 2.0.
    fn event(&self) -> Value {
        let (is_base64, body) = match std::str::from_utf8(&self.body) {
            Ok(text) if !self.base64 => (false, text.to_owned()),
            _ => (true, STANDARD.encode(&self.body)),
        };
        let noise = self.noise.as_str();
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
        ]
        .map(|name| (name.to_owned(), json!(self.noise)));
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
            return is("GET", Some(200));
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
        if !self.is_authentic() {
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

    fn is_authentic(&self) -> bool {
        let given = |(name, _): &&(&str, Vec<String>)| name.eq_ignore_ascii_case("authorization");
        let mut values = self
            .headers
            .iter()
            .filter(given)
            .flat_map(|(_, values)| values);
        values.next().is_some_and(|value| value == RIGHT) && values.next().is_none()
    }
}
