//! Against AURA's stand-in, over HTTP.

use aura_sim::{AuraSim, Options};
use serde_json::json;

use super::*;

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
    let credentials = json!({"clientId": "client", "clientSecret": secret});
    PanicApi::new(
        crate::http_client::build().unwrap(),
        aura.url().parse().unwrap(),
        serde_json::from_value(credentials).unwrap(),
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

/// Calls that the client has no need of: a customer, and a callout of theirs.
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

#[tokio::test]
async fn a_registration_reaches_aura_as_it_is() {
    let aura = aura().await;
    let registered = registration(&["NEW_CALLOUT", "CALLOUT_CLOSED"]);
    client(&aura, SECRET)
        .register_webhook(&registered)
        .await
        .unwrap();
    let url = format!("{}/_sim/registration", aura.url());
    let http = crate::http_client::build().unwrap();
    let seen: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    let current = &seen["current"];
    assert_eq!(current["url"], registered.url.as_str());
    assert_eq!(current["events"], json!(["NEW_CALLOUT", "CALLOUT_CLOSED"]));
    assert_eq!(current["headers"]["authorization"], "Bearer webhook-secret");
}

#[tokio::test]
async fn a_refusal_carries_auras_words_and_no_secret() {
    let aura = aura().await;
    let refused = client(&aura, SECRET)
        .register_webhook(&registration(&["NO_EVENT"]))
        .await;
    let error = refused.unwrap_err();
    assert!(matches!(&error, PanicApiError::Refused { status, .. } if status.as_u16() == 400));
    assert!(!error.is_transient());
    assert!(error.to_string().contains("NO_EVENT"), "{error}");
    assert!(!format!("{error:?}").contains("webhook-secret"));
}

#[tokio::test]
async fn wrong_credentials_are_told_from_other_refusals() {
    let aura = aura().await;
    let error = client(&aura, "wrong-secret")
        .active_callouts()
        .await
        .unwrap_err();
    assert!(
        matches!(error, PanicApiError::CredentialsRefused { .. }),
        "{error}"
    );
    assert!(!format!("{error:?} {error}").contains("wrong-secret"));
}

#[tokio::test]
async fn callouts_are_read_in_both_forms() {
    let aura = aura().await;
    let id = create_callout(&aura).await;
    let client = client(&aura, SECRET);
    let Callout::Nested { callout } = client.callout(&id).await.unwrap() else {
        panic!("AURA's form is the nested one");
    };
    assert_eq!(callout["id"].to_string(), id);
    let active = client.active_callouts().await.unwrap();
    assert_eq!(active[0].id, id);
    assert_eq!(active[0].status.as_deref(), Some("created"));
    assert!(client.callout_events(&id).await.unwrap().is_empty());

    let flat = r#"{"id": 992011, "customerId": 178921, "status": "Responder Dispatched"}"#;
    let Callout::Flat(flat) = serde_json::from_str(flat).unwrap() else {
        panic!("the older form is flat");
    };
    assert_eq!(flat.id, "992011");
}

#[tokio::test]
async fn an_unknown_callout_is_a_404() {
    let aura = aura().await;
    let error = client(&aura, SECRET).callout("1").await.unwrap_err();
    assert!(matches!(error, PanicApiError::Refused { status, .. } if status.as_u16() == 404));
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
