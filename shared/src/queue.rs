//! Messages for SQS queues. A message is plain data, so that it can be kept elsewhere while its
//! queue is out of reach, and sent later as if nothing had happened.

use std::collections::BTreeMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use aws_smithy_types::error::operation::BuildError;
use uuid::Uuid;

use crate::aws;

/// A delivery on its way to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The delivery's id, a UUIDv7.
    pub delivery_id: Uuid,
    /// Which queue it is for.
    pub destination: Destination,
    /// What is to be sent to it.
    pub message: Message,
}

/// The queues that a delivery may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The ingest queue, which leads to the processor.
    Ingest,
    /// The quarantine queue.
    Quarantine,
}

/// What is sent to a FIFO queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Non-empty text of characters that SQS allows; see [`aws::is_queueable`].
    pub body: String,
    /// Messages of one group keep their order.
    pub group_id: String,
    /// Of messages of a group with one id, SQS takes the first and confirms the others (for five
    /// minutes): a message that is sent again, because its confirmation was lost, is one.
    pub deduplication_id: String,
    /// Message attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

/// A message attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// SQS type `String`.
    Text(String),
    /// SQS type `Number`: its decimal digits.
    Number(String),
}

/// One FIFO queue of SQS.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// SQS has not confirmed a message. It may have it all the same, if only the answer was lost.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// An attribute's name or value is missing.
    #[error("the message can't be built")]
    Build(#[from] BuildError),
    /// The call failed.
    #[error("SQS: {}", aws::describe(.0))]
    Send(#[from] Box<SdkError<SendMessageError>>),
}

impl Destination {
    /// As it stands in the spill and in log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Quarantine => "quarantine",
        }
    }
}

impl Queue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends a message. When this returns `Ok`, SQS has it.
    ///
    /// # Errors
    ///
    /// SQS has not confirmed it.
    pub async fn send(&self, message: &Message) -> Result<(), QueueError> {
        let mut call = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(&message.body)
            .message_group_id(&message.group_id)
            .message_deduplication_id(&message.deduplication_id);
        for (name, value) in &message.attributes {
            call = call.message_attributes(name, value.to_sqs()?);
        }
        call.send().await.map_err(Box::new)?;
        Ok(())
    }

    /// Opens a connection to SQS by the cheapest call there is, so that the first message finds
    /// one.
    ///
    /// # Errors
    ///
    /// The call failed. Sending may work all the same.
    pub async fn connect(&self) -> Result<(), Box<SdkError<GetQueueAttributesError>>> {
        self.client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(Box::new)?;
        Ok(())
    }
}

impl Attribute {
    fn to_sqs(&self) -> Result<MessageAttributeValue, BuildError> {
        let (data_type, value) = match self {
            Self::Text(value) => ("String", value),
            Self::Number(value) => ("Number", value),
        };
        MessageAttributeValue::builder()
            .data_type(data_type)
            .string_value(value)
            .build()
    }
}
