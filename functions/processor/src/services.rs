//! The services that a record touches, behind one trait: the ledger, the bus and the queues.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use futures::future::join;
use jiff::Timestamp;
use shared::aws::CallError;
use shared::ledger::last_delivery::LastDelivery;
use shared::ledger::notes::{Note, NoteLookup, Notes};
use shared::ledger::open::OpenCallouts;
use shared::ledger::{Claim, ClaimRefusal, ClaimRequest, EventLedger, LedgerError, LedgerKey};
use shared::quarantine::Quarantined;
use tokio::time::timeout;

use crate::bus::{BusEntry, BusError, EventBridge};
use crate::queues::{SqsQueues, VisibilityChange};

/// How long the start waits for connections, and for the confirmation that the bus exists.
const CONNECTING_TIME: Duration = Duration::from_secs(2);

/// The calls that the processor makes to DynamoDB, EventBridge and SQS.
#[expect(async_fn_in_trait, reason = "no call runs in a task of its own")]
pub trait Services {
    /// Claims an event. `Ok(Err(refusal))` is the ledger's answer, not a failure.
    async fn claim(
        &self,
        request: &ClaimRequest,
    ) -> Result<Result<Claim, ClaimRefusal>, LedgerError>;

    /// Marks a claimed event as published, under the claim's fence.
    async fn complete(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        bus_event_id: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Ends a claim's lease at once, under its fence, so that a retry need not wait.
    async fn release(
        &self,
        key: &LedgerKey,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<(), LedgerError>;

    /// Notes that a callout is open.
    async fn callout_opened(&self, id: &str, at: Timestamp) -> Result<(), CallError>;

    /// Notes that a callout is closed.
    async fn callout_closed(&self, id: &str, at: Timestamp) -> Result<(), CallError>;

    /// Notes that a delivery from AURA arrived.
    async fn delivered(&self, at: Timestamp) -> Result<(), CallError>;

    /// Writes a note. A note that exists now expires at `expires_at`.
    async fn note(&self, note: &Note, expires_at: Timestamp) -> Result<(), CallError>;

    /// Looks up notes with one call.
    async fn noted(&self, notes: &[Note]) -> Result<NoteLookup, CallError>;

    /// Publishes events. Returns for each, in order, its id on the bus, or why it isn't on the bus
    /// as far as is known. Takes no longer than `time`.
    async fn publish(&self, entries: &[&BusEntry], time: Duration)
    -> Vec<Result<String, BusError>>;

    /// Puts what can never be processed into the quarantine. `Ok` means that it is stored.
    async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), CallError>;

    /// Sets when records that aren't settled become visible in the queue again.
    async fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<(), CallError>;
}

/// The services on AWS.
#[derive(Debug)]
pub struct AwsServices {
    events: EventLedger,
    open_callouts: OpenCallouts,
    last_delivery: LastDelivery,
    notes: Notes,
    bus: EventBridge,
    queues: SqsQueues,
}

impl AwsServices {
    /// The services for the ledger table of this name, a bus and queues.
    #[must_use]
    pub fn new(client: Client, ledger_table: String, bus: EventBridge, queues: SqsQueues) -> Self {
        Self {
            open_callouts: OpenCallouts::new(client.clone(), ledger_table.clone()),
            last_delivery: LastDelivery::new(client.clone(), ledger_table.clone()),
            notes: Notes::new(client.clone(), ledger_table.clone()),
            events: EventLedger::new(client, ledger_table),
            bus,
            queues,
        }
    }

    /// Opens the connections that the first batch needs. If this fails, the batch tries again. If
    /// that fails too, the batch comes back to the queue.
    pub async fn connect(&self) {
        let bus = timeout(CONNECTING_TIME, self.bus.confirm());
        let ledger = timeout(CONNECTING_TIME, self.notes.connect());
        let (bus, ledger) = join(bus, ledger).await;
        match bus {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(
                    %error,
                    "the event bus is not confirmed at start: nothing can be published yet"
                );
            }
            Err(_elapsed) => {
                tracing::error!("the event bus is not confirmed at start: no answer in time");
            }
        }
        match ledger {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "no connection to DynamoDB yet"),
            Err(_elapsed) => tracing::warn!("no connection to DynamoDB yet: no answer in time"),
        }
    }
}

impl Services for AwsServices {
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
        self.last_delivery.delivered(at).await
    }

    async fn note(&self, note: &Note, expires_at: Timestamp) -> Result<(), CallError> {
        self.notes.write(note, expires_at).await
    }

    async fn noted(&self, notes: &[Note]) -> Result<NoteLookup, CallError> {
        self.notes.look_up(notes).await
    }

    async fn publish(
        &self,
        entries: &[&BusEntry],
        time: Duration,
    ) -> Vec<Result<String, BusError>> {
        self.bus.publish(entries, time).await
    }

    async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), CallError> {
        self.queues.quarantine(item).await
    }

    async fn change_visibility(&self, changes: &[VisibilityChange]) -> Result<(), CallError> {
        self.queues.change_visibility(changes).await
    }
}
