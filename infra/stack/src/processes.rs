//! Finds and kills the processes in which MiniStack runs functions. Linux only: it reads `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::account::REGION;
use crate::stack::Stack;

/// How long a process may take to be gone after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait between two looks at the processes.
const POLL: Duration = Duration::from_millis(5);

/// Kills all processes of one function of a stack with SIGKILL. `output` is the template's output with
/// the function's name.
///
/// # Errors
///
/// The function has no process, or one can't be killed.
pub fn kill(stack: &Stack, output: &str) -> Result<Vec<Pid>> {
    let pids = pids(stack, output)?;
    ensure!(
        !pids.is_empty(),
        "the function of the output {output} has no process"
    );
    for pid in &pids {
        kill_process(*pid, Signal::KILL).with_context(|| format!("cannot kill {pid:?}"))?;
    }
    Ok(pids)
}

/// Waits until all killed processes are gone.
///
/// # Errors
///
/// At least one of them is still alive after five seconds.
pub async fn gone(killed: &[Pid]) -> Result<()> {
    let all_gone = until(|| !killed.iter().any(|pid| is_alive(*pid))).await;
    ensure!(
        all_gone,
        "at least one process of {killed:?} is still alive"
    );
    Ok(())
}

/// Waits until at least one of these processes is gone.
///
/// # Errors
///
/// All of them are still alive after five seconds.
pub async fn one_gone(pids: &[Pid]) -> Result<()> {
    let one_gone = until(|| !pids.iter().all(|pid| is_alive(*pid))).await;
    ensure!(one_gone, "all processes of {pids:?} are still alive");
    Ok(())
}

/// Waits up to [`PATIENCE`] until a condition holds; false if it doesn't.
async fn until(holds: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

/// Whether a process is alive. One that has ended, but that nobody has waited for, has no environment.
fn is_alive(pid: Pid) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment.is_ok_and(|environment| !environment.is_empty())
}

/// The processes of one function of a stack. A function has none before its first invocation, and for
/// a while after its process has died.
///
/// # Errors
///
/// The processes can't be listed.
pub fn pids(stack: &Stack, output: &str) -> Result<Vec<Pid>> {
    // Functions of all accounts, and of another `cargo local up`, have the same names. The account and
    // the endpoint tell them apart.
    let (account, function) = (stack.account(), stack.output(output)?);
    let arn = format!(
        "arn:aws:lambda:{REGION}:{}:function:{function}",
        account.id()
    );
    let variables = [
        format!("_LAMBDA_FUNCTION_ARN={arn}"),
        format!("AWS_ENDPOINT_URL={}", account.endpoint()),
    ];
    pids_with(&variables)
}

/// The processes with all of these variables in their environment.
fn pids_with(variables: &[String]) -> Result<Vec<Pid>> {
    let has_all = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let entries: Vec<_> = environment.split(|byte| *byte == 0).collect();
        variables
            .iter()
            .all(|variable| entries.contains(&variable.as_bytes()))
    };
    let entries = fs::read_dir("/proc").context("cannot list /proc")?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(has_all)
        .filter_map(Pid::from_raw)
        .collect())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(child.id().try_into().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn one_of_two_is_gone_when_one_has_died() {
        let (mut one, mut other) = (sleeper(), sleeper());
        let pids = [pid(&one), pid(&other)];
        // A process that is just starting has no environment yet.
        assert!(until(|| pids.iter().all(|pid| is_alive(*pid))).await);
        other.kill().unwrap();
        let seen = (one_gone(&pids).await.is_ok(), is_alive(pids[0]));
        one.kill().unwrap();
        assert_eq!(seen, (true, true));
        assert!(gone(&pids).await.is_ok());
        one.wait().unwrap();
        other.wait().unwrap();
    }
}
