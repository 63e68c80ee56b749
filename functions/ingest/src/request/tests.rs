use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::header::AUTHORIZATION;
use serde_json::{Value, json};

use super::*;

fn event(text: &str) -> GatewayEvent {
    as_the_runtime_reads(text.as_bytes())
}

/// Lambda's runtime doesn't look at what follows the event's value.
fn as_the_runtime_reads(event: &[u8]) -> GatewayEvent {
    GatewayEvent::deserialize(&mut serde_json::Deserializer::from_slice(event)).unwrap()
}

fn read(event: &Value) -> UnverifiedRequest {
    UnverifiedRequest::read(&self::event(&event.to_string()), &AUTHORIZATION)
}

fn with_headers(headers: &Value) -> UnverifiedRequest {
    read(&json!({"headers": headers}))
}

/// Reads the sample as it is, and as `cargo lambda watch` writes it.
#[test]
fn what_the_handler_needs_is_read() {
    let sample = include_str!("../../../../infra/events/lambda/delivery.json");
    let cargo_lambdas: ApiGatewayV2httpRequest = serde_json::from_str(sample).unwrap();
    let cargo_lambdas = serde_json::to_string(&cargo_lambdas).unwrap();
    for text in [sample, &cargo_lambdas] {
        let request = UnverifiedRequest::read(&event(text), &AUTHORIZATION);
        assert_eq!((&*request.method, &*request.path), ("POST", "/aura/events"));
        assert_eq!(request.source, "192.0.2.10".parse().ok());
        assert_eq!(request.credentials, ["${WEBHOOK_HEADER}"]);
        assert_eq!(request.dropped_headers, 0);
        let body = r#"{"message": "NEW_CALLOUT", "callout": {"id": 7001}}"#;
        assert_eq!(request.body, body.as_bytes());
    }
}

#[test]
fn a_header_that_http_does_not_allow_is_dropped_and_counted_and_no_other() {
    let odd = json!({
        "authorization": "Bearer right",
        "x-a": "a\u{1}b", "x-b": "line\nbreak", "x-c": "\u{7f}", "x d": "", "": "", "é": "",
        "x-e": 5, "x-f": null, "x-g": {"a": "b"}, "x-h": ["fine", 6],
        "x-text": "é, tab\t", "x-empty": "", "x-list": ["a", "b"], "x-none": [],
    });
    let request = with_headers(&odd);
    assert_eq!(request.credentials, ["Bearer right"]);
    assert_eq!(request.dropped_headers, 10);
}

#[test]
fn every_value_of_the_secrets_header_counts_in_any_letter_case() {
    let twice = with_headers(&json!({"Authorization": "a", "AUTHORIZATION": ["b", "c"]}));
    let mut values: Vec<_> = twice
        .credentials
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    values.sort_unstable();
    assert_eq!(values, [b"a", b"b", b"c"]);
    // `serde_json::Value` would keep only one of them.
    let twice = event(r#"{"headers": {"authorization": "a", "authorization": "b"}}"#);
    let twice = UnverifiedRequest::read(&twice, &AUTHORIZATION);
    assert_eq!(twice.credentials, ["a", "b"]);
}

#[test]
fn cookies_are_a_header_too() {
    let event = event(r#"{"headers": {"x": "y"}, "cookies": ["a=b", "\u0001", 1, "c"]}"#);
    let request = UnverifiedRequest::read(&event, &COOKIE);
    assert_eq!(request.credentials, ["a=b; c"]);
    assert_eq!(request.dropped_headers, 2);
    let request = UnverifiedRequest::read(&event, &AUTHORIZATION);
    assert!(request.credentials.is_empty());
}

#[test]
fn a_missing_path_is_taken_from_the_request_context() {
    let context = json!({"http": {"path": "/b"}});
    let path = |event: Value| read(&event).path;
    assert_eq!(
        path(json!({"rawPath": "/a", "requestContext": context})),
        "/a"
    );
    assert_eq!(path(json!({"rawPath": 1, "requestContext": context})), "/b");
    assert_eq!(path(json!({})), "");
}

#[test]
fn a_body_is_kept_whatever_it_is() {
    let body = |body: Value, is_base64: Value| {
        read(&json!({"body": body, "isBase64Encoded": is_base64})).body
    };
    let cases = [
        (json!("a\u{0}é"), json!(false), "a\u{0}é"),
        (json!("YQ=="), json!(true), "a"),
        (json!("YQ=="), json!(false), "YQ=="),
        (json!("YQ=="), json!("true"), "YQ=="),
        (json!("no base64"), json!(true), "no base64"),
        (json!("YQ"), json!(true), "YQ"),
        (json!({"message": "A"}), json!(false), r#"{"message":"A"}"#),
        (json!(5), json!(true), "5"),
        (json!(null), json!(null), ""),
    ];
    for (given, is_base64, kept) in cases {
        let body = body(given.clone(), is_base64);
        assert_eq!(body, kept.as_bytes(), "{given}");
    }
    assert!(read(&json!({})).body.is_empty());
    // Half of a surrogate pair, which a Rust string can't hold.
    let half = event(r#"{"body": "\ud800!"}"#);
    assert_eq!(
        UnverifiedRequest::read(&half, &AUTHORIZATION).body,
        b"\xed\xa0\x80!"
    );
}

#[test]
fn anything_that_is_not_an_event_is_read_as_an_empty_request() {
    for text in [
        "null",
        "5",
        "[]",
        r#""text""#,
        "{}",
        r#"{"headers": [1], "requestContext": "a"}"#,
    ] {
        let request = UnverifiedRequest::read(&event(text), &AUTHORIZATION);
        assert_eq!((&*request.method, &*request.path), ("", ""), "{text}");
        assert!(
            request.credentials.is_empty() && request.source.is_none(),
            "{text}"
        );
    }
    let deep = format!(
        r#"{{"headers": {}, "rawPath": "/a"}}"#,
        "[".repeat(10_000) + &"]".repeat(10_000)
    );
    assert_eq!(
        UnverifiedRequest::read(&event(&deep), &AUTHORIZATION).path,
        "/a"
    );
    for bytes in [
        &b""[..],
        b"{",
        b"{\"rawPath\": \"/a\"",
        b"\x01",
        b"\"\xff\"",
    ] {
        let event = as_the_runtime_reads(bytes);
        assert_eq!(UnverifiedRequest::read(&event, &AUTHORIZATION).path, "");
    }
}

#[test]
fn debug_hides_the_event_and_the_secret() {
    let event = event(r#"{"headers": {"authorization": "s3cret"}}"#);
    let request = UnverifiedRequest::read(&event, &AUTHORIZATION);
    assert!(!format!("{event:?} {request:?}").contains("s3cret"));
}
