//! The store of deliveries. A call that returns `Ok` means that the delivery is durable.

use std::future::Future;

use aws_sdk_dynamodb::config as dynamodb;
use aws_sdk_sqs::config as sqs;
use aws_sdk_sqs::config::retry::{RetryPartition, TokenBucket};
use aws_types::SdkConfig;
use shared::aws::CallError;
use shared::ledger::spill::Spill;
use shared::queue::{Destination, Outgoing, Queue};
use tokio::task::JoinHandle;

use crate::config::IngestConfig;
use crate::limits;

/// The places that `ingest` stores to.
pub trait Store: Send + Sync {
    /// Sends a delivery to the queue that it is for. Returns SQS's id of the message.
    fn send(
        &self,
        delivery: &Outgoing,
    ) -> impl Future<Output = Result<Option<String>, CallError>> + Send;

    /// Puts a delivery into the spill.
    fn spill(&self, delivery: &Outgoing) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// Where a delivery is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// On the queue that it is for.
    OnQueue {
        /// SQS's id of the message.
        message_id: Option<String>,
    },
    /// In the spill, because its queue confirmed nothing.
    InSpill,
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
    pub fn new(sdk: &SdkConfig, config: &IngestConfig) -> Self {
        let sqs = sqs::Builder::from(&limits::QUEUE.applied_to(sdk));
        let sqs = aws_sdk_sqs::Client::from_conf(sqs.retry_partition(every_retry()).build());
        let dynamodb = dynamodb::Builder::from(&limits::SPILL.applied_to(sdk));
        let dynamodb = dynamodb.retry_partition(every_retry()).build();
        let dynamodb = aws_sdk_dynamodb::Client::from_conf(dynamodb);
        Self {
            ingest_queue: Queue::new(sqs.clone(), config.ingest_queue_url.clone()),
            quarantine_queue: Queue::new(sqs, config.quarantine_queue_url.clone()),
            spill: Spill::new(dynamodb, config.ledger_table.clone()),
        }
    }

    /// Opens the connection to SQS, so that the first delivery finds one. A failure is not an
    /// error, because that delivery then opens it. The call continues even if nobody waits for it.
    #[must_use]
    pub fn connect(&self) -> JoinHandle<()> {
        let queue = self.ingest_queue.clone();
        tokio::spawn(async move {
            if let Err(error) = queue.connect().await {
                tracing::warn!(%error, "no connection to SQS yet");
            }
        })
    }
}

/// Lets every call retry. By default, the SDK stops retrying after many calls have failed, to spare
/// the service. A delivery needs each of its few attempts, whatever happened to earlier deliveries.
fn every_retry() -> RetryPartition {
    RetryPartition::custom("deliveries")
        .token_bucket(TokenBucket::unlimited())
        .build()
}

impl Store for AwsStore {
    async fn send(&self, delivery: &Outgoing) -> Result<Option<String>, CallError> {
        let queue = match delivery.destination {
            Destination::Ingest => &self.ingest_queue,
            Destination::Quarantine => &self.quarantine_queue,
        };
        queue.send(&delivery.message).await
    }

    async fn spill(&self, delivery: &Outgoing) -> Result<(), CallError> {
        self.spill.put(delivery).await
    }
}
