//! What consumers see: the queues that the template puts behind the bus, read to the end.
//!
//! These are the queues a real consumer would read, so what arrives here went all the way: HTTP
//! API, ingest, queue, processor, bus, rule. Reading them takes their messages. The reader says what
//! makes sure of each that it is what consumers are promised.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
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
/// Longer than anything takes that works: what has failed often comes back after two minutes.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// How long one call waits for messages, in seconds.
const LONG_POLL: i32 = 5;
/// Between two looks at how much the queues hold.
const POLL: Duration = Duration::from_millis(20);
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

/// The [`Check`] by type: the detail has the members that [`shared::published`] writes, and no others. It
/// knows no patterns but the sequence's; the schema of `docs/schema` knows them all.
///
/// # Errors
///
/// Names the member, and shows no value of the event.
pub fn by_type(event: &Value) -> Result<()> {
    let member = |name: &str| event.get(name).unwrap_or(&Value::Null);
    ensure!(member("source") == SOURCE, "/source is another's");
    // What serde says shows the value.
    let detail = Written::deserialize(member("detail"))
        .map_err(|_| anyhow!("/detail is not what shared::published writes"))?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    ensure!(
        detail.sequence.as_deref().is_none_or(is_number),
        "/detail/sequence is no number"
    );
    Ok(())
}

/// What an event is about, as consumers are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// `callout`, `customer`, `subscription`, or another.
    pub kind: String,
    /// Its id at AURA.
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

/// Readers of all consumers' queues, which run until this is dropped.
#[derive(Debug)]
pub struct Consumers {
    queues: Vec<Queue>,
    published: mpsc::UnboundedReceiver<Result<Published>>,
    /// Held for reading by who has taken messages and hasn't handed them on yet.
    handing_on: Arc<RwLock<()>>,
    _readers: JoinSet<()>,
}

impl Consumers {
    /// Begins to read the queues that the stack has, and checks each event. A parameter turns the
    /// queue for other kinds off.
    #[must_use]
    pub fn read(stack: &Stack, check: Check) -> Self {
        let (sender, published) = mpsc::unbounded_channel();
        let urls = QUEUES
            .iter()
            .filter_map(|output| stack.outputs().get(*output));
        let queues: Vec<_> = urls
            .map(|url| Queue::new(stack.account().sqs(), url))
            .collect();
        let handing_on = Arc::default();
        let readers = queues.iter().cloned().map(|queue| {
            let (sender, handing_on) = (sender.clone(), Arc::clone(&handing_on));
            read_all(queue, check, sender, handing_on)
        });
        let readers = readers.collect();
        Self {
            queues,
            published,
            handing_on,
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

    /// All events that are on the queues by now.
    ///
    /// # Errors
    ///
    /// As for [`Self::next`], or none comes for [`PATIENCE`] though a queue holds one.
    pub async fn all(&mut self) -> Result<Vec<Published>> {
        let mut all = Vec::new();
        let mut progress = Instant::now();
        loop {
            let mut depth = 0;
            for queue in &self.queues {
                depth += queue.depth().await?;
            }
            // What a queue no longer holds was taken from it, and is here when nobody hands on.
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
                "the consumers' queues aren't emptied"
            );
            tokio::time::sleep(POLL).await;
        }
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

async fn read_all(
    queue: Queue,
    check: Check,
    published: mpsc::UnboundedSender<Result<Published>>,
    handing_on: Arc<RwLock<()>>,
) {
    let read = async {
        loop {
            let messages = queue.messages().await?;
            let _handing_on = handing_on.read().await;
            queue.delete(&messages).await?;
            for body in bodies(messages) {
                let parsed = parse(&body, check).with_context(|| {
                    let (url, bytes) = (&queue.url, body.len());
                    format!("{url} holds {bytes} bytes that are no event of ours")
                });
                published.send(parsed)?;
            }
        }
    };
    let ended: Result<()> = read.await;
    // Nobody listens any more, or hears of it now: either way this reader is done.
    if let Err(error) = ended {
        let _ = published.send(Err(error));
    }
}

fn bodies(messages: Vec<Message>) -> Vec<String> {
    let bodies = messages.into_iter().filter_map(|message| message.body);
    bodies.collect()
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
        let messages = self.messages().await?;
        self.delete(&messages).await?;
        Ok(bodies(messages))
    }

    /// The same, without taking them out.
    async fn messages(&self) -> Result<Vec<Message>> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(BATCH)
            .wait_time_seconds(LONG_POLL)
            .send()
            .await
            .with_context(|| format!("cannot receive from {}", self.url))?;
        Ok(answer.messages.unwrap_or_default())
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
