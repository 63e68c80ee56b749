//! The occurrences of one event, and how to find the one that a delivery belongs to.

use std::collections::BTreeMap;

use super::{
    Claim, ClaimRefusal, ClaimRequest, Item, ItemAttribute, Malformed, RULES, State, Transition,
    Value,
};
use crate::envelope::Origin;

/// How many occurrences of one event are remembered: the first and the latest. DynamoDB allows 400
/// kB for an item, and an occurrence needs some 300 bytes. A copy of a forgotten occurrence counts
/// as a new one.
pub const MOST_OCCURRENCES: usize = 200;

/// All that the ledger knows about one event: an item for each occurrence, by its number from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Occurrences(pub BTreeMap<u32, Item>);

/// What to do after the ledger refused a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterRefusal {
    /// Return this answer.
    Answer(Result<Claim, ClaimRefusal>),
    /// Claim this occurrence instead.
    Claim(u32),
}

impl Occurrences {
    /// The event after a transition. `None` if the transition is refused and nothing changes.
    #[must_use]
    pub fn after(&self, transition: &Transition) -> Option<Self> {
        let changed = transition.apply(self.0.get(&transition.occurrence))?;
        let mut after = self.clone();
        let expiry = changed.0.get(&ItemAttribute::ExpiresAt).cloned();
        after.0.insert(transition.occurrence, changed);
        Some(after.expiring(expiry.as_ref()))
    }

    /// The same occurrences with this expiry, which they all share.
    pub(super) fn expiring(mut self, expiry: Option<&Value>) -> Self {
        for item in self.0.values_mut() {
            let expiry = expiry.map(|at| (ItemAttribute::ExpiresAt, at.clone()));
            item.0.extend(expiry);
        }
        self
    }

    /// Claims in memory, as [`EventLedger`](super::EventLedger) does in the table.
    pub fn claim(
        &mut self,
        request: &ClaimRequest,
    ) -> Result<Result<Claim, ClaimRefusal>, Malformed> {
        let mut occurrence = 1;
        loop {
            if let Some(mut after) = self.after(&RULES.claim(request, occurrence)) {
                let forgotten = self.to_forget(occurrence);
                forgotten.map(|forgotten| after.0.remove(&forgotten));
                *self = after;
                let claimed = self.0.get(&occurrence).cloned().unwrap_or_default();
                return Ok(Ok(claimed.claim()?));
            }
            match self.after_refusal(occurrence, request)? {
                AfterRefusal::Answer(answer) => return Ok(answer),
                AfterRefusal::Claim(next) => occurrence = next,
            }
        }
    }

    /// Decides what to do after these occurrences refused a claim of the one with the number `refused`.
    ///
    /// Each attempt has a new owner. So an owner finds its own claim only if the answer to its call
    /// was lost and the SDK repeated the call. Then the claim is granted.
    ///
    /// The reconciler writes its own payload for an event. So a payload of the reconciler that
    /// differs from AURA's is not a conflict, whichever came first.
    pub fn after_refusal(
        &self,
        refused: u32,
        request: &ClaimRequest,
    ) -> Result<AfterRefusal, Malformed> {
        let mut claimed = None;
        for (number, item) in &self.0 {
            if !is_copy(item, request)? {
                continue;
            }
            match item.state()? {
                State::Published { .. } => {
                    return Ok(AfterRefusal::Answer(Err(published(item, request)?)));
                }
                State::Claimed { claim, lease_until } => {
                    claimed = Some((*number, claim, lease_until));
                }
            }
        }
        Ok(match claimed {
            Some((_, claim, _)) if claim.owner == request.owner => AfterRefusal::Answer(Ok(claim)),
            // The rule would have granted this claim. So the lease has another form than this
            // version writes.
            Some((number, _, lease_until)) if lease_until <= request.now && number == refused => {
                return Err(ItemAttribute::LeaseUntil.malformed());
            }
            Some((number, _, lease_until)) if lease_until <= request.now => {
                AfterRefusal::Claim(number)
            }
            Some((_, _, lease_until)) => {
                AfterRefusal::Answer(Err(ClaimRefusal::Held { lease_until }))
            }
            None => AfterRefusal::Claim(self.last().saturating_add(1)),
        })
    }

    /// The occurrence to forget so that `new` can be remembered, if one has to be. The first
    /// occurrence is never forgotten, because its attributes say that the event is known.
    #[must_use]
    pub fn to_forget(&self, new: u32) -> Option<u32> {
        let is_full = self.0.len() >= MOST_OCCURRENCES && !self.0.contains_key(&new);
        is_full.then(|| self.0.keys().nth(1).copied()).flatten()
    }

    fn last(&self) -> u32 {
        self.0.keys().next_back().copied().unwrap_or_default()
    }
}

/// Whether the delivery is a copy of the occurrence in `item`. An item of an older version doesn't
/// say when its delivery arrived. It arrived before it was published, so a delivery more than one
/// window later than the publish is not a copy.
fn is_copy(item: &Item, request: &ClaimRequest) -> Result<bool, Malformed> {
    let [earliest, latest] = request.arrivals();
    match item.0.get(&ItemAttribute::ReceivedAt) {
        None => Ok(item
            .published_at()
            .map_or(true, |published| published.as_millisecond() >= earliest)),
        Some(Value::Number(at)) => Ok((earliest..=latest).contains(at)),
        Some(Value::Text(_)) => Err(ItemAttribute::ReceivedAt.malformed()),
    }
}

fn published(item: &Item, request: &ClaimRequest) -> Result<ClaimRefusal, Malformed> {
    let published = item.digest()?;
    let is_same = published == request.digest;
    let is_reworded = item.is_of(Origin::Reconciler) || request.origin == Origin::Reconciler;
    Ok(if is_same || is_reworded {
        ClaimRefusal::Duplicate
    } else {
        ClaimRefusal::Conflict {
            published: published.to_owned(),
        }
    })
}

impl ClaimRequest {
    /// The earliest and the latest arrival of a copy, in milliseconds since 1970.
    pub(super) fn arrivals(&self) -> [i64; 2] {
        let Some(window) = self.repeat_window else {
            return [i64::MIN, i64::MAX];
        };
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let at = self.received_at.as_millisecond();
        [at.saturating_sub(window), at.saturating_add(window)]
    }
}
