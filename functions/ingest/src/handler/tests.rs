use std::sync::atomic::Ordering;

use lambda_http::http::{HeaderValue, StatusCode};
use serde_json::Value;

use shared::secrets::Stage;

use super::*;
use crate::fakes::{self, FakeSecret};

const NEW_CALLOUT: &str = include_str!("../../../../infra/events/new-callout.json");

fn request(method: &str, path: &str, secret: &str, body: &[u8]) -> Request {
    let mut request = Request::new(Body::from(body)).with_raw_http_path(path);
    *request.method_mut() = method.parse().unwrap();
    request
        .headers_mut()
        .insert("authorization", secret.parse().unwrap());
    request
}

fn delivery(body: &[u8]) -> Request {
    request("POST", WEBHOOK_PATH, "Bearer right", body)
}

fn status_of(response: &Response<Body>) -> Value {
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    body["status"].clone()
}

#[tokio::test]
async fn a_readable_delivery_is_queued_under_its_entity_byte_for_byte() {
    let ingest = fakes::ingest().await;
    let response = ingest.handle(delivery(NEW_CALLOUT.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(status_of(&response), "accepted");
    let [queued] = ingest.store.take_queued().try_into().unwrap();
    assert_eq!(queued.destination, Destination::Ingest);
    assert_eq!(queued.message.group_id, "callout#5003");
    assert_eq!(
        queued.message.deduplication_id,
        queued.delivery_id.to_string()
    );
    let envelope = Envelope::parse(&queued.message.body).unwrap();
    assert_eq!(envelope.delivery_id, queued.delivery_id);
    assert_eq!(envelope.payload.get(), NEW_CALLOUT.trim());
}

#[tokio::test]
async fn an_unreadable_delivery_is_quarantined_whole() {
    let ingest = fakes::ingest().await;
    let response = ingest.handle(delivery(b"not json")).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(status_of(&response), "quarantined");
    let [queued] = ingest.store.take_queued().try_into().unwrap();
    assert_eq!(queued.destination, Destination::Quarantine);
    assert_eq!(queued.message.body, "not json");
}

#[tokio::test]
async fn what_the_queue_does_not_confirm_is_spilled_as_it_was_sent() {
    let ingest = fakes::ingest().await;
    for (body, status) in [(NEW_CALLOUT, "accepted"), ("not json", "quarantined")] {
        ingest.handle(delivery(body.as_bytes())).await;
        let [sent] = ingest.store.take_queued().try_into().unwrap();

        ingest.store.queues_down.store(true, Ordering::Relaxed);
        let response = ingest.handle(delivery(body.as_bytes())).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(status_of(&response), status);
        let [spilled] = ingest.store.take_spilled().try_into().unwrap();
        // The same but for the delivery's id.
        let with_id_of_sent = |text: &str| {
            let (own, sent) = (spilled.delivery_id, sent.delivery_id);
            text.replace(&own.to_string(), &sent.to_string())
        };
        assert_eq!(spilled.destination, sent.destination);
        let (spilled, sent) = (format!("{spilled:?}"), format!("{sent:?}"));
        assert_eq!(with_id_of_sent(&spilled), sent);
        ingest.store.queues_down.store(false, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn what_could_not_be_stored_is_never_acknowledged() {
    let ingest = fakes::ingest().await;
    ingest.store.queues_down.store(true, Ordering::Relaxed);
    ingest.store.spill_down.store(true, Ordering::Relaxed);
    for body in [NEW_CALLOUT.as_bytes(), b"not json"] {
        let response = ingest.handle(delivery(body)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn what_is_refused_is_stored_nowhere() {
    let body = NEW_CALLOUT.as_bytes();
    let too_large = vec![b' '; MAX_QUEUED_BYTES + 1];
    let too_large_as_base64 = vec![0xff; MAX_QUEUED_BYTES];
    let mut twice = delivery(body);
    let secret = HeaderValue::from_static("Bearer right");
    twice.headers_mut().append("authorization", secret);
    let mut without = delivery(body);
    without.headers_mut().clear();
    let unknown = HeaderValue::from_static("Bearer wrong");
    let mut not_text = delivery(body);
    let bytes = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
    not_text.headers_mut().insert("authorization", bytes);
    let cases = [
        (
            request("POST", "/", "Bearer right", body),
            StatusCode::NOT_FOUND,
        ),
        (
            request("PUT", WEBHOOK_PATH, "Bearer right", body),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            request("POST", HEALTH_PATH, "Bearer right", body),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            request("POST", WEBHOOK_PATH, "Bearer wrong", body),
            StatusCode::UNAUTHORIZED,
        ),
        (twice, StatusCode::UNAUTHORIZED),
        (without, StatusCode::UNAUTHORIZED),
        (not_text, StatusCode::UNAUTHORIZED),
        (delivery(&too_large), StatusCode::PAYLOAD_TOO_LARGE),
        (
            delivery(&too_large_as_base64),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ];
    let secret = FakeSecret::with(&[(Stage::Current, "right")]);
    let mut ingest = fakes::ingest_with(secret.clone()).await;
    // Long enough after the start for an unknown value to be worth a reading.
    ingest.now = || Timestamp::from_second(31).unwrap();
    let mut reads = secret.reads();
    for (request, expected) in cases {
        let has_unknown_value = request.headers().get("authorization") == Some(&unknown);
        let response = ingest.handle(request).await;
        assert_eq!(response.status(), expected);
        // Nothing is asked of AWS but whether an unknown value is a new one.
        assert!(has_unknown_value || secret.reads() == reads);
        reads = secret.reads();
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    assert!(ingest.store.take_queued().is_empty());
    assert!(ingest.store.take_spilled().is_empty());
}

#[tokio::test]
async fn while_the_secret_is_unknown_nobody_gets_in_and_nobody_is_called_wrong() {
    let secret = FakeSecret::with(&[(Stage::Current, "right")]);
    secret.hide(&[Stage::Current, Stage::Pending, Stage::Previous]);
    let ingest = fakes::ingest_with(secret).await;
    let response = ingest.handle(delivery(NEW_CALLOUT.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(ingest.store.take_queued().is_empty());
}

#[tokio::test]
async fn an_address_that_is_not_allowed_gets_in_nowhere_but_to_the_health_check() {
    let mut ingest = fakes::ingest().await;
    // These requests have no address, so they come from none of the ranges.
    ingest.allowed_sources = "192.0.2.0/24".parse().unwrap();
    let response = ingest.handle(delivery(NEW_CALLOUT.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let response = ingest.handle(request("GET", HEALTH_PATH, "", b"")).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_canary_needs_the_secret_and_no_address_and_says_what_it_is() {
    let mut ingest = fakes::ingest().await;
    ingest.allowed_sources = "192.0.2.0/24".parse().unwrap();
    let body = canary::body(Uuid::nil());
    let response = ingest.handle(delivery(body.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let [queued] = ingest.store.take_queued().try_into().unwrap();
    let envelope = Envelope::parse(&queued.message.body).unwrap();
    assert_eq!(envelope.origin, Origin::Canary);

    let forged = request("POST", WEBHOOK_PATH, "Bearer wrong", body.as_bytes());
    let response = ingest.handle(forged).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(ingest.store.take_queued().is_empty());
}

#[tokio::test]
async fn the_health_check_says_the_version_to_anybody() {
    let ingest = fakes::ingest().await;
    let response = ingest.handle(request("GET", HEALTH_PATH, "", b"")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        body,
        serde_json::json!({"status": "ok", "version": version})
    );
}

#[test]
fn later_deliveries_have_later_ids() {
    let at = |second| delivery_id(Timestamp::from_second(second).unwrap());
    assert!(at(1_800_000_000) < at(1_800_000_001));
}
