//! Puts spilled deliveries on their queues, oldest first. A delivery leaves the spill when SQS has
//! confirmed it. It keeps its deduplication id: a message that SQS had all along, or that a run
//! sent before it died, stays one message; after five minutes the ledger drops the second.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use shared::aws::CallError;
use shared::ledger::SHARDS;
use shared::ledger::spill::{Spill, Spilled};
use shared::queue::{Destination, Outgoing, Queue};
use tokio::time::{Instant, timeout_at};

/// Number of deliveries of a shard that are read at once: with the largest bodies, 16 MiB.
const AT_ONCE: usize = 16;

/// Puts back what was spilled.
#[derive(Debug)]
pub struct Redrive {
    /// Where deliveries wait.
    pub spill: Spill,
    /// Where events go.
    pub ingest: Queue,
    /// Where deliveries go that can't be understood.
    pub quarantine: Queue,
}

/// What came of the spill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Number of deliveries that their queue has now.
    pub sent: usize,
    /// Number of items that can't be read. They stay.
    pub unreadable: usize,
    /// When the oldest delivery arrived that is left.
    pub oldest: Option<Timestamp>,
    /// Whether a call to AWS failed.
    pub failed: bool,
}

impl Redrive {
    /// Goes through all shards side by side, until nothing is left that can be sent, or time is
    /// over.
    pub async fn run(&self, deadline: Instant) -> Redriven {
        let shards = join_all((0..SHARDS).map(|shard| self.of_shard(shard, deadline))).await;
        shards.into_iter().fold(Redriven::default(), Redriven::with)
    }

    async fn of_shard(&self, shard: u8, deadline: Instant) -> Redriven {
        let mut done = Redriven::default();
        match timeout_at(deadline, self.drain(shard, &mut done)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, shard, "the spill can't be read");
                done.failed = true;
            }
            Err(_elapsed) => tracing::warn!(shard, "the next run goes on with the spill"),
        }
        done
    }

    /// Empties a shard. A delivery that can't be sent keeps the later ones of its message group
    /// waiting, and no others.
    async fn drain(&self, shard: u8, done: &mut Redriven) -> Result<(), CallError> {
        let mut stuck = HashSet::new();
        let mut after = None;
        loop {
            let page = self.spill.page(shard, after.as_ref(), AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.place());
            for spilled in page {
                // A delivery counts as left until it is gone: a run may end here at any time.
                let before = done.oldest;
                done.oldest = [before, spilled.arrived_at()].into_iter().flatten().min();
                match spilled {
                    Spilled::Delivery(delivery) => {
                        if self.settle(delivery, &mut stuck, done).await {
                            done.sent += 1;
                            done.oldest = before;
                        }
                    }
                    Spilled::Unreadable { sort_key, error } => {
                        tracing::error!(%error, sort_key, shard, "left in the spill");
                        done.unreadable += 1;
                    }
                }
            }
        }
    }

    /// Puts a delivery on its queue and takes it out of the spill; says whether both are done.
    async fn settle(
        &self,
        delivery: Outgoing,
        stuck: &mut HashSet<String>,
        done: &mut Redriven,
    ) -> bool {
        let group = &delivery.message.group_id;
        if stuck.contains(group) {
            return false;
        }
        let queue = match delivery.destination {
            Destination::Ingest => &self.ingest,
            Destination::Quarantine => &self.quarantine,
        };
        let delivery_id = delivery.delivery_id;
        if let Err(error) = queue.send(&delivery.message).await {
            tracing::error!(%error, %delivery_id, "can't be put back, stays in the spill");
            done.failed = true;
            stuck.insert(group.clone());
            return false;
        }
        // A later run may send it once more: then it is one message, or a duplicate.
        if let Err(error) = self.spill.remove(&delivery).await {
            tracing::error!(%error, %delivery_id, "put back, and still in the spill");
            done.failed = true;
            return false;
        }
        true
    }
}

impl Redriven {
    fn with(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            unreadable: self.unreadable + other.unreadable,
            oldest: [self.oldest, other.oldest].into_iter().flatten().min(),
            failed: self.failed || other.failed,
        }
    }

    /// Age of the oldest delivery that is left.
    #[must_use]
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        let age = self.oldest.map(|at| now.duration_since(at));
        age.and_then(|age| age.try_into().ok()).unwrap_or_default()
    }
}
