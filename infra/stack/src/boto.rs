//! Calls of the local AWS through botocore, in one Python process for the whole program.
//!
//! MiniStack's virtual environment contains the clients of all services anyway, and compiling the
//! Rust SDKs of CloudFormation, S3, Lambda and CloudWatch Logs takes minutes. `aws.py` describes
//! requests and answers. The Python process ends when this one does, because its standard input
//! closes.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::account::{Account, REGION, SECRET_ACCESS_KEY};
use crate::python::MINISTACK;
use crate::workspace::Workspace;

static PYTHON: LazyLock<Result<Mutex<Python>>> = LazyLock::new(|| Python::start().map(Mutex::new));

/// The callers that wait for an answer, by their request's id. `None` once Python has ended.
type Waiting = Arc<Mutex<Option<HashMap<u64, mpsc::UnboundedSender<Said>>>>>;

/// The Python process that runs `aws.py`. It uses threads and plain pipes, because it outlives the
/// async runtime of the test that started it.
struct Python {
    _child: Child,
    requests: ChildStdin,
    waiting: Waiting,
    last: u64,
}

#[derive(Deserialize)]
struct Line {
    id: u64,
    #[serde(flatten)]
    said: Said,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Note(String),
    Answer(Value),
    Error(String),
}

impl Python {
    fn start() -> Result<Self> {
        let workspace = Workspace::here()?;
        let mut command = Command::new(workspace.root().join(MINISTACK.folder).join("bin/python"));
        // With -I, neither modules beside the script nor the user's own can replace a library.
        command.arg("-I").arg(workspace.aws_calls()).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.process_group(0).spawn().with_context(|| {
            format!(
                "cannot start Python from {}: `cargo local up` creates this folder",
                MINISTACK.folder
            )
        })?;
        let requests = child.stdin.take().context("Python has no standard input")?;
        let answers = child
            .stdout
            .take()
            .context("Python has no standard output")?;
        let waiting = Waiting::new(Mutex::new(Some(HashMap::new())));
        let heard = Arc::clone(&waiting);
        thread::spawn(move || hear(answers, &heard));
        Ok(Self {
            _child: child,
            requests,
            waiting,
            last: 0,
        })
    }

    fn ask(&mut self, mut request: Value) -> Result<mpsc::UnboundedReceiver<Said>> {
        self.last += 1;
        if let Some(fields) = request.as_object_mut() {
            fields.insert("id".to_owned(), self.last.into());
        }
        let (sender, answer) = mpsc::unbounded_channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting.as_mut().context("infra/stack/aws.py has ended")?;
        waiting.insert(self.last, sender);
        writeln!(self.requests, "{request}").context("infra/stack/aws.py has ended")?;
        Ok(answer)
    }
}

/// Hands each line to the caller that waits for it, until Python ends.
fn hear(answers: ChildStdout, waiting: &Waiting) {
    let lines = BufReader::new(answers).lines().map_while(Result::ok);
    for Line { id, said } in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = waiting.as_mut() else {
            return;
        };
        let is_last = !matches!(said, Said::Note(_));
        if let Some(sender) = waiting.get(&id) {
            // An error means that the caller no longer waits.
            let _ = sender.send(said);
        }
        if is_last {
            waiting.remove(&id);
        }
    }
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    *waiting = None;
}

/// Sends a request to `aws.py` for an account, passes its notes on, and returns the answer. The
/// request's field `do` names what to do.
pub(crate) async fn ask<T: DeserializeOwned>(
    account: &Account,
    mut request: Value,
    mut note: impl FnMut(&str),
) -> Result<T> {
    let account = [
        ("endpoint", account.endpoint()),
        ("region", REGION),
        ("accessKeyId", account.id()),
        ("secretAccessKey", SECRET_ACCESS_KEY),
    ];
    let fields = request
        .as_object_mut()
        .context("a request must be a JSON object")?;
    fields.extend(account.map(|(name, value)| (name.to_owned(), value.into())));
    let python = PYTHON.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let asked = python
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .ask(request);
    let mut said = asked?;
    loop {
        match said
            .recv()
            .await
            .context("infra/stack/aws.py ended before it answered")?
        {
            Said::Note(text) => note(&text),
            Said::Answer(answer) => {
                return serde_json::from_value(answer)
                    .context("cannot read the answer of infra/stack/aws.py");
            }
            Said::Error(error) => bail!(error),
        }
    }
}

/// Calls one operation of a service and returns all pages. Both names are those in boto3.
///
/// # Errors
///
/// The call fails, or its answer is not a `T`.
pub async fn call<T: DeserializeOwned>(
    account: &Account,
    service: &str,
    operation: &str,
    arguments: Value,
) -> Result<T> {
    let request = json!({
        "do": "call", "service": service, "operation": operation, "arguments": arguments,
    });
    ask(account, request, |_| ()).await
}
