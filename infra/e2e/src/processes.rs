//! The processes in which MiniStack runs functions. Linux only: it reads `/proc`.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Kills every process of a function with SIGKILL, and says how many there were.
///
/// # Errors
///
/// There is none, or it can't be killed.
pub fn kill(function_name: &str) -> Result<usize> {
    let pids = pids_of(function_name)?;
    ensure!(!pids.is_empty(), "no process runs {function_name}");
    for pid in &pids {
        kill_process(*pid, Signal::KILL).with_context(|| format!("cannot kill {pid:?}"))?;
    }
    Ok(pids.len())
}

/// The processes that Lambda's own variable names as this function's.
fn pids_of(function_name: &str) -> Result<Vec<Pid>> {
    let variable = format!("AWS_LAMBDA_FUNCTION_NAME={function_name}");
    let runs_it = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == variable.as_bytes())
        })
    };
    let entries = fs::read_dir("/proc").context("cannot list /proc")?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(runs_it)
        .filter_map(Pid::from_raw)
        .collect())
}
