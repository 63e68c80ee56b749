//! Tests of AURA's own API and its rules.

use anyhow::Result;
use aura_sim::{AuraSim, CLIENT_ID, CLIENT_SECRET, Options};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{EVENTS, Partner};

const LOCATION: &str = "/predefinedLocations/externalRef";

fn panic_button() -> Value {
    json!({"responseTypeId": 1, "calloutClassificationId": 1,
        "location": {"latitude": -33.9, "longitude": 18.4, "accuracy": 10}})
}

#[tokio::test]
async fn a_token_needs_the_right_credentials_in_the_right_shape() -> Result<()> {
    let partner = Partner::new().await?;
    let good = json!({"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET});
    for path in ["/oauth/token", "/panic-api/v2/oauth/token"] {
        let (status, body) = partner.call(Method::POST, path, Some(good.clone())).await?;
        assert_eq!(status, 200);
        assert_eq!(body["token_type"], "Bearer");
        assert_eq!(body["expires_in"], 3600);
    }
    let wrong = json!({"clientId": CLIENT_ID, "clientSecret": "guess"});
    assert_eq!(partner.post("/oauth/token", wrong).await?.0, 401);
    let (status, body) = partner.post("/oauth/token", json!({})).await?;
    assert_eq!(status, 400);
    assert!(body["message"].is_string());
    Ok(())
}

#[tokio::test]
async fn every_other_call_needs_a_valid_token() -> Result<()> {
    let partner = Partner::new().await?;
    let url = format!("{}/panic-api/v2/callouts/activeCallouts", partner.sim.url());
    let none = partner.client.get(&url).send().await?;
    assert_eq!(none.status(), StatusCode::UNAUTHORIZED);
    let wrong = partner.client.get(&url).bearer_auth("guess").send().await?;
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let body: Value = wrong.json().await?;
    assert!(body["message"].is_string());
    Ok(())
}

#[tokio::test]
async fn a_registration_that_breaks_auras_rules_is_refused() -> Result<()> {
    let partner = Partner::new().await?;
    let refusals = [
        (json!({"events": EVENTS}), "url is required"),
        (
            json!({"url": "http://example.com/", "events": EVENTS}),
            "url must be HTTPS",
        ),
        (
            json!({"url": "https://example.com/"}),
            "events is required: name at least one",
        ),
        (
            json!({"url": "https://example.com/", "events": []}),
            "events is required: name at least one",
        ),
        (
            json!({"url": "https://example.com/", "events": ["NEW_CALLOUT", "NEW_FRIEND"]}),
            "event NEW_FRIEND is unknown",
        ),
        (
            json!({"url": "https://example.com/",
                "events": ["NEW_CALLOUT", "RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA"]}),
            "event RESPONDER_ACKNOWLEDGED_CALLOUT_WITH_ETA is deprecated",
        ),
    ];
    for (request, message) in refusals {
        let (status, body) = partner.post("/notifiers/webhooks", request).await?;
        assert_eq!((status, &body["message"]), (400, &json!(message)));
    }
    let typed = json!({"url": "https://example.com/", "events": EVENTS, "headers": {"a": 4711}});
    let (status, body) = partner.post("/notifiers/webhooks", typed).await?;
    assert_eq!(status, 400);
    assert!(!body.to_string().contains("4711"));
    let (_, report) = partner
        .call(Method::GET, "/_sim/registration", None)
        .await?;
    assert_eq!(report, json!({"current": null, "history": []}));
    Ok(())
}

#[tokio::test]
async fn a_registration_of_other_types_is_refused_in_json_and_repeats_nothing() -> Result<()> {
    let partner = Partner::new().await?;
    let good = json!({"url": "https://example.com/4711", "events": ["NEW_CALLOUT"],
        "method": "webhook", "headers": {"a": "4711"}});
    let wrong = [
        ("url", json!(4711)),
        ("url", json!(["https://example.com/4711"])),
        ("events", json!("NEW_CALLOUT")),
        ("events", json!({"4711": "NEW_CALLOUT"})),
        ("events", json!(["NEW_CALLOUT", 4711])),
        ("method", json!(4711)),
        ("headers", json!("a: 4711")),
        ("headers", json!([["a", "4711"]])),
        ("headers", json!({"a": ["4711"]})),
        ("headers", Value::Null),
    ];
    let mut requests: Vec<Value> = wrong
        .into_iter()
        .map(|(field, value)| {
            let mut request = good.clone();
            request[field] = value;
            request
        })
        .collect();
    // A list with the fields in order is refused too.
    let listed = ["url", "events", "method", "headers"].map(|field| good[field].clone());
    requests.extend([json!(listed), json!([good]), json!("4711"), Value::Null]);
    for request in requests {
        let (status, body) = partner.post("/notifiers/webhooks", request.clone()).await?;
        assert_eq!(status, 400, "{request}");
        assert!(body["message"].is_string());
        assert!(!body.to_string().contains("4711"), "{body}");
    }
    let unknown = [
        ("method", "email"),
        ("url", "example.com"),
        ("url", "https://"),
    ];
    for (field, value) in unknown {
        let mut request = good.clone();
        request[field] = json!(value);
        let (status, _) = partner.post("/notifiers/webhooks", request).await?;
        assert_eq!(status, 400, "{field} {value}");
    }
    let (_, report) = partner
        .call(Method::GET, "/_sim/registration", None)
        .await?;
    assert_eq!(report, json!({"current": null, "history": []}));
    assert_eq!(partner.post("/notifiers/webhooks", good).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn registering_replaces() -> Result<()> {
    let partner = Partner::new().await?;
    for url in ["https://example.com/one", "http://127.0.0.1:1/two"] {
        let request = json!({"url": url, "events": ["NEW_CALLOUT"], "headers": {"X-Key": url}});
        let (status, body) = partner.post("/notifiers/webhooks", request).await?;
        assert_eq!(status, 200);
        let config = json!([{"url": url, "events": ["NEW_CALLOUT"], "method": "webhook",
            "headers": {"X-Key": "***"}}]);
        assert_eq!(body["notifier"]["config"], config);
    }
    let (_, report) = partner
        .call(Method::GET, "/_sim/registration", None)
        .await?;
    assert_eq!(report["current"]["url"], "http://127.0.0.1:1/two");
    assert_eq!(
        report["current"]["headers"]["X-Key"],
        "http://127.0.0.1:1/two"
    );
    assert_eq!(report["history"][0]["url"], "https://example.com/one");
    assert_eq!(report["history"][1], report["current"]);
    Ok(())
}

#[tokio::test]
async fn a_mobile_number_belongs_to_one_customer() -> Result<()> {
    let partner = Partner::new().await?;
    partner.customer("+27820004567", false).await?;
    let again = json!({"customer": {"name": "B", "surname": "C", "mobile": "+27820004567"}});
    let (status, body) = partner.post("/customers", again).await?;
    assert_eq!(status, 409);
    assert!(!body.to_string().contains("4567"));
    Ok(())
}

#[tokio::test]
async fn a_callout_needs_a_subscription_and_there_is_one_at_a_time() -> Result<()> {
    let partner = Partner::new().await?;
    let stranger = partner.customer("1", false).await?;
    let member = partner.customer("2", true).await?;
    let raise = |customer: u64| {
        let path = format!("/customers/{customer}/callouts");
        let partner = &partner;
        async move { partner.post(&path, panic_button()).await }
    };
    assert_eq!(raise(stranger).await?.0, 403);
    assert_eq!(raise(1).await?.0, 404);
    let (status, first) = raise(member).await?;
    assert_eq!(status, 200);
    let (status, second) = raise(member).await?;
    assert_eq!((status, &second["callout"]), (200, &first["callout"]));

    let id = first["callout"]["id"].as_u64().unwrap();
    partner.act(id, "close").await?;
    let (_, third) = raise(member).await?;
    assert_ne!(third["callout"]["id"], first["callout"]["id"]);
    Ok(())
}

#[tokio::test]
async fn a_location_must_be_known() -> Result<()> {
    let partner = Partner::new().await?;
    let at_gate = format!("{LOCATION}/gate-9/callouts");
    assert_eq!(partner.post(&at_gate, json!({})).await?.0, 400);
    let position = json!({"latitude": 51.5, "longitude": -0.1});
    let (status, location) = partner
        .call(Method::PUT, "/_sim/locations/gate-9", Some(position))
        .await?;
    assert_eq!(status, 200);
    let (status, raised) = partner.post(&at_gate, json!({})).await?;
    assert_eq!(status, 200);
    let incident = &raised["callout"]["incidentInformation"][0];
    let id = location["id"].to_string();
    assert_eq!(incident["predefinedLocationId"], id);
    assert_eq!(incident["calloutCurrentLocation"]["latitude"], "51.5");
    Ok(())
}

#[tokio::test]
async fn callouts_can_be_read_in_both_forms() -> Result<()> {
    let partner = Partner::new().await?;
    let id = partner.callout().await?;
    partner.act(id, "dispatch").await?;
    let (status, found) = partner.get(&format!("/callouts/{id}")).await?;
    assert_eq!(status, 200);
    assert_eq!(found["callout"]["status"], "Responder Dispatched");
    assert!(found["callout"]["incidentInformation"][0]["responder"]["id"].is_u64());

    let (_, active) = partner.get("/callouts/activeCallouts").await?;
    assert_eq!(active[0]["id"], id);
    assert_eq!(active[0]["status"], "Responder Dispatched");
    assert_eq!(active[0]["latitude"], -33.9249);
    partner.act(id, "close").await?;
    let (_, active) = partner.get("/callouts/activeCallouts").await?;
    assert_eq!(active, json!([]));
    let (_, found) = partner.get(&format!("/callouts/{id}")).await?;
    assert_eq!(found["callout"]["status"], "closed");
    Ok(())
}

#[tokio::test]
async fn the_event_stream_keeps_what_is_added() -> Result<()> {
    let partner = Partner::new().await?;
    let id = partner.callout().await?;
    let path = format!("/callouts/{id}/events");
    let (status, added) = partner.post(&path, json!({"message": "Safe."})).await?;
    assert_eq!(status, 200);
    let (_, stream) = partner.get(&path).await?;
    assert_eq!(stream, json!([added["event"]]));
    assert_eq!(stream[0]["calloutId"], id);
    assert_eq!(stream[0]["message"], "Safe.");
    Ok(())
}

#[tokio::test]
async fn a_wrong_safe_code_cancels_nothing() -> Result<()> {
    let partner = Partner::new().await?;
    let member = partner.customer("+27820004567", true).await?;
    let path = format!("/customers/{member}/callouts");
    let (_, raised) = partner.post(&path, panic_button()).await?;
    let cancel = format!("/callouts/{}/cancel", raised["callout"]["id"]);
    for (code, expected) in [("4568", 403), ("567", 403), ("4567", 200), ("4567", 409)] {
        let (status, _) = partner.post(&cancel, json!({"safeCode": code})).await?;
        assert_eq!(status, expected, "{code}");
    }
    Ok(())
}

#[tokio::test]
async fn unknown_paths_and_things_are_refused_in_json() -> Result<()> {
    let partner = Partner::new().await?;
    let closed = partner.callout().await?;
    partner.act(closed, "close").await?;
    let remark = json!({"message": "Hello?"});
    let answers = [
        (404, partner.get("/callouts/1").await?),
        (404, partner.get("/callouts/one").await?),
        (404, partner.get("/nothing").await?),
        (405, partner.get("/customers").await?),
        (404, partner.act(1, "close").await?),
        (404, partner.act(closed, "explode").await?),
        (409, partner.act(closed, "arrive").await?),
        (
            409,
            partner
                .post(&format!("/callouts/{closed}/events"), remark)
                .await?,
        ),
        (404, partner.control("/resend/1", json!({})).await?),
        (400, partner.control("/day", json!({"seed": 1})).await?),
    ];
    for (expected, (status, body)) in answers {
        assert_eq!(status, expected, "{body}");
        assert!(body["message"].is_string());
    }
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_is_named() -> Result<()> {
    let on = |port| Options {
        port,
        ..Options::default()
    };
    let first = AuraSim::start(on(0)).await?;
    let port = first.url().rsplit(':').next().unwrap().parse()?;
    let second = AuraSim::start(on(port)).await;
    let error = format!("{:#}", second.err().unwrap());
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    first.shutdown().await;
    AuraSim::start(on(port)).await?.shutdown().await;
    Ok(())
}
