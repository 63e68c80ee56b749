//! The Lambda Runtime API, as one function sees it: one invocation at a time.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};

use crate::delivery::Delivery;
use crate::server::Server;

/// What Lambda gives `ingest` for one request (template.yaml).
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The Runtime API of one function.
#[derive(Debug)]
pub struct RuntimeApi {
    server: Server,
    deliveries: mpsc::UnboundedSender<Delivery>,
    said: mpsc::UnboundedReceiver<Said>,
}

/// What the function said, and when.
#[derive(Debug)]
enum Said {
    /// It waits for a delivery.
    Next(Instant),
    /// Its answer.
    Response(Instant, String),
    /// What keeps it from answering.
    Error(String),
}

impl Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next(_) => write!(f, "asked for a delivery"),
            Self::Response(_, answer) => write!(f, "answered {answer}"),
            Self::Error(error) => write!(f, "reported {error}"),
        }
    }
}

#[derive(Debug)]
struct Shared {
    deliveries: Mutex<mpsc::UnboundedReceiver<Delivery>>,
    said: mpsc::UnboundedSender<Said>,
}

impl RuntimeApi {
    /// Starts it on a free port.
    ///
    /// # Errors
    ///
    /// The loopback address can't be listened on.
    pub async fn start() -> Result<Self> {
        let (deliveries, queue) = mpsc::unbounded_channel();
        let (say, said) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            deliveries: Mutex::new(queue),
            said: say,
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(error))
            .with_state(shared);
        Ok(Self {
            server: Server::start(router).await?,
            deliveries,
            said,
        })
    }

    /// Where it listens: the value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Waits until the function asks for a delivery, and says when it did.
    ///
    /// # Errors
    ///
    /// The function reports an error instead.
    pub async fn asked(&mut self) -> Result<Instant> {
        match self.said().await? {
            Said::Next(at) => Ok(at),
            said => bail!("instead of asking for a delivery, the function {said}"),
        }
    }

    /// Hands a delivery to the function, which has asked for one, and says how long it took to
    /// answer.
    ///
    /// # Errors
    ///
    /// The answer is another than 202.
    pub async fn deliver(&mut self, delivery: Delivery) -> Result<Duration> {
        let began = Instant::now();
        self.deliveries
            .send(delivery)
            .context("the Runtime API has ended")?;
        match self.said().await? {
            Said::Response(at, answer) => {
                ensure_accepted(&answer)?;
                Ok(at.duration_since(began))
            }
            said => bail!("instead of answering, the function {said}"),
        }
    }

    async fn said(&mut self) -> Result<Said> {
        self.said.recv().await.context("the Runtime API has ended")
    }
}

fn ensure_accepted(answer: &str) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        status_code: u16,
    }
    let status = serde_json::from_str::<Answer>(answer).map(|answer| answer.status_code);
    ensure!(
        status.is_ok_and(|status| status == StatusCode::ACCEPTED.as_u16()),
        "a delivery was answered {answer}"
    );
    Ok(())
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.say(Said::Next(Instant::now()));
    match shared.deliveries.lock().await.recv().await {
        Some(delivery) => invocation(delivery),
        // The function is about to be ended.
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn invocation(delivery: Delivery) -> Response {
    let headers = [
        ("content-type", "application/json".to_owned()),
        (
            "lambda-runtime-aws-request-id",
            delivery.request_id.to_string(),
        ),
        ("lambda-runtime-deadline-ms", deadline()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:eu-west-1:000000000000:function:bench".to_owned(),
        ),
        (
            "lambda-runtime-trace-id",
            "Root=1-67a1b2c3-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=0".to_owned(),
        ),
    ];
    (headers, delivery.event).into_response()
}

fn deadline() -> String {
    let deadline = SystemTime::now() + FUNCTION_TIMEOUT;
    let since_epoch = deadline.duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_millis().to_string()
}

async fn response(State(shared): State<Arc<Shared>>, body: String) -> StatusCode {
    shared.say(Said::Response(Instant::now(), body));
    StatusCode::ACCEPTED
}

async fn error(State(shared): State<Arc<Shared>>, body: String) -> StatusCode {
    shared.say(Said::Error(body));
    StatusCode::ACCEPTED
}

impl Shared {
    fn say(&self, said: Said) {
        // Nobody listens any more: the function is about to be ended.
        let _ = self.said.send(said);
    }
}
