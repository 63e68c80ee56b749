//! Runs the registrar in the test's process, on a deployed stack, so that a test can send it any
//! request as often as it likes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use e2e::REFRESH_INTERVAL;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrique::writer::sink::DevNullSink;
use registrar::config::{EndpointProperties, RegistrarConfig};
use registrar::invocation::Handler;
use registrar::registration::Registrar;
use serde_json::{Value, json};
use stack::stack::Stack;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

/// A stack that stays in creation for as long as any test takes.
const IN_PROGRESS: &str = "in-progress";
const WAITING: &str = r#"{"Resources": {
    "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
    "Wait": {"Type": "AWS::CloudFormation::WaitCondition",
             "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "600"}}}}"#;
/// Time until Lambda would end the function.
pub const ENOUGH: Duration = Duration::from_mins(2);
/// Patience for a canary: each of these stacks was proven a moment ago, so a slow canary has
/// failed.
const CANARY_PATIENCE: Duration = Duration::from_secs(8);

/// A registrar with the same configuration as the stack's own.
pub fn registrar(stack: &Stack) -> Result<Arc<Registrar>> {
    registrar_in(stack, stack.name())
}

/// A registrar like the stack's own, but with this stack id in its configuration.
fn registrar_in(stack: &Stack, stack_id: &str) -> Result<Arc<Registrar>> {
    let sdk = stack.account().sdk_config();
    let http = shared::http_client::build()?;
    let config = config(stack, stack_id)?;
    Ok(Arc::new(Registrar::new(sdk, http, config)))
}

/// The configuration of the stack's own registrar, which it gets from its environment.
fn config(stack: &Stack, stack_id: &str) -> Result<RegistrarConfig> {
    Ok(RegistrarConfig {
        webhook_secret_arn: stack.output("WebhookSecretArn")?.to_owned(),
        aura_credentials_secret_arn: parameter(stack, "AuraCredentialsSecretArn")?,
        ledger_table_name: stack.output("LedgerTableName")?.to_owned(),
        stack_id: stack_id.to_owned(),
        refresh_interval: REFRESH_INTERVAL.try_into()?,
        canary_patience: CANARY_PATIENCE,
        registers: parameter(stack, "Register")? == "true",
        deployed: deployed(stack)?,
    })
}

fn deployed(stack: &Stack) -> Result<EndpointProperties> {
    let events = parameter(stack, "WebhookEvents")?;
    Ok(EndpointProperties {
        aura_base_url: parameter(stack, "AuraBaseUrl")?,
        webhook_url: stack.output("WebhookUrl")?.to_owned(),
        events: events.split(',').map(ToOwned::to_owned).collect(),
        header_name: parameter(stack, "WebhookHeaderName")?,
        header_scheme: word(stack, "WebhookHeaderScheme")?,
        hand_back_url: word(stack, "HandBackUrl")?,
    })
}

/// A parameter that may be `none`, in the form that the function gets.
fn word(stack: &Stack, name: &str) -> Result<String> {
    let value = parameter(stack, name)?;
    Ok(Some(value)
        .filter(|value| value != "none")
        .unwrap_or_default())
}

fn parameter(stack: &Stack, name: &str) -> Result<String> {
    let value = stack.parameters().get(name);
    Ok(value
        .with_context(|| format!("the stack has no parameter {name}"))?
        .clone())
}

/// The function with a registrar like the stack's own, in the form in which its callers see it.
pub fn function(stack: &Stack) -> Result<Handler> {
    function_in(stack, stack.name())
}

/// The function with a registrar like the stack's own, whose stack is still being created.
pub async fn function_in_progress(stack: &Stack) -> Result<Handler> {
    let client = aws_sdk_cloudformation::Client::new(stack.account().sdk_config());
    let create = client.create_stack().stack_name(IN_PROGRESS);
    create.template_body(WAITING).send().await?;
    function_in(stack, IN_PROGRESS)
}

fn function_in(stack: &Stack, stack_id: &str) -> Result<Handler> {
    Ok(Handler {
        registrar: registrar_in(stack, stack_id)?,
        metrics: DevNullSink::boxed(),
    })
}

/// Plays CloudFormation for a registrar: sends requests, and receives the answers.
pub struct Requests {
    handler: Handler,
    stack: Stack,
    url: String,
    answers: Mutex<mpsc::UnboundedReceiver<Value>>,
    _server: JoinSet<()>,
}

impl Requests {
    /// Requests to a registrar that sees CloudFormation wait for it.
    pub async fn awaited_by(stack: &Stack) -> Result<Self> {
        Self::to(stack, function_in_progress(stack).await?).await
    }

    /// Requests to a registrar that sees that CloudFormation no longer waits for it.
    pub async fn late_for(stack: &Stack) -> Result<Self> {
        Self::to(stack, function(stack)?).await
    }

    async fn to(stack: &Stack, handler: Handler) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (sender, answers) = mpsc::unbounded_channel();
        let mut server = JoinSet::new();
        server.spawn(take_answers(listener, sender));
        Ok(Self {
            handler,
            stack: stack.clone(),
            url,
            answers: Mutex::new(answers),
            _server: server,
        })
    }

    /// The URL to which answers are put.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The resource's properties, as in the template.
    pub fn properties(&self) -> Result<Value> {
        Ok(config(&self.stack, self.stack.name())?.resource_properties())
    }

    /// A request for the resource with this id; a request to create it has no id.
    pub fn request(&self, kind: &str, id: Option<&str>, properties: &Value) -> Value {
        json!({
            "RequestType": kind, "StackId": self.stack.name(), "RequestId": Uuid::now_v7(),
            "ResponseURL": self.url, "LogicalResourceId": "AuraWebhook",
            "PhysicalResourceId": id, "ResourceProperties": properties,
        })
    }

    /// Sends a request and returns the answer to it.
    pub async fn send(&self, request: &Value) -> Result<Value> {
        self.handler.handle(request.clone(), ENOUGH).await?;
        let answer = self.answers.lock().await.try_recv();
        answer.context("the registrar put no answer")
    }
}

async fn take_answers(listener: TcpListener, answers: mpsc::UnboundedSender<Value>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let answers = answers.clone();
        let service = service_fn(move |request| take_answer(request, answers.clone()));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(connection);
    }
}

async fn take_answer(
    request: hyper::Request<Incoming>,
    answers: mpsc::UnboundedSender<Value>,
) -> Result<hyper::Response<Empty<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    answers.send(serde_json::from_slice(&body)?)?;
    Ok(hyper::Response::default())
}
