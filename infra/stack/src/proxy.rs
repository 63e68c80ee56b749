//! A proxy between a function and the local AWS that causes the faults that AWS has on a bad day.
//!
//! The proxy speaks HTTP for two reasons. It can refuse a call in AWS's own words, by which the SDK
//! decides whether to try again. And it can make a call fail after the service has acted. A test
//! chooses the faults while the function runs, and can see afterwards which calls were made and what
//! became of each.

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE};
use hyper::http::uri::{Authority, Scheme};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// After how long the proxy closes an idle connection to MiniStack. MiniStack does so after five
/// seconds, and a call on a connection that is just closing would fail without a planned fault.
const IDLE: Duration = Duration::from_secs(2);
/// How long to wait for a fault or a call.
const PATIENCE: Duration = Duration::from_mins(2);
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is throttled, and the service doesn't act.
    Throttled,
    /// The answer is 500, and the service doesn't act.
    InternalError,
    /// The connection is reset, and the service doesn't act.
    ResetBefore,
    /// The service acts, but the connection is reset before the answer.
    ResetAfter,
    /// The service doesn't act, and the client gets no answer for as long as it waits.
    Hang,
    /// The service acts at once, but its answer comes later by this time.
    Slow(Duration),
    /// The answer is 413, in a form that isn't the service's, and the service doesn't act.
    TooLarge,
}

impl Fault {
    /// Whether the service acts on a call with this fault.
    fn is_acted_upon(self) -> bool {
        matches!(self, Self::ResetAfter | Self::Slow(_))
    }
}

/// Which calls have a fault.
#[derive(Debug)]
pub enum Plan {
    /// No call has a fault.
    Through,
    /// Every call has this fault.
    Always(Fault),
    /// This many of the next calls have this fault.
    Next(usize, Fault),
    /// Calls whose body has more bytes than this get [`Fault::TooLarge`].
    Larger(usize),
    /// Random calls have a fault; see [`Plan::share`].
    Share(Box<Share>),
}

/// A random share of all calls.
#[derive(Debug)]
pub struct Share {
    probability: f64,
    faults: Vec<Fault>,
    random: ChaCha8Rng,
    /// How many calls in a row have a fault at most.
    longest: usize,
    /// The burst that has begun: how many more calls it hits, and their fault.
    burst: Option<(usize, Fault)>,
}

/// A call that reached the proxy. It may contain personal data, so this type has no `Debug`.
#[derive(Clone)]
pub struct Call {
    /// The operation, such as `AmazonSQS.SendMessage`.
    pub operation: String,
    /// The body of the request.
    pub request: Bytes,
    /// Whether the SDK repeats the call because an earlier attempt failed or took too long.
    pub is_retry: bool,
    /// When the call arrived.
    pub arrived: Timestamp,
    /// The call's fault, if it has one.
    pub fault: Option<Fault>,
    /// The service's answer; `None` if the service never got the call, or has not answered yet. If
    /// the client goes away, the service still acts.
    pub answer: Option<Answer>,
}

/// A service's answer, whether or not the client got it.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
    /// When the proxy had the whole answer.
    pub at: Timestamp,
}

/// A proxy that causes faults. At first it lets everything through. When it is dropped, it breaks all
/// connections.
pub struct FaultProxy {
    address: SocketAddr,
    // This socket is bound and never listens. It keeps the port while the proxy is down.
    _port: TcpSocket,
    listening: Mutex<JoinSet<()>>,
    line: Arc<Line>,
    /// How many of the first calls [`Self::calls`] leaves out.
    forgotten: AtomicUsize,
}

/// The connection from the proxy to the service, with the plan and the calls so far.
struct Line {
    target: Authority,
    client: Client<HttpConnector, Full<Bytes>>,
    plan: Mutex<Plan>,
    calls: watch::Sender<Vec<Call>>,
}

impl Plan {
    /// Each call has one of `faults` with this probability. The same seed draws the same series, but
    /// which call gets which draw depends on the order of arrival.
    #[must_use]
    pub fn share(probability: f64, faults: &[Fault], seed: u64) -> Self {
        Self::bursts(probability, 1, faults, seed)
    }

    /// Like [`Self::share`], but a fault hits up to `longest` calls in a row, so that trying again doesn't
    /// always help. A fault of a call that the service acts on hits only this call.
    #[must_use]
    pub fn bursts(probability: f64, longest: usize, faults: &[Fault], seed: u64) -> Self {
        Self::Share(Box::new(Share {
            probability,
            faults: faults.to_vec(),
            random: ChaCha8Rng::seed_from_u64(seed),
            longest,
            burst: None,
        }))
    }

    fn draw(&mut self, bytes: usize) -> Option<Fault> {
        match self {
            Self::Through | Self::Next(0, _) => None,
            Self::Always(fault) => Some(*fault),
            Self::Next(left, fault) => {
                *left -= 1;
                Some(*fault)
            }
            Self::Larger(most) => (bytes > *most).then_some(Fault::TooLarge),
            Self::Share(share) => share.draw(),
        }
    }
}

impl Share {
    fn draw(&mut self) -> Option<Fault> {
        if let Some((left, fault)) = self.burst.take() {
            self.burst = (left > 1).then(|| (left - 1, fault));
            return Some(fault);
        }
        let hit = self.random.random_bool(self.probability);
        let more = self.random.random_range(0..self.longest);
        let fault = self.faults.choose(&mut self.random).filter(|_| hit)?;
        if more > 0 && !fault.is_acted_upon() {
            self.burst = Some((more, *fault));
        }
        Some(*fault)
    }
}

impl FaultProxy {
    /// Puts a proxy in front of what listens at `endpoint` (`http://host:port`).
    ///
    /// # Errors
    ///
    /// `endpoint` is not such a URL, or no port is free.
    pub fn before(endpoint: &str) -> Result<Self> {
        let endpoint: Uri = endpoint.parse().context("the endpoint is not a URL")?;
        let target = endpoint.authority().context("the endpoint has no host")?;
        let port = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = port.local_addr()?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .build_http();
        let proxy = Self {
            address,
            _port: port,
            listening: Mutex::default(),
            line: Arc::new(Line {
                target: target.clone(),
                client,
                plan: Mutex::new(Plan::Through),
                calls: watch::Sender::default(),
            }),
            forgotten: AtomicUsize::default(),
        };
        proxy.up()?;
        Ok(proxy)
    }

    /// The URL that a client uses instead of the endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the plan for all calls from now on. Calls that hang go on hanging.
    pub fn set(&self, plan: Plan) {
        *lock(&self.line.plan) = plan;
    }

    /// Breaks all connections and refuses new ones.
    pub async fn down(&self) {
        let mut listening = std::mem::take(&mut *lock(&self.listening));
        listening.shutdown().await;
    }

    /// Accepts connections again after [`Self::down`].
    ///
    /// # Errors
    ///
    /// The operating system can't open the port.
    pub fn up(&self) -> Result<()> {
        let listener = bind(self.address)?.listen(BACKLOG)?;
        lock(&self.listening).spawn(accept(listener, Arc::clone(&self.line)));
        Ok(())
    }

    /// All calls since the last [`Self::forget`], in the order of their arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        let calls = self.line.calls.borrow();
        calls.iter().skip(forgotten).cloned().collect()
    }

    /// Removes all calls so far from [`Self::calls`], such as those of a deployment.
    pub fn forget(&self) {
        let calls = self.line.calls.borrow().len();
        self.forgotten.store(calls, Ordering::Relaxed);
    }

    /// Waits until a call has had a fault.
    ///
    /// # Errors
    ///
    /// No call has had one within two minutes.
    pub async fn until_fault(&self) -> Result<()> {
        let fault = self.until(|calls| calls.iter().any(|call| call.fault.is_some()));
        fault.await.context("no call had a fault in time")
    }

    /// Waits for the next call.
    ///
    /// # Errors
    ///
    /// No call comes within two minutes.
    pub async fn until_call(&self) -> Result<()> {
        let before = self.line.calls.borrow().len();
        self.until(|calls| calls.len() > before)
            .await
            .context("no call came in time")
    }

    async fn until(&self, holds: impl FnMut(&Vec<Call>) -> bool) -> Result<()> {
        let mut calls = self.line.calls.subscribe();
        timeout(PATIENCE, calls.wait_for(holds)).await??;
        Ok(())
    }
}

/// Binds a socket to a port. Other such sockets can be bound to the same port as long as none of them
/// listens.
fn bind(address: SocketAddr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(address)
        .with_context(|| format!("cannot bind {address}"))?;
    Ok(socket)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, line: Arc<Line>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, Arc::clone(&line)));
    }
}

async fn serve(stream: TcpStream, line: Arc<Line>) {
    // The client sees a reset whenever this side closes the connection.
    if stream.set_zero_linger().is_ok() && stream.set_nodelay(true).is_ok() {
        let service = service_fn(|request| line.answer(request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // An error is a planned reset, or a client that has gone.
        let _ = connection.await;
    }
}

impl Line {
    /// Answers a request by the plan. An error resets the connection.
    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, body.collect().await?.to_bytes());
        let operation = operation(&request);
        let fault = lock(&self.plan).draw(request.body().len());
        let n = self.note(&operation, &request, fault);
        match fault {
            None => self.forward(n, request).await,
            Some(Fault::Throttled) => throttled(&operation),
            Some(Fault::InternalError) => internal_error(&operation),
            Some(Fault::ResetBefore) => bail!("reset before the service acted"),
            Some(Fault::ResetAfter) => {
                self.forward(n, request).await?;
                bail!("reset after the service acted")
            }
            Some(Fault::TooLarge) => {
                let page = Full::from("<html>Request Entity Too Large</html>");
                Ok(Response::builder().status(413).body(page)?)
            }
            Some(Fault::Hang) => pending().await,
            Some(Fault::Slow(delay)) => {
                let answer = self.forward(n, request).await?;
                tokio::time::sleep(delay).await;
                Ok(answer)
            }
        }
    }

    /// Records a call, and returns its place in the list.
    fn note(&self, operation: &str, request: &Request<Bytes>, fault: Option<Fault>) -> usize {
        // The header is such as `attempt=1; max=3`.
        let attempt = request.headers().get("amz-sdk-request");
        let is_retry = attempt.is_some_and(|attempt| !attempt.as_bytes().starts_with(b"attempt=1"));
        let call = Call {
            is_retry,
            operation: operation.to_owned(),
            request: request.body().clone(),
            arrived: Timestamp::now(),
            fault,
            answer: None,
        };
        let mut place = 0;
        self.calls.send_modify(|calls| {
            place = calls.len();
            calls.push(call);
        });
        place
    }

    fn note_answer(&self, n: usize, answer: &Response<Bytes>) {
        let answer = Answer {
            status: answer.status().as_u16(),
            body: answer.body().clone(),
            at: Timestamp::now(),
        };
        self.calls.send_modify(|calls| {
            if let Some(call) = calls.get_mut(n) {
                call.answer = Some(answer);
            }
        });
    }

    /// Passes call `n` on to the service. This goes on after the client has gone away, so that the
    /// service's answer is recorded.
    async fn forward(
        self: &Arc<Self>,
        n: usize,
        request: Request<Bytes>,
    ) -> Result<Response<Full<Bytes>>> {
        let line = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let answer = line.ask(request).await?;
            line.note_answer(n, &answer);
            anyhow::Ok(answer)
        });
        Ok(asked.await??.map(Full::new))
    }

    async fn ask(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>> {
        let mut uri = request.uri().clone().into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.target.clone());
        *request.uri_mut() = Uri::from_parts(uri)?;
        request.headers_mut().remove(CONNECTION);
        let answer = self.client.request(request.map(Full::new)).await?;
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(CONNECTION);
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

/// The name of an operation in AWS's JSON protocols.
fn operation(request: &Request<Bytes>) -> String {
    let target = request.headers().get("x-amz-target");
    let target = target.and_then(|target| target.to_str().ok());
    target.unwrap_or_default().to_owned()
}

fn throttled(operation: &str) -> Result<Response<Full<Bytes>>> {
    let code = match service(operation) {
        "AmazonSQS" => "RequestThrottled",
        _ => "ThrottlingException",
    };
    refused(400, operation, code)
}

fn internal_error(operation: &str) -> Result<Response<Full<Bytes>>> {
    let code = match service(operation) {
        "AmazonSQS" => "InternalFailure",
        "secretsmanager" => "InternalServiceError",
        "AWSEvents" => "InternalException",
        _ => "InternalServerError",
    };
    refused(500, operation, code)
}

/// An error in the service's own form.
fn refused(status: u16, operation: &str, code: &str) -> Result<Response<Full<Bytes>>> {
    let (version, namespace) = match service(operation) {
        "AmazonSQS" => ("1.0", "com.amazonaws.sqs#"),
        "DynamoDB_20120810" => ("1.0", "com.amazonaws.dynamodb.v20120810#"),
        _ => ("1.1", ""),
    };
    let body = json!({"__type": format!("{namespace}{code}"), "message": "a fault of the test's"});
    let mut answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, format!("application/x-amz-json-{version}"))
        .header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000");
    if service(operation) == "AmazonSQS" {
        // SDKs read the names that SQS's errors have in the protocol before JSON.
        let whose = if status < 500 { "Sender" } else { "Receiver" };
        answer = answer.header("x-amzn-query-error", format!("{code};{whose}"));
    }
    Ok(answer.body(Full::from(body.to_string()))?)
}

fn service(operation: &str) -> &str {
    operation.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_drawn_from_their_seed_and_a_lost_answer_stays_alone() {
        let kinds = [Fault::Throttled, Fault::ResetAfter];
        let series = |seed| {
            let mut plan = Plan::bursts(0.05, 8, &kinds, seed);
            let series: Vec<_> = (0..2000).map(|_| plan.draw(0)).collect();
            series
        };
        assert_eq!(series(1), series(1));
        assert_ne!(series(1), series(2));
        let in_a_row = |fault| {
            let series = series(1);
            let runs = series.chunk_by(|a, b| a == b);
            let its_own = runs.filter(|run| run.first() == Some(&Some(fault)));
            its_own.map(<[_]>::len).max().unwrap_or_default()
        };
        assert!(in_a_row(Fault::Throttled) >= 8);
        assert!((1..=2).contains(&in_a_row(Fault::ResetAfter)));
    }
}
