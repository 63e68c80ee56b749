//! One message of the ingest queue, what is read from it, and what becomes of it.

use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use jiff::Timestamp;
use serde_json::value::RawValue;
use shared::catalogue::{Recurrence, recurrence};
use shared::envelope::{Envelope, Origin};
use shared::event::{Event, Unreadable, parse_payload, payload_digest};
use shared::ledger::LedgerKey;
use shared::published::{Detail, Omission, Omitted};
use shared::quarantine::{Id, Quarantined};

use crate::bus::BusEntry;
use crate::queues::VisibilityChange;

/// One message of the ingest queue.
#[derive(Debug)]
pub struct Record {
    /// SQS's id, by which a failure is reported.
    pub message_id: String,
    /// SQS's handle of this receive.
    pub receipt_handle: Option<String>,
    /// The message group: records of one group stay in order.
    pub group: String,
    /// SQS's sequence number.
    pub sequence: Option<String>,
    /// How often SQS has handed it over, this time included.
    pub receives: u32,
    /// An envelope, if all is well.
    pub body: String,
}

impl From<SqsMessage> for Record {
    fn from(mut message: SqsMessage) -> Self {
        let message_id = message.message_id.unwrap_or_default();
        let receives = message.attributes.get("ApproximateReceiveCount");
        Self {
            receives: receives.and_then(|count| count.parse().ok()).unwrap_or(1),
            group: message
                .attributes
                .remove("MessageGroupId")
                .unwrap_or_else(|| message_id.clone()),
            sequence: message.attributes.remove("SequenceNumber"),
            body: message.body.unwrap_or_default(),
            receipt_handle: message.receipt_handle,
            message_id,
        }
    }
}

impl Record {
    /// Itself, to come back after this time; `None` if SQS gave no handle for that.
    #[must_use]
    pub fn hidden(&self, time: Duration) -> Option<VisibilityChange> {
        let receipt_handle = self.receipt_handle.clone()?;
        Some(VisibilityChange {
            receipt_handle,
            time,
        })
    }

    /// Itself, to be put aside as it came.
    #[must_use]
    pub fn as_it_came<'a>(&'a self, reason: &'a str, now: Timestamp) -> Quarantined<'a> {
        Quarantined {
            reason,
            id: Id::Message(&self.message_id),
            received_at: now,
            body: self.body.as_bytes(),
            conflict: None,
        }
    }
}

/// An event that was read from a record and has its identity.
#[derive(Debug)]
pub struct Identified {
    /// What travelled on the queue.
    pub envelope: Envelope,
    /// What it says.
    pub event: Event,
    /// Which event that is.
    pub key: LedgerKey,
    /// Its payload's digest.
    pub digest: String,
}

impl Identified {
    /// Reads the event of an envelope.
    ///
    /// # Errors
    ///
    /// The payload can't be understood, now or later; the envelope comes back.
    pub fn read(envelope: Envelope) -> Result<Self, (Envelope, Unreadable)> {
        let event = match parse_payload(&envelope.payload) {
            Ok(event) => event,
            Err(reason) => return Err((envelope, reason)),
        };
        let digest = payload_digest(&envelope.payload);
        let key = LedgerKey::new(&event, &digest, envelope.delivery_id);
        Ok(Self {
            envelope,
            event,
            key,
            digest,
        })
    }

    /// Within how long of this delivery's arrival the same content is a copy of it; `None` if it
    /// always is. The reconciler numbers what it observes, so its own words never recur.
    #[must_use]
    pub fn repeat_window(&self, configured: Option<Duration>) -> Option<Duration> {
        let recurs = recurrence(&self.event.message) == Recurrence::Recurring;
        configured.filter(|_| recurs && self.envelope.origin == Origin::Webhook)
    }

    /// What is published of it as that occurrence, with its payload unless that has to be omitted.
    ///
    /// # Errors
    ///
    /// It can't be written as JSON.
    pub fn entry(
        &self,
        record: &Record,
        occurrence: u32,
    ) -> Result<(BusEntry, Option<Omission>), serde_json::Error> {
        if !is_unicode(&self.envelope.payload) {
            return self.entry_without_payload(record, occurrence, Omission::NotUnicode);
        }
        let payload = Some(&*self.envelope.payload);
        let entry = BusEntry::new(&self.detail(record, occurrence, payload, None))?;
        if entry.fits() {
            Ok((entry, None))
        } else {
            self.entry_without_payload(record, occurrence, Omission::TooLarge)
        }
    }

    /// What is published of it without its payload, for this reason.
    ///
    /// # Errors
    ///
    /// It can't be written as JSON.
    pub fn entry_without_payload(
        &self,
        record: &Record,
        occurrence: u32,
        reason: Omission,
    ) -> Result<(BusEntry, Option<Omission>), serde_json::Error> {
        let omitted = Omitted {
            reason,
            bytes: self.envelope.payload.get().len(),
            digest: &self.digest,
        };
        let entry = BusEntry::new(&self.detail(record, occurrence, None, Some(omitted)))?;
        Ok((entry, Some(reason)))
    }

    fn detail<'a>(
        &'a self,
        record: &'a Record,
        occurrence: u32,
        payload: Option<&'a RawValue>,
        payload_omitted: Option<Omitted<'a>>,
    ) -> Detail<'a> {
        let Self {
            envelope,
            event,
            key,
            digest: _,
        } = self;
        Detail {
            key: key.of_occurrence(occurrence).to_string(),
            message: &event.message,
            entity: &event.entity,
            delivery_id: envelope.delivery_id,
            received_at: envelope.received_at,
            origin: envelope.origin,
            sequence: record.sequence.as_deref(),
            test: event.test,
            payload,
            payload_omitted,
        }
    }
}

/// What AURA sent, to be put aside.
#[must_use]
pub fn quarantined<'a>(envelope: &'a Envelope, reason: &'a str) -> Quarantined<'a> {
    Quarantined {
        reason,
        id: Id::Delivery(envelope.delivery_id),
        received_at: envelope.received_at,
        body: envelope.payload.get().as_bytes(),
        conflict: None,
    }
}

/// Whether every string of a JSON value is Unicode once its escapes are resolved. Only an escape
/// of a surrogate (`\ud800` to `\udfff`) can spoil that. No parser is asked: one may refuse other
/// things, such as a number with an exponent of three digits.
fn is_unicode(payload: &RawValue) -> bool {
    let mut rest = payload.get();
    while let Some((_, escape)) = rest.split_once('\\') {
        rest = match code_unit(escape) {
            Some((0xD800..=0xDBFF, behind)) => {
                match behind.strip_prefix('\\').and_then(code_unit) {
                    Some((0xDC00..=0xDFFF, behind)) => behind,
                    _ => return false,
                }
            }
            Some((0xDC00..=0xDFFF, _)) => return false,
            Some((_, behind)) => behind,
            None => escape.get(1..).unwrap_or_default(),
        };
    }
    true
}

/// The number that `u` and four digits stand for, and what is behind them.
fn code_unit(escape: &str) -> Option<(u16, &str)> {
    let (digits, behind) = escape.strip_prefix('u')?.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn unicode(json: &str) -> bool {
        is_unicode(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn half_of_a_surrogate_pair_is_no_unicode() {
        assert!(unicode(r#"{"a": "plain \u00e9"}"#));
        assert!(unicode(r#"{"a": "\ud83d\ude80 \uD83D\uDE80"}"#));
        assert!(!unicode(r#"{"a": "\ud83d"}"#));
        assert!(!unicode(r#"{"\uDE80": 1}"#));
        assert!(!unicode(r#"{"a": "\ud83d\ud83d\ude80"}"#));
        assert!(!unicode(r#"{"a": "\ud83d\\ude80"}"#));
        assert!(!unicode(r#"{"a": "\\\ud83d"}"#));
        // Odd in other ways, which are no reason.
        assert!(unicode(r#"{"a": "\ud83d\ude80", "b": 1e999}"#));
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert!(unicode(&format!(r#"{{"a": "\ud83d\ude80", "b": {deep}}}"#)));
        assert!(unicode(r#"{"a": "a backslash: \\ud83d"}"#));
    }

    const PIECES: [&str; 9] = [
        r"\ud83d", r"\ude80", r"\uD7FF", r"\ue000", r"\\", r"\n", "u", "ud83d", "é",
    ];

    proptest! {
        #[test]
        fn what_is_unicode_is_what_a_json_parser_takes(
            pieces in prop::collection::vec(select(PIECES.to_vec()), 0..8)
        ) {
            let json = format!(r#"{{"a": "{}"}}"#, pieces.concat());
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&json);
            prop_assert_eq!(unicode(&json), parsed.is_ok());
        }
    }

    #[test]
    fn a_record_that_says_no_count_came_for_the_first_time() {
        let mut message = SqsMessage::default();
        assert_eq!(Record::from(message.clone()).receives, 1);
        message
            .attributes
            .insert("ApproximateReceiveCount".into(), "7".into());
        assert_eq!(Record::from(message).receives, 7);
    }
}
