//! Puts spilled deliveries back on their queues, oldest first. A delivery leaves the spill when SQS
//! has confirmed it. The message keeps its deduplication id. So if SQS has the message already
//! (from `ingest`, or from a run that was killed), SQS drops the second copy. After five minutes,
//! the ledger drops it.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use shared::aws::CallError;
use shared::ledger::SHARDS;
use shared::ledger::spill::{Spill, Spilled};
use shared::queue::{Destination, Outgoing, Queue};
use tokio::time::{Instant, timeout_at};

/// Number of deliveries of a shard that are read at once. With the largest bodies, they have 16
/// MiB.
const AT_ONCE: usize = 16;

/// Puts spilled deliveries back on their queues.
#[derive(Debug)]
pub struct Redrive {
    /// The spill, where deliveries wait.
    pub spill: Spill,
    /// The ingest queue.
    pub ingest: Queue,
    /// The quarantine, for deliveries that can't be understood.
    pub quarantine: Queue,
}

/// The result of a redrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Number of deliveries that went from the spill to their queue.
    pub sent: usize,
    /// Number of items that can't be read. They stay in the spill.
    pub unreadable: usize,
    /// Arrival time of the oldest delivery that is still in the spill.
    pub oldest: Option<Timestamp>,
    /// Whether a call to AWS failed.
    pub failed: bool,
}

impl Redrive {
    /// Works through all shards in parallel, until it has sent everything that can be sent or
    /// reaches the deadline.
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
            Err(_elapsed) => {
                tracing::warn!(shard, "no time left for the spill, the next run continues");
            }
        }
        done
    }

    /// Empties a shard. If a delivery can't be sent, the later deliveries of its message group
    /// wait. Other groups go on.
    async fn drain(&self, shard: u8, done: &mut Redriven) -> Result<(), CallError> {
        let mut stuck = HashSet::new();
        let mut after = None;
        loop {
            let page = self.spill.page(shard, after.as_ref(), AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.position());
            for spilled in page {
                // A delivery counts as waiting until it is removed, because the deadline may end
                // this at any time.
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
                        tracing::error!(
                            %error,
                            sort_key,
                            shard,
                            "spilled item can't be read, stays in the spill"
                        );
                        done.unreadable += 1;
                    }
                }
            }
        }
    }

    /// Puts a delivery on its queue and removes it from the spill. Returns whether both are done.
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
            tracing::error!(
                %error,
                %delivery_id,
                "spilled delivery not sent to its queue, stays in the spill"
            );
            done.failed = true;
            stuck.insert(group.clone());
            return false;
        }
        // A later run may send it again. Then SQS or the ledger drops the second copy.
        if let Err(error) = self.spill.remove(&delivery).await {
            tracing::error!(
                %error,
                %delivery_id,
                "spilled delivery sent to its queue, but not removed from the spill"
            );
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

    /// Age of the oldest delivery that is still in the spill; zero if there is none.
    #[must_use]
    pub fn oldest_age(&self, now: Timestamp) -> Duration {
        let age = self.oldest.map(|at| now.duration_since(at));
        age.and_then(|age| age.try_into().ok()).unwrap_or_default()
    }
}
