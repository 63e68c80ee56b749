//! What the processor asks of the ledger, and the ledger table that answers.

use std::future::Future;

use jiff::Timestamp;
use shared::aws::CallError;
use shared::ledger::last_delivery::LastDelivery;
use shared::ledger::notes::{Note, NoteLookup, Notes};
use shared::ledger::open::OpenCallouts;
use shared::ledger::{Claim, ClaimRefusal, ClaimRequest, EventLedger, LedgerError, LedgerKey};

/// What the processor asks of the ledger.
pub trait Ledger: Send + Sync + 'static {
    /// Claims an event. `Ok(Err(refusal))` is the ledger's answer, not a failure.
    fn claim(
        &self,
        request: &ClaimRequest,
    ) -> impl Future<Output = Result<Result<Claim, ClaimRefusal>, LedgerError>> + Send;

    /// Marks a claimed event as published, under the claim's fence.
    fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Ends a claim's lease at once, under its fence, so that a retry needn't wait for it.
    fn release(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Notes that a callout is open.
    fn callout_opened(
        &self,
        id: &str,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Notes that a callout is closed.
    fn callout_closed(
        &self,
        id: &str,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Notes that a delivery of AURA's arrived.
    fn delivered(&self, at: Timestamp) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Writes a note, or has it live on until `expires_at` if it is there.
    fn note(
        &self,
        note: &Note,
        expires_at: Timestamp,
    ) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Looks notes up, by one call.
    fn noted(&self, notes: &[Note]) -> impl Future<Output = Result<NoteLookup, CallError>> + Send;
}

/// The ledger table.
#[derive(Debug)]
pub struct LedgerTable {
    events: EventLedger,
    open_callouts: OpenCallouts,
    line: LastDelivery,
    notes: Notes,
}

impl LedgerTable {
    /// The table of that name.
    #[must_use]
    pub fn new(client: aws_sdk_dynamodb::Client, table: String) -> Self {
        Self {
            open_callouts: OpenCallouts::new(client.clone(), table.clone()),
            line: LastDelivery::new(client.clone(), table.clone()),
            notes: Notes::new(client.clone(), table.clone()),
            events: EventLedger::new(client, table),
        }
    }

    /// Makes a call that does nothing, so that the first batch finds a connection.
    ///
    /// # Errors
    ///
    /// DynamoDB doesn't answer.
    pub async fn connect(&self) -> Result<(), CallError> {
        self.notes.connect().await
    }
}

impl Ledger for LedgerTable {
    async fn claim(
        &self,
        request: &ClaimRequest,
    ) -> Result<Result<Claim, ClaimRefusal>, LedgerError> {
        self.events.claim(request).await
    }

    async fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.events.complete(key, claim, bus_event_id, now).await
    }

    async fn release(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.events.release(key, claim, now).await
    }

    async fn callout_opened(&self, id: &str, at: Timestamp) -> Result<(), CallError> {
        self.open_callouts.opened(id, at).await
    }

    async fn callout_closed(&self, id: &str, at: Timestamp) -> Result<(), CallError> {
        self.open_callouts.closed(id, at).await
    }

    async fn delivered(&self, at: Timestamp) -> Result<(), CallError> {
        self.line.delivered(at).await
    }

    async fn note(&self, note: &Note, expires_at: Timestamp) -> Result<(), CallError> {
        self.notes.write(note, expires_at).await
    }

    async fn noted(&self, notes: &[Note]) -> Result<NoteLookup, CallError> {
        self.notes.look_up(notes).await
    }
}
