//! Lock that lets one run work at a time. It is a claim in the ledger, by the ledger's own rules,
//! that is never completed. The claim's attempt is the number of the run. It fences off a run that
//! stalled past its lease.

use jiff::{SignedDuration, Timestamp};
use shared::envelope::Origin;
use shared::ledger::{Claim, ClaimRequest, EventLedger, LedgerError, LedgerKey};
use uuid::Uuid;

use crate::run_state::PARTITION;

/// Time between the deadline and the end of the lease, because clocks may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(2);
/// Time without a run after which the ledger loses the number of the last run. All state of runs is
/// younger.
const RETENTION: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

fn key() -> LedgerKey {
    LedgerKey {
        partition: PARTITION.to_owned(),
        sort: "lock".to_owned(),
    }
}

/// Takes the lock until a little after `deadline`. Returns `None` if another run has it.
pub(super) async fn take(
    ledger: &EventLedger,
    now: Timestamp,
    deadline: Timestamp,
) -> Result<Option<Claim>, LedgerError> {
    let owner = Uuid::now_v7();
    let request = ClaimRequest {
        key: key(),
        digest: String::new(),
        delivery_id: owner,
        received_at: now,
        repeat_window: None,
        origin: Origin::Reconciler,
        owner,
        now,
        lease_until: deadline + SKEW,
        expires_at: now + RETENTION,
    };
    // The claim is never completed, so a refusal means that another run holds it.
    Ok(ledger.claim(&request).await?.ok())
}

/// Releases the lock. If that fails, the lock's lease expires later.
pub(super) async fn release(ledger: &EventLedger, claim: &Claim) {
    if let Err(error) = ledger.release(&key(), claim, Timestamp::now()).await {
        tracing::warn!(%error, "lock not released, its lease will expire");
    }
}
