//! A batch of records: groups side by side, each group in order, failures reported per record.

use std::sync::Arc;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::bus::Bus;
use crate::ledger::Ledger;
use crate::metrics::BatchMetrics;
use crate::quarantine::QuarantineStore;
use crate::record::{Outcome, Processor, Record};

/// Processes a batch and reports which records SQS has to hand over again.
///
/// The groups of a batch run side by side. Within a group, order is kept: it stops at its first
/// failure, and the rest of it is reported failed too. A record that panics fails its group
/// alone. `deadline` is when the invocation ends.
pub async fn process<L: Ledger, B: Bus, Q: QuarantineStore>(
    processor: &Arc<Processor<L, B, Q>>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    let metrics = BatchMetrics::start((processor.now)());
    let mut metrics = metrics.append_on_drop(processor.metrics.clone());
    let mut groups = JoinSet::new();
    for group in in_groups(event) {
        groups.spawn(process_group(Arc::clone(processor), group, deadline));
    }
    let mut response = SqsBatchResponse::default();
    for (message_id, outcome) in groups.join_all().await.into_iter().flatten() {
        metrics.record(&message_id, outcome);
        if !outcome.is_settled() {
            response.add_failure(message_id);
        }
    }
    response
}

/// The records of each message group, in the order in which they came.
fn in_groups(event: SqsEvent) -> Vec<Vec<Record>> {
    let mut groups: Vec<Vec<Record>> = Vec::new();
    for record in event.records.into_iter().map(Record::from) {
        let same = |group: &&mut Vec<Record>| {
            group
                .first()
                .is_some_and(|first| first.group == record.group)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    groups
}

async fn process_group<L: Ledger, B: Bus, Q: QuarantineStore>(
    processor: Arc<Processor<L, B, Q>>,
    group: Vec<Record>,
    deadline: Timestamp,
) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::with_capacity(group.len());
    let mut stopped = false;
    for record in group {
        let message_id = record.message_id.clone();
        let outcome = if stopped {
            Outcome::Postponed
        } else {
            process_record(Arc::clone(&processor), record, deadline).await
        };
        stopped |= !outcome.is_settled();
        outcomes.push((message_id, outcome));
    }
    outcomes
}

/// Processes a record in a task of its own: there a panic ends.
async fn process_record<L: Ledger, B: Bus, Q: QuarantineStore>(
    processor: Arc<Processor<L, B, Q>>,
    record: Record,
    deadline: Timestamp,
) -> Outcome {
    let task = tokio::spawn(async move { processor.process(&record, deadline).await });
    // The panic hook has logged the place.
    task.await.unwrap_or(Outcome::Panicked)
}

#[cfg(test)]
mod tests;
