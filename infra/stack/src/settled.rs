//! When the system is done with what it was given: only then is a count a verdict.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::consumers::{Consumers, PATIENCE, Published, Queue};
use crate::stack::Stack;

/// Waits until the processor is done with all that was queued so far: what isn't published then
/// never will be.
///
/// # Errors
///
/// SQS doesn't answer, or for [`PATIENCE`] the queue hasn't become shorter.
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
            "the ingest queue isn't drained"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Everything that consumers get of what was queued so far, doubles included: the local bus has put
/// an event on their queues when the processor hears that it took it.
///
/// # Errors
///
/// As for [`drained`], or a consumer's queue can't be read.
pub async fn all_published(stack: &Stack, consumers: &mut Consumers) -> Result<Vec<Published>> {
    drained(stack).await?;
    consumers.all().await
}
