use std::net::Ipv4Addr;

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use metrique::writer::sink::DevNullSink;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::Config;

/// A handler whose Secrets Manager is at `endpoint`.
fn handler(endpoint: &str) -> Handler {
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .endpoint_url(endpoint)
        .http_client(shared::aws::http_client())
        .build();
    let http = shared::http_client::build().unwrap();
    let registrar = Registrar {
        secrets_manager: aws_sdk_secretsmanager::Client::from_conf(config),
        http: http.clone(),
        config: Config {
            webhook_secret_arn: "arn:webhook".into(),
            aura_credentials_secret_arn: "arn:credentials".into(),
        },
    };
    Handler {
        registrar: Arc::new(registrar),
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
        "RequestId": "r-1", "LogicalResourceId": "AuraWebhook",
        "ResourceProperties": properties,
    });
    let request = serde_json::from_value(request).unwrap();
    let (sent, answer) = tokio::join!(handler.handle(request, time_left), cloudformation(listener));
    sent.unwrap();
    assert_eq!(answer["PhysicalResourceId"], "aura-webhook");
    assert_eq!(answer["RequestId"], "r-1");
    answer
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
    let mut properties = properties();
    properties["WebhookUrl"] = "no URL".into();
    let answer = answer(&handler(NOWHERE), "Create", properties, ENOUGH).await;
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("properties are wrong"), "{reason}");
}

#[tokio::test]
async fn a_secret_that_can_not_be_read_is_named() {
    let answer = answer(&handler(NOWHERE), "Update", properties(), ENOUGH).await;
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("arn:webhook"), "{reason}");
}

#[tokio::test]
async fn a_hang_is_answered_before_the_function_ends() {
    // Takes connections and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let handler = handler(&format!("http://{}", silent.local_addr().unwrap()));
    let time_left = ANSWERING_TIME + Duration::from_millis(200);
    let answer = answer(&handler, "Create", properties(), time_left).await;
    assert_eq!(answer["Status"], "FAILED");
    let reason = answer["Reason"].as_str().unwrap();
    assert!(reason.contains("not done in time"), "{reason}");
}

#[tokio::test]
async fn a_delete_succeeds_without_asking_anybody() {
    let answer = answer(&handler(NOWHERE), "Delete", properties(), ENOUGH).await;
    assert_eq!(answer["Status"], "SUCCESS");
}
