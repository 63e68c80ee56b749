//! Has the registrar send a canary now, and follows it.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde::Serialize;
use shared::canary::{CanaryAnswer, CanaryRequest, partition};
use uuid::Uuid;

use crate::registrar;
use crate::stack::Stack;
use crate::timeline::happenings;
use crate::words::{Time, table};

/// How long to wait for the registrar. It waits 20 s for the canary, and Lambda may have to start
/// it first.
const PATIENCE: Duration = Duration::from_mins(1);

/// The way of a canary.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryTrip {
    /// Its id.
    pub id: Uuid,
    /// The hops that it made, in order.
    pub hops: Vec<Hop>,
    /// Milliseconds from the registrar's request until it saw the canary as published.
    pub milliseconds: u64,
}

/// One hop of the canary. Each function takes the time by its own clock, so a hop may seem to take
/// less than no time.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hop {
    /// What happened, such as `ingest has it`.
    pub what: String,
    /// When.
    pub at: Timestamp,
    /// Milliseconds since the hop before.
    pub milliseconds: i64,
}

/// Sends a canary. It changes nothing, and reaches no consumer.
///
/// # Errors
///
/// The registrar can't be called, or the canary didn't get to the bus. The error says how far it
/// came.
pub async fn send(stack: &Stack) -> Result<CanaryTrip> {
    let id = Uuid::now_v7();
    let request = CanaryRequest::Canary { id: Some(id) };
    let (sent_at, milliseconds) = match registrar::invoke(stack, &request, PATIENCE).await? {
        CanaryAnswer::Published {
            sent_at,
            milliseconds,
            ..
        } => (sent_at, milliseconds),
        CanaryAnswer::Failed { failure, .. } => bail!(
            "the canary {id} didn't get to the bus: {failure}. What to do: {}#canaryfailsalarm",
            stack.parameter("RunbookBaseUrl")
        ),
    };
    let events = happenings(stack, &partition(id)).await?;
    let event = events.first();
    let event = event.with_context(|| {
        format!("the registrar saw the canary {id}, but the ledger has lost it")
    })?;
    let times = [
        ("the registrar sent it", Some(sent_at)),
        ("ingest has it", event.received_at),
        ("the bus has it, and the ledger says so", event.published_at),
    ];
    Ok(CanaryTrip {
        id,
        hops: hops(times),
        milliseconds,
    })
}

/// The hops whose time is known.
fn hops<const N: usize>(times: [(&str, Option<Timestamp>); N]) -> Vec<Hop> {
    let mut before = None;
    let known = times.into_iter().filter_map(|(what, at)| Some((what, at?)));
    let hop = |(what, at): (&str, Timestamp)| {
        let since = at.duration_since(before.replace(at).unwrap_or(at));
        Hop {
            what: what.to_owned(),
            at,
            milliseconds: since.as_millis().try_into().unwrap_or(i64::MAX),
        }
    };
    known.map(hop).collect()
}

impl Display for CanaryTrip {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let row = |hop: &Hop| {
            let after = format!("+ {} ms", hop.milliseconds);
            [Time(hop.at).to_string(), after, hop.what.clone()]
        };
        let rows: Vec<_> = self.hops.iter().map(row).collect();
        writeln!(f, "{}", table(["when", "after", "what"], &rows))?;
        let (id, time) = (self.id, self.milliseconds);
        write!(
            f,
            "\nThe registrar saw the canary {id} as published after {time} ms."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_counts_from_the_hop_before_that_has_a_time() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).ok();
        let hops = hops([
            ("a", at(1000)),
            ("b", None),
            ("c", at(1250)),
            ("d", at(1240)),
        ]);
        let told: Vec<_> = hops
            .iter()
            .map(|hop| (hop.what.as_str(), hop.milliseconds))
            .collect();
        assert_eq!(told, [("a", 0), ("c", 250), ("d", -10)]);
    }
}
