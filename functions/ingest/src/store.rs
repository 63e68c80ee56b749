//! Where a delivery becomes durable. A call that returns `Ok` means that a queue confirmed it.

use std::future::Future;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use shared::envelope::Envelope;
use shared::event::Entity;
use shared::quarantine::{Quarantine, QuarantineError, Quarantined};

/// The two places that `ingest` stores to.
pub trait Store: Send + Sync {
    /// Puts an envelope on the ingest queue, in the order of its entity.
    fn enqueue(
        &self,
        entity: &Entity,
        envelope: &Envelope,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Puts aside what can't be read.
    fn quarantine(
        &self,
        item: &Quarantined<'_>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The delivery is not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The envelope can't be written.
    #[error("the envelope can't be written")]
    Envelope(#[from] serde_json::Error),
    /// SQS didn't confirm it.
    #[error("ingest queue: {}", shared::aws::describe(.0))]
    Queue(#[from] Box<SdkError<SendMessageError>>),
    /// The quarantine didn't take it.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
}

/// The real store: two SQS queues.
#[derive(Debug)]
pub struct SqsStore {
    client: Client,
    ingest_queue_url: String,
    quarantine: Quarantine,
}

impl SqsStore {
    /// A store over the queues at the two URLs.
    #[must_use]
    pub fn new(client: Client, ingest_queue_url: String, quarantine_queue_url: String) -> Self {
        let quarantine = Quarantine::new(client.clone(), quarantine_queue_url);
        Self {
            client,
            ingest_queue_url,
            quarantine,
        }
    }
}

impl Store for SqsStore {
    async fn enqueue(&self, entity: &Entity, envelope: &Envelope) -> Result<(), StoreError> {
        self.client
            .send_message()
            .queue_url(&self.ingest_queue_url)
            .message_group_id(entity.group_id())
            .message_deduplication_id(envelope.delivery_id.to_string())
            .message_body(envelope.to_json()?)
            .send()
            .await
            .map_err(Box::new)?;
        Ok(())
    }

    async fn quarantine(&self, item: &Quarantined<'_>) -> Result<(), StoreError> {
        Ok(self.quarantine.put(item).await?)
    }
}
