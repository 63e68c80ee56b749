//! Stubs of the AWS services that one function calls. They answer each call at once and with the
//! shortest answer, so that the benchmark measures the function. Each function has its own stubs,
//! so that its calls can be counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use crate::server::Server;

/// Answers of the stubbed services.
pub trait Services: Send + Sync + 'static {
    /// Answers a call of an operation, for example `AmazonSQS.SendMessage`. Returns `None` if no
    /// function needs such a call.
    fn answer(&self, operation: &str, body: &[u8]) -> Option<Answer>;
}

/// A service's answer.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    /// Makes an answer for a call that succeeds.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body,
        }
    }

    /// Makes an answer for a call that is refused; `body` names the error as its `__type`.
    #[must_use]
    pub fn refused(body: Value) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            body,
        }
    }

    /// Body of the answer.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// Calls by operation.
pub type Calls = BTreeMap<String, Sent>;

/// Calls of one operation.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Number of calls.
    pub calls: u64,
    /// Length of all their bodies.
    pub bytes: usize,
}

/// All services of one function, at one endpoint.
#[derive(Debug)]
pub struct Aws<S> {
    server: Server,
    state: Arc<Shared<S>>,
}

#[derive(Debug)]
struct Shared<S> {
    services: S,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    calls: Calls,
    unexpected: u64,
}

impl<S: Services> Aws<S> {
    /// Starts the services on a free port.
    ///
    /// # Errors
    ///
    /// Fails if the loopback address can't be listened on.
    pub async fn start(services: S) -> Result<Self> {
        let state = Arc::new(Shared {
            services,
            counted: Mutex::default(),
        });
        let router = Router::new()
            .route("/", post(answer::<S>))
            .layer(DefaultBodyLimit::disable())
            .with_state(state.clone());
        Ok(Self {
            server: Server::start(router).await?,
            state,
        })
    }

    /// URL of the services.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The answers that the services give.
    #[must_use]
    pub fn services(&self) -> &S {
        &self.state.services
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.state.counted().calls.clone()
    }

    /// Checks that the function made only calls that it needs.
    ///
    /// # Errors
    ///
    /// Fails with the number of unexpected calls; standard error has each of them.
    pub fn ensure_all_expected(&self) -> Result<()> {
        let unexpected = self.state.counted().unexpected;
        ensure!(
            unexpected == 0,
            "{unexpected} unexpected calls to AWS; standard error lists them"
        );
        Ok(())
    }
}

impl<S> Shared<S> {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer<S: Services>(
    State(state): State<Arc<Shared<S>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let operation = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    let answer = state.services.answer(operation, &body);
    let mut counted = state.counted();
    let sent = counted.calls.entry(operation.to_owned()).or_default();
    sent.calls += 1;
    sent.bytes += body.len();
    let answer = answer.unwrap_or_else(|| {
        eprintln!("unexpected call to AWS: {operation}");
        counted.unexpected += 1;
        Answer::refused(json!({"__type": "UnknownOperationException"}))
    });
    drop(counted);
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (answer.status, content_type, answer.body.to_string()).into_response()
}
