//! A wave: the first open record of every group, taken to its end side by side. All are claimed,
//! what was granted is published by one call, and what was published is marked. What the bus will
//! never take as it is goes out by a call of its own, without its payload.

use std::mem;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;

use crate::bus::{Bus, BusEntry, BusError};
use crate::drills::Drills;
use crate::failpoint::{self, Failpoint};
use crate::ledger::Ledger;
use crate::outcome::{Publication, RecordOutcome};
use crate::queues::Queues;
use crate::record::Record;
use crate::steps::{Claimed, Processor};
use crate::timing::{LEAST_CALL, Schedule, between};

/// How far a record of the wave is.
enum Stage {
    /// Its event may be published, and this is what goes out.
    Claimed(Claimed, BusEntry),
    /// Its event was offered to the bus, which said this.
    Offered(Claimed, Result<String, BusError>),
    /// Nothing more can be done now.
    Over(RecordOutcome),
}

/// Takes records of different groups to their ends and returns the outcomes in the same order.
///
/// `deadline` is when this invocation ends. What isn't published in time is reported failed;
/// what is published is settled, whatever the time. A record that panics fails alone.
pub(crate) async fn process<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    records: &[Arc<Record>],
    drills: &Arc<Drills>,
    deadline: Timestamp,
) -> Vec<RecordOutcome> {
    let Some(schedule) = Schedule::new((processor.now)(), deadline) else {
        return vec![RecordOutcome::Postponed; records.len()];
    };
    let claim = |record| claim(processor, record, drills, schedule);
    let stages = join_all(records.iter().map(claim)).await;
    let stages = publish(processor, stages, schedule).await;
    let end = |stage| async move {
        let stage = omit_refused(processor, stage, schedule).await;
        end(processor, stage, schedule).await
    };
    join_all(stages.into_iter().map(end)).await
}

/// Claims a record's event.
async fn claim<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    record: &Arc<Record>,
    drills: &Arc<Drills>,
    schedule: Schedule,
) -> Stage {
    let (of_task, its_record, drills) = (
        Arc::clone(processor),
        Arc::clone(record),
        Arc::clone(drills),
    );
    let lease_until = schedule.lease_until;
    let claim = async move { of_task.claim(&its_record, &drills, lease_until).await };
    match processor.isolated(claim, schedule.claimed_by).await {
        Ok(Ok((claimed, entry))) => Stage::Claimed(claimed, entry),
        Ok(Err(outcome)) => Stage::Over(outcome),
        Err(undone) => {
            let undone = processor.undone(record, undone, schedule.claimed_by);
            Stage::Over(undone.await)
        }
    }
}

/// Offers to the bus what is claimed.
async fn publish<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    mut stages: Vec<Stage>,
    schedule: Schedule,
) -> Vec<Stage> {
    let entries = stages.iter_mut().filter_map(|stage| match stage {
        Stage::Claimed(_, entry) => Some(mem::take(entry)),
        Stage::Offered(..) | Stage::Over(_) => None,
    });
    let mut answers = send(processor, entries.collect(), schedule)
        .await
        .into_iter();
    let offered = |stage| match stage {
        Stage::Claimed(claimed, _) => {
            let answer = answers.next().unwrap_or(Err(BusError::TimedOut));
            Stage::Offered(claimed, answer)
        }
        other => other,
    };
    stages.into_iter().map(offered).collect()
}

/// Offers an event that the bus will never take as it is once more, without its payload.
async fn omit_refused<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    stage: Stage,
    schedule: Schedule,
) -> Stage {
    let (claimed, error) = match stage {
        Stage::Offered(claimed, Err(error))
            if error.is_permanent() && claimed.omission.is_none() =>
        {
            (claimed, error)
        }
        other => return other,
    };
    let (of_task, record) = (Arc::clone(processor), Arc::clone(&claimed.record));
    let omit = async move { of_task.omit_payload(claimed, &error).await };
    match processor.isolated(omit, schedule.published_by).await {
        Ok(Ok((claimed, entry))) => {
            let answer = send(processor, vec![entry], schedule).await.pop();
            Stage::Offered(claimed, answer.unwrap_or(Err(BusError::TimedOut)))
        }
        Ok(Err(outcome)) => Stage::Over(outcome),
        Err(undone) => {
            let undone = processor.undone(&record, undone, schedule.published_by);
            Stage::Over(undone.await)
        }
    }
}

/// The bus's answers in the order of the entries; none if nothing was sent.
async fn send<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    entries: Vec<BusEntry>,
    schedule: Schedule,
) -> Vec<Result<String, BusError>> {
    if entries.is_empty() {
        return Vec::new();
    }
    failpoint::reach(Failpoint::AfterClaim).await;
    let time = processor.time_until(schedule.published_by);
    // After a stall the leases may have passed on: what isn't sent in time isn't sent.
    if time < LEAST_CALL {
        return Vec::new();
    }
    let processor = Arc::clone(processor);
    let task = tokio::spawn(async move { processor.bus.publish(&entries, time).await });
    let published = task.await.unwrap_or_default();
    if published.iter().any(Result::is_ok) {
        failpoint::reach(Failpoint::AfterPublish).await;
    }
    published
}

/// Marks what was published, and gives back what wasn't.
async fn end<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    stage: Stage,
    schedule: Schedule,
) -> RecordOutcome {
    let (claimed, published) = match stage {
        Stage::Offered(claimed, published) => (claimed, published),
        Stage::Claimed(claimed, _) => (claimed, Err(BusError::TimedOut)),
        Stage::Over(outcome) => return outcome,
    };
    let (of_task, record) = (Arc::clone(processor), Arc::clone(&claimed.record));
    match published {
        Ok(bus_event_id) => {
            let latency = between(claimed.identified.envelope.received_at, (processor.now)());
            let payload_omitted = claimed.omission.is_some();
            let mark = async move { of_task.mark(&claimed, &bus_event_id).await };
            let marked = processor
                .isolated(mark, schedule.ended_by)
                .await
                .unwrap_or(false);
            if !marked {
                tracing::error!(message_id = record.message_id, "published, and not marked");
            }
            RecordOutcome::Published(Publication {
                latency,
                payload_omitted,
                marked,
            })
        }
        Err(error) => {
            let give_back = async move { of_task.give_back(&claimed, &error).await };
            match processor.isolated(give_back, schedule.ended_by).await {
                Ok(outcome) => outcome,
                Err(undone) => processor.undone(&record, undone, schedule.ended_by).await,
            }
        }
    }
}
