//! Where an authentic delivery goes that can't be understood: whole, with the reason beside it.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::operation::send_message::SendMessageError;
use aws_sdk_sqs::types::MessageAttributeValue;
use aws_smithy_types::error::operation::BuildError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use uuid::Uuid;

use crate::aws::{MAX_QUEUED_BYTES, is_queueable};

/// The quarantine queue.
#[derive(Debug, Clone)]
pub struct Quarantine {
    client: Client,
    queue_url: String,
}

/// What is put aside, and why.
#[derive(Debug)]
pub struct Quarantined<'a> {
    /// A short code without content, such as `not-json`.
    pub reason: &'a str,
    /// The delivery, where it is known.
    pub delivery_id: Option<Uuid>,
    /// When it arrived here.
    pub received_at: Timestamp,
    /// The whole of it.
    pub body: &'a [u8],
}

/// The quarantine queue didn't take it.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// A message attribute is illegal.
    #[error("quarantine message can't be built")]
    Build(#[from] BuildError),
    /// SQS didn't confirm it.
    #[error("quarantine queue: {}", crate::aws::describe(.0))]
    Send(#[from] Box<SdkError<SendMessageError>>),
}

impl Quarantine {
    /// The queue at `queue_url`.
    #[must_use]
    pub fn new(client: Client, queue_url: String) -> Self {
        Self { client, queue_url }
    }

    /// Puts a body aside. When this returns `Ok`, SQS has it.
    ///
    /// The message's attributes are `reason`, `receivedAt`, `size` (bytes), `encoding` (`text`;
    /// `base64` for bytes that SQS doesn't take as text; `empty`, with a placeholder, since it
    /// takes no empty message) and, where it is known, `deliveryId`.
    ///
    /// # Errors
    ///
    /// SQS didn't confirm it: the delivery is not stored.
    pub async fn put(&self, item: &Quarantined<'_>) -> Result<(), QuarantineError> {
        let (encoding, body) = encode(item.body);
        let mut message = self
            .client
            .send_message()
            .queue_url(&self.queue_url)
            .message_body(body)
            .message_attributes("reason", text(item.reason)?)
            .message_attributes("receivedAt", text(&item.received_at.to_string())?)
            .message_attributes("encoding", text(encoding)?)
            .message_attributes("size", number(item.body.len())?);
        if let Some(delivery_id) = item.delivery_id {
            message = message.message_attributes("deliveryId", text(&delivery_id.to_string())?);
        }
        message.send().await.map_err(Box::new)?;
        Ok(())
    }
}

/// Whether a body can be put aside: as text, or as base64, which makes four bytes of three.
#[must_use]
pub fn takes(body: &[u8]) -> bool {
    let encoded = match as_text(body) {
        Some(text) => text.len(),
        None => body.len().div_ceil(3) * 4,
    };
    encoded <= MAX_QUEUED_BYTES
}

/// The body as SQS takes it: a message is non-empty text without most control characters.
fn encode(body: &[u8]) -> (&'static str, String) {
    match as_text(body) {
        Some("") => ("empty", "-".to_owned()),
        Some(text) => ("text", text.to_owned()),
        None => ("base64", STANDARD.encode(body)),
    }
}

/// The body as text, if SQS takes it as that.
fn as_text(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body)
        .ok()
        .filter(|text| is_queueable(text))
}

fn text(value: &str) -> Result<MessageAttributeValue, BuildError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
}

fn number(value: usize) -> Result<MessageAttributeValue, BuildError> {
    MessageAttributeValue::builder()
        .data_type("Number")
        .string_value(value.to_string())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_sqs_refuses_as_text_go_as_base64() {
        assert_eq!(encode(b"{}"), ("text", "{}".into()));
        assert_eq!(encode(b"\xff"), ("base64", "/w==".into()));
        assert_eq!(encode(b"a\0b").0, "base64");
        assert_eq!(encode("\u{FFFF}".as_bytes()).0, "base64");
    }

    #[test]
    fn what_it_takes_is_what_fits_after_encoding() {
        assert!(takes(&vec![b'a'; MAX_QUEUED_BYTES]));
        assert!(!takes(&vec![b'a'; MAX_QUEUED_BYTES + 1]));
        let binary = vec![0xff; MAX_QUEUED_BYTES / 4 * 3];
        assert!(takes(&binary));
        assert_eq!(encode(&binary).1.len(), MAX_QUEUED_BYTES);
        assert!(!takes(&vec![0xff; MAX_QUEUED_BYTES / 4 * 3 + 1]));
    }

    #[test]
    fn an_empty_body_is_still_a_message() {
        let (encoding, message) = encode(b"");
        assert_eq!(encoding, "empty");
        assert!(!message.is_empty());
    }
}
