//! One running function, with the Runtime API and the AWS services that it sees.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use local::process::ProcessGroup;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::aws::Aws;
use crate::delivery::Delivery;
use crate::runtime_api::RuntimeApi;

/// Longest wait for anything that a function does. Under valgrind it is fifty times slower.
const PATIENCE: Duration = Duration::from_mins(1);

/// The functions that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one that it is about.
    Ingest,
    /// A handler that answers 202.
    Empty,
    /// The same after one `SendMessage`.
    SdkCall,
}

impl Kind {
    /// All of them, in the order in which they take their turns.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Empty, Self::SdkCall];

    /// The name of the binary.
    #[must_use]
    pub fn binary(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Empty => "bench-empty",
            Self::SdkCall => "bench-sdk-call",
        }
    }

    /// How many messages it sends for a number of deliveries.
    fn messages(self, deliveries: u32) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Ingest | Self::SdkCall => deliveries,
        }
    }
}

/// Where the functions' binaries are.
#[derive(Debug, Clone)]
pub struct Binaries(HashMap<&'static str, PathBuf>);

impl Binaries {
    /// Binaries by the paths where cargo put them, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self(Kind::ALL.map(Kind::binary).into_iter().zip(paths).collect())
    }

    /// The binaries in one folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self::new(Kind::ALL.map(|kind| folder.join(kind.binary())).into())
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// It isn't there.
    pub fn path(&self, kind: Kind) -> Result<&Path> {
        let path = self.0.get(kind.binary()).map(PathBuf::as_path);
        path.filter(|path| path.exists())
            .with_context(|| format!("there is no binary {}", kind.binary()))
    }
}

/// A function that runs. Dropped, it ends.
#[derive(Debug)]
pub struct Function {
    // First, so that it is gone before what it talks to.
    process: ProcessGroup,
    kind: Kind,
    api: RuntimeApi,
    aws: Aws,
    own_times: mpsc::UnboundedReceiver<Duration>,
    began: Instant,
    delivered: u32,
}

impl Function {
    /// Starts a function.
    ///
    /// # Errors
    ///
    /// It can't be started.
    pub async fn start(kind: Kind, binaries: &Binaries) -> Result<Self> {
        Self::start_as(kind, Command::new(binaries.path(kind)?)).await
    }

    /// Starts a function by a command of its own.
    ///
    /// # Errors
    ///
    /// It can't be started.
    pub async fn start_as(kind: Kind, mut command: Command) -> Result<Self> {
        let api = RuntimeApi::start().await?;
        let aws = Aws::start().await?;
        command
            .env_clear()
            .envs(environment(&api, &aws))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let began = Instant::now();
        let mut process = ProcessGroup::spawn(&mut command)
            .with_context(|| format!("cannot start {}", kind.binary()))?;
        let stdout = process.take_stdout().context("a function has no output")?;
        let (say, own_times) = mpsc::unbounded_channel();
        tokio::spawn(read_lines(stdout, say));
        Ok(Self {
            process,
            kind,
            api,
            aws,
            own_times,
            began,
            delivered: 0,
        })
    }

    /// Waits until it has started, and says how long that took.
    ///
    /// # Errors
    ///
    /// It ended, reported an error, or took longer than a minute; so do the others.
    pub async fn started(&mut self) -> Result<Duration> {
        let asked = self.unless_it_ends(|api| Box::pin(api.asked())).await?;
        Ok(asked.duration_since(self.began))
    }

    /// Hands it a delivery, waits until it is ready for the next one, and says how long the
    /// answer took.
    pub async fn deliver(&mut self, delivery: Delivery) -> Result<Duration> {
        let answered = self.unless_it_ends(|api| Box::pin(api.deliver(delivery)));
        let round_trip = answered.await?;
        self.unless_it_ends(|api| Box::pin(api.asked())).await?;
        self.delivered += 1;
        Ok(round_trip)
    }

    /// Time in the handler without the wait for the queue, for the next delivery by turn, as
    /// `ingest` tells it.
    pub async fn own_time(&mut self) -> Result<Duration> {
        let own_time = timeout(PATIENCE, self.own_times.recv()).await;
        own_time
            .ok()
            .flatten()
            .context("a function wrote no line for a request")
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u32> {
        let id = self.process.id().context("a function has ended")?;
        let path = format!("/proc/{id}/status");
        let status =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        resident_kib(&status).with_context(|| format!("{path} has no VmRSS"))
    }

    /// Ends it, and checks that it sent what it was given.
    pub fn end(self) -> Result<()> {
        let Self {
            process, kind, aws, ..
        } = self;
        drop(process);
        aws.verify(kind.messages(self.delivered))
            .with_context(|| format!("{} did something else", kind.binary()))
    }

    async fn unless_it_ends<T>(
        &mut self,
        wait: impl for<'a> FnOnce(&'a mut RuntimeApi) -> Waiting<'a, T>,
    ) -> Result<T> {
        let name = self.kind.binary();
        tokio::select! {
            result = wait(&mut self.api) => result.context(name),
            status = self.process.wait() => bail!("{name} ended by itself: {}", status?),
            () = tokio::time::sleep(PATIENCE) => bail!("{name} did nothing for a minute"),
        }
    }
}

type Waiting<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// All that a function is told: what Lambda sets, and template.yaml.
fn environment(api: &RuntimeApi, aws: &Aws) -> Vec<(&'static str, String)> {
    let endpoint = aws.endpoint();
    vec![
        ("AWS_LAMBDA_RUNTIME_API", api.address().to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512".into()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "bench".into()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "bench".into()),
        ("AWS_REGION", "eu-west-1".into()),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".into()),
        ("AWS_SECRET_ACCESS_KEY", "none".into()),
        ("AWS_SESSION_TOKEN", "none".into()),
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
        ("AWS_ENDPOINT_URL", endpoint),
    ]
}

/// The line that `ingest` writes for a request, as far as it matters here; milliseconds.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RequestLine {
    time: f64,
    store_time: f64,
}

/// Takes a function's lines. What isn't about a request is about a fault.
async fn read_lines(stdout: ChildStdout, own_times: mpsc::UnboundedSender<Duration>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match own_time(&line) {
            Some(own_time) => {
                // Nobody listens any more: the function is being ended.
                let _ = own_times.send(own_time);
            }
            None => eprintln!("{line}"),
        }
    }
}

fn own_time(line: &str) -> Option<Duration> {
    let line: RequestLine = serde_json::from_str(line).ok()?;
    Duration::try_from_secs_f64((line.time - line.store_time) / 1000.0).ok()
}

fn resident_kib(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
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
    fn resident_memory_is_what_the_kernel_says() {
        let status = "Name:\tingest\nVmHWM:\t   11000 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(resident_kib(status), Some(10_240));
        assert_eq!(resident_kib("Name:\tingest\n"), None);
    }
}
