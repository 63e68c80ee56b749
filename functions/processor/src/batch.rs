//! Processes a batch of records in waves. A wave has one record of each group. Failures are
//! reported per record.
//!
//! SQS hides a batch for the queue's visibility timeout, which is six times the function's timeout.
//! If the process dies, the records come back after that. No call is made for it, because hardly any
//! process dies, and each call costs money. A batch with a record that was handed over before is
//! hidden anew when processing starts, until a little after its leases end. So what dies again comes
//! back sooner. A batch that waited for so long that it could come back before its leases end is
//! hidden anew too. At the end, failed records are hidden for as long as [`crate::timing`] says.

use std::collections::VecDeque;
use std::panic::catch_unwind;
use std::time::Duration;

use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use futures::future::join;
use jiff::Timestamp;
use shared::event::Event;
use tokio::time::timeout;

use crate::metrics::{BatchMetrics, RecordLine};
use crate::notes::BatchNotes;
use crate::outcome::RecordOutcome;
use crate::queues::VisibilityChange;
use crate::record::Processor;
use crate::record::incoming::Record;
use crate::services::Services;
use crate::timing::{self, asking_time, hidden_for, queue_hides_until_lease_ends};
use crate::wave;

/// How long a batch waits until it is hidden anew.
const HIDING_TIME: Duration = Duration::from_secs(1);

/// How long the end of a batch waits for the note of AURA's last delivery.
const NOTING_TIME: Duration = Duration::from_millis(500);

/// The time kept free after the last call, so that the report isn't late.
const RESERVE: Duration = Duration::from_millis(100);

/// The most seconds between the groups of a batch that comes back again. One group may kill the
/// process, and the others must not die with it each time.
const MOST_SPREAD: u32 = 10;

/// The records of one message group.
#[derive(Default)]
struct Group {
    /// The records that are not done, in order of arrival.
    open: VecDeque<Record>,
    done: Vec<(Record, RecordOutcome)>,
}

/// Processes a batch and reports which records SQS has to hand over again.
///
/// A group keeps its order. It stops at its first failure, and its other records are reported
/// failed too. The invocation ends at `deadline`.
pub async fn process<S: Services>(
    processor: &Processor<S>,
    event: SqsEvent,
    deadline: Timestamp,
) -> SqsBatchResponse {
    let metrics = BatchMetrics::start((processor.now)());
    let mut metrics = metrics.append_on_drop(processor.metrics.clone());
    let mut groups = in_groups(event);
    hide_if_needed(processor, &groups, deadline).await;
    let time = asking_time(processor.time_until(deadline));
    let notes = BatchNotes::look_up(&processor.services, events(&groups), time).await;
    process_in_waves(processor, &mut groups, &notes, deadline).await;
    let note = timeout(NOTING_TIME, note_delivery(processor));
    let (_noted, ()) = join(note, hide_failed(processor, &groups, deadline)).await;
    let mut response = SqsBatchResponse::default();
    let now = (processor.now)();
    for (record, outcome) in groups.into_iter().flat_map(|group| group.done) {
        drop(RecordLine::new(&record, outcome, now).append_on_drop(processor.metrics.clone()));
        metrics.record(&record, outcome, now);
        if outcome.is_settled() {
            tell_of_foreign_canary(&record, &notes, &mut metrics);
        } else {
            response.add_failure(record.message_id.clone());
        }
    }
    response
}

/// Hides a batch that may have killed the process before, or that may come back before its leases end. If
/// the process dies, its records must be hidden until then.
async fn hide_if_needed<S: Services>(
    processor: &Processor<S>,
    groups: &[Group],
    deadline: Timestamp,
) {
    let left = processor.time_until(deadline);
    let now = (processor.now)();
    if !groups.iter().any(|group| group.is_to_be_hidden(now, left)) {
        return;
    }
    let hiding = hide_until_deadline(processor, groups, left);
    if timeout(HIDING_TIME, hiding).await.is_err() {
        tracing::warn!(
            "if this process dies, its records come back at another time than they should"
        );
    }
}

/// Processes the first open record of each group, then the second, and so on, until no group is open.
async fn process_in_waves<S: Services>(
    processor: &Processor<S>,
    groups: &mut [Group],
    notes: &BatchNotes,
    deadline: Timestamp,
) {
    loop {
        let mut open: Vec<_> = groups.iter_mut().filter(|group| group.is_open()).collect();
        if open.is_empty() {
            return;
        }
        let heads: Vec<_> = open
            .iter_mut()
            .filter_map(|group| group.open.pop_front())
            .collect();
        let outcomes = wave::process(processor, &heads, notes, deadline).await;
        for (group, (record, outcome)) in open.into_iter().zip(heads.into_iter().zip(outcomes)) {
            group.end(record, outcome);
        }
    }
}

/// Raises the alarm if the record is a canary that the registrar has not announced.
fn tell_of_foreign_canary(record: &Record, notes: &BatchNotes, metrics: &mut BatchMetrics) {
    let is_foreign = |event| notes.is_foreign_canary(event);
    if record.event_read().is_some_and(is_foreign) {
        let (message_id, envelope) = (&record.message_id, record.envelope());
        let delivery_id = envelope.map(|its| tracing::field::display(its.delivery_id));
        tracing::error!(
            message_id,
            delivery_id,
            "a canary came that the registrar has not announced: somebody else has the secret"
        );
        metrics.foreign_canary();
    }
}

impl Group {
    fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a record was handed over before, or could come back before its lease ends.
    fn is_to_be_hidden(&self, now: Timestamp, left: Duration) -> bool {
        let mut open = self.open.iter();
        open.any(|record| {
            record.receives > 1 || !queue_hides_until_lease_ends(record.waited(now), left)
        })
    }

    /// Notes the outcome of the first record. If it isn't settled, the other records have to wait.
    fn end(&mut self, record: Record, outcome: RecordOutcome) {
        self.done.push((record, outcome));
        if !outcome.is_settled() {
            let others = self.open.drain(..);
            self.done
                .extend(others.map(|record| (record, RecordOutcome::Postponed)));
        }
    }

    /// The records of the group that come back. All come back when the first of them does.
    fn failed(&self, pause: impl Fn(&Record, RecordOutcome) -> Duration) -> Vec<VisibilityChange> {
        let failed = self
            .done
            .iter()
            .filter(|(_, outcome)| !outcome.is_settled());
        let Some((first, outcome)) = failed.clone().next() else {
            return Vec::new();
        };
        let pause = pause(first, *outcome);
        failed
            .filter_map(|(record, _)| record.back_after(pause))
            .collect()
    }
}

/// Splits the records into message groups, in order of arrival.
fn in_groups(event: SqsEvent) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for record in event.records.into_iter().map(Record::from) {
        let is_its = |group: &&mut Group| {
            let first = group.open.front();
            first.is_some_and(|first| first.group == record.group)
        };
        match groups.iter_mut().find(is_its) {
            Some(group) => group.open.push_back(record),
            None => groups.push(Group {
                open: [record].into(),
                done: Vec::new(),
            }),
        }
    }
    groups
}

/// The events of all readable records. A record that panics here panics again in its own turn, and
/// fails alone.
fn events<'a>(groups: &'a [Group]) -> impl Iterator<Item = &'a Event> {
    let records = groups.iter().flat_map(|group| &group.open);
    let event = |record: &'a Record| catch_unwind(|| record.event()).ok()?.ok();
    records.filter_map(event).map(|incoming| &incoming.event)
}

/// Hides the batch until soon after its leases end, in case nobody reports it.
async fn hide_until_deadline<S: Services>(
    processor: &Processor<S>,
    groups: &[Group],
    left: Duration,
) {
    let time = hidden_for(left);
    let hidden = |group: &Group| {
        let receives = group.open.front().map_or(1, |record| record.receives);
        let most = Duration::from_secs(receives.saturating_sub(1).min(MOST_SPREAD).into());
        let time = time + most.mul_f64((processor.random)());
        let hidden = group
            .open
            .iter()
            .filter_map(|record| record.back_after(time));
        hidden.collect::<Vec<_>>()
    };
    let hidden: Vec<_> = groups.iter().flat_map(hidden).collect();
    hide(&processor.services, &hidden).await;
}

/// Hides each failed record until its next try.
async fn hide_failed<S: Services>(processor: &Processor<S>, groups: &[Group], deadline: Timestamp) {
    let pause = |record: &Record, outcome| {
        timing::pause(
            outcome,
            record.receives,
            (processor.now)(),
            (processor.random)(),
        )
    };
    let failed: Vec<_> = groups
        .iter()
        .flat_map(|group| group.failed(pause))
        .collect();
    if failed.is_empty() {
        return;
    }
    let time = processor.time_until(deadline).saturating_sub(RESERVE);
    let hiding = hide(&processor.services, &failed);
    if timeout(time, hiding).await.is_err() {
        tracing::warn!(
            "failed records may come back at another time than they should: SQS did not answer in \
             time"
        );
    }
}

async fn hide<S: Services>(services: &S, changes: &[VisibilityChange]) {
    if let Err(error) = services.change_visibility(changes).await {
        tracing::warn!(%error, "records may come back at another time than they should");
    }
}

/// Notes the time of AURA's last delivery, if that is due. If this fails, the next batch tries
/// again.
async fn note_delivery<S: Services>(processor: &Processor<S>) {
    let Some(arrived) = processor.deliveries.to_note() else {
        return;
    };
    match processor.services.delivered(arrived).await {
        Ok(()) => processor.deliveries.noted(arrived),
        Err(error) => tracing::warn!(%error, "the time of AURA's last delivery could not be noted"),
    }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;
