//! What waits in the spill, and its way back to the queues.

use anyhow::Result;
use local::stack::Stack;
use shared::queue::{Destination, Outgoing, Queue};
use shared::spill::{SHARDS, Spill, Spilled};

/// Sends all that waits in the spill to the queues that it is for, as it was meant to be sent,
/// and empties the spill.
///
/// # Errors
///
/// SQS or DynamoDB doesn't answer.
pub async fn redrive(stack: &Stack) -> Result<Vec<Outgoing>> {
    let queue = |output: &str| {
        let url = stack.output(output)?.to_owned();
        anyhow::Ok(Queue::new(stack.account().sqs(), url))
    };
    let (ingest, quarantine) = (queue("IngestQueueUrl")?, queue("QuarantineQueueUrl")?);
    let table = stack.output("LedgerTableName")?.to_owned();
    let spill = Spill::new(stack.account().dynamodb(), table);
    let mut redriven = Vec::new();
    for shard in 0..SHARDS {
        for spilled in spill.page(shard, None, usize::MAX).await? {
            let delivery = match spilled {
                Spilled::Delivery(delivery) => delivery,
                Spilled::Unreadable { error, .. } => return Err(error.into()),
            };
            let queue = match delivery.destination {
                Destination::Ingest => &ingest,
                Destination::Quarantine => &quarantine,
            };
            queue.send(&delivery.message).await?;
            spill.remove(&delivery).await?;
            redriven.push(delivery);
        }
    }
    Ok(redriven)
}
