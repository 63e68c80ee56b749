//! The queues: the ingest queue, which a failed record comes back to, and the quarantine, for
//! records that can never be processed.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use shared::aws::CallError;
use shared::quarantine::Quarantined;
use shared::queue::Queue;

/// When a record becomes visible in the queue again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibilityChange {
    /// SQS's handle of this receive.
    pub receipt_handle: String,
    /// The time from now. It is rounded up, because SQS accepts whole seconds.
    pub time: Duration,
}

/// AWS's name of the call that changes visibility.
const CHANGE: &str = "ChangeMessageVisibilityBatch";

/// The ingest queue and the quarantine queue in SQS.
#[derive(Debug)]
pub struct SqsQueues {
    client: Client,
    ingest_url: String,
    quarantine: Queue,
}

impl SqsQueues {
    /// Makes the queue that records come from, and the one for records that can't be processed.
    #[must_use]
    pub fn new(client: Client, ingest_url: String, quarantine_url: String) -> Self {
        Self {
            quarantine: Queue::new(client.clone(), quarantine_url),
            client,
            ingest_url,
        }
    }

    /// Puts what can never be processed into the quarantine. `Ok` means that it is stored.
    pub async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), CallError> {
        self.quarantine.send(&item.message()).await?;
        Ok(())
    }

    /// Sets when records that aren't settled become visible again, unless they are deleted first. If
    /// this fails, they come back after the queue's own visibility timeout.
    pub async fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<(), CallError> {
        if changes.is_empty() {
            return Ok(());
        }
        let entries: Result<_, _> = changes.iter().enumerate().map(entry).collect();
        let entries = entries.map_err(CallError::not_built("visibility", CHANGE))?;
        let answer = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.ingest_url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(CallError::of("visibility", CHANGE))?;
        match answer.failed.first() {
            None => Ok(()),
            Some(refused) => {
                let (failed, all) = (answer.failed.len(), changes.len());
                let reason = format!("{failed} of {all} records refused: {}", refused.code);
                Err(CallError::refused("visibility", CHANGE, reason))
            }
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
