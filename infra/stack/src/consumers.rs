//! What consumers see: the queues that the template puts behind the bus, read to the end.
//!
//! These are the queues a real consumer would read, so what arrives here went all the way: HTTP
//! API, ingest, queue, processor, bus, rule. Reading them takes their messages. The reader says what
//! makes sure of each that it is what consumers are promised.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::envelope::Origin;
use shared::published::{self, SOURCE};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::aura::Entity;
use crate::stack::Stack;

/// The template's outputs with the consumers' queues.
pub const QUEUES: [&str; 4] = [
    "CalloutEventsQueueUrl",
    "CustomerEventsQueueUrl",
    "SubscriptionEventsQueueUrl",
    "OtherEventsQueueUrl",
];
/// How long one call waits for messages, in seconds.
const LONG_POLL: i32 = 5;
/// The most that SQS gives at once.
const BATCH: i32 = 10;

/// An event as it was published on the bus: what EventBridge hands to its targets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// EventBridge's id.
    pub id: String,
    /// The event's name.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// Who published it.
    pub source: String,
    /// When it arrived here, to the second.
    pub time: String,
    /// All else.
    pub detail: Detail,
}

/// The detail of a published event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    /// The event's identity.
    pub key: String,
    /// The event's name.
    pub message: String,
    /// What it is about.
    pub entity: Entity,
    /// The delivery that it came with.
    pub delivery_id: String,
    /// When that arrived.
    pub received_at: String,
    /// `webhook`, `reconciler` or `canary`.
    pub origin: String,
    /// Orders the events of one entity.
    pub sequence: String,
    /// True for AURA's test traffic.
    pub test: bool,
    /// What AURA sent.
    pub payload: Value,
}

impl Detail {
    /// Where it stands among the events of its entity. A sequence is a whole number of any length.
    #[must_use]
    pub fn place(&self) -> (usize, &str) {
        (self.sequence.len(), &self.sequence)
    }
}

/// Makes sure that an event, in the form in which EventBridge hands it to its targets, is what
/// consumers are promised.
pub type Check = fn(&Value) -> Result<()>;

/// An event's detail, and nothing beside what [`published::Detail`] has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    key: String,
    message: String,
    entity: shared::event::Entity,
    delivery_id: Uuid,
    received_at: Timestamp,
    origin: Origin,
    sequence: Option<String>,
    test: bool,
    payload: Option<Value>,
    payload_omitted: Option<Value>,
}

/// The [`Check`] by the types that the schemas are generated from: an event has to be one that
/// [`shared::published`] writes. It knows neither patterns nor what is in a payload.
///
/// # Errors
///
/// It isn't. The error names the member and shows none of the event's values.
pub fn by_type(event: &Value) -> Result<()> {
    let member = |name: &str| event.get(name).unwrap_or(&Value::Null);
    let detail = member("detail");
    // What serde says shows the value.
    let read = Written::deserialize(detail)
        .map_err(|_| anyhow!("/detail is not what shared::published writes"))?;
    ensure!(member("source") == SOURCE, "/source is another's");
    ensure!(
        member("detail-type") == read.message.as_str(),
        "/detail-type is no /detail/message"
    );
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(
        read.sequence.as_deref().is_none_or(is_number),
        "/detail/sequence is no number"
    );
    ensure!(
        read.payload.is_none() == read.payload_omitted.is_some(),
        "/detail/payload is there with the reason why not, or neither is"
    );
    let again = serde_json::to_value(published::Detail {
        key: read.key,
        message: &read.message,
        entity: &read.entity,
        delivery_id: read.delivery_id,
        received_at: read.received_at,
        origin: read.origin,
        sequence: read.sequence.as_deref(),
        test: read.test,
        payload: None,
        payload_omitted: None,
    })?;
    for (name, value) in again.as_object().into_iter().flatten() {
        let is_same = name == "payload" || detail.get(name) == Some(value);
        ensure!(
            is_same,
            "/detail/{name} is not as shared::published writes it"
        );
    }
    Ok(())
}

/// Readers of all consumers' queues, which run until this is dropped.
#[derive(Debug)]
pub struct Consumers {
    published: mpsc::UnboundedReceiver<Result<Published>>,
    _readers: JoinSet<()>,
}

impl Consumers {
    /// Begins to read the queues that the stack has, and checks each event. A parameter turns the
    /// queue for other kinds off.
    #[must_use]
    pub fn read(stack: &Stack, check: Check) -> Self {
        let (sender, published) = mpsc::unbounded_channel();
        let mut readers = JoinSet::new();
        for url in QUEUES
            .iter()
            .filter_map(|output| stack.outputs().get(*output))
        {
            let queue = Queue::new(stack.account().sqs(), url);
            readers.spawn(read_all(queue, check, sender.clone()));
        }
        Self {
            published,
            _readers: readers,
        }
    }

    /// The next event, in the order of arrival; `None` if none comes within `patience`.
    ///
    /// # Errors
    ///
    /// A queue can't be read, or holds something that is no event of ours.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<Published>> {
        match tokio::time::timeout(patience, self.published.recv()).await {
            Ok(Some(published)) => published.map(Some),
            Ok(None) => Err(anyhow!("the stack has no consumers' queues")),
            Err(_elapsed) => Ok(None),
        }
    }

    /// All events until none has come for as long as `quiet`.
    ///
    /// # Errors
    ///
    /// As for [`Self::next`].
    pub async fn until_quiet(&mut self, quiet: Duration) -> Result<Vec<Published>> {
        let mut all = Vec::new();
        while let Some(published) = self.next(quiet).await? {
            all.push(published);
        }
        Ok(all)
    }

    /// The next `count` events, or fewer if they don't come within `patience` in all.
    ///
    /// # Errors
    ///
    /// As for [`Self::next`].
    pub async fn take(&mut self, count: usize, patience: Duration) -> Result<Vec<Published>> {
        let deadline = Instant::now() + patience;
        let mut all = Vec::new();
        while all.len() < count {
            match self
                .next(deadline.saturating_duration_since(Instant::now()))
                .await?
            {
                Some(published) => all.push(published),
                None => break,
            }
        }
        Ok(all)
    }
}

/// An event that passes the check.
fn parse(body: &str, check: Check) -> Result<Published> {
    let event: Value = serde_json::from_str(body)?;
    check(&event)?;
    Ok(Published::deserialize(event)?)
}

async fn read_all(queue: Queue, check: Check, published: mpsc::UnboundedSender<Result<Published>>) {
    loop {
        match queue.receive().await {
            Ok(bodies) => {
                for body in bodies {
                    let parsed = parse(&body, check).with_context(|| {
                        let (url, bytes) = (&queue.url, body.len());
                        format!("{url} holds {bytes} bytes that are no event of ours")
                    });
                    if published.send(parsed).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                // Nobody listens any more, or hears of it now: either way this reader is done.
                let _ = published.send(Err(error));
                return;
            }
        }
    }
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Self {
        Self {
            client,
            url: url.to_owned(),
        }
    }

    /// Takes messages out of the queue: waits some seconds for them, and may come back without.
    ///
    /// # Errors
    ///
    /// SQS doesn't answer.
    pub async fn receive(&self) -> Result<Vec<String>> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(BATCH)
            .wait_time_seconds(LONG_POLL)
            .send()
            .await
            .with_context(|| format!("cannot receive from {}", self.url))?;
        let messages = answer.messages.unwrap_or_default();
        self.delete(&messages).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| message.body)
            .collect())
    }

    /// How many messages it holds, those that somebody is working on included.
    ///
    /// # Errors
    ///
    /// SQS doesn't answer.
    pub async fn depth(&self) -> Result<u64> {
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .set_attribute_names(Some(counts.to_vec()))
            .send()
            .await
            .with_context(|| format!("cannot count {}", self.url))?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name: &QueueAttributeName| {
            let count = attributes.get(name).context("SQS didn't count")?;
            anyhow::Ok(count.parse::<u64>()?)
        };
        counts.iter().map(count).sum()
    }

    async fn delete(&self, messages: &[Message]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let entries = messages.iter().enumerate().map(|(n, message)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(n.to_string())
                .set_receipt_handle(message.receipt_handle.clone())
                .build()
        });
        let entries: Vec<_> = entries
            .collect::<Result<_, _>>()
            .context("no receipt handle")?;
        self.client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .with_context(|| format!("cannot delete from {}", self.url))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_the_contract_is_no_event_for_consumers() {
        let schema = include_str!("../../../docs/schema/v1/event.json");
        let mut schema: Value = serde_json::from_str(schema).unwrap();
        let event = &mut schema["examples"][0];
        assert_eq!(parse(&event.to_string(), by_type).unwrap().source, "aura");
        // What the type above takes, and no consumer is promised.
        event["detail"]["sequence"] = "the third".into();
        let error = parse(&event.to_string(), by_type).unwrap_err().to_string();
        assert!(error.contains("/detail/sequence"), "{error}");
    }
}
