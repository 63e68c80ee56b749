//! The functions that are measured, each with AWS services of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::aws::{IngestServices, verify};
use crate::aws::Aws;
use crate::function::{self, Environment, Memory, PATIENCE};
use crate::runtime_api::Invocation;

/// The functions that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The function that the benchmark is about.
    Ingest,
    /// A handler that only answers 202.
    Empty,
    /// A handler that answers 202 after one `SendMessage` call.
    SdkCall,
}

impl Kind {
    /// All functions, in the order of their turns.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Empty, Self::SdkCall];

    /// Name of the function's binary.
    #[must_use]
    pub fn binary(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Empty => "bench-empty",
            Self::SdkCall => "bench-sdk-call",
        }
    }

    /// Number of messages that the function sends for `deliveries` deliveries.
    fn messages(self, deliveries: u32) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Ingest | Self::SdkCall => deliveries,
        }
    }
}

/// Names of the binaries that are measured: those of [`Kind::ALL`], and of the other functions, of
/// which only the size is measured.
pub const BINARIES: [&str; 6] = [
    "ingest",
    "processor",
    "registrar",
    "reconciler",
    "bench-empty",
    "bench-sdk-call",
];

/// Paths of the binaries in [`BINARIES`].
#[derive(Debug, Clone)]
pub struct Binaries(HashMap<&'static str, PathBuf>);

impl Binaries {
    /// The binaries that cargo built, in the order of [`BINARIES`].
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self(BINARIES.into_iter().zip(paths).collect())
    }

    /// The binaries in a folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self::new(BINARIES.map(|name| folder.join(name)).into())
    }

    /// Path of one measured function's binary.
    ///
    /// # Errors
    ///
    /// Fails if the binary doesn't exist.
    pub fn path(&self, kind: Kind) -> Result<&Path> {
        self.named(kind.binary())
    }

    /// Path of the binary of this name.
    ///
    /// # Errors
    ///
    /// Fails if the binary doesn't exist.
    pub fn named(&self, name: &str) -> Result<&Path> {
        let path = self.0.get(name).map(PathBuf::as_path);
        path.filter(|path| path.exists())
            .with_context(|| format!("cannot find the binary {name}"))
    }
}

/// A running function. It ends when this is dropped.
#[derive(Debug)]
pub struct Function {
    // This field is first, so that the process ends before the servers that it talks to.
    running: function::Function,
    kind: Kind,
    aws: Aws<IngestServices>,
    own_times: mpsc::UnboundedReceiver<Duration>,
    delivered: u32,
}

impl Function {
    /// Starts a function.
    ///
    /// # Errors
    ///
    /// Fails if the function can't be started.
    pub async fn start(kind: Kind, binaries: &Binaries) -> Result<Self> {
        Self::start_as(kind, Command::new(binaries.path(kind)?)).await
    }

    /// Starts a function by the given command.
    ///
    /// # Errors
    ///
    /// Fails if the function can't be started.
    pub async fn start_as(kind: Kind, command: Command) -> Result<Self> {
        let aws = Aws::start(IngestServices).await?;
        let (say, own_times) = mpsc::unbounded_channel();
        let takes = move |line: &str| {
            let own_time = own_time(line);
            // A send fails only if nobody listens any more, because the harness ends the function.
            own_time.map(|own_time| say.send(own_time)).is_some()
        };
        let environment = environment(&aws.endpoint());
        Ok(Self {
            running: function::Function::start(kind.binary(), command, environment, takes).await?,
            kind,
            aws,
            own_times,
            delivered: 0,
        })
    }

    /// Waits until the function has started, and returns how long that took.
    ///
    /// # Errors
    ///
    /// Fails if the function ended, reported an error, or took longer than a minute. The other
    /// methods fail for the same reasons.
    pub async fn started(&mut self) -> Result<Duration> {
        self.running.started().await
    }

    /// Hands the function a delivery, and waits until it is ready for the next one. Returns how
    /// long the answer took. An answer other than 202 is an error.
    pub async fn deliver(&mut self, delivery: Invocation) -> Result<Duration> {
        let answer = self.running.invoke(delivery).await?;
        ensure_accepted(&answer.body).context(self.kind.binary())?;
        self.delivered += 1;
        Ok(answer.took)
    }

    /// Time in the handler without the wait for the queue, for the next delivery in order. `ingest`
    /// reports it.
    pub async fn own_time(&mut self) -> Result<Duration> {
        let own_time = timeout(PATIENCE, self.own_times.recv()).await;
        own_time
            .ok()
            .flatten()
            .context("the function wrote no line for a request")
    }

    /// Resident memory of the function in KiB.
    pub fn resident_kib(&self) -> Result<u32> {
        self.running.memory_kib(Memory::Now)
    }

    /// Ends the function, and checks that it sent what it was given.
    pub fn end(self) -> Result<()> {
        let Self {
            running,
            kind,
            aws,
            delivered,
            ..
        } = self;
        drop(running);
        verify(&aws, kind.messages(delivered)).with_context(|| {
            format!(
                "{} made other calls than its deliveries need",
                kind.binary()
            )
        })
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
        "a delivery was not answered 202: {answer}"
    );
    Ok(())
}

/// The environment variables that template.yaml gives to `ingest`.
fn environment(endpoint: &str) -> Environment {
    vec![
        (
            "INGEST_QUEUE_URL",
            format!("{endpoint}/000000000000/ingest.fifo"),
        ),
        (
            "QUARANTINE_QUEUE_URL",
            format!("{endpoint}/000000000000/quarantine.fifo"),
        ),
        ("LEDGER_TABLE_NAME", "ledger".into()),
        (
            "ALLOWED_SOURCE_CIDRS",
            "192.0.2.0/24,2001:db8::/32,127.0.0.1/32".into(),
        ),
        (
            "WEBHOOK_SECRET_ARN",
            "arn:aws:secretsmanager:eu-west-1:000000000000:secret:webhook-AbCdEf".into(),
        ),
        ("WEBHOOK_HEADER_NAME", "authorization".into()),
        ("WEBHOOK_HEADER_SCHEME", "Bearer".into()),
        ("LOG_LEVEL", "info".into()),
        ("METRICS_NAMESPACE", "bench".into()),
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
    ]
}

/// The part of `ingest`'s line for a request that is read here; times are in milliseconds.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestLine {
    time: f64,
    store_time: f64,
}

fn own_time(line: &str) -> Option<Duration> {
    let line: RequestLine = serde_json::from_str(line).ok()?;
    Duration::try_from_secs_f64((line.time - line.store_time) / 1000.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_the_queue_is_not_the_functions_own_time() {
        let line = r#"{"_aws": {}, "Time": 1.5, "StoreTime": 1.25, "Answer": "accepted"}"#;
        assert_eq!(own_time(line), Some(Duration::from_micros(250)));
        assert_eq!(own_time(r#"{"level": "ERROR"}"#), None);
    }

    #[test]
    fn an_answer_other_than_202_is_an_error() {
        ensure_accepted(r#"{"statusCode": 202, "body": ""}"#).unwrap();
        ensure_accepted(r#"{"statusCode": 503}"#).unwrap_err();
        ensure_accepted("").unwrap_err();
    }
}
