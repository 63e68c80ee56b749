//! Settles the differences of a run in parallel.

pub mod closings;
pub mod learned;
pub mod settler;

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use self::learned::Learned;
use self::settler::{AT_ONCE, Settled, Settler, UnconfirmedClosing};
use crate::Failure;
use crate::differences::{Difference, move_cursors};
use crate::metrics::RunMetrics;

/// Why a difference isn't settled.
#[derive(Debug, thiserror::Error)]
enum NotSettled {
    /// This run did not begin with the difference. The next run begins with it.
    #[error("this run did not begin with the callout")]
    NotBegun,
    /// The time ran out before the difference was settled.
    #[error("the time ran out while the callout was being checked")]
    OutOfTime,
    /// Settling the difference failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Settles differences in parallel, until the settler's deadline. Returns the closings that AURA's
/// second list must still confirm.
pub async fn settle_all(
    settler: &Settler<'_>,
    differences: Vec<Difference>,
    learned: &mut Learned,
    metrics: &mut RunMetrics,
) -> Vec<UnconfirmedClosing> {
    let kind_and_id = |its: &Difference| (its.kind(), its.id().to_owned());
    let order: Vec<_> = differences.iter().map(kind_and_id).collect();
    let (mut begun, mut closings) = (BTreeSet::new(), Vec::new());
    let mut settling = stream::iter(differences.into_iter().enumerate())
        .map(|(number, its)| async move { (number, settle_in_time(settler, its).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((number, settled)) = settling.next().await {
        if !matches!(settled, Err(NotSettled::NotBegun)) {
            begun.insert(number);
        }
        match settled {
            Ok(settled) => {
                metrics.checked += usize::from(settled.was_asked);
                if settled.is_known {
                    learned.knows_none = Some(false);
                }
                learned.recovered.extend(settled.recovered);
                closings.extend(settled.closing);
            }
            Err(error) => {
                tracing::debug!(%error, "callout not settled, the next run tries again");
                metrics.unsettled.add(1);
            }
        }
    }
    move_cursors(&mut learned.cursors, &order, &begun);
    closings
}

async fn settle_in_time(
    settler: &Settler<'_>,
    difference: Difference,
) -> Result<Settled, NotSettled> {
    // A missed opening can go on the queue without another call to AURA.
    let needs_aura = !matches!(difference, Difference::Unknown { .. });
    if (needs_aura && settler.aura.is_given_up()) || Instant::now() >= settler.deadline {
        return Err(NotSettled::NotBegun);
    }
    // The future is boxed because the SDK's futures are large, and there are many of them.
    let settling = Box::pin(settler.settle(difference));
    match timeout_at(settler.deadline, settling).await {
        Ok(settled) => Ok(settled
            .inspect_err(|error| tracing::warn!(%error, "callout not settled in this run"))?),
        Err(_elapsed) => Err(NotSettled::OutOfTime),
    }
}
