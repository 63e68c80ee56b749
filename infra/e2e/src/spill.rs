//! Empties the spill: lets the reconciler put the deliveries back on their queues.

use anyhow::{Result, ensure};
use shared::ledger::SHARDS;
use shared::ledger::spill::{Spill, Spilled};
use shared::queue::Outgoing;
use stack::reconciler::{self, Run};
use stack::stack::Stack;

/// Runs the reconciler until it has put back everything in the spill, and returns what that was.
///
/// # Errors
///
/// Fails if DynamoDB or Lambda doesn't answer, or if the run fails.
pub async fn redrive(stack: &Stack) -> Result<Vec<Outgoing>> {
    let table = stack.output("LedgerTableName")?.to_owned();
    let spill = Spill::new(stack.account().dynamodb(), table);
    let mut waiting = Vec::new();
    for shard in 0..SHARDS {
        for spilled in spill.page(shard, None, usize::MAX).await? {
            match spilled {
                Spilled::Delivery(delivery) => waiting.push(delivery),
                Spilled::Unreadable { error, .. } => return Err(error.into()),
            }
        }
    }
    let run = reconciler::invoke(stack).await?;
    ensure!(run == Run::Done, "the reconciler's run ended with {run:?}");
    for shard in 0..SHARDS {
        let left = spill.page(shard, None, 1).await?;
        ensure!(left.is_empty(), "the spill still holds {left:?}");
    }
    Ok(waiting)
}
