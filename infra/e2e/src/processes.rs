//! The processes in which MiniStack runs functions. Linux only: it reads `/proc`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use local::stack::Stack;
use rustix::process::{Pid, Signal, kill_process};

/// Kills every process of one of a stack's functions with SIGKILL. `output` is the template's
/// output with the function's name.
///
/// # Errors
///
/// There is none, or it can't be killed.
pub fn kill(stack: &Stack, output: &str) -> Result<()> {
    // All accounts' functions have the same names, and so have those of a `cargo local up`.
    let variables = [
        format!("AWS_LAMBDA_FUNCTION_NAME={}", stack.output(output)?),
        format!("AWS_ACCESS_KEY_ID={}", stack.account().id()),
        format!("AWS_ENDPOINT_URL={}", stack.account().endpoint()),
    ];
    let pids = pids_with(&variables)?;
    ensure!(!pids.is_empty(), "no process has {variables:?}");
    for pid in pids {
        kill_process(pid, Signal::KILL).with_context(|| format!("cannot kill {pid:?}"))?;
    }
    Ok(())
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
