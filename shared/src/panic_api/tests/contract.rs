//! Tests the client with every status that AURA documents, and with answers that it doesn't
//! document.

use std::iter;
use std::time::Duration;

use aura_sim::AuraSim;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::{Lookup, PanicApi, PanicApiError, RegisteredWebhook};
use super::{SECRET, aura, client, client_with, registration};
use crate::http_client;

const TOKEN: &str = "POST /oauth/token";
const REGISTER: &str = "POST /notifiers/webhooks";
const ACTIVE: &str = "GET /callouts/activeCallouts";
const GET: &str = "GET /callouts/{id}";

/// AURA's stand-in, and a client that has made no call yet.
struct Stage {
    aura: AuraSim,
    client: PanicApi,
    http: reqwest::Client,
}

impl Stage {
    async fn new() -> Self {
        let aura = aura().await;
        let client = client(&aura, SECRET);
        let http = http_client::build().unwrap();
        Self { aura, client, http }
    }

    /// The same with a client that doesn't wait long.
    async fn impatient() -> Self {
        let stage = Self::new().await;
        let http = http_client::builder().timeout(Duration::from_secs(1));
        let client = client_with(http.build().unwrap(), &stage.aura, SECRET);
        Self { client, ..stage }
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/_sim/{path}", self.aura.url())
    }

    /// Orders a fault; see the documentation of `aura_sim`.
    async fn order(&self, call: &str, times: u32, done: bool, answer: Value) {
        let fault = json!({"call": call, "times": times, "done": done, "answer": answer});
        self.ask(self.http.post(self.url("faults")).json(&fault))
            .await;
    }

    async fn reply(&self, call: &str, status: u16, body: Value) {
        let reply = json!({"reply": {"status": status, "body": body}});
        self.order(call, 1, false, reply).await;
    }

    async fn expire_tokens(&self) {
        self.ask(self.http.delete(self.url("tokens"))).await;
    }

    /// The name and the status of every call so far.
    async fn calls(&self) -> Vec<(String, Option<u64>)> {
        let log = self.ask(self.http.get(self.url("calls"))).await;
        let calls = log.as_array().unwrap().iter();
        calls
            .map(|call| {
                (
                    call["call"].as_str().unwrap().to_owned(),
                    call["status"].as_u64(),
                )
            })
            .collect()
    }

    async fn assert_calls<const N: usize>(&self, expected: [(&str, Option<u64>); N]) {
        let expected = expected.map(|(call, status)| (call.to_owned(), status));
        assert_eq!(self.calls().await, expected);
    }

    /// The number of registrations that were done.
    async fn registered(&self) -> usize {
        let report = self.ask(self.http.get(self.url("registration"))).await;
        report["history"].as_array().unwrap().len()
    }

    async fn register(&self) -> Result<Vec<RegisteredWebhook>, PanicApiError> {
        let registration = registration(&["NEW_CALLOUT"]);
        self.client.register_webhook(&registration).await
    }

    /// Asserts that an error shows no secret.
    async fn assert_discreet(&self, error: &PanicApiError) {
        let tokens = self.ask(self.http.get(self.url("tokens"))).await;
        let tokens = tokens.as_array().unwrap().iter();
        let secrets = tokens
            .map(|token| token.as_str().unwrap())
            .chain([SECRET, "webhook-secret"]);
        let shown = format!("{error} {error:?}");
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
    }
}

/// The name of an error's variant.
fn kind(error: &PanicApiError) -> &'static str {
    match error {
        PanicApiError::Refused { .. } => "Refused",
        PanicApiError::CredentialsRefused { .. } => "CredentialsRefused",
        PanicApiError::Forbidden { .. } => "Forbidden",
        PanicApiError::Redirected { .. } => "Redirected",
        PanicApiError::Failed { .. } => "Failed",
        PanicApiError::Unreachable { .. } => "Unreachable",
        PanicApiError::BrokenOff { .. } => "BrokenOff",
        PanicApiError::Unsendable { .. } => "Unsendable",
        PanicApiError::Malformed { .. } => "Malformed",
    }
}

fn assert_told(error: &PanicApiError, variant: &str, words: &str) {
    assert_eq!((kind(error), error.to_string().as_str()), (variant, words));
}

fn message(words: &str) -> Value {
    json!({ "message": words })
}

#[tokio::test]
async fn each_status_has_its_meaning_and_the_call_is_made_once() {
    let no_message = "no message in the answer";
    let refused = [
        (400, message("no such event"), "no such event"),
        (403, message("not yours"), "not yours"),
        (404, message("unknown"), "unknown"),
        (409, message("too late"), "too late"),
        (285, message("it is closed"), "it is closed"),
        (285, Value::Null, no_message),
        (400, json!("<html>"), no_message),
        (400, json!({"message": 4}), no_message),
        (400, message(&"é".repeat(600)), &*"é".repeat(500)),
    ]
    .map(|(status, body, shown)| {
        let words = format!("AURA refused the webhook registration with {status}: {shown}");
        (status, body, "Refused", words)
    });
    let failed = [
        (408, Value::Null),
        (429, message("slower")),
        (500, message("oh")),
        (502, json!("<html>")),
        (503, Value::Null),
        (799, Value::Null),
    ]
    .map(|(status, body)| {
        let words =
            format!("AURA failed at the webhook registration with {status}; try again later");
        (status, body, "Failed", words)
    });
    for (status, body, variant, words) in refused.into_iter().chain(failed) {
        let stage = Stage::new().await;
        stage.reply(REGISTER, status, body).await;
        let error = stage.register().await.unwrap_err();
        assert_told(&error, variant, &words);
        assert_eq!(error.is_transient(), variant == "Failed", "{error}");
        stage.assert_discreet(&error).await;
        let call = (REGISTER, Some(status.into()));
        stage.assert_calls([(TOKEN, Some(200)), call]).await;
        assert_eq!(stage.registered().await, 0);
    }
}

#[tokio::test]
async fn without_a_token_nothing_else_is_called() {
    let cases = [
        (400, message("no"), "Refused"),
        (401, message("no"), "CredentialsRefused"),
        (403, message("no"), "Refused"),
        (285, message("no"), "Refused"),
        (408, Value::Null, "Failed"),
        (429, message("no"), "Failed"),
        (500, message("no"), "Failed"),
        (502, json!("<html>"), "Failed"),
        (200, json!("<html>"), "Malformed"),
        (200, Value::Null, "Malformed"),
        (200, json!({"expires_in": 3600}), "Malformed"),
        (200, json!({"access_token": 5}), "Malformed"),
        (200, json!({"access_token": ""}), "Malformed"),
        (200, json!({"access_token": "a\nb"}), "Malformed"),
    ];
    for (status, body, variant) in cases {
        let words = match variant {
            "Refused" => format!("AURA refused the token with {status}: no"),
            "Failed" => format!("AURA failed at the token with {status}; try again later"),
            "Malformed" => "AURA's answer to the token is not what it documents".to_owned(),
            _ => "AURA refused the credentials (401) on the token; check clientId and \
                  clientSecret in the AURA credentials secret"
                .to_owned(),
        };
        let stage = Stage::new().await;
        stage.reply(TOKEN, status, body).await;
        let error = stage.register().await.unwrap_err();
        assert_told(&error, variant, &words);
        assert_eq!(error.is_transient(), variant == "Failed", "{error}");
        stage.assert_discreet(&error).await;
        stage.assert_calls([(TOKEN, Some(status.into()))]).await;
    }
}

/// The header counts with each status and each call.
#[tokio::test]
async fn the_caller_learns_how_long_aura_asks_to_wait() {
    let own = Duration::from_millis(500);
    let cases = [
        (429, TOKEN, "7", Duration::from_secs(7)),
        (408, REGISTER, "7", Duration::from_secs(7)),
        (503, ACTIVE, "7", Duration::from_secs(7)),
        (429, REGISTER, "0", own),
        (429, ACTIVE, "soon", own),
        (429, ACTIVE, "Sun, 06 Nov 1994 08:49:37 GMT", own),
    ];
    for (status, call, asked, pause) in cases {
        let stage = Stage::new().await;
        let reply = json!({"reply": {"status": status, "headers": {"retry-after": asked}}});
        stage.order(call, 1, false, reply).await;
        let error = if call == ACTIVE {
            stage.client.active_callouts().await.unwrap_err()
        } else {
            stage.register().await.unwrap_err()
        };
        assert!(error.is_transient(), "{error}");
        assert_eq!(error.pause(own), pause, "{error}");
        let told = format!("with {status} and asks to wait for 7 s; try again later");
        assert_eq!(error.to_string().ends_with(&told), asked == "7", "{error}");
    }
}

#[tokio::test]
async fn the_caller_also_learns_of_a_wait_until_a_date() {
    let stage = Stage::new().await;
    let headers = json!({
        "date": "Sun, 06 Nov 1994 08:49:37 GMT",
        "retry-after": "Sun, 06 Nov 1994 08:50:07 GMT",
    });
    let reply = json!({"reply": {"status": 429, "headers": headers}});
    stage.order(TOKEN, 1, false, reply).await;
    let error = stage.client.authenticate().await.unwrap_err();
    assert_eq!(error.pause(Duration::ZERO), Duration::from_secs(30));
}

#[tokio::test]
async fn a_call_that_aura_was_too_busy_for_was_not_done() {
    let cases = [(429, false), (408, true), (500, true), (400, false)];
    for (status, may_be_done) in cases {
        let stage = Stage::new().await;
        stage.reply(REGISTER, status, Value::Null).await;
        let error = stage.register().await.unwrap_err();
        assert_eq!(error.may_have_been_done(), may_be_done, "{error}");
    }
}

#[tokio::test]
async fn the_credentials_can_be_proven_alone_and_once() {
    let stage = Stage::new().await;
    for _ in 0..2 {
        stage.client.authenticate().await.unwrap();
    }
    stage.register().await.unwrap();
    let calls = [(TOKEN, Some(200)), (REGISTER, Some(200))];
    stage.assert_calls(calls).await;

    let stage = Stage::new().await;
    let stranger = client(&stage.aura, "wrong-secret");
    let error = stranger.authenticate().await.unwrap_err();
    assert_eq!(kind(&error), "CredentialsRefused");
    assert!(!format!("{error} {error:?}").contains("wrong-secret"));
    stage.assert_calls([(TOKEN, Some(401))]).await;
}

#[tokio::test]
async fn a_token_that_ends_in_mid_use_is_replaced_once() {
    let stage = Stage::new().await;
    stage.register().await.unwrap();
    stage.expire_tokens().await;
    stage.register().await.unwrap();
    let calls = [
        (TOKEN, Some(200)),
        (REGISTER, Some(200)),
        (REGISTER, Some(401)),
        (TOKEN, Some(200)),
        (REGISTER, Some(200)),
    ];
    stage.assert_calls(calls).await;
    assert_eq!(stage.registered().await, 2);
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_token_and_one_refresh() {
    let stage = Stage::new().await;
    for tokens in [1, 2] {
        let callers = iter::repeat_with(|| stage.client.active_callouts()).take(8);
        for settled in futures::future::join_all(callers).await {
            settled.unwrap();
        }
        let calls = stage.calls().await;
        assert_eq!(
            calls.iter().filter(|(call, _)| call == TOKEN).count(),
            tokens
        );
        stage.expire_tokens().await;
    }
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_too_is_a_credentials_error_and_is_forgotten() {
    let stage = Stage::new().await;
    let refusal = json!({"reply": {"status": 401, "body": message("no")}});
    stage.order(REGISTER, 2, false, refusal).await;
    let error = stage.register().await.unwrap_err();
    let words = "AURA refused the credentials (401) on the webhook registration; check clientId \
                 and clientSecret in the AURA credentials secret";
    assert_told(&error, "CredentialsRefused", words);
    assert!(!error.is_transient());
    stage.assert_discreet(&error).await;
    stage.client.authenticate().await.unwrap();
    let calls = [
        (TOKEN, Some(200)),
        (REGISTER, Some(401)),
        (TOKEN, Some(200)),
        (REGISTER, Some(401)),
        (TOKEN, Some(200)),
    ];
    stage.assert_calls(calls).await;
}

#[tokio::test]
async fn the_token_is_kept_for_as_long_as_its_answer_says_or_the_documentation() {
    let cases = [
        (Value::Null, 1),
        (json!("3600"), 1),
        (json!(-1), 1),
        (json!(u64::MAX), 1),
        (json!(3600), 1),
        // The whole life is within the margin in which a token is replaced.
        (json!(60), 2),
        (json!(0), 2),
    ];
    for (life, tokens) in cases {
        let stage = Stage::new().await;
        let patch = json!({"patch": {"expires_in": life}});
        stage.order(TOKEN, 2, true, patch).await;
        for _ in 0..2 {
            stage.client.active_callouts().await.unwrap();
        }
        let calls = stage.calls().await;
        let asked = calls.iter().filter(|(call, _)| call == TOKEN).count();
        assert_eq!(asked, tokens, "{life}");
    }
}

#[tokio::test]
async fn no_answer_is_transient_and_leaves_open_whether_it_was_done() {
    let cases: [(_, _, Option<u64>); 4] = [
        ("hang", false, None),
        ("hang", true, None),
        ("hangUp", false, None),
        ("hangUp", true, None),
    ];
    for (fault, done, status) in cases {
        let stage = Stage::impatient().await;
        stage.order(REGISTER, 1, done, json!(fault)).await;
        let error = stage.register().await.unwrap_err();
        let words = "AURA could not be reached for the webhook registration; try again later";
        assert_told(&error, "Unreachable", words);
        assert!(error.is_transient());
        stage.assert_discreet(&error).await;
        assert!(!format!("{error:?}").contains("127.0.0.1"), "{error:?}");
        assert_eq!(stage.registered().await, usize::from(done), "{fault}");
        stage
            .assert_calls([(TOKEN, Some(200)), (REGISTER, status)])
            .await;

        stage.register().await.unwrap();
        assert_eq!(stage.registered().await, usize::from(done) + 1);
    }
}

#[tokio::test]
async fn a_registration_whose_answer_breaks_off_is_done() {
    let stage = Stage::impatient().await;
    stage.order(REGISTER, 1, true, json!("breakOff")).await;
    assert_eq!(stage.register().await.unwrap(), []);
    assert_eq!(stage.registered().await, 1);
    stage
        .assert_calls([(TOKEN, Some(200)), (REGISTER, Some(200))])
        .await;
}

#[tokio::test]
async fn a_token_call_without_an_answer_is_transient_too() {
    let cases = [
        ("hang", "Unreachable"),
        ("hangUp", "Unreachable"),
        ("breakOff", "BrokenOff"),
    ];
    for (fault, expected) in cases {
        let stage = Stage::impatient().await;
        stage.order(TOKEN, 1, false, json!(fault)).await;
        let error = stage.client.authenticate().await.unwrap_err();
        assert_eq!(kind(&error), expected);
        assert!(error.is_transient());
        stage.assert_discreet(&error).await;
        stage.client.authenticate().await.unwrap();
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_query_not_shown() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("http://{}", elsewhere.local_addr().unwrap());
    let with_secrets = place.replace("//", "//user:passw0rd@") + "/login?code=c0de#frag";
    for (call, named) in [(TOKEN, "the token"), (REGISTER, "the webhook registration")] {
        for status in [301, 302, 303, 307, 308] {
            let stage = Stage::new().await;
            let headers = json!({ "location": with_secrets });
            let reply = json!({"reply": {"status": status, "headers": headers}});
            stage.order(call, 1, false, reply).await;
            let error = stage.register().await.unwrap_err();
            let words = format!(
                "AURA redirected {named} with {status} to {place}, which is not followed; check \
                 that AuraBaseUrl is the host that answers itself"
            );
            assert_told(&error, "Redirected", &words);
            assert!(!error.is_transient());
            stage.assert_discreet(&error).await;
            for secret in ["passw0rd", "login", "c0de", "frag"] {
                assert!(!format!("{error:?}").contains(secret), "{error:?}");
            }
            assert_eq!(
                stage.calls().await.last().unwrap(),
                &(call.to_owned(), Some(status))
            );
            assert_eq!(stage.registered().await, 0);
        }
    }
    let seen = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(seen.is_err(), "somebody followed the redirect");
}

#[tokio::test]
async fn a_redirect_without_a_usable_location_is_a_redirect_too() {
    for headers in [
        json!({}),
        json!({"location": "mailto:a@b"}),
        json!({"location": "http://"}),
    ] {
        let stage = Stage::new().await;
        let reply = json!({"reply": {"status": 302, "headers": headers}});
        stage.order(TOKEN, 1, false, reply).await;
        let error = stage.client.authenticate().await.unwrap_err();
        let start = "AURA redirected the token with 302 to a host that it doesn't name, which";
        assert!(error.to_string().starts_with(start), "{error}");
    }
    let stage = Stage::new().await;
    let reply = json!({"reply": {"status": 302, "headers": {"location": "/v3?a=b"}}});
    stage.order(TOKEN, 1, false, reply).await;
    let error = stage.client.authenticate().await.unwrap_err();
    let place = format!(" to {}, ", stage.aura.url());
    assert!(error.to_string().contains(&place), "{error}");
}

#[tokio::test]
async fn what_aura_repeats_of_a_secret_is_hidden() {
    let stage = Stage::new().await;
    stage.client.authenticate().await.unwrap();
    let tokens = stage.ask(stage.http.get(stage.url("tokens"))).await;
    let token = tokens[0].as_str().unwrap();
    let words = format!("token {token}: header Bearer webhook-secret: webhook-secret is weak");
    stage.reply(REGISTER, 400, message(&words)).await;
    let error = stage.register().await.unwrap_err();
    let expected = "AURA refused the webhook registration with 400: token ***: header ***: *** is \
                    weak";
    assert_eq!(error.to_string(), expected);
    stage.assert_discreet(&error).await;

    // Secrets are hidden before the text is cut.
    let words = format!("{}webhook-secret", "x".repeat(495));
    stage.reply(REGISTER, 400, message(&words)).await;
    let error = stage.register().await.unwrap_err();
    assert!(error.to_string().ends_with("xxx***"), "{error}");

    let stage = Stage::new().await;
    let words = format!("{SECRET} isn't the secret of client");
    stage.reply(TOKEN, 400, message(&words)).await;
    let error = stage.register().await.unwrap_err();
    let expected = "AURA refused the token with 400: *** isn't the secret of ***";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_registration_is_done_whatever_the_answers_body_says() {
    for (status, body) in [
        (200, json!("<html>")),
        (200, Value::Null),
        (204, Value::Null),
    ] {
        let stage = Stage::new().await;
        let reply = json!({"reply": {"status": status, "body": body}});
        stage.order(REGISTER, 1, true, reply).await;
        assert_eq!(stage.register().await.unwrap(), []);
        assert_eq!(stage.registered().await, 1);
    }
}

#[tokio::test]
async fn an_answer_that_contradicts_the_request_is_returned_unchanged() {
    let stage = Stage::new().await;
    let config = json!([{"url": "https://elsewhere.example/", "events": [], "method": null,
        "headers": {"x-other": "Bearer webhook-secret"}}]);
    let patch = json!({"patch": {"notifier": {"config": config}}});
    stage.order(REGISTER, 1, true, patch).await;
    let registered = stage.register().await.unwrap();
    let expected = RegisteredWebhook {
        url: Some("https://elsewhere.example/".into()),
        events: Some(vec![]),
        method: None,
        header_names: Some(vec!["x-other".into()]),
        other_fields: 0,
    };
    assert_eq!(registered, [expected]);
    assert!(!format!("{registered:?}").contains("webhook-secret"));
}

#[tokio::test]
async fn a_deprecated_event_name_is_refused_like_an_unknown_one() {
    let stage = Stage::new().await;
    let deprecated = "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA";
    let asked = registration(&["NEW_CALLOUT", deprecated]);
    let error = stage.client.register_webhook(&asked).await.unwrap_err();
    assert_eq!(kind(&error), "Refused");
    assert!(error.to_string().contains(deprecated), "{error}");
    let names: Vec<_> = crate::catalogue::names_to_register().collect();
    let asked = registration(&names);
    stage.client.register_webhook(&asked).await.unwrap();
}

#[tokio::test]
async fn callouts_that_are_not_what_aura_documents_are_no_callouts() {
    for body in [json!("<html>"), json!("null"), json!({})] {
        let stage = Stage::new().await;
        stage.reply(ACTIVE, 200, body).await;
        let error = stage.client.active_callouts().await.unwrap_err();
        let words = "AURA's answer to Get active callouts is not what it documents";
        assert_told(&error, "Malformed", words);
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_list_that_comes_without_a_body_is_empty() {
    for status in [200, 204] {
        let stage = Stage::new().await;
        stage.reply(ACTIVE, status, Value::Null).await;
        let active = stage.client.active_callouts().await.unwrap();
        assert!(active.callouts.is_empty() && active.unreadable == 0);
    }
}

#[tokio::test]
async fn a_refusal_of_a_callout_is_another_error_than_a_refusal_of_the_token() {
    let about = async |call: &str, status| {
        let stage = Stage::new().await;
        stage
            .reply(call, status, message("a name and a place"))
            .await;
        let answer = stage.client.callout("5003").await;
        match answer {
            Ok(Lookup::Found(_)) => "Found",
            Ok(Lookup::Gone) => "Gone",
            Ok(Lookup::Closed) => "Closed",
            Err(error) => {
                assert!(!format!("{error:?}").contains("place"), "{error:?}");
                kind(&error)
            }
        }
    };
    let table = [
        (285, "Closed", "Refused"),
        (400, "Refused", "Refused"),
        (403, "Forbidden", "Refused"),
        (404, "Gone", "Refused"),
        (409, "Refused", "Refused"),
        (500, "Failed", "Failed"),
    ];
    for (status, of_the_callout, of_the_token) in table {
        assert_eq!(about(GET, status).await, of_the_callout, "{status}");
        assert_eq!(about(TOKEN, status).await, of_the_token, "{status}");
    }
}

#[tokio::test]
async fn an_unusable_base_url_is_not_a_transient_error() {
    let credentials = json!({"clientId": "client", "clientSecret": SECRET}).to_string();
    let credentials = super::super::Credentials::parse(&credentials.into()).unwrap();
    let base = "mailto:aura@example.com".parse().unwrap();
    let client = PanicApi::new(http_client::build().unwrap(), base, credentials);
    let error = client.authenticate().await.unwrap_err();
    let words = "the request for the token can't be sent; check that AuraBaseUrl is an https URL";
    assert_told(&error, "Unsendable", words);
    assert!(!error.is_transient());
    assert!(!format!("{error:?}").contains("example.com"));
}
