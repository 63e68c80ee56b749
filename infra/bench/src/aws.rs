//! The AWS services as one function sees them: each call is answered at once and in the fewest
//! words, so that what is measured is the function. One for each function, so that calls can be
//! counted.

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

/// What the services say.
pub trait Services: Send + Sync + 'static {
    /// Answers a call of an operation, `AmazonSQS.SendMessage` say; `None` if no function has any
    /// need of such a call.
    fn answer(&self, operation: &str, body: &[u8]) -> Option<Answer>;
}

/// A service's answer.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    /// The call did what it should.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            body,
        }
    }

    /// The call is refused; `body` names the error as its `__type`.
    #[must_use]
    pub fn refused(body: Value) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            body,
        }
    }

    /// What it says.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// Calls by operation.
pub type Calls = BTreeMap<String, u64>;

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
    /// Starts them on a free port.
    ///
    /// # Errors
    ///
    /// The loopback address can't be listened on.
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

    /// Their endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// The services themselves.
    #[must_use]
    pub fn services(&self) -> &S {
        &self.state.services
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.state.counted().calls.clone()
    }

    /// Checks that nothing was called that a function has no need of.
    ///
    /// # Errors
    ///
    /// Says how often something was; what it was, standard error says.
    pub fn ensure_all_expected(&self) -> Result<()> {
        let unexpected = self.state.counted().unexpected;
        ensure!(
            unexpected == 0,
            "{unexpected} calls to AWS that it has no need of"
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
    *counted.calls.entry(operation.to_owned()).or_default() += 1;
    let answer = answer.unwrap_or_else(|| {
        eprintln!("unexpected call to AWS: {operation}");
        counted.unexpected += 1;
        Answer::refused(json!({"__type": "UnknownOperationException"}))
    });
    drop(counted);
    let content_type = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (answer.status, content_type, answer.body.to_string()).into_response()
}
