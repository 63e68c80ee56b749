//! Counts the CPU instructions per event of `processor`, and of the bare calls that it makes.

use anyhow::{Context as _, Result, ensure};
use bench_peers::plan::Plan;
use serde::Serialize;
use stack::progress::Stage;
use tokio::process::Command;

use super::batch::{Batch, Batches, Case};
use super::function::{Binaries, Function, Side};
use super::services::ProcessorServices;
use crate::aws::{Aws, Calls};
use crate::instructions::{Callgrind, per_unit, ratio};

/// Number of first batches that are not of the kind that is counted. They connect, and their events
/// are the first that come again in [`Case::Duplicates`].
const WARM_UP: u32 = 10;
/// By how many percent the lengths of the bare calls may differ from `processor`'s.
const TOLERANCE: usize = 10;

/// Instructions in user space per event, for one kind of batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instructions {
    /// Kind of the batches.
    pub case: Case,
    /// Number of batches that the difference is made of.
    pub batches: u32,
    /// Instructions of `processor`.
    pub processor: u64,
    /// Instructions of the bare calls.
    pub bare_calls: u64,
    /// Ratio of the two.
    pub ratio: f64,
}

/// The count to make.
#[derive(Debug)]
pub struct Counting<'a> {
    /// The functions' binaries.
    pub binaries: &'a Binaries,
    /// Number of batches of each kind that the difference is made of.
    pub batches: u32,
    /// How many percent of the events in [`Case::Duplicates`] are duplicates.
    pub duplicates: u32,
    /// What counts.
    pub callgrind: Callgrind,
}

/// What `processor` did with some batches.
struct Done {
    batches: Vec<Planned>,
    events: u32,
    calls: Calls,
}

/// A batch, and the calls that `processor` made for it.
struct Planned {
    plan: Plan,
    records: u32,
    new: usize,
}

struct Counted {
    processor: u64,
    bare_calls: u64,
    events: u32,
}

impl Counting<'_> {
    /// Counts the instructions for each kind of batch, in the order of [`Case::ALL`].
    ///
    /// # Errors
    ///
    /// Fails if an event failed, if a function ended, or if the bare calls were other calls than
    /// `processor`'s.
    pub async fn measure(&self, stage: &mut Stage) -> Result<Vec<Instructions>> {
        let mut all = Vec::new();
        for case in Case::ALL {
            let once = self.count(case, self.batches, stage).await?;
            let twice = self.count(case, 2 * self.batches, stage).await?;
            let events = twice.events - once.events;
            let processor = per_unit(once.processor, twice.processor, events)?;
            let bare_calls = per_unit(once.bare_calls, twice.bare_calls, events)?;
            all.push(Instructions {
                case,
                batches: self.batches,
                processor,
                bare_calls,
                ratio: ratio(processor, bare_calls),
            });
        }
        Ok(all)
    }

    /// All instructions of `processor` for `batches` batches, and those of a process that makes the
    /// same calls.
    async fn count(&self, case: Case, batches: u32, stage: &mut Stage) -> Result<Counted> {
        let name = |side: Side| format!("{}.{}.{batches}", side.name(), case.name());
        let run = async |command| self.process(command, case, batches).await;
        let (binary, side) = (&self.binaries.processor, Side::Processor);
        let (processor, done) = self
            .callgrind
            .count(&name(side), binary, stage, run)
            .await?;
        let run = async |command| make_calls(command, &done).await;
        let (binary, side) = (&self.binaries.bare_calls, Side::BareCalls);
        let (bare_calls, ()) = self
            .callgrind
            .count(&name(side), binary, stage, run)
            .await?;
        Ok(Counted {
            processor,
            bare_calls,
            events: done.events,
        })
    }

    async fn process(&self, command: Command, case: Case, batches: u32) -> Result<Done> {
        let aws = Aws::start(ProcessorServices::default()).await?;
        let mut function = Function::start_as(Side::Processor, command, &aws.endpoint()).await?;
        function.started().await?;
        aws.services().take_plan();
        let at_start = aws.calls();
        let mut supply = Batches::new(self.duplicates);
        let mut planned = Vec::new();
        let mut events = 0;
        let cases = (0..WARM_UP).map(|_| Case::Groups);
        for case in cases.chain((0..batches).map(|_| case)) {
            let batch = supply.make(case)?;
            function.process(&batch).await?;
            events += batch.records;
            planned.push(Planned {
                plan: aws.services().take_plan(),
                records: batch.records,
                new: batch.new,
            });
        }
        let calls = since(aws.calls(), &at_start);
        end(function, &aws)?;
        Ok(Done {
            batches: planned,
            events,
            calls,
        })
    }
}

/// Runs the bare calls, and checks that they are `processor`'s.
async fn make_calls(command: Command, done: &Done) -> Result<()> {
    let aws = Aws::start(ProcessorServices::default()).await?;
    let mut function = Function::start_as(Side::BareCalls, command, &aws.endpoint()).await?;
    function.started().await?;
    for Planned { plan, records, new } in &done.batches {
        let batch = Batch {
            event: serde_json::to_string(plan)?,
            records: *records,
            new: *new,
        };
        function.process(&batch).await?;
        let made = aws.services().take_plan();
        ensure!(
            made == *plan,
            "the bare calls are {made:?}, and processor's {plan:?}"
        );
    }
    ensure_alike(&aws.calls(), &done.calls)?;
    end(function, &aws)
}

fn end(function: Function, aws: &Aws<ProcessorServices>) -> Result<()> {
    let events = function.new_events();
    drop(function);
    aws.ensure_all_expected()?;
    aws.services().verify(events)
}

/// Checks that the bare calls are as many as `processor`'s, and about as long.
fn ensure_alike(bare: &Calls, processor: &Calls) -> Result<()> {
    ensure!(
        bare.keys().eq(processor.keys()),
        "the bare calls are of other operations than processor's: {bare:?}, {processor:?}"
    );
    for (operation, ours) in processor {
        let its = bare.get(operation).context("an operation is missing")?;
        let most = ours.bytes * TOLERANCE / 100;
        ensure!(
            its.calls == ours.calls && its.bytes.abs_diff(ours.bytes) <= most,
            "the bare calls of {operation} are not like processor's: {its:?}, {ours:?}"
        );
    }
    Ok(())
}

/// Subtracts the calls made before.
pub(super) fn since(mut after: Calls, before: &Calls) -> Calls {
    for (operation, before) in before {
        if let Some(after) = after.get_mut(operation) {
            after.calls -= before.calls;
            after.bytes -= before.bytes;
        }
    }
    after.retain(|_, sent| sent.calls > 0);
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Sent;

    fn calls(calls: &[(&str, u64, usize)]) -> Calls {
        let sent = |&(operation, calls, bytes): &(&str, _, _)| {
            (operation.to_owned(), Sent { calls, bytes })
        };
        calls.iter().map(sent).collect()
    }

    #[test]
    fn only_the_calls_of_a_series_are_counted() {
        let before = calls(&[("DescribeEventBus", 1, 20), ("UpdateItem", 400, 4_000)]);
        let after = calls(&[
            ("DescribeEventBus", 1, 20),
            ("PutEvents", 5, 50),
            ("UpdateItem", 500, 5_500),
        ]);
        let expected = calls(&[("PutEvents", 5, 50), ("UpdateItem", 100, 1_500)]);
        assert_eq!(since(after, &before), expected);
    }

    #[test]
    fn bare_calls_are_as_many_and_about_as_long() {
        let processor = calls(&[("PutEvents", 5, 1_000)]);
        ensure_alike(&processor, &processor).unwrap();
        ensure_alike(&calls(&[("PutEvents", 5, 1_100)]), &processor).unwrap();
        ensure_alike(&calls(&[("PutEvents", 5, 1_101)]), &processor).unwrap_err();
        ensure_alike(&calls(&[("PutEvents", 5, 899)]), &processor).unwrap_err();
        ensure_alike(&calls(&[("PutEvents", 6, 1_000)]), &processor).unwrap_err();
        ensure_alike(&calls(&[]), &processor).unwrap_err();
        let more = calls(&[("PutEvents", 5, 1_000), ("UpdateItem", 1, 10)]);
        ensure_alike(&more, &processor).unwrap_err();
    }
}
