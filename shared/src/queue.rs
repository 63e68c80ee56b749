//! Messages for SQS queues. A message is plain data. So it can be kept elsewhere while its queue
//! can't be reached, and be sent later unchanged.

use std::collections::BTreeMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use aws_smithy_types::error::operation::BuildError;
use uuid::Uuid;

use crate::aws::CallError;

/// The subject of a failed call, in its error.
const ABOUT: &str = "SQS";

/// A delivery on its way to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The delivery's id, a UUIDv7.
    pub delivery_id: Uuid,
    /// The queue that it is for.
    pub destination: Destination,
    /// The message that is sent to that queue.
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

/// A message for a FIFO queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Non-empty text of characters that SQS allows; see [`is_queueable`](crate::aws::is_queueable).
    pub body: String,
    /// Messages of one group keep their order.
    pub group_id: String,
    /// SQS stores the first message of a group with this id. For five minutes, it confirms further
    /// ones without storing them. So a message that is sent again because its confirmation was lost
    /// is stored once.
    pub deduplication_id: String,
    /// Message attributes by name.
    pub attributes: BTreeMap<String, MessageAttribute>,
}

/// A message attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageAttribute {
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

impl Destination {
    /// The queue's name in the spill and in log lines.
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

    /// Sends a message. When this returns `Ok`, SQS has it. Returns SQS's id of the message.
    pub async fn send(&self, message: &Message) -> Result<Option<String>, CallError> {
        let mut call = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(&message.body)
            .message_group_id(&message.group_id)
            .message_deduplication_id(&message.deduplication_id);
        for (name, value) in &message.attributes {
            let value = value.to_sqs();
            let value = value.map_err(CallError::not_built(ABOUT, "SendMessage"))?;
            call = call.message_attributes(name, value);
        }
        let answer = call.send().await;
        let sent = answer.map_err(CallError::of(ABOUT, "SendMessage"))?;
        Ok(sent.message_id)
    }

    /// Opens a connection to SQS with its cheapest call, so that the first message finds one.
    ///
    /// # Errors
    ///
    /// The call failed. Sending may still work.
    pub async fn connect(&self) -> Result<(), CallError> {
        self.client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .map_err(CallError::of(ABOUT, "GetQueueAttributes"))?;
        Ok(())
    }
}

impl MessageAttribute {
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
