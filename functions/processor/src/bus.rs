//! The event bus.
//!
//! [`BusEntry`] and [`BusError`] name no type of EventBridge's, so that another kind of bus can stand behind
//! [`Services`](crate::services::Services).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_eventbridge::operation::put_events::PutEventsError;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use jiff::Timestamp;
use shared::aws::CallError;
use shared::published::{Detail, SOURCE};
use tokio::time::{Instant, timeout_at};

use crate::timing::LEAST_CALL;

/// The most entries of one `PutEvents` call.
const MOST_ENTRIES: usize = 10;

/// The most bytes of all entries of one call together, and so of one entry, in any region. The API
/// reference says "less than 1MB", and doesn't say how many bytes a MB has. A region may accept
/// less, for example 256 KB. Its answer says what is too large there.
const MOST_BYTES: usize = 1_000_000 - 1;

/// The bytes that EventBridge counts for `Time`, whatever its value.
const TIME_BYTES: usize = 14;

/// How often an entry is tried if the bus refuses it only for the moment.
const TRIES: u32 = 3;

/// The pause before the second try. The pause before the third is twice as long.
const PAUSE: Duration = Duration::from_millis(100);

/// One event, ready to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusEntry {
    /// AURA's event name.
    pub message: String,
    /// The time of the delivery's arrival.
    pub received_at: Timestamp,
    /// A [`Detail`] as JSON.
    pub detail: String,
}

/// Why an event is not on the bus, as far as is known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// The bus doesn't exist, or nobody could confirm that it does. Nothing was sent, because
    /// EventBridge accepts events for a bus that doesn't exist and drops them.
    #[error(transparent)]
    Unconfirmed(Arc<CallError>),
    /// The call failed.
    #[error("{error}")]
    Call {
        /// The failure.
        #[source]
        error: Arc<CallError>,
        /// Whether the same call can never succeed.
        is_permanent: bool,
    },
    /// The call succeeded, but the entry in it failed.
    #[error("event bus: entry refused: {code}")]
    Entry {
        /// EventBridge's code.
        code: String,
    },
    /// There was no answer in time. The event may be on the bus.
    #[error("event bus: no answer in time")]
    TimedOut,
}

/// The codes of entries that EventBridge will never accept. Refusals that we can mend, such as a
/// missing permission, are not among them.
const PERMANENT_CODES: [&str; 3] = ["MalformedDetail", "InvalidArgument", "ValidationException"];

/// The status of a call whose body is too large.
const CONTENT_TOO_LARGE: u16 = 413;

impl BusError {
    /// Whether this event can never be published as it is. Another try would only delay the events
    /// behind it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unconfirmed(_) | Self::TimedOut => false,
            Self::Call { is_permanent, .. } => *is_permanent,
            Self::Entry { code } => PERMANENT_CODES.contains(&code.as_str()),
        }
    }

    /// Whether the bus may accept the same entry a moment later.
    fn is_momentary(&self) -> bool {
        matches!(self, Self::Entry { .. }) && !self.is_permanent()
    }
}

impl BusEntry {
    /// Makes an entry with this detail.
    ///
    /// # Errors
    ///
    /// The detail can't be written as JSON.
    pub fn new(detail: &Detail<'_>) -> Result<Self, serde_json::Error> {
        Ok(Self {
            message: detail.message.to_owned(),
            received_at: detail.received_at,
            detail: serde_json::to_string(detail)?,
        })
    }

    /// Whether the entry is small enough for the bus.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.size() <= MOST_BYTES
    }

    /// The entry's size in bytes, as EventBridge counts it.
    fn size(&self) -> usize {
        TIME_BYTES + SOURCE.len() + self.message.len() + self.detail.len()
    }
}

/// The event bus in EventBridge.
#[derive(Debug)]
pub struct EventBridge {
    client: Client,
    bus_name: String,
    /// Whether the bus has been seen.
    is_there: AtomicBool,
}

/// The result of each entry. `None` while it isn't known.
type Results = [Option<Result<String, BusError>>];

impl EventBridge {
    /// The bus called `bus_name`.
    #[must_use]
    pub fn new(client: Client, bus_name: String) -> Self {
        Self {
            client,
            bus_name,
            is_there: AtomicBool::new(false),
        }
    }

    /// Makes sure that the bus exists. Stops asking once the bus was seen: AWS deletes no bus that
    /// still has rules.
    ///
    /// # Errors
    ///
    /// The bus doesn't exist, or EventBridge didn't answer. The next publish asks again.
    pub async fn confirm(&self) -> Result<(), BusError> {
        if self.is_there.load(Ordering::Relaxed) {
            return Ok(());
        }
        let call = self.client.describe_event_bus().name(&self.bus_name).send();
        let unconfirmed = CallError::of("event bus: not known to exist", "DescribeEventBus");
        call.await
            .map_err(|error| BusError::Unconfirmed(Arc::new(unconfirmed(error))))?;
        self.is_there.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Publishes events. Returns for each, in order, its id on the bus, or why it isn't on the bus
    /// as far as is known. Takes no longer than `time`.
    pub async fn publish(
        &self,
        entries: &[&BusEntry],
        time: Duration,
    ) -> Vec<Result<String, BusError>> {
        let mut results = vec![None; entries.len()];
        let end = Instant::now() + time;
        // Answers that came before the time ran out count.
        let _ = timeout_at(end, self.publish_all(entries, end, &mut results)).await;
        let result = |result: Option<_>| result.unwrap_or(Err(BusError::TimedOut));
        results.into_iter().map(result).collect()
    }

    async fn publish_all(&self, entries: &[&BusEntry], end: Instant, results: &mut Results) {
        if let Err(error) = self.confirm().await {
            return results.fill(Some(Err(error)));
        }
        let mut open: Vec<usize> = (0..entries.len()).collect();
        for n in 0..TRIES {
            if n > 0 {
                tokio::time::sleep(PAUSE * 2_u32.pow(n - 1)).await;
            }
            for call in calls(entries, &open) {
                self.put(entries, &call, end, results).await;
            }
            open.retain(|index| match results.get(*index) {
                Some(Some(Err(error))) => error.is_momentary(),
                _ => false,
            });
            if open.is_empty() {
                return;
            }
        }
    }

    /// Makes one call for the entries with these indices. If the call was too large, makes one for
    /// each half. If an entry may have made it fail, makes one for each entry. Starts no call that
    /// might be cut off at `end`.
    async fn put(
        &self,
        entries: &[&BusEntry],
        indices: &[usize],
        end: Instant,
        results: &mut Results,
    ) {
        if end.saturating_duration_since(Instant::now()) < LEAST_CALL {
            return;
        }
        let answer = self.call(entries, indices).await;
        match answer {
            Ok(answers) => {
                let mut answers = answers.into_iter();
                for index in indices {
                    set(results, *index, event_id(answers.next()));
                }
            }
            Err(error) if indices.len() > 1 && is_too_large(&error) => {
                let (first, second) = indices.split_at(indices.len() / 2);
                for half in [first, second] {
                    Box::pin(self.put(entries, half, end, results)).await;
                }
            }
            Err(error) if indices.len() > 1 && may_be_about_an_entry(&error) => {
                self.put_each(entries, indices, end, results).await;
            }
            Err(error) => {
                let is_permanent = is_invalid(&error) || is_too_large(&error);
                let error = Arc::new(CallError::of("event bus", "PutEvents")(error));
                let error = BusError::Call {
                    error,
                    is_permanent,
                };
                for index in indices {
                    set(results, *index, Err(error.clone()));
                }
            }
        }
    }

    /// Makes a call for each entry. If two entries fail for reasons that don't lie in the entries,
    /// the bus has failed, and the other entries fail too.
    async fn put_each(
        &self,
        entries: &[&BusEntry],
        indices: &[usize],
        end: Instant,
        results: &mut Results,
    ) {
        let mut failures: Vec<BusError> = Vec::new();
        for index in indices {
            match failures.get(1) {
                None => Box::pin(self.put(entries, &[*index], end, results)).await,
                Some(error) => set(results, *index, Err(error.clone())),
            }
            if let Some(Some(Err(error))) = results.get(*index)
                && !error.is_permanent()
            {
                failures.push(error.clone());
            }
        }
    }

    async fn call(
        &self,
        entries: &[&BusEntry],
        indices: &[usize],
    ) -> Result<Vec<PutEventsResultEntry>, SdkError<PutEventsError>> {
        let entry = |index: &usize| {
            let entry = entries.get(*index)?;
            let entry = PutEventsRequestEntry::builder()
                .event_bus_name(&self.bus_name)
                .source(SOURCE)
                .detail_type(&entry.message)
                .time(DateTime::from_millis(entry.received_at.as_millisecond()))
                .detail(&entry.detail);
            Some(entry.build())
        };
        let entries = indices.iter().filter_map(entry).collect();
        let call = self.client.put_events().set_entries(Some(entries));
        Ok(call.send().await?.entries.unwrap_or_default())
    }
}

/// Splits the indices into calls, so that no call is too large.
fn calls(entries: &[&BusEntry], indices: &[usize]) -> Vec<Vec<usize>> {
    let mut calls: Vec<Vec<usize>> = Vec::new();
    let mut bytes = 0;
    for index in indices {
        let size = entries.get(*index).map_or(0, |entry| entry.size());
        match calls.last_mut() {
            Some(call) if call.len() < MOST_ENTRIES && bytes + size <= MOST_BYTES => {
                call.push(*index);
                bytes += size;
            }
            _ => {
                calls.push(vec![*index]);
                bytes = size;
            }
        }
    }
    calls
}

fn set(results: &mut Results, index: usize, result: Result<String, BusError>) {
    if let Some(place) = results.get_mut(index) {
        *place = Some(result);
    }
}

/// Whether one entry may have made the call fail: EventBridge found it invalid, or failed because
/// of it. The other entries shouldn't fail with it.
fn may_be_about_an_entry(error: &SdkError<PutEventsError>) -> bool {
    is_invalid(error) || status(error) == Some(500)
}

fn is_invalid(error: &SdkError<PutEventsError>) -> bool {
    let code = error.code();
    code.is_some_and(|code| PERMANENT_CODES.contains(&code))
}

/// Whether a call has more bytes than this region accepts. The answer may not be EventBridge's own,
/// so only the status counts.
fn is_too_large(error: &SdkError<PutEventsError>) -> bool {
    status(error) == Some(CONTENT_TOO_LARGE)
}

fn status(error: &SdkError<PutEventsError>) -> Option<u16> {
    let response = error.raw_response()?;
    Some(response.status().as_u16())
}

/// The id of an accepted entry. `PutEvents` reports a failed entry inside a 200.
fn event_id(answer: Option<PutEventsResultEntry>) -> Result<String, BusError> {
    let code = match answer {
        Some(PutEventsResultEntry {
            event_id: Some(id), ..
        }) => return Ok(id),
        Some(PutEventsResultEntry {
            error_code: Some(code),
            ..
        }) => code,
        _ => "the answer has no result for this entry".to_owned(),
    };
    Err(BusError::Entry { code })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> BusEntry {
        BusEntry {
            message: String::new(),
            received_at: Timestamp::UNIX_EPOCH,
            detail: "x".repeat(bytes - TIME_BYTES - SOURCE.len()),
        }
    }

    #[test]
    fn an_entry_that_failed_inside_a_200_is_a_failure() {
        let failed = PutEventsResultEntry::builder().error_code("ThrottlingException");
        let error = event_id(Some(failed.build())).unwrap_err();
        assert!(error.to_string().contains("ThrottlingException"), "{error}");
        assert!(!error.is_permanent());
        assert!(error.is_momentary());
    }

    #[test]
    fn an_answer_without_the_entry_is_no_success() {
        event_id(None).unwrap_err();
        event_id(Some(PutEventsResultEntry::builder().build())).unwrap_err();
    }

    #[test]
    fn what_eventbridge_will_never_take_is_permanent() {
        let refused = |code: &str| BusError::Entry { code: code.into() };
        assert!(refused("MalformedDetail").is_permanent());
        assert!(!refused("InternalFailure").is_permanent());
        assert!(!refused("NotAuthorizedForSourceException").is_permanent());
    }

    #[test]
    fn a_call_holds_ten_entries_and_a_million_bytes_less_one() {
        let small = entry(100);
        let small = [&small; 11];
        let all: Vec<_> = (0..11).collect();
        assert_eq!(calls(&small, &all), [(0..10).collect::<Vec<_>>(), vec![10]]);
        let large = [500_000, 499_999, 100].map(entry);
        assert_eq!(calls(&large.each_ref(), &[0, 1, 2]), [vec![0, 1], vec![2]]);
        assert!(entry(999_999).fits());
        assert!(!entry(1_000_000).fits());
    }
}
