use std::sync::atomic::Ordering;

use lambda_http::http::StatusCode;
use serde_json::Value;

use shared::secrets::VersionStage;
use shared::telemetry::lines::{WrittenLines, metrics_of, metrics_of_function};

use super::*;
use crate::fakes::{self, FakeSecret};
use crate::promises::SentRequest;

const NEW_CALLOUT: &str = include_str!("../../../../infra/events/new-callout.json");

fn request(method: &str, path: &str, credentials: &[&str], body: &[u8]) -> GatewayEvent {
    let values = credentials.iter().map(ToString::to_string).collect();
    let sent = SentRequest {
        method: method.into(),
        path: path.into(),
        address: Some("198.51.100.7".into()),
        headers: vec![("authorization", values)],
        ..SentRequest::delivery(body.to_vec())
    };
    sent.event()
}

fn delivery(body: &[u8]) -> GatewayEvent {
    request("POST", WEBHOOK_PATH, &["Bearer right"], body)
}

/// The log line of the last request.
fn last(lines: &WrittenLines) -> Value {
    let [line] = lines.take().try_into().unwrap();
    line
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
        // The spilled delivery equals the sent one, except for the delivery's id.
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
    let right = &["Bearer right"];
    let with = |credentials: &[&str]| request("POST", WEBHOOK_PATH, credentials, body);
    let cases = [
        (request("POST", "/", right, body), 404),
        (request("", "", right, body), 404),
        (request("PUT", WEBHOOK_PATH, right, body), 405),
        (request("HEAD", WEBHOOK_PATH, right, body), 405),
        (request("", WEBHOOK_PATH, right, body), 405),
        (request("POST", HEALTH_PATH, right, body), 405),
        (with(&["Bearer wrong"]), 401),
        (with(&["Bearer right", "Bearer right"]), 401),
        (with(&[]), 401),
        (with(&["Bearer \u{e9}"]), 401),
        (with(&["right"]), 401),
        (with(&["Basic right"]), 401),
        (with(&["Bearer  right"]), 401),
        (delivery(&too_large), 413),
        (delivery(&too_large_as_base64), 413),
    ];
    let secret = FakeSecret::with(&[(VersionStage::Current, "right")]);
    let mut ingest = fakes::ingest_with(secret.clone()).await;
    // So long after the start, an unknown value causes the secret to be read.
    ingest.now = || Timestamp::from_second(31).unwrap();
    let mut reads = secret.reads();
    for (n, (request, expected)) in cases.into_iter().enumerate() {
        let response = ingest.handle(request).await;
        assert_eq!(response.status(), expected, "{n}");
        // Only an unknown value causes a call to AWS: it may be a new one.
        assert!(n == 6 || secret.reads() == reads, "{n}");
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
    let secret = FakeSecret::with(&[(VersionStage::Current, "right")]);
    secret.hide(&[
        VersionStage::Current,
        VersionStage::Pending,
        VersionStage::Previous,
    ]);
    let ingest = fakes::ingest_with(secret).await;
    let response = ingest.handle(delivery(NEW_CALLOUT.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(ingest.store.take_queued().is_empty());
}

#[tokio::test]
async fn an_unknown_value_is_undecided_while_the_secret_cannot_be_read_and_is_counted() {
    let secret = FakeSecret::with(&[(VersionStage::Current, "right")]);
    let mut ingest = fakes::ingest_with(secret.clone()).await;
    let line = WrittenLines::default();
    ingest.metrics = line.sink();
    ingest.now = || Timestamp::from_second(31).unwrap();
    secret.hide(&[VersionStage::Pending]);
    let body = NEW_CALLOUT.as_bytes();
    for (credentials, status, undecided) in [
        ("Bearer new", 503, Some(1)),
        ("Bearer right", 202, None),
        ("Basic new", 401, None),
    ] {
        let request = request("POST", WEBHOOK_PATH, &[credentials], body);
        assert_eq!(
            ingest.handle(request).await.status(),
            status,
            "{credentials}"
        );
        let told = last(&line);
        let count = told.get("SecretUndecided").and_then(Value::as_u64);
        assert_eq!(count, undecided, "{credentials}");
    }
}

#[tokio::test]
async fn headers_that_http_does_not_allow_cost_nothing_and_are_counted() {
    let mut ingest = fakes::ingest().await;
    let line = WrittenLines::default();
    ingest.metrics = line.sink();
    let sent = SentRequest {
        noise: "a\u{1}b".into(),
        ..SentRequest::delivery(NEW_CALLOUT.into())
    };
    assert_eq!(ingest.handle(sent.event()).await.status(), 202);
    // The dropped headers are the five with the noise, and the cookie.
    assert_eq!(last(&line)["DroppedHeaders"], 6);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_reaches_only_the_health_check() {
    let mut ingest = fakes::ingest().await;
    ingest.allowed_sources = "192.0.2.0/24".parse().unwrap();
    let response = ingest.handle(delivery(NEW_CALLOUT.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let response = ingest.handle(request("GET", HEALTH_PATH, &[], b"")).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_canary_needs_the_secret_but_no_allowed_address_and_has_its_own_origin() {
    let mut ingest = fakes::ingest().await;
    ingest.allowed_sources = "192.0.2.0/24".parse().unwrap();
    let body = canary::body(Uuid::nil());
    let response = ingest.handle(delivery(body.as_bytes())).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let [queued] = ingest.store.take_queued().try_into().unwrap();
    let envelope = Envelope::parse(&queued.message.body).unwrap();
    assert_eq!(envelope.origin, Origin::Canary);

    let forged = request("POST", WEBHOOK_PATH, &["Bearer wrong"], body.as_bytes());
    let response = ingest.handle(forged).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(ingest.store.take_queued().is_empty());
}

#[tokio::test]
async fn the_health_check_says_the_version_to_anybody() {
    let ingest = fakes::ingest().await;
    let response = ingest.handle(request("GET", HEALTH_PATH, &[], b"")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        body,
        serde_json::json!({"status": "ok", "version": version})
    );
}

#[tokio::test]
async fn the_health_check_answers_head_without_a_body() {
    let ingest = fakes::ingest().await;
    let response = ingest.handle(request("HEAD", HEALTH_PATH, &[], b"")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*response.body(), Body::Empty);
    let response = ingest.handle(request("PUT", HEALTH_PATH, &[], b"")).await;
    assert_eq!(response.headers()["allow"], "GET, HEAD");
}

#[tokio::test]
async fn the_case_of_the_secret_matters_and_the_case_of_the_scheme_does_not() {
    let ingest = fakes::ingest().await;
    let cases = [
        ("bearer right", 202),
        ("BEARER right", 202),
        ("Bearer Right", 401),
    ];
    for (credentials, status) in cases {
        let request = request("POST", WEBHOOK_PATH, &[credentials], NEW_CALLOUT.as_bytes());
        assert_eq!(
            ingest.handle(request).await.status(),
            status,
            "{credentials}"
        );
    }
}

#[test]
fn later_deliveries_have_later_ids() {
    let at = |second| delivery_id(Timestamp::from_second(second).unwrap());
    assert!(at(1_800_000_000) < at(1_800_000_001));
}

#[tokio::test]
async fn the_line_of_a_stored_delivery_has_the_ids_of_delivery_and_message() {
    let mut ingest = fakes::ingest().await;
    let lines = WrittenLines::default();
    ingest.metrics = lines.sink();
    for body in [NEW_CALLOUT, "unreadable"] {
        let response = ingest.handle(delivery(body.as_bytes())).await;
        let told: Value = serde_json::from_slice(response.body()).unwrap();
        let line = last(&lines);
        assert_eq!(line["DeliveryId"], told["deliveryId"]);
        assert_eq!(line["MessageId"], fakes::MESSAGE_ID);
    }
    ingest.store.queues_down.store(true, Ordering::Relaxed);
    ingest.handle(delivery(NEW_CALLOUT.as_bytes())).await;
    let line = last(&lines);
    assert!(line["DeliveryId"].is_string());
    assert_eq!(line.get("MessageId"), None);
}

/// What costs nothing while all is well, and what alarms are told.
#[tokio::test]
async fn only_what_an_alarm_reads_is_a_metric_and_only_above_zero() {
    let secret = FakeSecret::with(&[(VersionStage::Current, "right")]);
    let mut ingest = fakes::ingest_with(secret.clone()).await;
    let lines = WrittenLines::default();
    ingest.metrics = lines.sink();
    let large = vec![b' '; MAX_QUEUED_BYTES + 1];
    let new_callout = NEW_CALLOUT.as_bytes();
    let post = |secret: &str, body: &[u8]| request("POST", WEBHOOK_PATH, &[secret], body);
    let (right, wrong) = ("Bearer right", "Basic wrong");
    let mut all = std::collections::BTreeSet::new();
    let mut check = |told: Value, expected: &[&str]| {
        assert_eq!(metrics_of(&told), expected, "{told}");
        all.extend(expected.iter().map(ToString::to_string));
        // The runbook's filters look for zeros in no others.
        for (field, value) in told.as_object().unwrap() {
            let may_be_zero = ["Accepted", "Test", "Size", "Time", "StoreTime"];
            let is_zero = value.as_f64() == Some(0.0);
            assert!(!is_zero || may_be_zero.contains(&field.as_str()), "{told}");
        }
    };

    ingest.handle(request("GET", HEALTH_PATH, &[], b"")).await;
    check(last(&lines), &[]);
    ingest.handle(request("GET", "/", &[], b"")).await;
    check(last(&lines), &[]);
    ingest.handle(post(right, new_callout)).await;
    check(last(&lines), &[]);
    ingest.handle(post(right, b"unreadable")).await;
    check(last(&lines), &["IntoQuarantine"]);
    ingest.handle(post(right, &large)).await;
    check(last(&lines), &["RefusedWithSecret"]);
    ingest.handle(post(wrong, new_callout)).await;
    check(last(&lines), &["Refused"]);
    ingest.store.queues_down.store(true, Ordering::Relaxed);
    ingest.handle(post(right, new_callout)).await;
    check(last(&lines), &["Spilled"]);
    ingest.handle(post(right, b"unreadable")).await;
    check(last(&lines), &["IntoQuarantine", "Spilled"]);
    ingest.store.spill_down.store(true, Ordering::Relaxed);
    ingest.handle(post(right, new_callout)).await;
    // API Gateway's 5xx has an alarm of its own.
    check(last(&lines), &[]);

    ingest.allowed_sources = "192.0.2.0/24".parse().unwrap();
    ingest.handle(post(wrong, new_callout)).await;
    check(last(&lines), &["Refused"]);
    ingest.handle(post(right, new_callout)).await;
    check(last(&lines), &["Refused", "RefusedWithSecret"]);
    ingest.allowed_sources = AllowedSources::default();
    ingest.now = || Timestamp::from_second(31).unwrap();
    secret.hide(&[VersionStage::Pending]);
    ingest.handle(post("Bearer new", new_callout)).await;
    check(last(&lines), &["Refused"]);

    let all: Vec<_> = all.iter().collect();
    assert_eq!(all, metrics_of_function("ingest"));
}
