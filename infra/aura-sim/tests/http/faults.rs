//! Tests of ordered faults, ended tokens, and the log of calls.

use std::time::{Duration, Instant};

use anyhow::Result;
use aura_sim::{CLIENT_ID, CLIENT_SECRET};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use crate::harness::Partner;

const REGISTER: &str = "/notifiers/webhooks";

/// The name of every call, with an example path.
const CALLS: [(&str, &str); 10] = [
    ("POST /oauth/token", "/oauth/token"),
    ("POST /notifiers/webhooks", REGISTER),
    ("POST /customers", "/customers"),
    ("POST /customers/{id}/callouts", "/customers/1/callouts"),
    (
        "POST /predefinedLocations/externalRef/{ref}/callouts",
        "/predefinedLocations/externalRef/gate-9/callouts",
    ),
    ("GET /callouts/activeCallouts", "/callouts/activeCallouts"),
    ("GET /callouts/{id}", "/callouts/1"),
    ("POST /callouts/{id}/cancel", "/callouts/1/cancel"),
    ("GET /callouts/{id}/events", "/callouts/1/events"),
    ("POST /callouts/{id}/events", "/callouts/1/events"),
];

fn registration() -> Value {
    json!({"url": "https://example.com/", "events": ["NEW_CALLOUT"], "headers": {"X-Key": "k3y"}})
}

async fn order(partner: &Partner, fault: Value) -> Result<()> {
    let (status, answer) = partner.control("/faults", fault).await?;
    anyhow::ensure!(status == 200, "{answer}");
    Ok(())
}

/// Lists the name and status of every call so far.
async fn calls(partner: &Partner) -> Result<Vec<(String, Option<u16>)>> {
    let calls = partner.aura.calls().await?;
    assert!(calls.is_sorted_by_key(|call| call.at));
    let calls = calls.into_iter().map(|call| (call.name, call.status));
    Ok(calls.collect())
}

/// Number of registrations that were done.
async fn registered(partner: &Partner) -> Result<usize> {
    Ok(partner.aura.registration().await?.history.len())
}

#[tokio::test]
async fn every_call_can_fail_and_is_logged_under_its_name() -> Result<()> {
    let partner = Partner::new().await?;
    for (name, path) in CALLS {
        let message = format!("no {name} today");
        let reply = json!({"status": 502, "body": {"message": message}});
        let fault = json!({"call": name, "times": 2, "answer": {"reply": reply}});
        order(&partner, fault).await?;
        let before = calls(&partner).await?.len();
        let (method, _) = name.split_once(' ').unwrap();
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let path = format!("/panic-api/v2{path}");
            let body = (method == "POST").then(|| json!({}));
            let (status, answer) = partner.call(method.parse()?, &path, body).await?;
            assert_eq!(status == 502, answer["message"] == message);
            statuses.push((name.to_owned(), Some(status)));
        }
        assert_eq!(statuses[0].1, Some(502));
        assert_eq!(statuses[1].1, Some(502));
        assert_ne!(statuses[2].1, Some(502));
        assert_eq!(calls(&partner).await?[before..], statuses);
    }
    Ok(())
}

#[tokio::test]
async fn an_impossible_order_is_refused_with_the_possible_ones() -> Result<()> {
    let partner = Partner::new().await?;
    let names = CALLS.map(|(name, _)| name).join(", ");
    let call = "POST /customers";
    let refusals = [
        (
            json!({"call": "PUT /customers", "answer": "hang"}),
            format!("call PUT /customers is unknown: the calls are {names}"),
        ),
        (
            json!({"call": call, "times": 0, "answer": "hang"}),
            "times is at least 1".to_owned(),
        ),
        (
            json!({"call": call, "answer": {"reply": {"status": 100}}}),
            "status is 200 to 999".to_owned(),
        ),
        (
            json!({"call": call, "answer": {"reply": {"status": 500, "headers": {"a b": "c"}}}}),
            "header a b can't be sent".to_owned(),
        ),
    ];
    for (fault, expected) in refusals {
        let (status, answer) = partner.control("/faults", fault).await?;
        assert_eq!((status, &answer["message"]), (400, &json!(expected)));
    }
    let shapes = [
        json!({}),
        json!({"call": call}),
        json!({"call": call, "answer": "sulk"}),
        json!({"call": call, "answer": {"reply": {}}}),
        json!({"call": call, "answer": {"reply": {"status": 500, "text": "a"}}}),
        json!({"call": call, "answer": "hang", "delay": 1}),
        json!({"call": call, "answer": "hang", "times": -1}),
    ];
    for fault in shapes {
        let (status, answer) = partner.control("/faults", fault).await?;
        assert_eq!(status, 400);
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.contains(r#""breakOff", "hang" or "hangUp""#),
            "{message}"
        );
    }
    assert_eq!(partner.post("/customers", json!({})).await?.0, 400);
    Ok(())
}

#[tokio::test]
async fn faults_that_have_not_happened_can_be_removed() -> Result<()> {
    let partner = Partner::new().await?;
    for times in [1, 2] {
        let fault = json!({"call": "POST /customers", "times": times, "answer": "hangUp"});
        order(&partner, fault).await?;
    }
    let (status, answer) = partner.call(Method::DELETE, "/_sim/faults", None).await?;
    assert_eq!((status, answer), (200, json!({"forgotten": 2})));
    assert_eq!(partner.post("/customers", json!({})).await?.0, 400);
    Ok(())
}

#[tokio::test]
async fn a_reply_goes_out_as_it_was_ordered_and_nothing_is_done() -> Result<()> {
    let partner = Partner::new().await?;
    let headers = json!({"location": "https://elsewhere.example/", "content-type": "text/html"});
    let reply = json!({"status": 285, "headers": headers, "body": "<html>"});
    let fault = json!({"call": "POST /notifiers/webhooks", "answer": {"reply": reply}});
    order(&partner, fault).await?;
    let url = format!("{}/panic-api/v2{REGISTER}", partner.sim.url());
    // The request has no token, because the stand-in doesn't check it for a call that is not done.
    let request = partner.client.post(url).json(&registration());
    let answer = request.send().await?;
    assert_eq!(answer.status().as_u16(), 285);
    assert_eq!(answer.headers()["location"], "https://elsewhere.example/");
    assert_eq!(answer.headers()["content-type"], "text/html");
    assert_eq!(answer.text().await?, "<html>");
    assert_eq!(registered(&partner).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_fault_that_is_done_does_the_call_whatever_its_answer_is() -> Result<()> {
    let partner = Partner::new().await?;
    let patch = json!({"notifier": {"config": [{"url": "https://elsewhere.example/"}]}});
    let answers = [
        (json!({"reply": {"status": 500}}), true),
        (json!("hangUp"), true),
        (json!({ "patch": patch }), false),
        (json!("breakOff"), false),
    ];
    for (n, (answer, done)) in answers.into_iter().enumerate() {
        let fault = json!({"call": "POST /notifiers/webhooks", "done": done, "answer": answer});
        order(&partner, fault).await?;
        let told = partner.post(REGISTER, registration()).await;
        match n {
            // An answer without a body is not JSON.
            0 | 1 | 3 => assert!(told.is_err()),
            _ => {
                let (status, told) = told?;
                assert_eq!((status, &told["notifier"]), (200, &patch["notifier"]));
                assert_eq!(told["message"], "Webhook registered");
            }
        }
        assert_eq!(registered(&partner).await?, n + 1);
    }
    let statuses: Vec<_> = calls(&partner).await?.into_iter().map(|(_, s)| s).collect();
    assert_eq!(statuses[1..], [Some(500), None, Some(200), Some(200)]);
    Ok(())
}

#[tokio::test]
async fn hanging_up_sends_nothing_and_breaking_off_sends_half() -> Result<()> {
    let partner = Partner::new().await?;
    let address = partner.sim.url().replace("http://", "");
    let body = json!({"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET}).to_string();
    let request = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for answer in ["hangUp", "breakOff"] {
        let fault = json!({"call": "POST /oauth/token", "done": true, "answer": answer});
        order(&partner, fault).await?;
        let mut connection = TcpStream::connect(&address).await?;
        connection.write_all(request.as_bytes()).await?;
        let mut received = String::new();
        connection.read_to_string(&mut received).await?;
        if answer == "hangUp" {
            assert_eq!(received, "");
            continue;
        }
        let (head, half) = received.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(half.starts_with(r#"{"access_token":""#), "{half}");
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.lines().next().unwrap().parse()?;
        assert_eq!(half.len(), length / 2);
    }
    Ok(())
}

#[tokio::test]
async fn a_hang_lasts_until_the_caller_gives_up_and_does_not_keep_a_shutdown_waiting() -> Result<()>
{
    let partner = Partner::new().await?;
    let fault = json!({"call": "POST /customers", "times": 2, "answer": "hang"});
    order(&partner, fault).await?;
    let url = format!("{}/panic-api/v2/customers", partner.sim.url());
    let request = || partner.client.post(&url).json(&json!({}));
    let patience = Duration::from_secs(1);
    let error = request().timeout(patience).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");

    let hanging = tokio::spawn(request().send());
    while calls(&partner).await?.len() < 3 {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        calls(&partner).await?[1..],
        [
            ("POST /customers".into(), None),
            ("POST /customers".into(), None)
        ]
    );
    let started = Instant::now();
    partner.sim.shutdown().await;
    // The shutdown waits at most this long for a request that is being answered.
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(hanging.await?.is_err());
    Ok(())
}

#[tokio::test]
async fn a_token_without_expires_in_is_valid() -> Result<()> {
    let mut partner = Partner::new().await?;
    let patch = json!({"patch": {"expires_in": null}});
    order(
        &partner,
        json!({"call": "POST /oauth/token", "answer": patch}),
    )
    .await?;
    let credentials = json!({"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET});
    let (status, answer) = partner.post("/oauth/token", credentials).await?;
    assert_eq!((status, answer.get("expires_in")), (200, None));
    let token = answer["access_token"].as_str().unwrap();
    token.clone_into(&mut partner.token);
    assert_eq!(partner.get("/callouts/activeCallouts").await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn every_token_can_be_ended() -> Result<()> {
    let partner = Partner::new().await?;
    assert_eq!(partner.get("/callouts/activeCallouts").await?.0, 200);
    let (status, ended) = partner.call(Method::DELETE, "/_sim/tokens", None).await?;
    assert_eq!((status, ended), (200, json!({"expired": 1})));
    let (status, answer) = partner.get("/callouts/activeCallouts").await?;
    assert_eq!(status, 401);
    assert_eq!(answer["message"], "the bearer token is not valid");
    let (_, tokens) = partner.call(Method::GET, "/_sim/tokens", None).await?;
    assert_eq!(tokens, json!([partner.token]));
    Ok(())
}

#[tokio::test]
async fn the_log_has_every_call_without_its_headers_and_body() -> Result<()> {
    let partner = Partner::new().await?;
    partner.post(REGISTER, registration()).await?;
    partner.get("/callouts/4711?safeCode=s3cret").await?;
    partner.get("/nothing").await?;
    partner.get("/customers").await?;
    let (_, log) = partner.call(Method::GET, "/_sim/calls", None).await?;
    for carried in ["k3y", "s3cret", "4711", CLIENT_SECRET, &partner.token] {
        assert!(!log.to_string().contains(carried), "{carried}");
    }
    let expected = [
        ("POST /oauth/token", 200),
        ("POST /notifiers/webhooks", 200),
        ("GET /callouts/{id}", 404),
        ("GET /nothing", 404),
        ("GET /customers", 405),
    ];
    let expected = expected.map(|(name, status)| (name.to_owned(), Some(status)));
    assert_eq!(calls(&partner).await?, expected);
    Ok(())
}
