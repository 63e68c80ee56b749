//! Kills the reconciler while it runs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::watch;

use stack::processes;
use stack::reconciler::{FUNCTION, Runs};
use stack::stack::Stack;

/// The assumed length of a run until one has been measured.
const USUAL_RUN: Duration = Duration::from_millis(200);
/// How long a process may take to start.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks for the process.
const POLL: Duration = Duration::from_millis(2);

/// A kill that is planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strike {
    /// Earliest time of the kill since the start. It hits the first run that begins then, or the
    /// next but one.
    pub after: Duration,
    /// The part of a run's usual time, from 0 to 1, that passes before the kill.
    pub share: f64,
}

/// Kills the reconciler again and again, at the strikes' times since `start`. It never kills two
/// runs in a row, because a system whose runs all die finds out nothing.
///
/// # Errors
///
/// Fails if the schedule has ended or no process can be killed.
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
        let next = *next.context("the schedule ended before every kill had happened")?;
        let usual = next.took.unwrap_or(USUAL_RUN);
        kill(stack, usual.mul_f64(strike.share)).await?;
        struck = Some(next.begun);
    }
    Ok(())
}

/// Kills the process that runs the reconciler, after a pause.
async fn kill(stack: &Stack, pause: Duration) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // After a kill, the next process may still have to start.
    while processes::pids(stack, FUNCTION)?.is_empty() {
        ensure!(
            Instant::now() < deadline,
            "no process of the reconciler started in time to be killed"
        );
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(pause).await;
    let killed = processes::kill(stack, FUNCTION)?;
    processes::gone(&killed).await
}
