//! Runs one function against a Runtime API of its own.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use stack::process::ProcessGroup;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};

use crate::runtime_api::{Answer, Invocation, RuntimeApi};

/// The longest wait for anything that a function does. Under valgrind, a function is fifty times
/// slower.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Environment variables of a function, beside those that Lambda sets for every function.
pub type Environment = Vec<(&'static str, String)>;

/// A running function. It ends when this is dropped.
#[derive(Debug)]
pub struct Function {
    // This field is first, so that the process ends before the servers that it talks to.
    process: ProcessGroup,
    name: &'static str,
    api: RuntimeApi,
    began: Instant,
}

/// A figure of a function's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The memory that is resident now.
    Now,
    /// The most memory that was ever resident.
    Peak,
}

impl Function {
    /// Starts a function by its command. `takes` gets each line that the function writes, and
    /// returns whether it knows the line. Any other line is about a fault, and is shown.
    ///
    /// # Errors
    ///
    /// Fails if the function can't be started.
    pub async fn start(
        name: &'static str,
        mut command: Command,
        environment: Environment,
        takes: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Result<Self> {
        let api = RuntimeApi::start().await?;
        command
            .env_clear()
            .envs(told_by_lambda(&api))
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let began = Instant::now();
        let mut process =
            ProcessGroup::spawn(&mut command).with_context(|| format!("cannot start {name}"))?;
        let stdout = process
            .take_stdout()
            .context("the function's standard output can't be read")?;
        tokio::spawn(read_lines(stdout, takes));
        Ok(Self {
            process,
            name,
            api,
            began,
        })
    }

    /// Waits until the function has started, and returns how long that took.
    ///
    /// # Errors
    ///
    /// Fails if the function ended, reported an error, or took longer than a minute. The other
    /// methods fail for the same reasons.
    pub async fn started(&mut self) -> Result<Duration> {
        let asked = self.unless_it_ends(|api| Box::pin(api.asked())).await?;
        Ok(asked.duration_since(self.began))
    }

    /// Hands the function an invocation, and waits until it is ready for the next one.
    pub async fn invoke(&mut self, invocation: Invocation) -> Result<Answer> {
        let answered = self.unless_it_ends(|api| Box::pin(api.invoke(invocation)));
        answered.await
    }

    /// Memory of the function in KiB.
    pub fn memory_kib(&self, memory: Memory) -> Result<u32> {
        let path = format!("/proc/{}/status", self.id()?);
        let status =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        memory_kib(&status, memory).with_context(|| format!("{path} has no figure of the memory"))
    }

    /// Processor time in user space and in the kernel, of all threads since the start.
    ///
    /// The process's clock has it in nanoseconds; `/proc/…/stat` has it only in hundredths of a
    /// second.
    pub fn cpu_time(&self) -> Result<Duration> {
        let id = i32::try_from(self.id()?).context("the function's process id is too large")?;
        let clock = clock_getcpuclockid(Pid::from_raw(id))
            .context("the function's process has no clock")?;
        let time =
            clock_gettime(clock).context("the clock of the function's process can't be read")?;
        Ok(time.into())
    }

    fn id(&self) -> Result<u32> {
        self.process.id().context("the function has ended")
    }

    async fn unless_it_ends<T>(
        &mut self,
        wait: impl for<'a> FnOnce(&'a mut RuntimeApi) -> Waiting<'a, T>,
    ) -> Result<T> {
        let name = self.name;
        tokio::select! {
            result = wait(&mut self.api) => result.context(name),
            status = self.process.wait() => bail!("{name} ended by itself: {}", status?),
            () = tokio::time::sleep(PATIENCE) => bail!("{name} did not respond within a minute"),
        }
    }
}

type Waiting<'a, T> = std::pin::Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Environment variables that Lambda sets for every function.
fn told_by_lambda(api: &RuntimeApi) -> Environment {
    vec![
        ("AWS_LAMBDA_RUNTIME_API", api.address().to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench".into()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512".into()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "bench".into()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "bench".into()),
        ("AWS_REGION", "eu-west-1".into()),
        ("AWS_DEFAULT_REGION", "eu-west-1".into()),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".into()),
        ("AWS_SECRET_ACCESS_KEY", "none".into()),
        ("AWS_SESSION_TOKEN", "none".into()),
    ]
}

/// Runs a command that prints JSON, and reads it.
///
/// # Errors
///
/// Fails if the command fails, or prints something else.
pub(crate) async fn printed<T: DeserializeOwned>(mut command: Command) -> Result<T> {
    let program = command.as_std().get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} can't print the versions of the peer: {said}"
    );
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("cannot read the versions that {program} printed"))
}

async fn read_lines(stdout: ChildStdout, mut takes: impl FnMut(&str) -> bool) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if !takes(&line) {
            eprintln!("{line}");
        }
    }
}

fn memory_kib(status: &str, memory: Memory) -> Option<u32> {
    let field = match memory {
        Memory::Now => "VmRSS:",
        Memory::Peak => "VmHWM:",
    };
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_kernel_says() {
        let status = "Name:\tingest\nVmHWM:\t   11000 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(memory_kib(status, Memory::Now), Some(10_240));
        assert_eq!(memory_kib(status, Memory::Peak), Some(11_000));
        assert_eq!(memory_kib("Name:\tingest\n", Memory::Now), None);
    }
}
