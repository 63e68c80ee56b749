//! Waits until the system has processed everything that it got. Only then is a count a verdict.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::consumers::{Consumers, PATIENCE, Published, Queue};
use crate::stack::Stack;

/// Waits until the processor has handled all that was queued so far. What it has not published by then
/// will never be published.
///
/// # Errors
///
/// SQS doesn't answer, or the queue hasn't become shorter for [`PATIENCE`].
pub async fn drained(stack: &Stack) -> Result<()> {
    let queue = Queue::new(stack.account().sqs(), stack.output("IngestQueueUrl")?);
    let mut least = u64::MAX;
    let mut progress = Instant::now();
    loop {
        let depth = queue.depth().await?;
        if depth == 0 {
            return Ok(());
        }
        if depth < least {
            least = depth;
            progress = Instant::now();
        }
        ensure!(
            progress.elapsed() < PATIENCE,
            "the ingest queue still holds {depth} messages, and has not become shorter for {} s",
            PATIENCE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// All events that consumers get from what was queued so far, doubles included. When the local bus
/// tells the processor that it took an event, the event is already on their queues.
///
/// # Errors
///
/// As for [`drained`], or a consumer's queue can't be read.
pub async fn all_published(stack: &Stack, consumers: &mut Consumers) -> Result<Vec<Published>> {
    drained(stack).await?;
    consumers.all().await
}
