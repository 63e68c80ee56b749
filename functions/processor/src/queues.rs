//! The queues: where a record comes back to, and where one goes that can never be processed.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{BuildError, SdkError};
use aws_sdk_sqs::operation::change_message_visibility_batch::ChangeMessageVisibilityBatchError;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use shared::quarantine::Quarantined;
use shared::queue::{Queue, QueueError};

/// When a record becomes visible in the queue again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityChange {
    /// SQS's handle of this very receive.
    pub receipt_handle: String,
    /// From now; SQS takes whole seconds, so it is rounded up.
    pub time: Duration,
}

/// Some records come back when the queue's own visibility timeout is over.
#[derive(Debug, thiserror::Error)]
pub enum VisibilityError {
    /// A value is missing.
    #[error("visibility: the call can't be built")]
    Build(#[from] BuildError),
    /// The call failed.
    #[error("visibility: {}", shared::aws::describe(.0))]
    Call(#[from] Box<SdkError<ChangeMessageVisibilityBatchError>>),
    /// Some of them were refused.
    #[error("visibility: {failed} of {all} records refused: {code}")]
    Entries {
        /// How many were refused.
        failed: usize,
        /// How many there were.
        all: usize,
        /// SQS's code for one of them.
        code: String,
    },
}

/// The real queues.
#[derive(Debug)]
pub struct SqsQueues {
    client: Client,
    ingest_url: String,
    quarantine: Queue,
}

impl SqsQueues {
    /// The queue that records come from, and the one for what can't be processed.
    #[must_use]
    pub fn new(client: Client, ingest_url: String, quarantine_url: String) -> Self {
        Self {
            quarantine: Queue::new(client.clone(), quarantine_url),
            client,
            ingest_url,
        }
    }

    /// Quarantines what can never be processed; `Ok` says that it is stored.
    pub async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), QueueError> {
        self.quarantine.send(&item.message()).await
    }

    /// Sets when records that aren't settled become visible again, unless they are deleted before.
    pub async fn change_visibility(
        &self,
        changes: &[VisibilityChange],
    ) -> Result<(), VisibilityError> {
        if changes.is_empty() {
            return Ok(());
        }
        let entries: Result<_, _> = changes.iter().enumerate().map(entry).collect();
        let answer = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.ingest_url)
            .set_entries(Some(entries?))
            .send()
            .await
            .map_err(Box::new)?;
        match answer.failed.first() {
            None => Ok(()),
            Some(refused) => Err(VisibilityError::Entries {
                failed: answer.failed.len(),
                all: changes.len(),
                code: refused.code.clone(),
            }),
        }
    }
}

fn entry(
    (number, change): (usize, &VisibilityChange),
) -> Result<ChangeMessageVisibilityBatchRequestEntry, BuildError> {
    ChangeMessageVisibilityBatchRequestEntry::builder()
        .id(number.to_string())
        .receipt_handle(&change.receipt_handle)
        .visibility_timeout(whole_seconds(change.time))
        .build()
}

fn whole_seconds(time: Duration) -> i32 {
    let up = u64::from(time.subsec_nanos() > 0);
    i32::try_from(time.as_secs().saturating_add(up)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_is_a_second() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::from_millis(2001)), 3);
    }
}
