//! Kills the reconciler while it is at work.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::watch;

use stack::processes;
use stack::reconciler::{FUNCTION, Runs};
use stack::stack::Stack;

/// How long a run takes before one has been seen.
const USUAL_RUN: Duration = Duration::from_millis(200);
/// How long a process may take to be started.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks for it.
const POLL: Duration = Duration::from_millis(2);

/// A kill that is to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strike {
    /// It hits the first run that begins so long after the start, or the next but one.
    pub after: Duration,
    /// How much of a run's usual time has passed then, from 0 to 1.
    pub share: f64,
}

/// Kills the reconciler again and again, by the time since `start`, but never two runs in a row: a
/// system whose runs all die finds out nothing.
///
/// # Errors
///
/// The schedule has ended, or no process can be killed.
pub async fn kill_all(
    stack: &Stack,
    strikes: &[Strike],
    mut runs: watch::Receiver<Runs>,
    start: Instant,
) -> Result<()> {
    let mut struck = None;
    for strike in strikes {
        tokio::time::sleep_until((start + strike.after).into()).await;
        let earlier = runs.borrow().begun.max(struck.map_or(0, |run| run + 1));
        let next = runs.wait_for(|runs| runs.begun > earlier).await;
        let next = *next.context("the schedule has ended")?;
        let usual = next.took.unwrap_or(USUAL_RUN);
        kill(stack, usual.mul_f64(strike.share)).await?;
        struck = Some(next.begun);
    }
    Ok(())
}

/// Kills what runs the reconciler, when it has had so much time.
async fn kill(stack: &Stack, pause: Duration) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // After a kill, the next process may be yet to start.
    while processes::pids(stack, FUNCTION)?.is_empty() {
        ensure!(Instant::now() < deadline, "no process runs the reconciler");
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(pause).await;
    let killed = processes::kill(stack, FUNCTION)?;
    processes::gone(&killed).await
}
