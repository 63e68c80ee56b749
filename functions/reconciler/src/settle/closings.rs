//! Confirms closings by a second list of AURA. Two answers of AURA may come from servers with
//! different data.

use std::collections::HashSet;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use shared::panic_api::{ActiveCallouts, may_be_a_page};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::learned::Learned;
use super::settler::{AT_ONCE, Settler, UnconfirmedClosing};
use crate::Failure;
use crate::aura::Aura;
use crate::differences::Difference;
use crate::metrics::RunMetrics;

/// Share of the time for openings and closings if there are closings to confirm. The rest is for
/// the list that confirms them, and for changes.
const URGENT_SHARE: f64 = 0.6;

/// Time and duration of a call for AURA's list.
#[derive(Debug, Clone, Copy)]
pub struct ListCall {
    asked_at: Instant,
    took: Duration,
}

impl ListCall {
    /// Asks AURA for its list.
    pub async fn make(aura: &Aura, deadline: Instant) -> Result<(ActiveCallouts, Self), Failure> {
        let asked_at = Instant::now();
        let active = aura.active_callouts(deadline).await?;
        let took = asked_at.elapsed();
        Ok((active, Self { asked_at, took }))
    }
}

impl Settler<'_> {
    /// Makes a settler with an earlier deadline, which leaves time for the list that confirms
    /// closings. The deadline stays the same if there are only openings.
    pub fn leaving_time_to_confirm(&self, urgent: &[Difference], first: ListCall) -> Self {
        let is_opening = |its: &Difference| matches!(its, Difference::Unknown { .. });
        if urgent.iter().all(is_opening) {
            return *self;
        }
        let now = Instant::now();
        let time = self.deadline.saturating_duration_since(now);
        let kept = time.mul_f64(1.0 - URGENT_SHARE).max(first.took * 2);
        Self {
            deadline: now + time.saturating_sub(kept),
            ..*self
        }
    }

    /// Puts a closing on the queue if AURA's second list lacks its callout too.
    pub async fn confirm(
        &self,
        closings: Vec<UnconfirmedClosing>,
        first: ListCall,
        learned: &mut Learned,
        metrics: &mut RunMetrics,
    ) {
        if closings.is_empty() {
            return;
        }
        let Some(second) = self.second_list(&closings, first).await else {
            metrics.unsettled.add(closings.len());
            return;
        };
        let has_begun = self.run_state.gone_since.is_some();
        learned.knows_none = knows_none(learned.knows_none, has_begun, &second, &closings);
        if learned.knows_none == Some(true) && self.run_state.are_gone_lately(Timestamp::now()) {
            tracing::error!(
                "AURA knows no open callout, so their closings are held back: check that the \
                 credentials are the right ones"
            );
            metrics.held.add(closings.len());
            return;
        }
        self.put_confirmed(closings, second, learned, metrics).await;
    }

    /// Asks AURA for its list again. Returns `None` if AURA doesn't answer, or if an entry of the
    /// list can't be read.
    ///
    /// If AURA has confirmed every closing when asked about its callout, this asks at once.
    /// Otherwise it waits until AURA's lag has passed since the first list, as far as the time
    /// permits.
    async fn second_list(
        &self,
        closings: &[UnconfirmedClosing],
        first: ListCall,
    ) -> Option<ActiveCallouts> {
        if !closings.iter().all(UnconfirmedClosing::is_told) {
            let latest = self.deadline.checked_sub(first.took * 2);
            let later = first.asked_at + self.patience.lag;
            sleep_until(latest.map_or(later, |latest| later.min(latest))).await;
        }
        match self.aura.active_callouts(self.deadline).await {
            Ok(active) => Some(active).filter(|active| active.unreadable == 0),
            Err(error) => {
                tracing::warn!(%error, "closings not confirmed, the next run tries again");
                None
            }
        }
    }

    async fn put_confirmed(
        &self,
        closings: Vec<UnconfirmedClosing>,
        second: ActiveCallouts,
        learned: &mut Learned,
        metrics: &mut RunMetrics,
    ) {
        let is_page = may_be_a_page(second.callouts.len());
        let active = second.callouts.into_iter().filter_map(|its| its.id);
        let active: HashSet<_> = active.collect();
        let confirmed = closings
            .into_iter()
            .filter(|closing| !active.contains(&closing.id))
            .map(|closing| timeout_at(self.deadline, self.settle_closing(closing, is_page)));
        let mut putting = stream::iter(confirmed).buffer_unordered(AT_ONCE);
        while let Some(put) = putting.next().await {
            match put {
                Ok(Ok(recovered)) => learned.recovered.extend(recovered),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "closing not recovered, the next run tries again");
                    metrics.unsettled.add(1);
                }
                Err(_elapsed) => metrics.unsettled.add(1),
            }
        }
    }
}

/// Whether AURA knows no open callout, as with the credentials of another customer source.
///
/// The result follows from three facts: the result `before`, AURA's second list, and AURA's answers
/// about the callouts of the closings. A single callout is not enough (then the result is `None`),
/// unless an earlier run has begun to suspect this (`has_begun`).
fn knows_none(
    before: Option<bool>,
    has_begun: bool,
    second: &ActiveCallouts,
    closings: &[UnconfirmedClosing],
) -> Option<bool> {
    let knows_one = before == Some(false)
        || !second.callouts.is_empty()
        || !closings.iter().all(UnconfirmedClosing::is_gone);
    if knows_one {
        return Some(false);
    }
    (has_begun || closings.len() > 1).then_some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::MissedEvent;

    #[test]
    fn aura_knows_none_only_if_all_of_several_are_gone_from_an_empty_list() {
        let closing = |gone| UnconfirmedClosing {
            id: "1".to_owned(),
            event: MissedEvent::Closed { gone },
            described: None,
            unless_a_page: None,
        };
        let (gone, closed) = (|| closing(true), || closing(false));
        let empty = ActiveCallouts::default();
        let knows = |before, has_begun, closings: &[UnconfirmedClosing]| {
            knows_none(before, has_begun, &empty, closings)
        };
        assert_eq!(knows(None, false, &[gone(), gone()]), Some(true));
        assert_eq!(knows(None, false, &[gone()]), None);
        assert_eq!(knows(None, true, &[gone()]), Some(true));
        assert_eq!(knows(None, true, &[gone(), closed()]), Some(false));
        // AURA knows one of the callouts, or its first list was not empty.
        assert_eq!(knows(Some(false), true, &[gone(), gone()]), Some(false));
    }
}
