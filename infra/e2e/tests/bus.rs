//! Tests of the bus's adapter: how it reads EventBridge's answers, and what it sends again.

use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use e2e::Local;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use processor::bus::{BusEntry, BusError, EventBridge};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::aws::CallLimits;
use stack::account::Account;
use stack::proxy::{Call, Fault, FaultProxy, Plan};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const BUS: &str = "aura-webhooks";
const TIME: Duration = Duration::from_secs(10);

/// The functions' limits, with a shorter pause between attempts.
const LIMITS: CallLimits = CallLimits {
    connect: Duration::from_secs(1),
    attempt: Duration::from_secs(2),
    call: Duration::from_secs(4),
    pause: Duration::from_millis(1),
};

/// How many times the SDK tries a call.
const ATTEMPTS: usize = 3;

fn bus_at(endpoint: &str) -> EventBridge {
    let account = Account::new(endpoint, "000000000001");
    bus_of(&account, endpoint)
}

fn bus_of(account: &Account, endpoint: &str) -> EventBridge {
    let config = LIMITS.applied_to(account.sdk_config()).to_builder();
    let config = config.endpoint_url(endpoint).build();
    EventBridge::new(aws_sdk_eventbridge::Client::new(&config), BUS.into())
}

/// An entry that the stub knows by its name.
fn entry(name: &str) -> BusEntry {
    BusEntry {
        message: name.to_owned(),
        received_at: Timestamp::UNIX_EPOCH,
        detail: "{}".to_owned(),
    }
}

fn entries(names: &[&str]) -> Vec<BusEntry> {
    names.iter().copied().map(entry).collect()
}

/// Publishes entries and returns each result.
async fn publish(
    bus: &EventBridge,
    entries: &[BusEntry],
    time: Duration,
) -> Vec<Result<String, BusError>> {
    let entries: Vec<_> = entries.iter().collect();
    bus.publish(&entries, time).await
}

fn words(results: &[Result<String, BusError>]) -> Vec<String> {
    let word = |result: &Result<String, BusError>| match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    results.iter().map(word).collect()
}

/// An answer of [`Stub`] to `PutEvents`.
enum Answer {
    /// A 200 with a result for each entry: no error, or an error code.
    Entries(Vec<Option<&'static str>>),
    /// An error of the whole call.
    Refused(u16, &'static str),
    /// An answer from something in front of EventBridge: a status without an error code.
    TurnedAway(u16),
    Never,
}

/// A stub of EventBridge whose answers the test decides. It keeps each call's entries.
struct Stub {
    url: String,
    calls: Calls,
    _server: JoinSet<()>,
}

type Calls = Arc<Mutex<Vec<Vec<Value>>>>;

/// Decides an answer from the names in a call and the number of earlier calls with the same names.
type Script = fn(&[&str], usize) -> Answer;

/// The size limit of regions that still have the old one.
const OLD_LIMIT: usize = 256 * 1024;

impl Stub {
    async fn start(script: Script) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let calls = Calls::default();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, script, Arc::clone(&calls)));
        Ok(Self {
            url,
            calls,
            _server: server,
        })
    }

    /// The names in each call so far.
    fn calls(&self) -> Vec<Vec<String>> {
        let calls = lock(&self.calls);
        let names = |call: &Vec<Value>| names(call).into_iter().map(str::to_owned).collect();
        calls.iter().map(names).collect()
    }
}

fn lock(calls: &Calls) -> MutexGuard<'_, Vec<Vec<Value>>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(entry: &Value) -> &str {
    let name = entry.get("DetailType").and_then(Value::as_str);
    name.unwrap_or_default()
}

fn names(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(name).collect()
}

async fn accept(listener: TcpListener, script: Script, calls: Calls) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, script, Arc::clone(&calls)));
    }
}

async fn serve(stream: TcpStream, script: Script, calls: Calls) {
    let service = service_fn(|request| answer(request, script, &calls));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // An error means that the client has gone.
    let _ = connection.await;
}

/// The request of `PutEvents`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    entries: Vec<Value>,
}

async fn answer(
    request: Request<Incoming>,
    script: Script,
    calls: &Calls,
) -> Result<Response<Full<Bytes>>> {
    let operation = request.headers().get("x-amz-target").cloned();
    let body = request.into_body().collect().await?.to_bytes();
    if operation.context("no operation")? == "AWSEvents.DescribeEventBus" {
        return respond(200, &json!({"Name": BUS}));
    }
    let Put { entries } = serde_json::from_slice(&body)?;
    let is_large = body.len() > OLD_LIMIT;
    let answer = {
        let mut calls = lock(calls);
        let is_same = |call: &&Vec<Value>| names(call) == names(&entries);
        let before = calls.iter().filter(is_same).count();
        calls.push(entries.clone());
        match script(&names(&entries), before) {
            // The front refuses only what is too large.
            Answer::TurnedAway(_) if !is_large => Answer::Entries(vec![None; entries.len()]),
            answer => answer,
        }
    };
    match answer {
        Answer::Entries(results) => {
            let failed = results.iter().flatten().count();
            let result = |(number, code): (usize, Option<&str>)| match code {
                Some(code) => json!({"ErrorCode": code, "ErrorMessage": "as told"}),
                None => json!({"EventId": number.to_string()}),
            };
            let results: Vec<_> = results.into_iter().enumerate().map(result).collect();
            respond(
                200,
                &json!({"FailedEntryCount": failed, "Entries": results}),
            )
        }
        Answer::Refused(status, code) => {
            respond(status, &json!({"__type": code, "message": "as told"}))
        }
        Answer::TurnedAway(status) => {
            let page = "<html><h1>Request Entity Too Large</h1></html>";
            Ok(Response::builder().status(status).body(Full::from(page))?)
        }
        Answer::Never => pending().await,
    }
}

fn respond(status: u16, body: &Value) -> Result<Response<Full<Bytes>>> {
    let answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/x-amz-json-1.1");
    Ok(answer.body(Full::from(body.to_string()))?)
}

/// A 200 with the error `code` for every entry called `bad`.
fn all_but_bad(names: &[&str], code: &'static str) -> Answer {
    let result = |name: &&str| (*name == "bad").then_some(code);
    Answer::Entries(names.iter().map(result).collect())
}

/// An error of every call that has an entry called `bad`.
fn refused_with_bad(names: &[&str], status: u16, code: &'static str) -> Answer {
    if names.contains(&"bad") {
        Answer::Refused(status, code)
    } else {
        Answer::Entries(vec![None; names.len()])
    }
}

#[tokio::test]
async fn an_entry_is_sent_as_eventbridge_wants_it() -> Result<()> {
    let stub = Stub::start(|names, _| Answer::Entries(vec![None; names.len()])).await?;
    let entry = BusEntry {
        message: "NEW_CALLOUT".into(),
        received_at: Timestamp::from_millisecond(1_500)?,
        detail: r#"{"key":"callout#1/NEW_CALLOUT"}"#.into(),
    };
    let results = publish(&bus_at(&stub.url), &[entry], TIME).await;
    assert_eq!(words(&results), ["ok"]);
    let expected = json!({
        "EventBusName": BUS,
        "Source": "aura",
        "DetailType": "NEW_CALLOUT",
        "Time": 1.5,
        "Detail": r#"{"key":"callout#1/NEW_CALLOUT"}"#,
    });
    assert_eq!(*stub.calls.lock().unwrap(), [[expected]]);
    Ok(())
}

#[tokio::test]
async fn entries_that_failed_inside_a_200_are_sent_again_and_no_others() -> Result<()> {
    let stub = Stub::start(|names, before| match (names, before) {
        (["bad"], 1) => Answer::Entries(vec![None]),
        _ => all_but_bad(names, "ThrottlingException"),
    })
    .await?;
    let bus = bus_at(&stub.url);
    let results = publish(&bus, &entries(&["a", "bad", "c"]), TIME).await;
    assert_eq!(words(&results), ["ok", "ok", "ok"]);
    assert_eq!(
        stub.calls(),
        [vec!["a", "bad", "c"], vec!["bad"], vec!["bad"]]
    );
    Ok(())
}

#[tokio::test]
async fn what_goes_on_failing_inside_a_200_fails_after_three_tries() -> Result<()> {
    let stub = Stub::start(|names, _| all_but_bad(names, "InternalFailure")).await?;
    let bus = bus_at(&stub.url);
    let results = publish(&bus, &entries(&["bad", "b"]), TIME).await;
    assert_eq!(
        words(&results),
        ["event bus: entry refused: InternalFailure", "ok"]
    );
    assert_eq!(stub.calls(), [vec!["bad", "b"], vec!["bad"], vec!["bad"]]);
    Ok(())
}

#[tokio::test]
async fn what_is_refused_for_good_inside_a_200_is_not_sent_again() -> Result<()> {
    let stub = Stub::start(|names, _| all_but_bad(names, "MalformedDetail")).await?;
    let bus = bus_at(&stub.url);
    let results = publish(&bus, &entries(&["a", "bad"]), TIME).await;
    assert_eq!(
        words(&results),
        ["ok", "event bus: entry refused: MalformedDetail"]
    );
    assert!(results[1].as_ref().is_err_and(BusError::is_permanent));
    assert_eq!(stub.calls(), [["a", "bad"]]);
    Ok(())
}

/// EventBridge's error doesn't say which of the call's entries caused it.
#[tokio::test]
async fn a_call_that_fails_by_one_entry_is_made_again_with_each_alone() -> Result<()> {
    const INVALID: &str = "ValidationException";
    const INTERNAL: &str = "InternalException";
    let invalid: Script = |names, _| refused_with_bad(names, 400, INVALID);
    let internal: Script = |names, _| refused_with_bad(names, 500, INTERNAL);
    // The SDK doesn't retry an invalid call; it does retry an internal error.
    for (script, code, attempts, is_permanent) in [
        (invalid, INVALID, 1, true),
        (internal, INTERNAL, ATTEMPTS, false),
    ] {
        let stub = Stub::start(script).await?;
        let bus = bus_at(&stub.url);
        let results = publish(&bus, &entries(&["a", "bad", "c"]), TIME).await;
        let refused = format!("event bus: refused: {code} (PutEvents)");
        assert_eq!(words(&results), ["ok", refused.as_str(), "ok"]);
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.is_permanent(), is_permanent, "{code}");
        let all = vec![vec!["a", "bad", "c"]; attempts];
        let bad = vec![vec!["bad"]; attempts];
        assert_eq!(
            stub.calls(),
            [all, vec![vec!["a"]], bad, vec![vec!["c"]]].concat()
        );
    }
    Ok(())
}

#[tokio::test]
async fn when_two_fail_alone_the_others_are_not_tried_alone() -> Result<()> {
    let stub = Stub::start(|_, _| Answer::Refused(500, "InternalException")).await?;
    let bus = bus_at(&stub.url);
    let results = publish(&bus, &entries(&["a", "b", "c"]), TIME).await;
    assert_eq!(
        words(&results),
        ["event bus: refused: InternalException (PutEvents)"; 3]
    );
    let calls = [vec!["a", "b", "c"], vec!["a"], vec!["b"]].map(|call| vec![call; ATTEMPTS]);
    assert_eq!(stub.calls(), calls.concat());
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_throttled_is_not_taken_apart() -> Result<()> {
    let stub = Stub::start(|_, _| Answer::Refused(400, "ThrottlingException")).await?;
    let bus = bus_at(&stub.url);
    let results = publish(&bus, &entries(&["a", "b"]), TIME).await;
    let refused = "event bus: refused: ThrottlingException (PutEvents)";
    assert_eq!(words(&results), [refused, refused]);
    assert!(!results[0].as_ref().is_err_and(BusError::is_permanent));
    assert_eq!(stub.calls(), vec![vec!["a", "b"]; ATTEMPTS]);
    Ok(())
}

/// The size limit in the code is only an upper bound: EventBridge's answers say what the region
/// accepts.
#[tokio::test]
async fn a_call_too_large_for_its_region_is_halved_and_only_an_event_too_large_alone_fails()
-> Result<()> {
    let stub = Stub::start(|_, _| Answer::TurnedAway(413)).await?;
    let sized = |(name, bytes): (&str, usize)| BusEntry {
        detail: "x".repeat(bytes),
        ..entry(name)
    };
    let all = [
        ("a", 100_000),
        ("b", 100_000),
        ("large", 300_000),
        ("d", 100_000),
        ("e", 100_000),
    ];
    let bus = bus_at(&stub.url);
    let results = publish(&bus, &all.map(sized), TIME).await;
    assert_eq!(
        words(&results),
        ["ok", "ok", "event bus: refused (PutEvents)", "ok", "ok"]
    );
    // The processor then publishes this event without its payload.
    assert!(results[2].as_ref().is_err_and(BusError::is_permanent));
    let expected = [
        vec!["a", "b", "large", "d", "e"],
        vec!["a", "b"],
        vec!["large", "d", "e"],
        vec!["large"],
        vec!["d", "e"],
    ];
    assert_eq!(stub.calls(), expected);
    Ok(())
}

#[tokio::test]
async fn what_was_answered_before_the_time_ran_out_counts() -> Result<()> {
    let stub = Stub::start(|names, _| match names {
        ["late"] => Answer::Never,
        _ => Answer::Entries(vec![None; names.len()]),
    })
    .await?;
    // Together the two are too large, so each is sent alone.
    let large = |name| BusEntry {
        detail: "x".repeat(600_000),
        ..entry(name)
    };
    let all = ["a", "late", "c"].map(large);
    let bus = bus_at(&stub.url);
    let published = publish(&bus, &all, Duration::from_millis(700));
    let results = tokio::time::timeout(Duration::from_secs(5), published).await?;
    let late = "event bus: no answer in time";
    assert_eq!(words(&results), ["ok", late, late]);
    assert_eq!(stub.calls(), [["a"], ["late"]]);
    Ok(())
}

#[tokio::test]
async fn eleven_entries_are_two_calls() -> Result<()> {
    let stub = Stub::start(|names, _| Answer::Entries(vec![None; names.len()])).await?;
    let names: Vec<_> = (0..11).map(|number| number.to_string()).collect();
    let all: Vec<_> = names.iter().map(|name| entry(name)).collect();
    let results = publish(&bus_at(&stub.url), &all, TIME).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(stub.calls(), [&names[..10], &names[10..]]);
    Ok(())
}

/// A bus of the local AWS behind a proxy; a test may make the bus later, or never.
struct Bench {
    account: Account,
    proxy: FaultProxy,
    bus: EventBridge,
}

impl Bench {
    async fn new() -> Result<Self> {
        let account = Local::shared().await?.new_account();
        let proxy = FaultProxy::before(account.endpoint())?;
        Ok(Self {
            bus: bus_of(&account, &proxy.url()),
            account,
            proxy,
        })
    }

    async fn make_bus(&self) -> Result<()> {
        let bus = self.account.eventbridge().create_event_bus().name(BUS);
        bus.send().await?;
        Ok(())
    }

    fn calls(&self) -> Vec<String> {
        let calls = self.proxy.calls().into_iter();
        calls.map(|Call { operation, .. }| operation).collect()
    }
}

const DESCRIBE: &str = "AWSEvents.DescribeEventBus";
const PUT: &str = "AWSEvents.PutEvents";

#[tokio::test]
async fn nothing_is_sent_to_a_bus_that_is_not_there_until_it_is() -> Result<()> {
    let bench = Bench::new().await?;
    let both = entries(&["a", "b"]);
    let results = publish(&bench.bus, &both, TIME).await;
    let unconfirmed =
        "event bus: not known to exist: refused: ResourceNotFoundException (DescribeEventBus)";
    assert_eq!(words(&results), [unconfirmed, unconfirmed]);
    assert!(!results[0].as_ref().is_err_and(BusError::is_permanent));
    assert_eq!(bench.calls(), [DESCRIBE]);

    bench.make_bus().await?;
    for _ in 0..2 {
        assert_eq!(words(&publish(&bench.bus, &both, TIME).await), ["ok", "ok"]);
    }
    // Once the bus has been seen, the adapter doesn't ask for it again.
    assert_eq!(bench.calls(), [DESCRIBE, DESCRIBE, PUT, PUT]);
    Ok(())
}

/// The reason why the adapter asks for the bus: EventBridge answers a lost event like any other.
#[tokio::test]
async fn eventbridge_accepts_events_for_a_bus_that_does_not_exist() -> Result<()> {
    let account = Local::shared().await?.new_account();
    let entry = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
        .event_bus_name("absent")
        .source("aura")
        .detail_type("NEW_CALLOUT")
        .detail("{}");
    let put = account.eventbridge().put_events().entries(entry.build());
    let answer = put.send().await?;
    assert_eq!(answer.failed_entry_count, 0);
    Ok(())
}

#[tokio::test]
async fn an_eventbridge_that_cannot_be_asked_for_the_bus_gets_nothing() -> Result<()> {
    let bench = Bench::new().await?;
    bench.make_bus().await?;
    for fault in [Fault::InternalError, Fault::ResetBefore, Fault::Throttled] {
        bench.proxy.set(Plan::Always(fault));
        let results = publish(&bench.bus, &entries(&["a"]), TIME).await;
        let error = results[0].as_ref().unwrap_err();
        assert!(
            matches!(error, BusError::Unconfirmed(_)),
            "{fault:?}: {error}"
        );
    }
    assert!(!bench.calls().iter().any(|call| call == PUT));
    Ok(())
}

#[tokio::test]
async fn a_fault_that_passes_is_outlasted_by_the_sdks_own_attempts() -> Result<()> {
    let bench = Bench::new().await?;
    bench.make_bus().await?;
    bench.bus.confirm().await?;
    for fault in [Fault::InternalError, Fault::ResetBefore, Fault::Throttled] {
        let before = bench.calls().len();
        bench.proxy.set(Plan::Next(ATTEMPTS - 1, fault));
        let results = publish(&bench.bus, &entries(&["a", "b"]), TIME).await;
        assert_eq!(words(&results), ["ok", "ok"], "{fault:?}");
        assert_eq!(bench.calls()[before..], [PUT; ATTEMPTS], "{fault:?}");
    }
    Ok(())
}
