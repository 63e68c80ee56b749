//! The functions that are measured.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use stack::python::{Recipe, Venv};
use stack::workspace::Workspace;
use tokio::process::Command;

use super::batch::Batch;
use super::typescript::Bundle;
use crate::function::{self, Environment, Memory, printed};
use crate::runtime_api::Answer;

/// The Python environment of [`Side::Python`].
pub const POWERTOOLS: Recipe = Recipe {
    folder: "target/local/venv-powertools",
    requirements: "infra/bench/peers/powertools-python/requirements.txt",
};
const HANDLER_FOLDER: &str = "infra/bench/peers/powertools-python";
/// Name of the bus on which all sides publish.
const BUS: &str = "events";

/// One of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The function that the benchmark is about.
    Processor,
    /// A handler in Python with Powertools for AWS Lambda.
    Python,
    /// A handler in TypeScript with Powertools for AWS Lambda.
    TypeScript,
    /// A function that makes the calls that `processor` made, and nothing else. Only its
    /// instructions are measured.
    BareCalls,
}

impl Side {
    /// Name of the side.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Python => "powertools-python",
            Self::TypeScript => "powertools-typescript",
            Self::BareCalls => "bench-processor-calls",
        }
    }

    /// Name of the side's table; Powertools has another layout of items.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Processor | Self::BareCalls => "ledger",
            Self::Python | Self::TypeScript => "idempotency",
        }
    }
}

/// The versions with which [`Side::Python`] was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonVersions {
    /// Version of the Python interpreter.
    pub python: String,
    /// Version of Powertools for AWS Lambda.
    pub powertools: String,
    /// Version of AWS's SDK.
    pub boto3: String,
}

/// Python program that prints [`PythonVersions`].
const VERSIONS: &str = "\
import json, platform
from importlib.metadata import version
print(json.dumps({
    'python': platform.python_version(),
    'powertools': version('aws-lambda-powertools'),
    'boto3': version('boto3'),
}))";

/// The binaries that cargo builds.
#[derive(Debug)]
pub struct Binaries {
    /// The release binary of `processor`.
    pub processor: PathBuf,
    /// The release binary of [`Side::BareCalls`].
    pub bare_calls: PathBuf,
}

/// The programs of the sides that are measured by turns.
#[derive(Debug)]
pub struct Programs<'a> {
    /// The binaries.
    pub binaries: &'a Binaries,
    python: PathBuf,
    python_handler: PathBuf,
    typescript: &'a Bundle,
}

impl<'a> Programs<'a> {
    /// Makes them from binaries, a Python that has Powertools, and the bundle in TypeScript.
    #[must_use]
    pub fn new(
        binaries: &'a Binaries,
        venv: &Venv,
        typescript: &'a Bundle,
        workspace: &Workspace,
    ) -> Self {
        Self {
            binaries,
            python: venv.python().to_owned(),
            python_handler: workspace.root().join(HANDLER_FOLDER),
            typescript,
        }
    }

    /// Finds out the versions of the peer in Python.
    ///
    /// # Errors
    ///
    /// Fails if its Python doesn't start or doesn't find them.
    pub async fn python_versions(&self) -> Result<PythonVersions> {
        let mut command = Command::new(&self.python);
        command.args(["-c", VERSIONS]);
        printed(command).await
    }

    fn command(&self, side: Side) -> Command {
        match side {
            Side::Processor => Command::new(&self.binaries.processor),
            Side::BareCalls => Command::new(&self.binaries.bare_calls),
            Side::Python => {
                let mut command = Command::new(&self.python);
                command
                    .args(["-m", "awslambdaric", "handler.lambda_handler"])
                    .current_dir(&self.python_handler);
                command
            }
            Side::TypeScript => self.typescript.command(),
        }
    }
}

/// A running function. It ends when this is dropped.
#[derive(Debug)]
pub struct Function {
    running: function::Function,
    side: Side,
    /// Number of new events that the function was given.
    new: usize,
}

impl Function {
    /// Starts one side against the stubs of AWS at `endpoint`.
    ///
    /// # Errors
    ///
    /// Fails if the function can't be started.
    pub async fn start(side: Side, programs: &Programs<'_>, endpoint: &str) -> Result<Self> {
        Self::start_as(side, programs.command(side), endpoint).await
    }

    /// Starts one side by the given command against the stubs of AWS at `endpoint`.
    ///
    /// # Errors
    ///
    /// Fails if the function can't be started.
    pub async fn start_as(side: Side, command: Command, endpoint: &str) -> Result<Self> {
        let environment = environment(side, endpoint);
        let start = function::Function::start(side.name(), command, environment, is_batch_line);
        Ok(Self {
            running: start.await?,
            side,
            new: 0,
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

    /// Hands the function a batch, and waits until it is ready for the next one. A failed record is
    /// an error.
    pub async fn process(&mut self, batch: &Batch) -> Result<Answer> {
        let answer = self.running.invoke(batch.invocation()).await?;
        ensure_none_failed(&answer.body).context(self.side.name())?;
        self.new += batch.new;
        Ok(answer)
    }

    /// Number of new events that the function was given.
    #[must_use]
    pub fn new_events(&self) -> usize {
        self.new
    }

    /// Processor time of the function since its start.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.running.cpu_time()
    }

    /// The most memory that the function ever had, in KiB.
    pub fn peak_kib(&self) -> Result<u32> {
        self.running.memory_kib(Memory::Peak)
    }
}

fn ensure_none_failed(answer: &str) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        batch_item_failures: Vec<IgnoredAny>,
    }
    let failures = serde_json::from_str::<Answer>(answer).map(|answer| answer.batch_item_failures);
    ensure!(
        failures.is_ok_and(|failures| failures.is_empty()),
        "the answer to a batch isn't an empty list of failed records: {answer}"
    );
    Ok(())
}

/// Whether a line is the one with metrics that `processor` writes for each batch.
fn is_batch_line(line: &str) -> bool {
    line.contains(r#""_aws":"#)
}

/// The environment variables that template.yaml gives to `processor`, and some that keep the peers'
/// SDKs from looking for credentials elsewhere.
fn environment(side: Side, endpoint: &str) -> Environment {
    vec![
        ("LEDGER_TABLE_NAME", side.table().into()),
        ("LEDGER_RETENTION_DAYS", "35".into()),
        ("EVENT_BUS_NAME", BUS.into()),
        (
            "INGEST_QUEUE_URL",
            format!("{endpoint}/000000000000/ingest.fifo"),
        ),
        (
            "QUARANTINE_QUEUE_URL",
            format!("{endpoint}/000000000000/quarantine.fifo"),
        ),
        ("LOG_LEVEL", "info".into()),
        ("METRICS_NAMESPACE", "bench".into()),
        ("POWERTOOLS_SERVICE_NAME", "bench".into()),
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_CONFIG_FILE", "/dev/null".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
        // Newer SDKs need a newer Node.js. The lock file has one that works.
        (
            "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED",
            "true".into(),
        ),
        // Keeps Python from writing compiled files beside the handler, which is part of the
        // sources.
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_failed_is_an_error() {
        ensure_none_failed(r#"{"batchItemFailures": []}"#).unwrap();
        ensure_none_failed(r#"{"batchItemFailures": [{"itemIdentifier": "1"}]}"#).unwrap_err();
        ensure_none_failed("null").unwrap_err();
    }

    #[test]
    fn only_the_line_of_a_batch_is_expected() {
        assert!(is_batch_line(r#"{"_aws":{"Timestamp":1},"Records":10}"#));
        assert!(!is_batch_line(r#"{"level":"ERROR"}"#));
    }
}
