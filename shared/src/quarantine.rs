//! Messages for the quarantine. An authentic delivery that can't be understood goes there whole,
//! with the reason.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use uuid::Uuid;

use crate::aws::{MAX_QUEUED_BYTES, is_queueable};
use crate::published;
use crate::queue::{Message, MessageAttribute};

/// A delivery or a queue message for the quarantine, with the reason.
#[derive(Debug)]
pub struct Quarantined<'a> {
    /// A short code without content, such as `not-json`.
    pub reason: &'a str,
    /// The id of the delivery or of the message.
    pub id: QuarantineId<'a>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The whole body.
    pub body: &'a [u8],
    /// The payload that it contradicts, if the reason is a conflict.
    pub conflict: Option<Conflict<'a>>,
}

/// An event that happens only once, but came again with another payload.
#[derive(Debug, Clone, Copy)]
pub struct Conflict<'a> {
    /// The SHA-256 of the canonical payload that goes to the quarantine.
    pub digest: &'a str,
    /// The SHA-256 of the canonical payload that was published.
    pub published: &'a str,
}

/// The id of a quarantined delivery or message. Copies have the same id.
#[derive(Debug, Clone, Copy)]
pub enum QuarantineId<'a> {
    /// The id of a delivery.
    Delivery(Uuid),
    /// SQS's id of a queue message that doesn't say which delivery it is.
    Message(&'a str),
}

impl Quarantined<'_> {
    /// Makes the message for the quarantine queue. Sent repeatedly within five minutes for the same
    /// reason, it is still one message. It has no order with other messages.
    ///
    /// Its attributes are `reason`, `receivedAt`, `size` (bytes), `encoding` and, if it is known,
    /// `deliveryId`. For a conflict, there are also `digest` and `publishedDigest`. `encoding` is
    /// `text`; or `base64` for bytes that SQS doesn't accept as text; or `empty`, with a
    /// placeholder as body, because SQS accepts no empty message.
    #[must_use]
    pub fn message(&self) -> Message {
        let (encoding, body) = encode(self.body);
        let text = |value: &dyn ToString| MessageAttribute::Text(value.to_string());
        let mut attributes = BTreeMap::from([
            ("reason".to_owned(), text(&self.reason)),
            (
                "receivedAt".to_owned(),
                MessageAttribute::Text(published::time(self.received_at)),
            ),
            ("encoding".to_owned(), text(&encoding)),
            (
                "size".to_owned(),
                MessageAttribute::Number(self.body.len().to_string()),
            ),
        ]);
        if let Some(Conflict { digest, published }) = self.conflict {
            attributes.insert("digest".to_owned(), text(&digest));
            attributes.insert("publishedDigest".to_owned(), text(&published));
        }
        let id = match self.id {
            QuarantineId::Delivery(id) => {
                attributes.insert("deliveryId".to_owned(), text(&id));
                id.to_string()
            }
            QuarantineId::Message(id) => id.to_owned(),
        };
        Message {
            body,
            group_id: id.clone(),
            deduplication_id: format!("{id}/{}", self.reason),
            attributes,
        }
    }
}

/// Whether a body fits into the quarantine: as text, or as base64, which turns three bytes into
/// four.
#[must_use]
pub fn takes(body: &[u8]) -> bool {
    let encoded = match as_text(body) {
        Some(text) => text.len(),
        None => body.len().div_ceil(3) * 4,
    };
    encoded <= MAX_QUEUED_BYTES
}

/// The whole body of a message in the quarantine, from its text and its `encoding`. `None` if no
/// version encodes like this.
#[must_use]
pub fn decode(encoding: &str, text: &str) -> Option<Vec<u8>> {
    match encoding {
        "text" => Some(text.into()),
        "base64" => STANDARD.decode(text).ok(),
        "empty" => Some(Vec::new()),
        _ => None,
    }
}

/// Encodes a body for SQS, which accepts non-empty text without most control characters.
fn encode(body: &[u8]) -> (&'static str, String) {
    match as_text(body) {
        Some("") => ("empty", "-".to_owned()),
        Some(text) => ("text", text.to_owned()),
        None => ("base64", STANDARD.encode(body)),
    }
}

/// The body as text, if SQS accepts it as text.
fn as_text(body: &[u8]) -> Option<&str> {
    std::str::from_utf8(body)
        .ok()
        .filter(|text| is_queueable(text))
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
        for body in [&b"{}"[..], b"\xff", b""] {
            let (encoding, text) = encode(body);
            assert_eq!(decode(encoding, &text).as_deref(), Some(body));
        }
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
