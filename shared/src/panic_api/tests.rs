//! Tests the client against AURA's stand-in, over HTTP.

use aura_sim::{AuraSim, Options};
use serde_json::json;

use super::answer::hide;
use super::*;

mod contract;

const SECRET: &str = "right-secret";

async fn aura() -> AuraSim {
    let options = Options {
        port: 0,
        client_id: "client".into(),
        client_secret: SECRET.into(),
        allow_http_loopback: true,
    };
    AuraSim::start(options).await.unwrap()
}

fn client(aura: &AuraSim, secret: &str) -> PanicApi {
    client_with(crate::http_client::build().unwrap(), aura, secret)
}

fn client_with(http: reqwest::Client, aura: &AuraSim, secret: &str) -> PanicApi {
    let credentials = json!({"clientId": "client", "clientSecret": secret});
    PanicApi::new(
        http,
        aura.url().parse().unwrap(),
        Credentials::parse(&credentials.to_string().into()).unwrap(),
    )
}

fn registration(events: &[&str]) -> Registration {
    let header = ("authorization", "Bearer webhook-secret");
    Registration {
        url: "http://127.0.0.1:9/aura/events".parse().unwrap(),
        events: events.iter().map(ToString::to_string).collect(),
        method: "webhook".into(),
        headers: [(header.0.parse().unwrap(), header.1.parse().unwrap())]
            .into_iter()
            .collect(),
    }
}

/// Creates a customer and a callout, by calls that the client doesn't offer.
async fn create_callout(aura: &AuraSim) -> String {
    let http = crate::http_client::build().unwrap();
    let post = async |path: &str, token: &str, body: Value| -> Value {
        let url = format!("{}/panic-api/v2{path}", aura.url());
        let request = http.post(url).bearer_auth(token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let credentials = json!({"clientId": "client", "clientSecret": SECRET});
    let token = post("/oauth/token", "", credentials).await["access_token"].clone();
    let token = token.as_str().unwrap();
    let customer = json!({
        "customer": {"name": "a", "surname": "b", "mobile": "+270"},
        "subscription": {"subscriptionTypeId": 1},
    });
    let customer = post("/customers", token, customer).await["customer"]["id"].clone();
    let callout = json!({"location": {"latitude": 1, "longitude": 2}});
    let path = format!("/customers/{customer}/callouts");
    post(&path, token, callout).await["callout"]["id"].to_string()
}

#[test]
fn what_aura_says_it_registered_is_read_as_far_as_it_is_documented() {
    let url = |url: &str| RegisteredWebhook {
        url: Some(url.into()),
        events: None,
        method: None,
        header_names: None,
        other_fields: 0,
    };
    let nothing = RegisteredWebhook {
        url: None,
        ..url("")
    };
    let whole = RegisteredWebhook {
        events: Some(vec!["A".into(), "B".into()]),
        method: Some("webhook".into()),
        header_names: Some(vec!["Authorization".into(), "x-key".into()]),
        ..url("u")
    };
    let config = |config: Value| json!({"message": "m", "notifier": {"config": config}});
    let complete = json!({"url": "u", "events": ["A", "B"], "method": "webhook",
        "headers": {"Authorization": "hunter2", "x-key": ["hunter2"]}});
    let more = json!({"url": "u", "id": 7, "hunter2": "hunter2"});
    let odd = json!({"url": 1, "events": ["A", 2], "method": {}, "headers": [["a", "hunter2"]]});
    let cases = [
        (config(json!([complete])), vec![whole.clone()]),
        (config(complete), vec![whole]),
        (
            config(json!([more])),
            vec![RegisteredWebhook {
                other_fields: 2,
                ..url("u")
            }],
        ),
        (config(json!([odd])), vec![nothing.clone()]),
        (config(json!([{}])), vec![nothing]),
        (
            config(json!([null, "u", {"url": "u"}, [], {"url": "v"}])),
            vec![url("u"), url("v")],
        ),
        (config(json!([])), vec![]),
        (config(Value::Null), vec![]),
        (json!({"notifier": []}), vec![]),
        (json!({}), vec![]),
        (json!([1]), vec![]),
    ];
    for (answer, expected) in cases {
        let read = registered(answer.to_string().as_bytes());
        assert_eq!(read, expected, "{answer}");
        assert!(!format!("{read:?}").contains("hunter2"));
    }
    assert_eq!(registered(b"<html>"), []);
    assert_eq!(registered(b""), []);
}

#[test]
fn what_aura_repeats_of_a_header_is_hidden() {
    let value = HeaderValue::from_static("Bearer s3cret key");
    let secrets: Vec<&str> = secrets_of(&value).collect();
    for said in ["Bearer s3cret key", "s3cret key"] {
        let said = format!("{said} is too short");
        assert_eq!(hide(&said, &secrets), "*** is too short");
    }
    assert_eq!(hide("as it is", &[""]), "as it is");
}

#[tokio::test]
async fn a_registration_reaches_aura_as_it_is() {
    let aura = aura().await;
    let registered = registration(&["NEW_CALLOUT", "CALLOUT_CLOSED"]);
    let answered = client(&aura, SECRET).register_webhook(&registered).await;
    let expected = RegisteredWebhook {
        url: Some(registered.url.to_string()),
        events: Some(registered.events.clone()),
        method: Some("webhook".into()),
        header_names: Some(vec!["authorization".into()]),
        other_fields: 0,
    };
    assert_eq!(answered.unwrap(), [expected]);
    let url = format!("{}/_sim/registration", aura.url());
    let http = crate::http_client::build().unwrap();
    let seen: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    let current = &seen["current"];
    assert_eq!(current["url"], registered.url.as_str());
    assert_eq!(current["events"], json!(["NEW_CALLOUT", "CALLOUT_CLOSED"]));
    assert_eq!(current["headers"]["authorization"], "Bearer webhook-secret");
}

#[tokio::test]
async fn callouts_are_read_in_both_forms() {
    let aura = aura().await;
    let id = create_callout(&aura).await;
    let client = client(&aura, SECRET);
    let Lookup::Found(callout) = client.callout(&id).await.unwrap() else {
        panic!("AURA has it");
    };
    assert_eq!(callout.id.as_ref(), Some(&id));
    let active = client.active_callouts().await.unwrap();
    assert_eq!(active.unreadable, 0);
    let [active] = active.callouts.as_slice() else {
        panic!("one is active");
    };
    assert_eq!(active.id, Some(id.clone()));
    assert_eq!(active.status.as_deref(), Some("created"));
}

#[test]
fn a_list_whose_length_is_a_multiple_of_ten_may_be_a_page() {
    let pages: Vec<_> = (0..=101).filter(|length| may_be_a_page(*length)).collect();
    assert_eq!(pages, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
}

#[tokio::test]
async fn an_unknown_callout_is_an_answer_and_no_error() {
    let aura = aura().await;
    let answer = client(&aura, SECRET).callout("1").await.unwrap();
    assert!(matches!(answer, Lookup::Gone));
}

#[tokio::test]
async fn aura_out_of_reach_is_transient_and_no_url_is_shown() {
    let aura = aura().await;
    let client = client(&aura, SECRET);
    aura.shutdown().await;
    let error = client.active_callouts().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!format!("{error:?}").contains("127.0.0.1/"), "{error:?}");
}
