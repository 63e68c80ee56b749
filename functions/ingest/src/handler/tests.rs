use std::sync::Mutex;

use aws_sdk_sqs::error::BuildError;
use lambda_http::http::{HeaderName, HeaderValue, StatusCode};
use metrique::writer::sink::DevNullSink;
use serde_json::Value;
use shared::event::Entity;
use shared::quarantine::QuarantineError;

use super::*;

const NEW_CALLOUT: &str = include_str!("../../../../infra/events/new-callout.json");

/// Remembers what was stored, or refuses to store anything.
#[derive(Default)]
struct FakeStore {
    broken: bool,
    queued: Mutex<Vec<(String, String)>>,
    quarantined: Mutex<Vec<(String, Vec<u8>)>>,
}

impl FakeStore {
    fn confirm(&self) -> Result<(), StoreError> {
        if self.broken {
            let error = BuildError::other("broken, as told");
            return Err(QuarantineError::Build(error).into());
        }
        Ok(())
    }
}

impl Store for FakeStore {
    async fn enqueue(&self, entity: &Entity, envelope: &Envelope) -> Result<(), StoreError> {
        self.confirm()?;
        let payload = envelope.payload.get().to_owned();
        self.queued
            .lock()
            .unwrap()
            .push((entity.group_id(), payload));
        Ok(())
    }

    async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), StoreError> {
        self.confirm()?;
        self.quarantined
            .lock()
            .unwrap()
            .push((item.reason.to_owned(), item.body.to_vec()));
        Ok(())
    }
}

fn ingest(store: FakeStore) -> Ingest<FakeStore> {
    let secret = HeaderValue::from_static("Bearer right");
    Ingest {
        authenticator: Authenticator::new(HeaderName::from_static("authorization"), vec![secret]),
        store,
        now: || "2026-11-22T08:00:00Z".parse().unwrap(),
        metrics: DevNullSink::boxed(),
    }
}

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
    let ingest = ingest(FakeStore::default());
    let response = ingest.handle(delivery(NEW_CALLOUT.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(status_of(&response), "accepted");
    let queued = ingest.store.queued.lock().unwrap();
    assert_eq!(
        *queued,
        [("callout#5003".to_owned(), NEW_CALLOUT.trim().to_owned())]
    );
}

#[tokio::test]
async fn an_unreadable_delivery_is_quarantined_whole() {
    let ingest = ingest(FakeStore::default());
    let response = ingest.handle(delivery(b"\xff not json")).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(status_of(&response), "quarantined");
    let quarantined = ingest.store.quarantined.lock().unwrap();
    assert_eq!(
        *quarantined,
        [("not-utf8".to_owned(), b"\xff not json".to_vec())]
    );
}

#[tokio::test]
async fn what_is_refused_is_stored_nowhere() {
    let body = NEW_CALLOUT.as_bytes();
    let too_large = vec![b' '; MAX_QUEUED_BYTES + 1];
    let too_large_as_base64 = vec![0xff; MAX_QUEUED_BYTES];
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
            request("POST", WEBHOOK_PATH, "Bearer wrong", body),
            StatusCode::UNAUTHORIZED,
        ),
        (delivery(&too_large), StatusCode::PAYLOAD_TOO_LARGE),
        (
            delivery(&too_large_as_base64),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ];
    let ingest = ingest(FakeStore::default());
    for (request, expected) in cases {
        let response = ingest.handle(request).await;
        assert_eq!(response.status(), expected);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    assert!(ingest.store.queued.lock().unwrap().is_empty());
    assert!(ingest.store.quarantined.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_could_not_be_stored_is_never_acknowledged() {
    let ingest = ingest(FakeStore {
        broken: true,
        ..FakeStore::default()
    });
    for body in [NEW_CALLOUT.as_bytes(), b"not json"] {
        let response = ingest.handle(delivery(body)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[test]
fn later_deliveries_have_later_ids() {
    let at = |second| delivery_id(Timestamp::from_second(second).unwrap());
    assert!(at(1_800_000_000) < at(1_800_000_001));
}
