//! Runs the reconciler once, or by a schedule of seconds. The template's own schedule, of minutes, is
//! off on local stacks unless a parameter turns it on. Canaries can have a schedule of seconds, too.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::boto;
use crate::stack::Stack;

/// The template's output with the reconciler's name, for functions of
/// [`processes`](crate::processes).
pub const FUNCTION: &str = "ReconcilerFunctionName";

/// The event with which its schedule has the registrar send a canary.
pub(crate) const CANARY: &str = r#"{"Canary": {}}"#;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// The reconciler answered.
    Done,
    /// The process ended before it answered, killed or by itself.
    Died,
    /// Lambda ended the run at the function's timeout.
    TimedOut,
    /// The reconciler answered with this error: its type and message.
    Failed(String),
}

/// The answer of Lambda.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Invocation {
    function_error: Option<String>,
    #[serde(default)]
    payload: String,
}

/// The payload of Lambda's answer if the run failed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionError {
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error_message: String,
}

/// Runs the reconciler once, and waits for its end.
///
/// # Errors
///
/// Lambda doesn't run the reconciler. A run that fails is not an error.
pub async fn invoke(stack: &Stack) -> Result<Run> {
    invoke_with(stack, FUNCTION, "{}").await
}

/// Invokes the function whose name is this output of the template.
async fn invoke_with(stack: &Stack, function: &str, event: &str) -> Result<Run> {
    let arguments = json!({"FunctionName": stack.output(function)?, "Payload": event});
    let answer = boto::call(stack.account(), "lambda", "invoke", arguments).await;
    let answer: Invocation = answer.with_context(|| format!("cannot invoke {function}"))?;
    if answer.function_error.is_none() {
        return Ok(Run::Done);
    }
    failed(answer.payload.as_bytes())
}

fn failed(payload: &[u8]) -> Result<Run> {
    let error: FunctionError =
        serde_json::from_slice(payload).context("Lambda's description of an error is not JSON")?;
    Ok(match error.error_type.as_str() {
        "Runtime.ExitError" => Run::Died,
        "Sandbox.Timedout" => Run::TimedOut,
        kind => Run::Failed(format!("{kind}: {}", error.error_message)),
    })
}

/// How many runs there have been, by their end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Runs {
    /// Runs that began.
    pub begun: u64,
    /// Runs that answered.
    pub done: u64,
    /// Runs whose process ended before it answered.
    pub died: u64,
    /// Runs that Lambda ended at the function's timeout.
    pub timed_out: u64,
    /// Runs that answered with an error.
    pub failed: u64,
    /// How long the last run that answered took.
    #[serde(skip)]
    pub took: Option<Duration>,
}

impl Runs {
    fn note(&mut self, run: &Run, took: Duration) {
        match run {
            Run::Done => {
                self.done += 1;
                self.took = Some(took);
            }
            Run::Died => self.died += 1,
            Run::TimedOut => self.timed_out += 1,
            Run::Failed(_) => self.failed += 1,
        }
    }
}

/// Runs the reconciler again and again, until this is dropped. As on AWS, a run begins at its time even
/// if the run before has not ended. The function itself must make sure that such runs don't harm each
/// other.
#[derive(Debug)]
pub struct Schedule {
    runs: watch::Receiver<Runs>,
    stop: oneshot::Sender<()>,
    task: JoinSet<Result<()>>,
}

impl Schedule {
    /// Runs the reconciler now, and then again after each interval `every`.
    #[must_use]
    pub fn start(stack: &Stack, every: Duration) -> Self {
        let stack = stack.clone();
        Self::of(every, move || {
            let stack = stack.clone();
            async move { invoke(&stack).await }
        })
    }

    /// Has the registrar send a canary now, and then again after each interval `every`.
    #[must_use]
    pub fn of_canaries(stack: &Stack, every: Duration) -> Self {
        let stack = stack.clone();
        Self::of(every, move || {
            let stack = stack.clone();
            async move { invoke_with(&stack, "RegistrarFunctionName", CANARY).await }
        })
    }

    fn of<F>(every: Duration, run: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Run>> + Send + 'static,
    {
        let (noted, runs) = watch::channel(Runs::default());
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(keep(every, run, noted, stopped));
        Self { runs, stop, task }
    }

    /// The counts of runs so far. A caller can wait for the next change.
    #[must_use]
    pub fn runs(&self) -> watch::Receiver<Runs> {
        self.runs.clone()
    }

    /// Waits until the schedule ends by itself, which it shouldn't, and returns the reason.
    pub async fn broken(&mut self) -> anyhow::Error {
        let error = match self.task.join_next().await {
            Some(Ok(Err(error))) => error,
            _ => anyhow!("the schedule ended without a reason"),
        };
        error.context("a schedule has stopped running its function")
    }

    /// Begins no more runs, waits for those under way, and returns the counts.
    ///
    /// # Errors
    ///
    /// Lambda didn't run one of them, which ended the schedule.
    pub async fn stop(mut self) -> Result<Runs> {
        // If the schedule has ended by itself, the reason comes below.
        let _ = self.stop.send(());
        while let Some(ended) = self.task.join_next().await {
            ended.context("the schedule's task was cancelled or panicked")??;
        }
        Ok(*self.runs.borrow())
    }
}

async fn keep<F>(
    every: Duration,
    run: impl Fn() -> F,
    runs: watch::Sender<Runs>,
    mut stopped: oneshot::Receiver<()>,
) -> Result<()>
where
    F: Future<Output = Result<Run>> + Send + 'static,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut under_way = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                runs.send_modify(|runs| runs.begun += 1);
                under_way.spawn(timed(run()));
            }
            Some(ended) = under_way.join_next() => note(&runs, ended)?,
            _ = &mut stopped => break,
        }
    }
    while let Some(ended) = under_way.join_next().await {
        note(&runs, ended)?;
    }
    Ok(())
}

type Timed = Result<(Run, Duration)>;

async fn timed(run: impl Future<Output = Result<Run>>) -> Timed {
    let began = Instant::now();
    Ok((run.await?, began.elapsed()))
}

fn note(runs: &watch::Sender<Runs>, ended: Result<Timed, tokio::task::JoinError>) -> Result<()> {
    let (run, took) = ended.context("the task of a run was cancelled or panicked")??;
    runs.send_modify(|runs| runs.note(&run, took));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use anyhow::bail;

    use super::*;

    const OFTEN: Duration = Duration::from_millis(5);

    #[test]
    fn a_run_that_was_killed_is_told_from_one_that_failed() {
        let run = |kind: &str| {
            let payload = format!(r#"{{"errorType": "{kind}", "errorMessage": "why"}}"#);
            failed(payload.as_bytes()).unwrap()
        };
        assert_eq!(run("Runtime.ExitError"), Run::Died);
        assert_eq!(run("Sandbox.Timedout"), Run::TimedOut);
        assert_eq!(run("Other"), Run::Failed("Other: why".to_owned()));
        assert!(failed(b"").is_err());
    }

    #[tokio::test]
    async fn a_run_that_hangs_does_not_stop_the_schedule() {
        let begun = AtomicU32::new(0);
        let schedule = Schedule::of(OFTEN, move || {
            let is_first = begun.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if is_first {
                    std::future::pending::<()>().await;
                }
                Ok(Run::Died)
            }
        });
        let mut runs = schedule.runs();
        let runs = runs.wait_for(|runs| runs.died == 3).await.unwrap();
        assert!(runs.begun >= 4);
    }

    #[tokio::test]
    async fn stopping_waits_for_what_is_under_way() {
        let schedule = Schedule::of(Duration::from_hours(1), || async {
            tokio::time::sleep(OFTEN).await;
            Ok(Run::Done)
        });
        let mut begun = schedule.runs();
        begun.wait_for(|runs| runs.begun == 1).await.unwrap();
        let runs = schedule.stop().await.unwrap();
        assert_eq!((runs.begun, runs.done), (1, 1));
        assert!(runs.took >= Some(OFTEN));
    }

    #[tokio::test]
    async fn a_run_that_cannot_begin_ends_the_schedule() {
        let start = || Schedule::of(OFTEN, || async { bail!("no such function") });
        let broken = format!("{:#}", start().broken().await);
        assert!(broken.ends_with("no such function"), "{broken}");
        let schedule = start();
        let mut runs = schedule.runs();
        while runs.changed().await.is_ok() {}
        let error = schedule.stop().await.unwrap_err().to_string();
        assert_eq!(error, "no such function");
    }
}
