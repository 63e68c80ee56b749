//! Makes batches as Lambda takes them from the ingest queue: the samples of `infra/events` in
//! envelopes, like `ingest`'s.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use shared::envelope::{Envelope, Origin};
use shared::event;
use uuid::Uuid;

use crate::runtime_api::Invocation;

/// The most records that Lambda takes in a batch (template.yaml).
const RECORDS: usize = 10;
/// Id of the first entity: as long as AURA's, so that all ids have one length.
const FIRST_ID: u32 = 1_000_000_000;
/// The first sequence number; the queue's sequence numbers have 20 digits.
const FIRST_SEQUENCE: u128 = 18_870_000_000_000_000_000;

const NEW_CALLOUT: &str = include_str!("../../../events/new-callout.json");
const CALLOUT_CLOSED: &str = include_str!("../../../events/callout-closed.json");
/// An event in the middle of a callout: its event stream changed, for example by a chat message.
const CALLOUT_EVENTS_CHANGED: &str = include_str!("../../../events/callout-events-changed.json");

/// Samples that are each about another entity: ten in a row belong to ten groups.
const SAMPLES: [&str; 8] = [
    NEW_CALLOUT,
    include_str!("../../../events/responder-arrived.json"),
    include_str!("../../../events/created-customer.json"),
    CALLOUT_EVENTS_CHANGED,
    include_str!("../../../events/subscription-created.json"),
    CALLOUT_CLOSED,
    include_str!("../../../events/unknown-kind.json"),
    include_str!("../../../events/test-classification.json"),
];

/// Kind of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Case {
    /// Ten new events of ten entities.
    Groups,
    /// Ten new events of one entity: each must wait for the one before it.
    OneGroup,
    /// One new event.
    OneEvent,
    /// Ten events of which some or all came before.
    Duplicates,
}

impl Case {
    /// All kinds, in the order in which they are measured.
    pub const ALL: [Self; 4] = [
        Self::Groups,
        Self::OneGroup,
        Self::OneEvent,
        Self::Duplicates,
    ];

    /// Name of the kind in figures' names and in files' names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::OneGroup => "oneGroup",
            Self::OneEvent => "oneEvent",
            Self::Duplicates => "duplicates",
        }
    }
}

/// A batch of records.
#[derive(Debug)]
pub struct Batch {
    /// The event of SQS that holds the batch.
    pub event: String,
    /// Number of records in the batch.
    pub records: u32,
    /// Number of new records in the batch.
    pub new: usize,
}

impl Batch {
    /// Makes an invocation with the batch.
    #[must_use]
    pub fn invocation(&self) -> Invocation {
        Invocation {
            request_id: Uuid::now_v7(),
            event: self.event.clone(),
        }
    }
}

/// An endless supply of batches.
#[derive(Debug)]
pub struct Batches {
    entity_id: u32,
    sequence: u128,
    /// Every record of [`Case::Groups`], which is delivered again later, and the next one to take.
    delivered: Vec<Record>,
    redelivered: usize,
    share: Share,
}

#[derive(Debug, Clone)]
struct Record {
    group: String,
    delivery_id: String,
    sequence: u128,
    body: String,
}

impl Batches {
    /// Makes batches in which `percent` percent of the records of [`Case::Duplicates`] came before.
    #[must_use]
    pub fn new(percent: u32) -> Self {
        Self {
            entity_id: FIRST_ID,
            sequence: FIRST_SEQUENCE,
            delivered: Vec::new(),
            redelivered: 0,
            share: Share { percent, sum: 0 },
        }
    }

    /// Makes one more batch.
    ///
    /// # Errors
    ///
    /// Fails if a sample can't be read.
    pub fn make(&mut self, case: Case) -> Result<Batch> {
        match case {
            Case::Groups => {
                let records = self.of_ten_groups()?;
                self.delivered.extend_from_slice(&records);
                Ok(batch(&records, RECORDS))
            }
            Case::OneGroup => {
                let records = self.of_one_group()?;
                Ok(batch(&records, RECORDS))
            }
            Case::OneEvent => {
                let record = self.of_another_entity()?;
                Ok(batch(&[record], 1))
            }
            Case::Duplicates => self.with_redeliveries(),
        }
    }

    fn of_ten_groups(&mut self) -> Result<Vec<Record>> {
        (0..RECORDS).map(|_| self.of_another_entity()).collect()
    }

    /// Records of a whole callout.
    fn of_one_group(&mut self) -> Result<Vec<Record>> {
        self.entity_id += 1;
        let mut samples = [CALLOUT_EVENTS_CHANGED; RECORDS];
        samples[0] = NEW_CALLOUT;
        samples[RECORDS - 1] = CALLOUT_CLOSED;
        samples
            .into_iter()
            .map(|sample| self.record(sample))
            .collect()
    }

    fn with_redeliveries(&mut self) -> Result<Batch> {
        let mut records = Vec::with_capacity(RECORDS);
        let mut new = 0;
        for _ in 0..RECORDS {
            if self.share.is_next() {
                records.push(self.redelivery()?);
            } else {
                records.push(self.of_another_entity()?);
                new += 1;
            }
        }
        Ok(batch(&records, new))
    }

    /// The record that has waited longest for its redelivery; ten in a row are of ten entities.
    fn redelivery(&mut self) -> Result<Record> {
        let record = self
            .delivered
            .get(self.redelivered % self.delivered.len().max(1));
        self.redelivered += 1;
        record
            .cloned()
            .context("no record was delivered before, so none can be delivered again")
    }

    fn of_another_entity(&mut self) -> Result<Record> {
        let turn = self.entity_id as usize % SAMPLES.len();
        self.entity_id += 1;
        let sample = SAMPLES.get(turn).context("there are no samples")?;
        self.record(sample)
    }

    /// Makes a record from a sample, about the current entity and delivered just now.
    fn record(&mut self, sample: &str) -> Result<Record> {
        let payload = with_id(sample, self.entity_id).context("a sample has no id")?;
        let (event, payload) = event::parse(payload.as_bytes())?;
        let envelope = Envelope::new(
            Uuid::now_v7(),
            Timestamp::now(),
            Origin::Webhook,
            payload.to_owned(),
        );
        let message = envelope.message(&event.entity);
        self.sequence += 256;
        Ok(Record {
            group: message.group_id,
            delivery_id: message.deduplication_id,
            sequence: self.sequence,
            body: message.body,
        })
    }
}

fn batch(records: &[Record], new: usize) -> Batch {
    let messages: Vec<_> = records.iter().map(Record::message).collect();
    Batch {
        event: json!({"Records": messages}).to_string(),
        records: u32::try_from(records.len()).unwrap_or(u32::MAX),
        new,
    }
}

/// Spreads a share of a whole evenly.
#[derive(Debug)]
struct Share {
    percent: u32,
    sum: u32,
}

impl Share {
    fn is_next(&mut self) -> bool {
        self.sum += self.percent;
        let is_next = self.sum >= 100;
        if is_next {
            self.sum -= 100;
        }
        is_next
    }
}

/// Replaces the id in a sample. The first `"id"` of each sample is the entity's.
fn with_id(sample: &str, id: u32) -> Option<String> {
    let (before, rest) = sample.split_once(r#""id": "#)?;
    let rest = rest.get(rest.find([',', '}'])?..)?;
    Some(format!(r#"{before}"id": {id}{rest}"#))
}

impl Record {
    /// The message in the form that Lambda hands over.
    fn message(&self) -> Value {
        let now = Timestamp::now().as_millisecond().to_string();
        json!({
            "messageId": Uuid::now_v7(),
            // The value is as long as a real receipt handle.
            "receiptHandle": "AQEB".repeat(64),
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "AWSTraceHeader": "Root=1-67a1b2c3-0123456789abcdef01234567;Sampled=0",
                "SentTimestamp": now,
                "SequenceNumber": self.sequence.to_string(),
                "MessageGroupId": self.group,
                "SenderId": "AROAEXAMPLEEXAMPLE000:ingest",
                "MessageDeduplicationId": self.delivery_id,
                "ApproximateFirstReceiveTimestamp": now,
            },
            "messageAttributes": {},
            "md5OfBody": "d41d8cd98f00b204e9800998ecf8427e",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:ingest.fifo",
            "awsRegion": "eu-west-1",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn attributes(batch: &Batch, name: &str) -> Vec<String> {
        let event: Value = serde_json::from_str(&batch.event).unwrap();
        let records = event["Records"].as_array().unwrap();
        let attribute = |record: &Value| record["attributes"][name].as_str().unwrap().to_owned();
        records.iter().map(attribute).collect()
    }

    fn groups(batch: &Batch) -> HashSet<String> {
        attributes(batch, "MessageGroupId").into_iter().collect()
    }

    #[test]
    fn a_batch_is_of_ten_groups_or_of_one() {
        let mut batches = Batches::new(100);
        let ten = batches.make(Case::Groups).unwrap();
        let others = batches.make(Case::Groups).unwrap();
        assert_eq!(groups(&ten).len(), RECORDS);
        assert!(groups(&ten).is_disjoint(&groups(&others)));
        let one = batches.make(Case::OneGroup).unwrap();
        assert_eq!(groups(&one).len(), 1);
        assert_eq!(attributes(&one, "MessageGroupId").len(), RECORDS);
        assert_eq!(batches.make(Case::OneEvent).unwrap().records, 1);
    }

    #[test]
    fn every_record_holds_an_envelope_of_its_own_event() {
        let mut batches = Batches::new(100);
        let mut deliveries = HashSet::new();
        for case in [Case::Groups, Case::OneGroup] {
            let event: Value = serde_json::from_str(&batches.make(case).unwrap().event).unwrap();
            for record in event["Records"].as_array().unwrap() {
                let envelope = Envelope::parse(record["body"].as_str().unwrap()).unwrap();
                let event = event::parse_payload(&envelope.payload).unwrap();
                assert_eq!(event.entity.id.len(), FIRST_ID.to_string().len());
                assert_eq!(
                    record["attributes"]["MessageGroupId"],
                    event.entity.group_id()
                );
                assert!(deliveries.insert(envelope.delivery_id));
            }
        }
    }

    #[test]
    fn the_share_of_duplicates_is_as_asked_for() {
        let mut batches = Batches::new(30);
        let first = batches.make(Case::Groups).unwrap();
        let known: HashSet<_> = attributes(&first, "MessageDeduplicationId")
            .into_iter()
            .collect();
        let mixed = batches.make(Case::Duplicates).unwrap();
        let again = attributes(&mixed, "MessageDeduplicationId");
        let again = again.iter().filter(|id| known.contains(*id)).count();
        assert_eq!((again, mixed.new), (3, 7));
        assert_eq!(groups(&mixed).len(), RECORDS);
    }
}
