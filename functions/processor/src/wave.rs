//! A wave: the first open record of every group, taken to its end side by side. All are claimed,
//! what was granted is published by one call, and what was published is marked.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;

use crate::bus::{Bus, BusError, Entry};
use crate::failpoint::{self, Step};
use crate::ledger::Ledger;
use crate::queues::Queues;
use crate::record::{Outcome, Publication, Record};
use crate::schedule::{LEAST_CALL, Schedule, between};
use crate::steps::{Claimed, Processor};

/// Takes records of different groups to their ends and returns the outcomes in the same order.
///
/// `deadline` is when this invocation ends. What isn't published in time is reported failed;
/// what is published is settled, whatever the time. A record that panics fails alone.
pub async fn process<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    records: &[Arc<Record>],
    deadline: Timestamp,
) -> Vec<Outcome> {
    let Some(schedule) = Schedule::new((processor.now)(), deadline) else {
        return vec![Outcome::Postponed; records.len()];
    };
    let claim = |record| claim(processor, record, schedule);
    let claims = join_all(records.iter().map(claim)).await;

    let mut entries = Vec::new();
    let claims: Vec<_> = claims
        .into_iter()
        .map(|claim| {
            claim.map(|(claimed, entry)| {
                entries.push(entry);
                claimed
            })
        })
        .collect();
    let mut published = publish(processor, entries, schedule).await.into_iter();

    let ends = claims.into_iter().map(|claim| {
        let published = claim.is_ok().then(|| published.next()).flatten();
        async move {
            match claim {
                Ok(claimed) => {
                    let published = published.unwrap_or(Err(BusError::TimedOut));
                    end(processor, claimed, published, schedule).await
                }
                Err(outcome) => outcome,
            }
        }
    });
    join_all(ends).await
}

/// Claims a record's event; the outcome, if it can't be published now.
async fn claim<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    record: &Arc<Record>,
    schedule: Schedule,
) -> Result<(Claimed, Entry), Outcome> {
    let (of_task, its_record) = (Arc::clone(processor), Arc::clone(record));
    let claim = async move { of_task.claim(&its_record, schedule.lease_until).await };
    match processor.isolated(claim, schedule.claimed_by).await {
        Ok(claimed) => claimed,
        Err(undone) => Err(processor.undone(record, undone, schedule.claimed_by).await),
    }
}

/// The bus's answers in the order of the entries; none if nothing was sent.
async fn publish<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    entries: Vec<Entry>,
    schedule: Schedule,
) -> Vec<Result<String, BusError>> {
    if entries.is_empty() {
        return Vec::new();
    }
    failpoint::reach(Step::AfterClaim).await;
    let time = processor.time_until(schedule.published_by);
    // After a stall the leases may have passed on: what isn't sent in time isn't sent.
    if time < LEAST_CALL {
        return Vec::new();
    }
    let processor = Arc::clone(processor);
    let task = tokio::spawn(async move { processor.bus.publish(&entries, time).await });
    let published = task.await.unwrap_or_default();
    if published.iter().any(Result::is_ok) {
        failpoint::reach(Step::AfterPublish).await;
    }
    published
}

/// Marks what was published, and gives back what wasn't.
async fn end<L: Ledger, B: Bus, Q: Queues>(
    processor: &Arc<Processor<L, B, Q>>,
    claimed: Claimed,
    published: Result<String, BusError>,
    schedule: Schedule,
) -> Outcome {
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
            Outcome::Published(Publication {
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
