use std::convert::Infallible;
use std::future;
use std::net::Ipv4Addr;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Region};
use aws_types::SdkConfig;
use metrique::writer::sink::DevNullSink;
use secrecy::ExposeSecret as _;
use serde_json::json;
use shared::telemetry::lines::{WrittenLines, metrics_of, metrics_of_function};
use shared::webhook::REFRESH_INTERVAL;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::{EndpointProperties, RegistrarConfig};
use crate::custom_resource::{NOT_REGISTERED, PHYSICAL_RESOURCE_ID};

/// Makes a handler that calls AWS at `endpoint`.
fn handler(endpoint: &str) -> Handler {
    handler_of(endpoint, deployed())
}

/// Makes a handler that calls AWS at `endpoint` and is deployed with these properties.
fn handler_of(endpoint: &str, deployed: EndpointProperties) -> Handler {
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .endpoint_url(endpoint)
        .http_client(shared::aws::http_client())
        .build();
    let http = shared::http_client::build().unwrap();
    Handler {
        registrar: Arc::new(Registrar::new(&sdk, http, config(deployed))),
        metrics: DevNullSink::boxed(),
    }
}

fn config(deployed: EndpointProperties) -> RegistrarConfig {
    RegistrarConfig {
        webhook_secret_arn: "arn:webhook".into(),
        aura_credentials_secret_arn: "arn:credentials".into(),
        ledger_table_name: "ledger".into(),
        stack_id: "arn:stack".into(),
        refresh_interval: REFRESH_INTERVAL,
        canary_patience: crate::canary::PATIENCE,
        registers: true,
        deployed,
    }
}

fn deployed() -> EndpointProperties {
    EndpointProperties {
        aura_base_url: NOWHERE.into(),
        webhook_url: "https://example.com/aura/events".into(),
        events: vec!["NEW_CALLOUT".into()],
        header_name: "authorization".into(),
        header_scheme: "Bearer".into(),
        hand_back_url: String::new(),
    }
}

/// Starts a server that plays AWS, and returns its URL. It gives these answers (status and body)
/// one after the other, and then repeats the last one.
async fn aws(answers: Vec<(u16, String)>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let last = answers.last().unwrap().clone();
    tokio::spawn(async move {
        for (status, body) in answers.into_iter().chain(std::iter::repeat(last)) {
            let (head, _) = answer_one(&listener, status, &body).await;
            assert!(head.starts_with("post / "), "{head}");
        }
    });
    url
}

/// Answers one request whose body has a known length. Returns the request's head in lower case, and
/// its body.
async fn answer_one(listener: &TcpListener, status: u16, answer: &str) -> (String, String) {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let (head, body) = loop {
        connection.read_buf(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.lines().next().unwrap().parse::<usize>().unwrap()
        });
        if body.len() >= length {
            break (head, body.to_owned());
        }
    };
    let length = answer.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{answer}"
    );
    connection.write_all(answer.as_bytes()).await.unwrap();
    (head, body)
}

/// Makes CloudFormation's answer about a stack with this status.
fn stack_that_is(status: &str) -> (u16, String) {
    let stack = format!(
        "<StackName>s</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>\
         <StackStatus>{status}</StackStatus>"
    );
    let body = format!(
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>{stack}</member></Stacks>\
         </DescribeStacksResult></DescribeStacksResponse>"
    );
    (200, body)
}

/// Plays CloudFormation: accepts one PUT, answers 200, and returns the JSON that was sent.
async fn cloudformation(listener: TcpListener) -> Value {
    let (head, body) = answer_one(&listener, 200, "").await;
    assert!(head.starts_with("put /answer?signature=secret "), "{head}");
    let has_no_content_type = !head.contains("content-type");
    assert!(has_no_content_type, "{head}");
    serde_json::from_str(&body).unwrap()
}

/// Sends a request with `time_left`, and returns the response that CloudFormation gets.
async fn answer(
    handler: &Handler,
    request_type: &str,
    physical_id: &str,
    properties: Value,
    time_left: Duration,
) -> Value {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!(
        "http://{}/answer?signature=secret",
        listener.local_addr().unwrap()
    );
    let request = json!({
        "RequestType": request_type, "ResponseURL": url, "StackId": "arn:stack",
        "RequestId": "r-1", "LogicalResourceId": "AuraWebhook", "PhysicalResourceId": physical_id,
        "ResourceProperties": properties,
    });
    let invoked = handler.handle(request, time_left);
    let (sent, answer) = tokio::join!(invoked, cloudformation(listener));
    sent.unwrap();
    assert_eq!(answer["RequestId"], "r-1");
    answer
}

/// Sends a request that fails, and returns the reason.
async fn reason(handler: &Handler, request_type: &str, properties: Value) -> String {
    let id = PHYSICAL_RESOURCE_ID;
    let answer = answer(handler, request_type, id, properties, ENOUGH).await;
    assert_eq!(answer["Status"], "FAILED");
    answer["Reason"].as_str().unwrap().to_owned()
}

/// The resource properties that belong to [`deployed`].
fn properties() -> Value {
    config(deployed()).resource_properties()
}

const ENOUGH: Duration = Duration::from_mins(1);
/// URL at which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn properties_that_can_not_be_used_are_answered() {
    let wrong = EndpointProperties {
        webhook_url: "no URL".into(),
        ..deployed()
    };
    let handler = handler_of(NOWHERE, wrong.clone());
    let properties = config(wrong).resource_properties();
    let reason_given = reason(&handler, "Create", properties).await;
    assert!(
        reason_given.starts_with("WebhookUrl is not a URL"),
        "{reason_given}"
    );
}

#[tokio::test]
async fn properties_that_differ_from_the_deployed_ones_are_refused_by_name_before_any_call() {
    let handler = handler(NOWHERE);
    let names = properties();
    let names: Vec<_> = names.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 9);
    for name in names {
        for (kind, other) in [("Create", json!("marker")), ("Update", Value::Null)] {
            let mut properties = properties();
            properties[name] = other;
            let told = reason(&handler, kind, properties).await;
            let expected =
                format!("the request and this function's own configuration differ in {name},");
            assert!(told.starts_with(&expected), "{told}");
            assert!(!told.contains("marker"), "{told}");
        }
    }
    let told = reason(&handler, "Update", json!({})).await;
    assert!(
        told.contains(" AuraBaseUrl, AuraCredentialsSecretArn, Events, "),
        "{told}"
    );
}

/// CloudFormation doesn't send a property that is unset in the template.
#[tokio::test]
async fn a_property_that_is_missing_in_a_request_counts_as_empty() {
    let without = EndpointProperties {
        header_scheme: String::new(),
        ..deployed()
    };
    let mut properties = config(without.clone()).resource_properties();
    for name in ["HeaderScheme", "HandBackUrl"] {
        properties.as_object_mut().unwrap().remove(name);
    }
    let told = reason(&handler_of(NOWHERE, without), "Create", properties).await;
    assert!(told.contains("the stack's status can't be read"), "{told}");
}

#[test]
fn a_registered_stack_stays_with_its_aura() {
    let config = config(deployed());
    config.expect_same_aura(&properties()).unwrap();
    // An older template may lack these properties.
    config.expect_same_aura(&json!({})).unwrap();
    for name in ["AuraBaseUrl", "AuraCredentialsSecretArn"] {
        let mut before = properties();
        before[name] = "https://panic.aura.services".into();
        let told = config.expect_same_aura(&before).unwrap_err().to_string();
        let expected = format!("{name} of a registered stack can't be changed");
        assert!(told.starts_with(&expected), "{told}");
        assert!(told.contains("Deploy a second stack"), "{told}");
    }
    let mut before = properties();
    before["Events"] = json!(["CALLOUT_CLOSED"]);
    config.expect_same_aura(&before).unwrap();
}

#[tokio::test]
async fn a_failed_call_to_aws_is_named() {
    let reason_given = reason(&handler(NOWHERE), "Update", properties()).await;
    assert!(
        reason_given.contains("the stack's status can't be read"),
        "{reason_given}"
    );
}

#[tokio::test]
async fn a_hang_is_answered_before_the_function_ends() {
    // Takes connections and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let handler = handler(&format!("http://{}", silent.local_addr().unwrap()));
    let time_left = ANSWERING_TIME + Duration::from_millis(200);
    let id = PHYSICAL_RESOURCE_ID;
    let answer = answer(&handler, "Create", id, properties(), time_left).await;
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("not done in"), "{reason}");
}

#[tokio::test]
async fn a_resource_keeps_its_id_unless_it_was_never_made() {
    let handler = handler(NOWHERE);
    let id = PHYSICAL_RESOURCE_ID;
    let created = answer(&handler, "Create", "", properties(), ENOUGH).await;
    assert_eq!(created["PhysicalResourceId"], NOT_REGISTERED);
    let updated = answer(&handler, "Update", id, properties(), ENOUGH).await;
    assert_eq!(updated["PhysicalResourceId"], id);
}

#[tokio::test]
async fn a_delete_makes_no_call_if_there_is_nothing_to_hand_back() {
    let handler = handler(NOWHERE);
    let id = PHYSICAL_RESOURCE_ID;
    let deleted = answer(&handler, "Delete", id, properties(), ENOUGH).await;
    assert_eq!(deleted["Status"], "SUCCESS");

    let handed_back = EndpointProperties {
        hand_back_url: "https://example.com/before".into(),
        ..deployed()
    };
    let handler = handler_of(NOWHERE, handed_back.clone());
    let properties = config(handed_back).resource_properties();
    let id = NOT_REGISTERED;
    let never_made = answer(&handler, "Delete", id, properties.clone(), ENOUGH).await;
    assert_eq!(never_made["Status"], "SUCCESS");
    // Here the function would register `HandBackUrl`, but it can't reach AWS.
    let reason = reason(&handler, "Delete", properties).await;
    assert!(reason.contains("the stack's status"), "{reason}");
    assert!(
        reason.contains("--retain-resources AuraWebhook"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_deleted_stack_hands_back_only_to_the_url_that_it_was_deployed_with() {
    let handed_back = EndpointProperties {
        hand_back_url: "https://example.com/before".into(),
        ..deployed()
    };
    for deployed in [deployed(), handed_back] {
        for (status, refused) in [("DELETE_IN_PROGRESS", true), ("UPDATE_COMPLETE", false)] {
            let aws = aws(vec![stack_that_is(status)]).await;
            let handler = handler_of(&aws, deployed.clone());
            let mut properties = config(deployed.clone()).resource_properties();
            properties["HandBackUrl"] = "https://example.com/theirs".into();
            let id = PHYSICAL_RESOURCE_ID;
            let answer = answer(&handler, "Delete", id, properties, ENOUGH).await;
            if !refused {
                assert_eq!(answer["Status"], "SUCCESS", "{answer}");
                continue;
            }
            let told = answer["Reason"].as_str().unwrap();
            assert!(told.contains("differ in HandBackUrl, "), "{told}");
            assert!(told.contains("--retain-resources AuraWebhook"), "{told}");
        }
    }
}

/// A handler of a standby that can't reach AWS.
fn standby(deployed: EndpointProperties) -> Handler {
    let mut handler = handler_of(NOWHERE, deployed);
    let registrar = Arc::get_mut(&mut handler.registrar).unwrap();
    registrar.config.registers = false;
    handler
}

#[tokio::test]
async fn a_deleted_standby_hands_nothing_back_though_it_has_a_url() {
    let handler = standby(EndpointProperties {
        hand_back_url: "https://example.com/before".into(),
        ..deployed()
    });
    let properties = handler.registrar.config.resource_properties();
    assert_eq!(properties["Register"], "false");
    let id = PHYSICAL_RESOURCE_ID;
    let deleted = answer(&handler, "Delete", id, properties, ENOUGH).await;
    assert_eq!(deleted["Status"], "SUCCESS", "{deleted}");
}

/// Since a take-over AURA may deliver to the standby. It would go on sending the old value.
#[tokio::test]
async fn a_standby_refuses_every_step_of_a_rotation() {
    let handler = standby(deployed());
    for name in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
        let refused = handler.handle(step(name), ENOUGH).await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("deploy it with Register=true"), "{told}");
    }
}

#[tokio::test]
async fn a_payload_of_no_known_caller_is_refused_and_not_shown() {
    let handler = handler(NOWHERE);
    let payloads = [
        json!({}),
        json!({"RequestType": "Create", "ResponseURL": 7, "marker": "marker"}),
        json!({"Step": "marker", "SecretId": "arn", "ClientRequestToken": "t"}),
        json!({"Reregister": {"requestId": "marker"}}),
        json!({"Reregister": {}, "marker": "marker"}),
        json!({"Reregister": "marker"}),
        json!({"Canary": "marker"}),
        json!({"Canary": {}, "marker": "marker"}),
        json!({"Canary": {"id": "marker"}}),
    ];
    for payload in payloads {
        let error = handler.handle(payload, ENOUGH).await.unwrap_err();
        assert!(matches!(error, InvocationError::Unknown), "{error}");
        assert!(!error.to_string().contains("marker"));
    }
}

#[tokio::test]
async fn a_rotation_that_fails_is_an_error_of_the_function() {
    let handler = handler(NOWHERE);
    let request = |arn: &str| {
        json!({
            "Step": "createSecret", "SecretId": arn, "ClientRequestToken": "t", "RotationToken": "",
        })
    };
    let error = handler.handle(request("arn:other"), ENOUGH).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no other"), "{error}");
    let error = handler.handle(request("arn:webhook"), ENOUGH).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("DescribeSecret"), "{error}");
}

/// Makes Secrets Manager's answer for a version that it doesn't show.
fn not_found() -> (u16, String) {
    let body = r#"{"__type": "ResourceNotFoundException", "message": "no such version"}"#;
    (400, body.to_owned())
}

/// Makes Secrets Manager's answer about a secret that is being rotated to version `t`.
fn staged() -> (u16, String) {
    let stages = json!({"VersionIdsToStages": {"t": ["AWSPENDING"], "c": ["AWSCURRENT"]}});
    (200, stages.to_string())
}

/// Makes a request for a step of the rotation to version `t`.
fn step(name: &str) -> Value {
    json!({"Step": name, "SecretId": "arn:webhook", "ClientRequestToken": "t"})
}

#[tokio::test]
async fn a_new_value_that_does_not_show_yet_is_waited_for() {
    let value = (200, r#"{"SecretString": "another-value"}"#.to_owned());
    let aws = aws(vec![not_found(), not_found(), value]).await;
    let registrar = handler(&aws).registrar;
    let (registrar, journal) = (&*registrar, &Journal::default());
    let handler = RotationHandler { registrar, journal };
    let value = handler.stored_value("t").await.unwrap();
    assert_eq!(value.expose_secret(), "another-value");
}

/// If the step took the current value, it would prove only that one. Then finishSecret would make a
/// value current that was never tested.
#[tokio::test]
async fn test_secret_waits_for_the_new_value_and_does_not_use_the_current_one() {
    let secret = |value| (200, json!({"SecretString": value}).to_string());
    let answers = vec![
        staged(),
        not_found(),
        not_found(),
        secret("another-value"),
        secret("current-value"),
        stack_that_is("UPDATE_IN_PROGRESS"),
    ];
    let handler = handler(&aws(answers).await);
    let error = handler.handle(step("testSecret"), ENOUGH).await;
    // The function reads the stack's state only if there is a new value.
    let told = error.unwrap_err().to_string();
    assert!(told.contains("the stack is UPDATE_IN_PROGRESS"), "{told}");
}

/// Secrets Manager has asked for createSecret twice, and doesn't show the first value yet.
#[tokio::test]
async fn a_value_that_is_stored_already_is_not_made_again() {
    let exists = json!({"__type": "ResourceExistsException", "message": "another value"});
    let answers = vec![staged(), not_found(), (400, exists.to_string())];
    let handler = handler(&aws(answers).await);
    let request = step("createSecret");
    handler.handle(request, ENOUGH).await.unwrap();
}

fn reregister() -> Value {
    let request_id = Uuid::now_v7();
    serde_json::to_value(ReregisterRequest::Reregister { request_id }).unwrap()
}

#[tokio::test]
async fn a_reregistration_that_fails_is_an_error_of_the_function() {
    let error = handler(NOWHERE).handle(reregister(), ENOUGH).await;
    let error = error.unwrap_err();
    assert!(matches!(error, InvocationError::Failed(_)), "{error}");
    let told = error.to_string();
    assert!(told.contains("the stack's status can't be read"), "{told}");
}

#[tokio::test]
async fn a_reregistration_that_hangs_ends_with_its_own_error_before_the_function_ends() {
    // Takes connections and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let handler = handler(&format!("http://{}", silent.local_addr().unwrap()));
    let time_left = Duration::from_millis(2200);
    let asked = handler.handle(reregister(), time_left);
    let error = tokio::time::timeout(time_left, asked).await.unwrap();
    let told = error.unwrap_err().to_string();
    assert!(told.contains("not done in"), "{told}");
}

/// The registrar's line for a scheduled canary whose calls to AWS get these answers. `webhook_url`
/// is the deployed endpoint.
async fn canary_line(webhook_url: String, answers: Vec<(u16, String)>) -> Value {
    let (line, _) = canary(json!({"Canary": {}}), webhook_url, answers).await;
    line
}

/// The registrar's line for a canary, and its answer.
async fn canary(
    request: Value,
    webhook_url: String,
    answers: Vec<(u16, String)>,
) -> (Value, CanaryAnswer) {
    let deployed = EndpointProperties {
        webhook_url,
        ..deployed()
    };
    let lines = WrittenLines::default();
    let mut handler = handler_of(&aws(answers).await, deployed);
    handler.metrics = lines.sink();
    // A failure is no error of the function.
    let answer = handler.handle(request, ENOUGH).await.unwrap();
    let [line] = lines.take().try_into().unwrap();
    assert_eq!(line["Request"], "Canary");
    (line, serde_json::from_value(answer).unwrap())
}

/// A metric in every request's line would cost, and a zero would raise the canary's alarm.
#[tokio::test]
async fn the_lines_of_other_requests_have_no_metric() {
    let lines = WrittenLines::default();
    let mut handler = handler(NOWHERE);
    handler.metrics = lines.sink();
    handler.handle(reregister(), ENOUGH).await.unwrap_err();
    reason(&handler, "Update", properties()).await;
    let lines = lines.take();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(metrics_of(line), [""; 0]);
    }
}

/// DynamoDB's answer to the announcement, after Secrets Manager's with the secret.
fn announced() -> Vec<(u16, String)> {
    let secret = (200, r#"{"SecretString": "value"}"#.to_owned());
    vec![secret, (200, "{}".to_owned())]
}

/// DynamoDB's answer about a canary in this state.
fn canary_that_is(state: &str) -> (u16, String) {
    let item = json!({"Items": [{"state": {"S": state}}], "Count": 1});
    (200, item.to_string())
}

/// Plays the endpoint for one request, with this status.
async fn endpoint(status: u16) -> (String, tokio::task::JoinHandle<(String, String)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/aura/events", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move { answer_one(&listener, status, "").await });
    (url, asked)
}

#[tokio::test]
async fn the_time_of_a_scheduled_canary_is_the_registrars_one_metric() {
    let (url, asked) = endpoint(202).await;
    let states = ["CLAIMED", "PUBLISHED"].map(canary_that_is);
    let line = canary_line(url, [announced(), states.into()].concat()).await;
    assert_eq!(
        (&line["Succeeded"], &line["Failed"]),
        (&json!(1), &json!(0))
    );
    assert!(line["CanaryTime"].as_f64().unwrap() > 0.0, "{line}");
    assert_eq!(metrics_of(&line), metrics_of_function("registrar"));
    let step = line["Steps"][0].as_str().unwrap();
    assert!(step.starts_with("Canary: published ("), "{step}");
    let (head, body) = asked.await.unwrap();
    assert!(head.contains("authorization: bearer value"), "{head}");
    let id = line["RequestId"].as_str().unwrap().parse().unwrap();
    assert_eq!(body, shared::canary::body(id));
}

/// AURA posts each event once. A second try would hide that the first was lost.
#[tokio::test]
async fn a_scheduled_canary_is_sent_once_and_its_failure_is_a_zero_and_no_error() {
    let (url, asked) = endpoint(503).await;
    let line = canary_line(url, announced()).await;
    assert_eq!(
        (&line["Succeeded"], &line["Failed"]),
        (&json!(0), &json!(1))
    );
    let reason = line["Reason"].as_str().unwrap();
    assert!(reason.starts_with("the endpoint answered 503"), "{reason}");
    assert_eq!(metrics_of(&line), metrics_of_function("registrar"));
    assert_eq!(line["CanaryTime"], 0);
    asked.await.unwrap();
}

#[tokio::test]
async fn an_operators_canary_has_the_operators_id_and_its_end_is_the_answer() {
    let id = Uuid::now_v7();
    let request = json!({"Canary": {"id": id}});
    let (url, asked) = endpoint(202).await;
    let published = [announced(), vec![canary_that_is("PUBLISHED")]].concat();
    let (line, answer) = canary(request.clone(), url, published).await;
    assert_eq!(line["RequestId"], id.to_string());
    assert_eq!(metrics_of(&line), metrics_of_function("registrar"));
    assert_eq!(asked.await.unwrap().1, shared::canary::body(id));
    assert!(matches!(answer, CanaryAnswer::Published { id: its, .. } if its == id));

    let (url, _) = endpoint(404).await;
    let (line, answer) = canary(request, url, announced()).await;
    let failure = line["Reason"].as_str().unwrap().to_owned();
    assert_eq!(answer, CanaryAnswer::Failed { id, failure });
}

#[tokio::test]
async fn a_canary_that_cannot_be_announced_is_not_sent() {
    let refused = json!({"__type": "AccessDeniedException", "message": "no"});
    let mut answers = announced();
    answers[1] = (400, refused.to_string());
    let line = canary_line(NOWHERE.to_owned(), answers).await;
    let reason = line["Reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the canary can't be announced"),
        "{reason}"
    );
}

/// Runs work that fails, and returns the line of text that the failure becomes.
async fn ending(
    time: Duration,
    work: impl Future<Output = Result<(), Infallible>> + Send + 'static,
) -> String {
    let journal = Journal::default();
    let noted = journal.clone();
    let work = async move {
        noted
            .step(RegistrationStep::Canary, work, |()| String::new())
            .await
    };
    guarded(time, &journal, Box::pin(work)).await.err().unwrap()
}

#[tokio::test]
async fn a_panic_is_reported_without_its_message() {
    let told = ending(ENOUGH, async { panic!("marker") }).await;
    assert!(told.contains("panicked"), "{told}");
    assert!(!told.contains("marker"), "{told}");
}

#[tokio::test]
async fn a_hang_is_reported_with_the_step_that_hangs() {
    let told = ending(Duration::from_millis(10), future::pending()).await;
    assert!(told.contains("Canary was still under way"), "{told}");
}
