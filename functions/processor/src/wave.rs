//! A wave takes the first open record of every group to its end, side by side. All events are
//! claimed, granted events are published by one call, and published events are marked. An event
//! that the bus will never accept with its payload is published without it, by a call of its own.

use std::panic::AssertUnwindSafe;

use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;

use crate::bus::{BusEntry, BusError};
use crate::failpoint::{self, Failpoint};
use crate::notes::BatchNotes;
use crate::outcome::RecordOutcome;
use crate::record::Processor;
use crate::record::incoming::Record;
use crate::record::outgoing::ClaimedEvent;
use crate::services::Services;
use crate::timing::{LEAST_CALL, Schedule};

/// Takes records of different groups to their ends, and returns the outcomes in the same order.
///
/// The invocation ends at `deadline`. An event that isn't published in time is reported failed. A
/// published event is settled, whatever the time. A record that panics fails alone.
pub(crate) async fn process<S: Services>(
    processor: &Processor<S>,
    records: &[Record],
    notes: &BatchNotes,
    deadline: Timestamp,
) -> Vec<RecordOutcome> {
    let Some(schedule) = Schedule::new((processor.now)(), deadline) else {
        return vec![RecordOutcome::Postponed; records.len()];
    };
    let claim = |record| processor.claim(record, notes, schedule);
    let claims = side_by_side(records.iter().map(claim)).await;
    let entries: Vec<_> = claims
        .iter()
        .flatten()
        .map(|claimed| &claimed.entry)
        .collect();
    let answers = publish(processor, &entries, schedule).await;
    let mut answers = answers.into_iter();
    let ends = claims.into_iter().map(|claim| {
        let claim = claim.map(|claimed| (claimed, answer_of(answers.next())));
        async move {
            match claim {
                Ok((claimed, answer)) => end(processor, claimed, answer, schedule).await,
                Err(outcome) => outcome,
            }
        }
    });
    side_by_side(ends).await
}

/// Waits for all futures, and returns their results in the same order. Each future is polled only
/// when it can make progress.
async fn side_by_side<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    // Boxed, because each has many kilobytes, and collecting moves it several times.
    let futures: FuturesOrdered<_> = futures.map(Box::pin).collect();
    futures.collect().await
}

/// Ends a record by the bus's answer. If the bus will never accept the event with its payload,
/// publishes it without the payload first.
async fn end<S: Services>(
    processor: &Processor<S>,
    mut claimed: ClaimedEvent<'_>,
    answer: Result<String, BusError>,
    schedule: Schedule,
) -> RecordOutcome {
    let answer = match answer {
        Err(error) if error.is_permanent() && claimed.omission.is_none() => {
            let omitted = processor.omit_payload(&mut claimed, &error, schedule);
            if let Err(outcome) = omitted.await {
                return outcome;
            }
            answer_of(publish(processor, &[&claimed.entry], schedule).await.pop())
        }
        answer => answer,
    };
    processor.end(&claimed, answer, schedule).await
}

/// Publishes the entries. Returns the bus's answers in the order of the entries, or nothing if
/// nothing was sent.
async fn publish<S: Services>(
    processor: &Processor<S>,
    entries: &[&BusEntry],
    schedule: Schedule,
) -> Vec<Result<String, BusError>> {
    if entries.is_empty() {
        return Vec::new();
    }
    failpoint::reach(Failpoint::AfterClaim).await;
    let time = processor.time_until(schedule.published_by);
    // After a stall, the leases may have ended. What can't be sent in time must not be sent.
    if time < LEAST_CALL {
        return Vec::new();
    }
    let publish = AssertUnwindSafe(processor.services.publish(entries, time));
    let answers = publish.catch_unwind().await.unwrap_or_default();
    if answers.iter().any(Result::is_ok) {
        failpoint::reach(Failpoint::AfterPublish).await;
    }
    answers
}

/// The bus's answer. An event without one may be on the bus or not.
fn answer_of(answer: Option<Result<String, BusError>>) -> Result<String, BusError> {
    answer.unwrap_or(Err(BusError::TimedOut))
}
