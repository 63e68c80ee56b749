//! Plays the Lambda Runtime API for one function, one invocation at a time.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use crate::server::Server;

/// The function's timeout, as in template.yaml.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(10);

/// One invocation, in the form that the Runtime API hands to a function.
#[derive(Debug)]
pub struct Invocation {
    /// Request id of the invocation.
    pub request_id: Uuid,
    /// Event that the function must handle.
    pub event: String,
}

/// The function's answer to an invocation.
#[derive(Debug)]
pub struct Answer {
    /// The answer itself, a JSON value.
    pub body: String,
    /// Time from the answer to `/next` to the request to `/response`.
    pub took: Duration,
    /// Time from the answer to `/next` to the next request to `/next`: an instance can't take
    /// another invocation before.
    pub occupied: Duration,
}

/// The Runtime API of one function.
#[derive(Debug)]
pub struct RuntimeApi {
    server: Server,
    invocations: mpsc::UnboundedSender<Invocation>,
    said: mpsc::UnboundedReceiver<Said>,
}

/// A request of the function, and when it came.
#[derive(Debug)]
enum Said {
    /// The function asks for an invocation.
    Next(Instant),
    /// The function answers.
    Response(Instant, String),
    /// The function reports an error.
    Error(String),
}

impl Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next(_) => write!(f, "asked for an invocation"),
            Self::Response(_, answer) => write!(f, "answered {answer}"),
            Self::Error(error) => write!(f, "reported {error}"),
        }
    }
}

#[derive(Debug)]
struct Shared {
    invocations: Mutex<mpsc::UnboundedReceiver<Invocation>>,
    said: mpsc::UnboundedSender<Said>,
}

impl RuntimeApi {
    /// Starts the API on a free port.
    ///
    /// # Errors
    ///
    /// Fails if the loopback address can't be listened on.
    pub async fn start() -> Result<Self> {
        let (invocations, queue) = mpsc::unbounded_channel();
        let (say, said) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            invocations: Mutex::new(queue),
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
            invocations,
            said,
        })
    }

    /// Address of the API: the value of `AWS_LAMBDA_RUNTIME_API`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Waits until the function asks for an invocation, and returns the time.
    ///
    /// # Errors
    ///
    /// Fails if the function reports an error instead.
    pub async fn asked(&mut self) -> Result<Instant> {
        match self.said().await? {
            Said::Next(at) => Ok(at),
            said => bail!("instead of asking for an invocation, the function {said}"),
        }
    }

    /// Hands an invocation to the function, which must have asked for one. Waits for the answer,
    /// and until the function asks for the next invocation.
    ///
    /// # Errors
    ///
    /// Fails if the function reports an error instead.
    pub async fn invoke(&mut self, invocation: Invocation) -> Result<Answer> {
        let began = Instant::now();
        self.invocations
            .send(invocation)
            .context("the Runtime API has ended")?;
        let (answered, body) = match self.said().await? {
            Said::Response(at, body) => (at, body),
            said => bail!("instead of answering, the function {said}"),
        };
        let asked = self.asked().await?;
        Ok(Answer {
            body,
            took: answered.duration_since(began),
            occupied: asked.duration_since(began),
        })
    }

    async fn said(&mut self) -> Result<Said> {
        self.said.recv().await.context("the Runtime API has ended")
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.say(Said::Next(Instant::now()));
    match shared.invocations.lock().await.recv().await {
        Some(invocation) => handed_over(invocation),
        // The harness is about to end the function.
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn handed_over(invocation: Invocation) -> Response {
    let headers = [
        ("content-type", "application/json".to_owned()),
        (
            "lambda-runtime-aws-request-id",
            invocation.request_id.to_string(),
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
    (headers, invocation.event).into_response()
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
        // A send fails only if nobody listens any more, because the harness is about to end the
        // function.
        let _ = self.said.send(said);
    }
}
