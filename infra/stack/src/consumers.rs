//! Reads the consumers' queues, which the template puts behind the bus.
//!
//! A real consumer would read these queues. So an event that arrives here went the whole way: HTTP
//! API, ingest, queue, processor, bus, rule. Reading removes the messages. The caller chooses a check
//! that each event must pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::envelope::Origin;
use shared::published::SOURCE;
use tokio::sync::{RwLock, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stack::Stack;

/// The template's outputs with the consumers' queues.
pub const QUEUES: [&str; 4] = [
    "CalloutEventsQueueUrl",
    "CustomerEventsQueueUrl",
    "SubscriptionEventsQueueUrl",
    "OtherEventsQueueUrl",
];
/// How long to wait for events before it is an error. An event that has failed often is tried again
/// after two minutes at most, so everything that works takes less.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// How long one call waits for messages, in seconds.
const LONG_POLL: i32 = 5;
/// How long to wait between two looks at how much the queues hold.
const POLL: Duration = Duration::from_millis(20);
/// The most messages that SQS returns at once.
const BATCH: i32 = 10;

/// A published event in the form in which EventBridge hands it to its targets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Published {
    /// EventBridge's id.
    pub id: String,
    /// The event's name.
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// Who published it.
    pub source: String,
    /// When the event was put on the bus, to the second.
    pub time: String,
    /// The event itself.
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
    /// The entity that the event is about.
    pub entity: Entity,
    /// The id of the delivery with the event.
    pub delivery_id: String,
    /// When the delivery arrived.
    pub received_at: String,
    /// Who reported the event: the name of its [`Origin`].
    pub origin: String,
    /// The number that orders the events of one entity.
    pub sequence: String,
    /// True for AURA's test traffic.
    pub test: bool,
    /// The payload that AURA sent.
    pub payload: Value,
}

impl Detail {
    /// A sort key for the events of one entity. A sequence is a whole number of any length, so its
    /// length comes first.
    #[must_use]
    pub fn place(&self) -> (usize, &str) {
        (self.sequence.len(), &self.sequence)
    }
}

/// Checks that an event, in the form in which EventBridge hands it to its targets, is what consumers
/// are promised.
pub type Check = fn(&Value) -> Result<()>;

/// The members of an event's detail: those of [`shared::published::Detail`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "each member has to be there, and to be readable")]
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

/// The [`Check`] by type: the detail must have the members that [`shared::published`] writes, and no
/// others. It checks only the pattern of the sequence; the schema in `docs/schema` has all patterns.
///
/// # Errors
///
/// Names the member, and shows no value of the event.
pub fn by_type(event: &Value) -> Result<()> {
    let member = |name: &str| event.get(name).unwrap_or(&Value::Null);
    ensure!(member("source") == SOURCE, "/source is not {SOURCE}");
    // serde's own error would show the value.
    let detail = Written::deserialize(member("detail"))
        .map_err(|_| anyhow!("/detail is not what shared::published writes"))?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(
        detail.sequence.as_deref().is_none_or(is_number),
        "/detail/sequence is not a number"
    );
    Ok(())
}

/// The entity that an event is about, as consumers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// The kind: `callout`, `customer`, `subscription`, or another one.
    pub kind: String,
    /// The entity's id at AURA.
    pub id: String,
}

impl From<aura_sim::client::Entity> for Entity {
    fn from(entity: aura_sim::client::Entity) -> Self {
        Self {
            kind: entity.kind.to_string(),
            id: entity.id.to_string(),
        }
    }
}

/// Reads all consumers' queues until it is dropped.
#[derive(Debug)]
pub struct Consumers {
    queues: Vec<Queue>,
    published: mpsc::UnboundedReceiver<Result<Published>>,
    /// Locked for reading by each reader that has taken messages but not yet passed them on.
    handing_on: Arc<RwLock<()>>,
    stopping: Arc<AtomicBool>,
    readers: JoinSet<()>,
}

impl Consumers {
    /// Begins to read the queues that the stack has, and checks each event. A template parameter turns
    /// off the queue for other kinds.
    #[must_use]
    pub fn read(stack: &Stack, check: Check) -> Self {
        let (sender, published) = mpsc::unbounded_channel();
        let urls = QUEUES
            .iter()
            .filter_map(|output| stack.outputs().get(*output));
        let queues: Vec<_> = urls
            .map(|url| Queue::new(stack.account().sqs(), url))
            .collect();
        let (handing_on, stopping) = (Arc::default(), Arc::default());
        let readers = queues.iter().cloned().map(|queue| {
            let (sender, handing_on) = (sender.clone(), Arc::clone(&handing_on));
            read_all(queue, check, sender, handing_on, Arc::clone(&stopping))
        });
        let readers = readers.collect();
        Self {
            queues,
            published,
            handing_on,
            stopping,
            readers,
        }
    }

    /// Takes no more messages from the queues, and returns the events that nobody has asked for yet.
    ///
    /// # Errors
    ///
    /// As for [`Self::next`].
    pub async fn stop(mut self) -> Result<Vec<Published>> {
        self.stopping.store(true, Ordering::Relaxed);
        while let Some(ended) = self.readers.join_next().await {
            ended.context("the task that reads a queue was cancelled or panicked")?;
        }
        let mut all = Vec::new();
        while let Ok(published) = self.published.try_recv() {
            all.push(published?);
        }
        Ok(all)
    }

    /// The next event, in the order of arrival; `None` if none comes within `patience`.
    ///
    /// # Errors
    ///
    /// A queue can't be read, or contains a message that is not an event of this stack.
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

    /// All events that are on the queues at this time.
    ///
    /// # Errors
    ///
    /// As for [`Self::next`], or no event comes for [`PATIENCE`] although a queue holds one.
    pub async fn all(&mut self) -> Result<Vec<Published>> {
        let mut all = Vec::new();
        let mut progress = Instant::now();
        loop {
            let mut depth = 0;
            for queue in &self.queues {
                depth += queue.depth().await?;
            }
            // Events that left a queue have arrived here once no reader is passing any on.
            drop(self.handing_on.write().await);
            while let Ok(published) = self.published.try_recv() {
                all.push(published?);
                progress = Instant::now();
            }
            if depth == 0 {
                return Ok(all);
            }
            ensure!(
                progress.elapsed() < PATIENCE,
                "the consumers' queues still hold {depth} messages, and none has come for {} s",
                PATIENCE.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The next `count` events, or fewer if the rest doesn't come within `patience`.
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

/// Parses an event that passes the check.
fn parse(body: &str, check: Check) -> Result<Published> {
    let event: Value = serde_json::from_str(body)?;
    check(&event)?;
    Ok(Published::deserialize(event)?)
}

async fn read_all(
    queue: Queue,
    check: Check,
    published: mpsc::UnboundedSender<Result<Published>>,
    handing_on: Arc<RwLock<()>>,
    stopping: Arc<AtomicBool>,
) {
    let read = async {
        while !stopping.load(Ordering::Relaxed) {
            let messages = queue.messages().await?;
            let _handing_on = handing_on.read().await;
            queue.delete(&messages).await?;
            for body in bodies(messages) {
                let parsed = parse(&body, check).with_context(|| {
                    let (url, bytes) = (&queue.url, body.len());
                    format!("{url} holds a message of {bytes} bytes that is not a valid event")
                });
                published.send(parsed)?;
            }
        }
        Ok(())
    };
    let ended: Result<()> = read.await;
    // Either nobody listens any more, or the listener gets the error: this reader is done.
    if let Err(error) = ended {
        let _ = published.send(Err(error));
    }
}

fn bodies(messages: Vec<Message>) -> Vec<String> {
    let bodies = messages.into_iter().filter_map(|message| message.body);
    bodies.collect()
}

/// A queue of SQS.
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

    /// Takes messages from the queue. It waits some seconds for them, and may return none.
    ///
    /// # Errors
    ///
    /// SQS doesn't answer.
    pub async fn receive(&self) -> Result<Vec<String>> {
        let messages = self.messages().await?;
        self.delete(&messages).await?;
        Ok(bodies(messages))
    }

    /// Takes messages from the queue like [`Self::receive`], each with the time at which it came into
    /// the queue, to the millisecond.
    ///
    /// # Errors
    ///
    /// As for [`Self::receive`], or SQS returns a message without that time.
    pub async fn receive_dated(&self) -> Result<Vec<(Timestamp, String)>> {
        let messages = self.messages().await?;
        self.delete(&messages).await?;
        let dated = messages.into_iter().map(|message| {
            let attributes = message.attributes.unwrap_or_default();
            let sent = attributes
                .get(&MessageSystemAttributeName::SentTimestamp)
                .context("SQS returned no SentTimestamp")?;
            let sent = Timestamp::from_millisecond(sent.parse()?)?;
            Ok((sent, message.body.unwrap_or_default()))
        });
        dated.collect()
    }

    /// Receives messages without deleting them.
    async fn messages(&self) -> Result<Vec<Message>> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(BATCH)
            .wait_time_seconds(LONG_POLL)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .with_context(|| format!("cannot receive from {}", self.url))?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// How many messages the queue holds, including delayed ones and those in processing.
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
            .with_context(|| format!("cannot count the messages of {}", self.url))?;
        let attributes = answer.attributes.unwrap_or_default();
        let count = |name: &QueueAttributeName| {
            let count = attributes
                .get(name)
                .with_context(|| format!("SQS returned no {}", name.as_str()))?;
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
            .context("a message has no receipt handle")?;
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
    fn an_event_that_breaks_the_contract_is_an_error() {
        let schema = include_str!("../../../docs/schema/v1/event.json");
        let mut schema: Value = serde_json::from_str(schema).unwrap();
        let event = &mut schema["examples"][0];
        assert_eq!(parse(&event.to_string(), by_type).unwrap().source, "aura");
        // The types above accept this, but consumers are promised a number.
        event["detail"]["sequence"] = "the third".into();
        let error = parse(&event.to_string(), by_type).unwrap_err().to_string();
        assert!(error.contains("/detail/sequence"), "{error}");
    }
}
