//! The input: one message of the ingest queue, and the event that is read from it.

use std::sync::OnceLock;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsMessage;
use jiff::Timestamp;
use shared::catalogue::{Recurrence, recurrence};
use shared::envelope::{Envelope, Origin};
use shared::event::{Event, parse_payload, payload_digest};
use shared::ledger::LedgerKey;
use shared::quarantine::{QuarantineId, Quarantined};

use crate::queues::VisibilityChange;
use crate::timing::between;

/// One message of the ingest queue.
#[derive(Debug)]
pub(crate) struct Record {
    /// SQS's id, by which a failure is reported.
    pub(crate) message_id: String,
    /// SQS's handle of this receive.
    receipt_handle: Option<String>,
    /// The message group. Records of one group stay in order.
    pub(crate) group: String,
    /// SQS's sequence number.
    pub(crate) sequence: Option<String>,
    /// How often SQS has handed it over, including this time.
    pub(crate) receives: u32,
    /// When SQS received it.
    sent_at: Option<Timestamp>,
    /// When SQS handed it over for the first time.
    handed_over_at: Option<Timestamp>,
    /// The body, which should be an envelope.
    body: String,
    /// The event in the body, once it was read.
    event: OnceLock<Result<IncomingEvent, Unprocessable>>,
}

/// An event that was read from a record, with its identity.
#[derive(Debug)]
pub(crate) struct IncomingEvent {
    /// The envelope from the queue.
    pub(crate) envelope: Envelope,
    /// The event in its payload.
    pub(crate) event: Event,
    /// The event's key in the ledger.
    pub(crate) key: LedgerKey,
    /// The digest of the payload.
    pub(crate) digest: String,
}

/// Why a record can never be processed.
#[derive(Debug)]
pub(crate) struct Unprocessable {
    reason: String,
    /// The envelope, if only its payload can't be understood.
    envelope: Option<Envelope>,
}

impl From<SqsMessage> for Record {
    fn from(mut message: SqsMessage) -> Self {
        let message_id = message.message_id.unwrap_or_default();
        let receives = message.attributes.get("ApproximateReceiveCount");
        let time = |name| {
            let milliseconds = message.attributes.get(name)?.parse().ok()?;
            Timestamp::from_millisecond(milliseconds).ok()
        };
        Self {
            sent_at: time("SentTimestamp"),
            handed_over_at: time("ApproximateFirstReceiveTimestamp"),
            receives: receives.and_then(|count| count.parse().ok()).unwrap_or(1),
            group: message
                .attributes
                .remove("MessageGroupId")
                .unwrap_or_else(|| message_id.clone()),
            sequence: message.attributes.remove("SequenceNumber"),
            body: message.body.unwrap_or_default(),
            receipt_handle: message.receipt_handle,
            message_id,
            event: OnceLock::new(),
        }
    }
}

impl Record {
    /// The event of this record. The first call reads it, and later calls return the same.
    pub(crate) fn event(&self) -> Result<&IncomingEvent, &Unprocessable> {
        let read = || IncomingEvent::read(&self.body);
        self.event.get_or_init(read).as_ref()
    }

    /// The envelope, if it was read.
    pub(crate) fn envelope(&self) -> Option<&Envelope> {
        match self.event.get()? {
            Ok(incoming) => Some(&incoming.envelope),
            Err(unprocessable) => unprocessable.envelope.as_ref(),
        }
    }

    /// The event, if it was read.
    pub(crate) fn event_read(&self) -> Option<&Event> {
        let incoming = self.event.get()?.as_ref().ok()?;
        Some(&incoming.event)
    }

    /// When the delivery arrived at `ingest`, or at the queue if that can't be read.
    pub(crate) fn arrived_at(&self) -> Option<Timestamp> {
        let received_at = self.envelope().map(|envelope| envelope.received_at);
        received_at.or(self.sent_at)
    }

    /// How long ago SQS handed it over for the first time. A record without that time has waited
    /// for ever, so that nobody relies on it.
    pub(crate) fn waited(&self, now: Timestamp) -> Duration {
        self.handed_over_at
            .map_or(Duration::MAX, |at| between(at, now))
    }

    /// The change that makes SQS hand this record over again after `time`. `None` if SQS gave no
    /// handle.
    pub(crate) fn back_after(&self, time: Duration) -> Option<VisibilityChange> {
        let receipt_handle = self.receipt_handle.clone()?;
        Some(VisibilityChange {
            receipt_handle,
            time,
        })
    }

    /// The unchanged record, for the quarantine.
    pub(crate) fn as_it_came<'a>(&'a self, reason: &'a str, now: Timestamp) -> Quarantined<'a> {
        Quarantined {
            reason,
            id: QuarantineId::Message(&self.message_id),
            received_at: now,
            body: self.body.as_bytes(),
            conflict: None,
        }
    }
}

impl IncomingEvent {
    fn read(body: &str) -> Result<Self, Unprocessable> {
        let envelope = Envelope::parse(body).map_err(|reason| Unprocessable {
            reason: reason.to_string(),
            envelope: None,
        })?;
        let event = match parse_payload(&envelope.payload) {
            Ok(event) => event,
            Err(reason) => {
                return Err(Unprocessable {
                    reason: reason.to_string(),
                    envelope: Some(envelope),
                });
            }
        };
        let digest = payload_digest(&envelope.payload);
        let key = LedgerKey::new(&event, &digest, envelope.delivery_id, envelope.origin);
        Ok(Self {
            envelope,
            event,
            key,
            digest,
        })
    }

    /// The time around this delivery's arrival within which the same content is a copy. `None` if
    /// the same content is always a copy. The reconciler numbers its observations, so they never
    /// recur.
    pub(crate) fn repeat_window(&self, configured: Option<Duration>) -> Option<Duration> {
        let recurs = recurrence(&self.event.message) == Recurrence::Recurring;
        configured.filter(|_| recurs && self.envelope.origin == Origin::Webhook)
    }

    /// The payload that AURA sent, for the quarantine.
    pub(crate) fn to_quarantine<'a>(&'a self, reason: &'a str) -> Quarantined<'a> {
        payload_of(&self.envelope, reason)
    }
}

impl Unprocessable {
    /// As much of the record as could be read, for the quarantine.
    pub(crate) fn to_quarantine<'a>(
        &'a self,
        record: &'a Record,
        now: Timestamp,
    ) -> Quarantined<'a> {
        match &self.envelope {
            Some(envelope) => payload_of(envelope, &self.reason),
            None => record.as_it_came(&self.reason, now),
        }
    }
}

fn payload_of<'a>(envelope: &'a Envelope, reason: &'a str) -> Quarantined<'a> {
    Quarantined {
        reason,
        id: QuarantineId::Delivery(envelope.delivery_id),
        received_at: envelope.received_at,
        body: envelope.payload.get().as_bytes(),
        conflict: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_a_receive_count_was_received_once() {
        let mut message = SqsMessage::default();
        assert_eq!(Record::from(message.clone()).receives, 1);
        message
            .attributes
            .insert("ApproximateReceiveCount".into(), "7".into());
        assert_eq!(Record::from(message).receives, 7);
    }
}
