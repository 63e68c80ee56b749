//! Where a delivery becomes durable. A call that returns `Ok` means that it is.

use std::future::Future;

use aws_config::SdkConfig;
use shared::queue::{Destination, Outgoing, Queue, QueueError};
use shared::spill::{Spill, SpillError};

use crate::config::Config;
use crate::limits;

/// The places that `ingest` stores to.
pub trait Store: Send + Sync {
    /// Sends a delivery to the queue that it is for.
    fn send(&self, delivery: &Outgoing) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Puts a delivery into the spill.
    fn spill(&self, delivery: &Outgoing) -> impl Future<Output = Result<(), SpillError>> + Send;
}

/// The real store: two SQS queues, and the spill in the ledger table.
#[derive(Debug)]
pub struct AwsStore {
    ingest_queue: Queue,
    quarantine_queue: Queue,
    spill: Spill,
}

impl AwsStore {
    /// The store that the configuration names.
    #[must_use]
    pub fn new(sdk: &SdkConfig, config: &Config) -> Self {
        let sqs = aws_sdk_sqs::Client::new(&limits::QUEUE.applied_to(sdk));
        let dynamodb = aws_sdk_dynamodb::Client::new(&limits::SPILL.applied_to(sdk));
        Self {
            ingest_queue: Queue::new(sqs.clone(), config.ingest_queue_url.clone()),
            quarantine_queue: Queue::new(sqs, config.quarantine_queue_url.clone()),
            spill: Spill::new(dynamodb, config.ledger_table.clone()),
        }
    }

    /// Opens the connection to SQS, so that the first delivery needn't. Failing is no error: it
    /// then tries by itself.
    pub async fn connect(&self) {
        if let Err(error) = self.ingest_queue.connect().await {
            let error = shared::aws::describe(&error);
            tracing::warn!(error, "no connection to SQS yet");
        }
    }
}

impl Store for AwsStore {
    async fn send(&self, delivery: &Outgoing) -> Result<(), QueueError> {
        let queue = match delivery.destination {
            Destination::Ingest => &self.ingest_queue,
            Destination::Quarantine => &self.quarantine_queue,
        };
        queue.send(&delivery.message).await
    }

    async fn spill(&self, delivery: &Outgoing) -> Result<(), SpillError> {
        self.spill.put(delivery).await
    }
}
