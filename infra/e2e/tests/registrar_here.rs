//! The registrar in this process, at work on a stack that is deployed: so that a test can ask it
//! for what its callers ask it for, as often as it likes.

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

/// A stack that is being created for as long as any test takes.
const IN_PROGRESS: &str = "in-progress";
const WAITING: &str = r#"{"Resources": {
    "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
    "Wait": {"Type": "AWS::CloudFormation::WaitCondition",
             "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "600"}}}}"#;
/// Until Lambda would end the function.
pub const ENOUGH: Duration = Duration::from_mins(2);
/// For a proof: each of these stacks was proven a moment ago, so one that takes longer has failed.
const CANARY_PATIENCE: Duration = Duration::from_secs(8);

/// A registrar like the stack's own.
pub fn registrar(stack: &Stack) -> Result<Arc<Registrar>> {
    registrar_in(stack, stack.name())
}

/// The same, that takes another stack for the one that is deployed.
fn registrar_in(stack: &Stack, stack_id: &str) -> Result<Arc<Registrar>> {
    let sdk = stack.account().sdk_config();
    let http = shared::http_client::build()?;
    let config = config(stack, stack_id)?;
    Ok(Arc::new(Registrar::new(sdk, http, config)))
}

/// What the stack's own registrar is told by its environment.
fn config(stack: &Stack, stack_id: &str) -> Result<RegistrarConfig> {
    Ok(RegistrarConfig {
        webhook_secret_arn: stack.output("WebhookSecretArn")?.to_owned(),
        aura_credentials_secret_arn: parameter(stack, "AuraCredentialsSecretArn")?,
        ledger_table_name: stack.output("LedgerTableName")?.to_owned(),
        stack_id: stack_id.to_owned(),
        refresh_interval: REFRESH_INTERVAL.try_into()?,
        canary_patience: CANARY_PATIENCE,
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

/// A parameter that may be `none`, as the function is told it.
fn word(stack: &Stack, name: &str) -> Result<String> {
    let value = parameter(stack, name)?;
    Ok(Some(value)
        .filter(|value| value != "none")
        .unwrap_or_default())
}

fn parameter(stack: &Stack, name: &str) -> Result<String> {
    let value = stack.parameters().get(name);
    Ok(value
        .with_context(|| format!("no parameter {name}"))?
        .clone())
}

/// The function, around a registrar like the stack's own, as its callers see it.
pub fn function(stack: &Stack) -> Result<Handler> {
    function_in(stack, stack.name())
}

/// One that sees its stack being created.
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

/// CloudFormation, as the registrar sees it: it sends requests, and answers are put to it.
pub struct Requests {
    handler: Handler,
    stack: Stack,
    url: String,
    answers: Mutex<mpsc::UnboundedReceiver<Value>>,
    _server: JoinSet<()>,
}

impl Requests {
    /// To one that sees CloudFormation wait for it.
    pub async fn awaited_by(stack: &Stack) -> Result<Self> {
        Self::to(stack, function_in_progress(stack).await?).await
    }

    /// To one that sees that nobody waits for it any more.
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

    /// Where answers are put.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The resource's properties, as the template has them.
    pub fn properties(&self) -> Result<Value> {
        Ok(config(&self.stack, self.stack.name())?.resource_properties())
    }

    /// A request for the resource with this id; one to create it comes without.
    pub fn request(&self, kind: &str, id: Option<&str>, properties: &Value) -> Value {
        json!({
            "RequestType": kind, "StackId": self.stack.name(), "RequestId": Uuid::now_v7(),
            "ResponseURL": self.url, "LogicalResourceId": "AuraWebhook",
            "PhysicalResourceId": id, "ResourceProperties": properties,
        })
    }

    /// The answer to a request.
    pub async fn send(&self, request: &Value) -> Result<Value> {
        self.handler.handle(request.clone(), ENOUGH).await?;
        let answer = self.answers.lock().await.try_recv();
        answer.context("no answer was put")
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
