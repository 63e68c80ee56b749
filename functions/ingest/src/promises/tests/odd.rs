//! Events with odd values everywhere, as a client can make API Gateway send them.

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const BODY: &[u8] = br#"{"message": "NEW_CALLOUT", "callout": {"id": 5003}}"#;

thread_local! {
    static HARNESS: Harness = Harness::default();
}

/// The places that a delivery needs. Every other place may hold anything.
const NEEDED: [&str; 7] = [
    "rawPath",
    "headers",
    "requestContext",
    "requestContext/http",
    "requestContext/http/method",
    "requestContext/http/sourceIp",
    "body",
];

/// Any text, also with control characters, quotes, and characters that have a meaning in HTTP.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\x00-\\x7f]{0,12}",
        "(?s).{0,12}",
        Just("Bearer right".to_owned()),
        Just("true".to_owned()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            hash_map(any_text(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A place in an event: one that API Gateway fills, or an invented one.
fn any_place() -> impl Strategy<Value = String> {
    let known = [
        "version",
        "routeKey",
        "rawPath",
        "rawQueryString",
        "queryStringParameters",
        "pathParameters",
        "stageVariables",
        "cookies",
        "headers",
        "headers/authorization",
        "headers/host",
        "headers/x-a",
        "requestContext",
        "requestContext/domainName",
        "requestContext/stage",
        "requestContext/timeEpoch",
        "requestContext/authorizer",
        "requestContext/http",
        "requestContext/http/method",
        "requestContext/http/path",
        "requestContext/http/sourceIp",
        "requestContext/http/userAgent",
        "body",
        "isBase64Encoded",
    ];
    let own = |parent: &'static str| any_text().prop_map(move |name| format!("{parent}{name}"));
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(ToOwned::to_owned),
        1 => own(""),
        4 => own("headers/"),
        1 => own("requestContext/"),
        1 => own("requestContext/http/"),
    ]
}

/// Changes to an event: the new value of each place, or `None` to remove it.
fn changes() -> impl Strategy<Value = Vec<(String, Option<Value>)>> {
    vec(
        (any_place(), prop::option::weighted(0.8, any_json())),
        0..12,
    )
}

fn change(event: &mut Value, place: &str, value: Option<Value>) {
    let mut parts = place.splitn(3, '/').peekable();
    let mut at = event;
    while let Some(name) = parts.next() {
        let Value::Object(object) = at else {
            return;
        };
        if parts.peek().is_some() {
            at = object.entry(name).or_insert(Value::Null);
            continue;
        }
        match value {
            Some(value) => object.insert(name.to_owned(), value),
            None => object.remove(name),
        };
        return;
    }
}

/// Whether a change at this place leaves a delivery intact.
fn spares_the_delivery(place: &str) -> bool {
    let name = place.strip_prefix("headers/").unwrap_or_default();
    !NEEDED.contains(&place) && !name.eq_ignore_ascii_case("authorization")
}

proptest! {
    #[test]
    fn a_delivery_is_accepted_whatever_else_its_event_holds(changes in changes()) {
        let sent = SentRequest::delivery(BODY.to_vec());
        let mut event = sent.json();
        for (place, value) in changes {
            if spares_the_delivery(&place) {
                change(&mut event, &place, value);
            }
        }
        let outcome = HARNESS.with(|harness| harness.handle(sent::event(&event), sent.store));
        prop_assert_eq!(outcome.response.status(), 202, "{}", event);
        let read = outcome.check(&sent);
        prop_assert!(matches!(read, Disposition::Accepted { .. }), "{:?} of {}", read, event);
    }

    #[test]
    fn any_event_gets_an_answer_of_ours_and_none_gets_in_without_the_secret(changes in changes()) {
        let mut event = SentRequest::delivery(BODY.to_vec()).json();
        for (place, value) in changes {
            change(&mut event, &place, value);
        }
        HARNESS.with(|harness| harness.check_any(event.to_string().as_bytes()));
    }

    #[test]
    fn any_json_gets_an_answer_of_ours(event in any_json()) {
        HARNESS.with(|harness| harness.check_any(event.to_string().as_bytes()));
    }

    #[test]
    fn any_bytes_get_an_answer_of_ours(event in vec(any::<u8>(), 0..64)) {
        HARNESS.with(|harness| harness.check_any(&event));
    }

    #[test]
    fn each_header_that_http_does_not_allow_is_counted(
        headers in hash_map(any_text(), any_json(), 0..8),
    ) {
        let headers: serde_json::Map<_, _> = headers.into_iter().collect();
        let dropped = sent::illegal(&headers);
        let mut event = SentRequest::delivery(Vec::new()).json();
        event["cookies"] = json!([]);
        event["headers"] = Value::Object(headers);
        let wanted = lambda_http::http::header::AUTHORIZATION;
        let request = crate::request::UnverifiedRequest::read(&sent::event(&event), &wanted);
        prop_assert_eq!(request.dropped_headers, dropped, "{}", event);
    }
}
