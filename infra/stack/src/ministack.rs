//! A running MiniStack, the local AWS.
//!
//! MiniStack runs as a child process whose standard input is a pipe from this process. When the pipe
//! closes, MiniStack and all functions end. The operating system closes the pipe however this process
//! ends, so nothing stays behind, even after SIGKILL.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{ChildStdin, Command};

use crate::account::{Account, REGION};
use crate::folder::RunFolder;
use crate::log;
use crate::process::ProcessGroup;
use crate::progress::{Progress, Stage};
use crate::python::Venv;
use crate::workspace::Workspace;

/// How long MiniStack may take to start. It usually takes about a second.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a port may take to become free. A MiniStack whose parent was killed needs a moment to end.
const PORT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait between two tries to reach MiniStack or to bind a port.
const POLL: Duration = Duration::from_millis(50);
/// How many of the last lines of MiniStack's log an error shows.
const LAST_LINES: usize = 20;
/// A shell script that runs a command (`$1` …) and then removes the folder `$0`. The command ends when
/// its standard input closes. So the folder is removed even if this process is killed.
const AND_REMOVE_FOLDER: &str = r#""$@"; status=$?; rm -rf -- "$0"; exit $status"#;

/// How to run MiniStack.
#[derive(Debug, Clone, Default)]
pub struct LocalAwsOptions {
    /// The port of 127.0.0.1 to listen on; without one, any free port.
    pub port: Option<u16>,
    /// A file for the output of MiniStack and the functions; without one, a file in the run's folder,
    /// which is removed with it.
    pub log: Option<PathBuf>,
    /// Whether IAM checks permissions. Then functions may do what their roles permit, and an
    /// [`Account`] may do everything. Without it, everybody may do everything.
    pub auth: bool,
    /// The address of a bridge through which containers call. Only requests to it and to this machine
    /// itself are accepted.
    pub also_on: Option<Ipv4Addr>,
    /// More environment variables for all functions: tests shorten times with them.
    pub variables: Vec<(&'static str, String)>,
}

/// A MiniStack that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct LocalAws {
    // The order matters: closing the pipe ends the child, and the folder is removed after that.
    pipe: Option<ChildStdin>,
    child: ProcessGroup,
    endpoint: String,
    log: PathBuf,
    _folder: RunFolder,
}

impl LocalAws {
    /// Starts MiniStack and waits until it answers.
    ///
    /// # Errors
    ///
    /// The port is in use, or MiniStack doesn't start. Then the error shows the end of its log.
    pub async fn start(
        workspace: &Workspace,
        venv: &Venv,
        options: LocalAwsOptions,
        progress: Progress,
    ) -> Result<Self> {
        let port = match options.port {
            Some(port) => port,
            None => free_port()?,
        };
        wait_for_port(port, progress).await?;
        let mut stage = progress.stage("starting MiniStack");
        let mut aws = Self::spawn(workspace, venv, port, options)?;
        aws.wait_until_ready(&mut stage).await?;
        stage.done(&format!("MiniStack, the local AWS, on {}", aws.endpoint));
        Ok(aws)
    }

    /// The URL at which MiniStack listens, such as `http://127.0.0.1:4566`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The account with a number of 12 digits. It exists without being created.
    #[must_use]
    pub fn account(&self, id: &str) -> Account {
        Account::new(&self.endpoint, id)
    }

    /// The file with the output of MiniStack and the functions.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until MiniStack ends by itself, which it shouldn't, and returns how it ended.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => self.death(status),
            Err(error) => anyhow::Error::new(error).context("cannot wait for MiniStack"),
        }
    }

    /// Stops MiniStack, and waits until all processes that it started have ended.
    pub async fn stop(mut self) {
        drop(self.pipe.take());
        // Dropping `self` kills what has not ended by itself.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await;
    }

    fn spawn(
        workspace: &Workspace,
        venv: &Venv,
        port: u16,
        options: LocalAwsOptions,
    ) -> Result<Self> {
        let folder = RunFolder::create(workspace)?;
        let endpoint = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
        let environment = environment(&endpoint, port, folder.path(), &options);
        let log = options
            .log
            .unwrap_or_else(|| folder.path().join("ministack.log"));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", AND_REMOVE_FOLDER]).arg(folder.path());
        command.arg(venv.python()).arg(workspace.launcher());
        let output = new_log(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command
            .env_clear()
            .envs(environment)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(output.try_clone().context("cannot share MiniStack's log")?)
            .stderr(output);
        let mut child = ProcessGroup::spawn(&mut command).context("cannot start MiniStack")?;
        Ok(Self {
            pipe: child.take_stdin(),
            child,
            endpoint,
            log,
            _folder: folder,
        })
    }

    async fn wait_until_ready(&mut self, stage: &mut Stage) -> Result<()> {
        let http = shared::http_client::build().context("cannot build an HTTP client")?;
        let url = format!("{}/_ministack/ready", self.endpoint);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let answer = ask(&http, &url).await;
            if let Some(status) = self.child.ended() {
                return Err(self.death(status));
            }
            let Err(cause) = answer else {
                return Ok(());
            };
            if Instant::now() > deadline {
                bail!(
                    "MiniStack isn't ready after {} s: {cause:#}. The end of its log:\n{}",
                    START_TIMEOUT.as_secs(),
                    self.last_lines()
                );
            }
            stage.note("waiting for it to answer");
            tokio::time::sleep(POLL).await;
        }
    }

    fn death(&self, status: ExitStatus) -> anyhow::Error {
        anyhow::anyhow!(
            "MiniStack ended by itself ({status}). The end of its log:\n{}",
            self.last_lines()
        )
    }

    fn last_lines(&self) -> String {
        log::last_lines(&self.log, LAST_LINES)
    }
}

impl Drop for LocalAws {
    fn drop(&mut self) {
        // Closing the pipe first lets the launcher end processes that have groups of their own.
        drop(self.pipe.take());
        self.child.wait_blocking();
    }
}

/// Checks that MiniStack is ready. The error says why it isn't.
async fn ask(http: &reqwest::Client, url: &str) -> Result<()> {
    let answer = http.get(url).send().await.context("no answer")?;
    let status = answer.status();
    ensure!(status.is_success(), "{url} answered {status}");
    Ok(())
}

/// The whole environment of MiniStack. The functions inherit it, so it has no proxy and only this
/// endpoint. `AWS_ENDPOINT_URL` is for the functions.
fn environment(
    endpoint: &str,
    port: u16,
    folder: &Path,
    options: &LocalAwsOptions,
) -> Vec<(&'static str, String)> {
    let also_on = options.also_on.map(|address| address.to_string());
    let own = [
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        // This is not the user's home, because an SDK would read ~/.aws there.
        ("HOME", folder.display().to_string()),
        ("TMPDIR", folder.display().to_string()),
        ("GATEWAY_PORT", port.to_string()),
        ("BIND_HOST", Ipv4Addr::LOCALHOST.to_string()),
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("MINISTACK_REGION", REGION.to_owned()),
        ("LOG_LEVEL", "INFO".to_owned()),
        ("AUTH", options.auth.to_string()),
        ("ALSO_ON", also_on.unwrap_or_default()),
    ];
    own.into_iter().chain(options.variables.clone()).collect()
}

/// Creates a new file, also if there is an old one: another MiniStack may still write to that.
fn new_log(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => OpenOptions::new().append(true).create(true).open(path),
    }
}

/// Waits some seconds until a port of this machine is free: a stack whose owner was killed releases
/// it soon. Binding the port is the only way to know.
///
/// # Errors
///
/// The port doesn't become free. The error says what to do.
pub async fn wait_for_port(port: u16, progress: Progress) -> Result<()> {
    let deadline = Instant::now() + PORT_TIMEOUT;
    let mut waiting = None;
    while let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        if Instant::now() > deadline {
            return Err(error).with_context(|| {
                format!(
                    "port {port} is in use. End a stack that was left behind with \
                     `cargo local down`, or use another port with `cargo local up --port N`"
                )
            });
        }
        let name = format!("waiting for port {port} to become free");
        waiting.get_or_insert_with(|| progress.stage(&name));
        tokio::time::sleep(POLL).await;
    }
    if let Some(stage) = waiting {
        stage.done(&format!("port {port} is free"));
    }
    Ok(())
}

/// A port that was free a moment ago. MiniStack can't choose one itself, because it writes its port
/// into the URLs that it returns.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr().context("no port is free")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_says_why_ministack_does_not_answer() {
        let http = shared::http_client::build().unwrap();
        // The port is bound but nothing listens, so connections are refused.
        let port = tokio::net::TcpSocket::new_v4().unwrap();
        port.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let url = format!("http://{}/", port.local_addr().unwrap());
        let cause = ask(&http, &url).await.unwrap_err();
        let cause = format!("{cause:#}");
        assert!(cause.contains(&url) && cause.contains("refused"), "{cause}");

        let aura = aura_sim::AuraSim::start(aura_sim::Options::default())
            .await
            .unwrap();
        let cause = ask(&http, &aura.url()).await.unwrap_err().to_string();
        assert!(cause.contains("404"), "{cause}");
    }

    #[test]
    fn functions_get_nothing_from_this_process_environment() {
        let given = environment(
            "http://127.0.0.1:1",
            1,
            Path::new("/run"),
            &LocalAwsOptions::default(),
        );
        let names: Vec<_> = given.iter().map(|(name, _)| *name).collect();
        let expected = [
            "PATH",
            "HOME",
            "TMPDIR",
            "GATEWAY_PORT",
            "BIND_HOST",
            "AWS_ENDPOINT_URL",
            "MINISTACK_REGION",
            "LOG_LEVEL",
            "AUTH",
            "ALSO_ON",
        ];
        assert!(
            names.iter().all(|name| expected.contains(name)),
            "{names:?}"
        );
        assert!(given.contains(&("AWS_ENDPOINT_URL", "http://127.0.0.1:1".into())));
    }
}
