use std::net::Ipv4Addr;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use metrique::writer::sink::DevNullSink;
use serde_json::json;
use shared::reregister;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::config::Config;
use crate::invocation::InvocationError;

/// A handler whose AWS is at `endpoint`.
fn handler(endpoint: &str) -> Handler {
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .endpoint_url(endpoint)
        .http_client(shared::aws::http_client())
        .build();
    let http = shared::http_client::build().unwrap();
    let config = Config {
        webhook_secret_arn: "arn:webhook".into(),
        aura_credentials_secret_arn: "arn:credentials".into(),
        ledger_table_name: "ledger".into(),
        stack_id: "arn:stack".into(),
        deployed: Properties::default(),
    };
    Handler {
        registrar: Arc::new(Registrar::new(&sdk, http.clone(), config)),
        http,
        metrics: DevNullSink::boxed(),
    }
}

/// Takes one PUT and answers 200: CloudFormation's side of the answer. The JSON that came.
async fn cloudformation(listener: TcpListener) -> Value {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    let body = loop {
        connection.read_buf(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            assert!(head.starts_with("PUT /answer?signature=secret "), "{head}");
            assert!(
                !head.to_lowercase().contains("content-type"),
                "the URL is presigned for none: {head}"
            );
            break body;
        }
    };
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    connection.write_all(answer).await.unwrap();
    body
}

/// What CloudFormation is answered to a request, with `time_left` to go.
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

/// Why a request failed.
async fn reason(handler: &Handler, request_type: &str, properties: Value) -> String {
    let id = PHYSICAL_RESOURCE_ID;
    let answer = answer(handler, request_type, id, properties, ENOUGH).await;
    assert_eq!(answer["Status"], "FAILED");
    answer["Reason"].as_str().unwrap().to_owned()
}

fn properties() -> Value {
    json!({
        "AuraBaseUrl": "http://127.0.0.1:9", "WebhookUrl": "https://example.com/aura/events",
        "Events": ["NEW_CALLOUT"], "HeaderName": "authorization", "HeaderScheme": "Bearer",
    })
}

const ENOUGH: Duration = Duration::from_mins(1);
/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn properties_that_can_not_be_used_are_answered() {
    let handler = handler(NOWHERE);
    let mut wrong = properties();
    wrong["WebhookUrl"] = "no URL".into();
    let reason_given = reason(&handler, "Create", wrong).await;
    assert!(reason_given.contains("WebhookUrl"), "{reason_given}");
    let mut missing = properties();
    missing.as_object_mut().unwrap().remove("Events");
    let reason_given = reason(&handler, "Update", missing).await;
    assert!(reason_given.contains("`Events`"), "{reason_given}");
}

#[tokio::test]
async fn what_aws_does_not_answer_is_named() {
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
async fn a_delete_asks_nobody_where_there_is_nothing_to_hand_back() {
    let handler = handler(NOWHERE);
    let id = PHYSICAL_RESOURCE_ID;
    let deleted = answer(&handler, "Delete", id, properties(), ENOUGH).await;
    assert_eq!(deleted["Status"], "SUCCESS");

    let mut properties = properties();
    properties["HandBackUrl"] = "https://example.com/before".into();
    let never_made = answer(
        &handler,
        "Delete",
        NOT_REGISTERED,
        properties.clone(),
        ENOUGH,
    )
    .await;
    assert_eq!(never_made["Status"], "SUCCESS");
    // Here it would be handed back, if AWS could be asked.
    let reason = reason(&handler, "Delete", properties).await;
    assert!(reason.contains("the stack's status"), "{reason}");
    assert!(
        reason.contains("--retain-resources AuraWebhook"),
        "{reason}"
    );
}

#[tokio::test]
async fn what_is_no_request_of_any_caller_is_refused_unshown() {
    let handler = handler(NOWHERE);
    let payloads = [
        json!({}),
        json!({"RequestType": "Create", "ResponseURL": 7, "marker": "marker"}),
        json!({"Step": "marker", "SecretId": "arn", "ClientRequestToken": "t"}),
        json!({"Reregister": {"requestId": "marker"}}),
        json!({"Reregister": {}, "marker": "marker"}),
        json!({"Reregister": "marker"}),
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

fn reregister() -> Value {
    let request_id = Uuid::now_v7();
    serde_json::to_value(reregister::Request::Reregister { request_id }).unwrap()
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
async fn a_reregistration_that_hangs_comes_to_words_before_the_function_ends() {
    // Takes connections and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let handler = handler(&format!("http://{}", silent.local_addr().unwrap()));
    let time_left = Duration::from_millis(2200);
    let asked = handler.handle(reregister(), time_left);
    let error = tokio::time::timeout(time_left, asked).await.unwrap();
    let told = error.unwrap_err().to_string();
    assert!(told.contains("not done in"), "{told}");
}
