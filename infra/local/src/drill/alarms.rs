//! Reads the state of a stack's alarms.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::json;
use stack::boto;
use stack::stack::Stack;

/// How long to wait between two looks at an alarm.
const POLL: Duration = Duration::from_millis(500);

/// The state of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// The threshold isn't crossed.
    Ok,
    /// The threshold is crossed.
    Alarm,
    /// The alarm has not been evaluated, or has too few data points.
    InsufficientData,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    metric_alarms: Vec<Alarm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alarm {
    state_value: State,
    #[serde(default)]
    state_reason: String,
}

/// Waits until an alarm has a state. `alarm` is its name in the template.
///
/// # Errors
///
/// The stack doesn't have exactly one such alarm, or it doesn't get to the state in time.
pub async fn until(stack: &Stack, alarm: &str, state: State, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let now = look(stack, alarm).await?;
        if now.state_value == state {
            return Ok(());
        }
        if Instant::now() > deadline {
            let Alarm {
                state_value,
                state_reason,
            } = now;
            bail!(
                "{alarm} is {state_value:?} and not {state:?} after {} s: {state_reason}",
                patience.as_secs()
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn look(stack: &Stack, alarm: &str) -> Result<Alarm> {
    let prefix = format!("{}-{alarm}-", stack.name());
    let arguments = json!({"AlarmNamePrefix": prefix});
    let found = boto::call(stack.account(), "cloudwatch", "describe_alarms", arguments).await;
    let Described { mut metric_alarms } =
        found.with_context(|| format!("cannot read the state of {alarm}"))?;
    match (metric_alarms.pop(), metric_alarms.len()) {
        (Some(alarm), 0) => Ok(alarm),
        _ => bail!("the stack doesn't have exactly one alarm whose name begins with {prefix}"),
    }
}
