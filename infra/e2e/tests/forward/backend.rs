//! An HTTP backend whose answers the test decides.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use stack::consumers::PATIENCE;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::HEADER;

/// The time between two looks at what came.
const POLL: Duration = Duration::from_millis(20);
/// Longer than EventBridge waits for an answer, which is 5 s.
const SLOW: Duration = Duration::from_secs(7);

/// A certificate that no authority has signed, and its key, which guards nothing.
const CERTIFICATE: &[u8] = include_bytes!("certificate.pem");
const KEY: &[u8] = include_bytes!("key.pem");

/// How the backend answers a request.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    /// 429, and the seconds after which to come again.
    Later(u32),
    /// 307 to another address.
    Elsewhere(String),
    /// 200, when EventBridge doesn't wait any more.
    Slow,
    /// The connection ends without an answer.
    Down,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub secret: Option<String>,
    pub content_type: String,
    pub body: Value,
    /// Whether it was answered by 200 in time.
    pub is_taken: bool,
}

#[derive(Default)]
struct State {
    next: VecDeque<Answer>,
    then: Option<Answer>,
    received: Vec<Received>,
    connections: usize,
}

/// A backend on this machine. It ends when it is dropped.
pub struct Backend {
    url: String,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

impl Backend {
    pub async fn start() -> Result<Self> {
        Self::listen("http", None).await
    }

    /// A backend with a certificate that nobody trusts.
    pub async fn start_untrusted() -> Result<Self> {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE)?;
        let key = PrivateKeyDer::from_pem_slice(KEY)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Self::listen("https", Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(scheme: &str, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("{scheme}://{}/events", listener.local_addr()?);
        let state = Arc::default();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, tls, Arc::clone(&state)));
        Ok(Self {
            url,
            state,
            _server: server,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers the next requests like this, one each, and later ones as before.
    pub fn answer_next(&self, answers: &[Answer]) {
        lock(&self.state).next.extend(answers.iter().cloned());
    }

    /// Answers all requests like this, or by 200 with `None`.
    pub fn answer(&self, answer: Option<Answer>) {
        lock(&self.state).then = answer;
    }

    /// How many connections came.
    pub fn connections(&self) -> usize {
        lock(&self.state).connections
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state).received.clone()
    }

    /// All requests, once `count` of them were answered by 200.
    pub async fn taken(&self, count: usize) -> Result<Vec<Received>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = self.received();
            let taken = received.iter().filter(|one| one.is_taken).count();
            ensure!(taken <= count, "{taken} requests were taken, not {count}");
            if taken == count {
                return Ok(received);
            }
            if Instant::now() > deadline {
                bail!("{taken} of {count} requests were taken: {received:?}");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        lock(&state).connections += 1;
        connections.spawn(greet(stream, tls.clone(), Arc::clone(&state)));
    }
}

async fn greet(stream: TcpStream, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    match tls {
        None => serve(stream, state).await,
        // An error means that the client didn't trust the certificate.
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, state).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| answer(request, &state));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // An error means that the client has gone, or that the backend is down.
    let _ = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    state: &Mutex<State>,
) -> Result<Response<Empty<Bytes>>> {
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let secret = header(HEADER);
    let content_type = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let body = request.into_body().collect().await?.to_bytes();
    let answer = {
        let mut state = lock(state);
        let answer = state.next.pop_front().or_else(|| state.then.clone());
        let answer = answer.unwrap_or(Answer::Status(200));
        state.received.push(Received {
            at: Instant::now(),
            secret,
            content_type,
            body: serde_json::from_slice(&body)?,
            is_taken: matches!(answer, Answer::Status(200)),
        });
        answer
    };
    let response = Response::builder();
    let response = match answer {
        Answer::Status(status) => response.status(status),
        Answer::Later(seconds) => response.status(429).header(RETRY_AFTER, seconds),
        Answer::Elsewhere(url) => response.status(307).header(LOCATION, url),
        Answer::Slow => {
            tokio::time::sleep(SLOW).await;
            response.status(200)
        }
        Answer::Down => bail!("the backend is down"),
    };
    Ok(response.body(Empty::new())?)
}
