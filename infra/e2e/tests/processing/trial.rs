//! A system under test whose processor reaches AWS through proxies, and what the processor says it
//! did.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::Local;
use futures::future::try_join_all;
use jiff::Timestamp;
use prove::contract;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::envelope::{Envelope, Origin};
use shared::event::Entity;
use shared::queue::{Message, Queue};
use stack::consumers::PATIENCE;
use stack::consumers::{Consumers, Published};
use stack::function_logs;
use stack::proxy::FaultProxy;
use stack::settled::{all_published, drained};
use stack::system::System;
use stack::template::Template;
use uuid::Uuid;

/// The line of the template that names the bus on which the processor publishes.
const BUS: &str = "EVENT_BUS_NAME: !Ref EventBus";
/// The line of the template that permits the processor to publish there.
const PERMITTED_BUS: &str = "Resource: !GetAtt EventBus.Arn";

pub struct Trial {
    pub system: System,
    pub dynamodb: FaultProxy,
    pub eventbridge: FaultProxy,
    pub sqs: FaultProxy,
    template: Template,
    consumers: Consumers,
    ingest_queue: Queue,
    /// Number of lines that the processor had logged before the trial.
    lines: usize,
}

/// The processor's log line for a batch, as CloudWatch Logs has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch {
    pub published: usize,
    /// One value, or several values with the count of each.
    pub arrival_to_publish: Option<Value>,
}

/// One receive of a message.
#[derive(Debug)]
pub struct Receive {
    /// When work on the message's batch ended.
    pub at: Timestamp,
    pub outcome: String,
}

/// The processor's log line for a record, as CloudWatch Logs has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordLine {
    message_id: String,
    outcome: String,
    #[serde(rename = "_aws")]
    definitions: Value,
}

impl Trial {
    pub async fn begin() -> Result<Self> {
        let template = Local::shared().await?.template().clone();
        Self::begin_with(&template, &[]).await
    }

    /// Begins with another template, and with more variables in the processor's environment.
    pub async fn begin_with(template: &Template, variables: &[(&str, &str)]) -> Result<Self> {
        let local = Local::shared().await?;
        let proxy = || FaultProxy::before(local.endpoint());
        let (dynamodb, eventbridge, sqs) = (proxy()?, proxy()?, proxy()?);
        let proxies = [
            ("DYNAMODB", &dynamodb),
            ("EVENTBRIDGE", &eventbridge),
            ("SQS", &sqs),
        ];
        let template = template.with_processor_behind(&proxies, variables)?;
        let system = local.system_from(template.clone()).await?;
        let sqs_client = system.stack.account().sqs();
        let ingest_queue = system.stack.output("IngestQueueUrl")?.to_owned();
        let mut trial = Self {
            consumers: Consumers::read(&system.stack, contract::check),
            ingest_queue: Queue::new(sqs_client, ingest_queue),
            lines: 0,
            template,
            system,
            dynamodb,
            eventbridge,
            sqs,
        };
        trial.begin_here().await?;
        Ok(trial)
    }

    /// Excludes everything so far from all counts.
    async fn begin_here(&mut self) -> Result<()> {
        drained(&self.system.stack).await?;
        self.lines += self.log().await?.len();
        for proxy in [&self.dynamodb, &self.eventbridge, &self.sqs] {
            proxy.forget();
        }
        Ok(())
    }

    /// Updates the processor so that it publishes on another bus.
    pub async fn point_at_bus(&mut self, name: &str) -> Result<()> {
        let text = self.template.text();
        ensure!(
            text.matches(BUS).count() == 1,
            "the template must have exactly one line {BUS}"
        );
        let text = text.replace(BUS, &format!("EVENT_BUS_NAME: {name}"));
        let may = format!("Resource: arn:aws:events:*:*:event-bus/{name}");
        let template = Template::from_text(text.replace(PERMITTED_BUS, &may));
        let local = Local::shared().await?;
        self.system.stack = local.update_to(&self.system.stack, template).await?;
        self.begin_here().await
    }

    /// Puts a message on the ingest queue.
    pub async fn send(&self, message: Message) -> Result<()> {
        self.ingest_queue.send(&message).await?;
        Ok(())
    }

    /// Sends a delivery of an event with this name for each of these callouts, all at once.
    pub async fn deliver(&self, name: &str, callouts: std::ops::Range<u32>) -> Result<()> {
        let send = async |callout| self.send(delivery(name, callout)?).await;
        try_join_all(callouts.map(send)).await?;
        Ok(())
    }

    /// Everything that consumers receive of what was queued so far, doubles included.
    pub async fn published(&mut self) -> Result<Vec<Published>> {
        all_published(&self.system.stack, &mut self.consumers).await
    }

    /// The processor's lines for its batches so far.
    pub async fn batches(&self) -> Result<Vec<Batch>> {
        self.lines_of().await
    }

    /// The processor's log of the trial so far.
    async fn log(&self) -> Result<Vec<String>> {
        let lines = function_logs::lines(&self.system.stack, "ProcessorLogGroupName").await?;
        Ok(lines.into_iter().skip(self.lines).collect())
    }

    /// The lines of the log that can be read as `T`.
    async fn lines_of<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let lines = self.log().await?;
        let lines = lines.iter();
        Ok(lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// All receives of each message, by SQS's message id.
    pub async fn receives(&self) -> Result<HashMap<String, Vec<Receive>>> {
        let mut receives: HashMap<_, Vec<_>> = HashMap::new();
        for line in self.lines_of::<RecordLine>().await? {
            let at = line.definitions.get("Timestamp").and_then(Value::as_i64);
            let at = Timestamp::from_millisecond(at.context("a record has no time")?)?;
            let its = receives.entry(line.message_id).or_default();
            let outcome = line.outcome;
            its.push(Receive { at, outcome });
        }
        Ok(receives)
    }

    /// The outcome of each receive of each message, by SQS's message id.
    pub async fn outcomes(&self) -> Result<HashMap<String, Vec<String>>> {
        let receives = self.receives().await?.into_iter();
        let outcomes = |its: Vec<Receive>| its.into_iter().map(|receive| receive.outcome);
        Ok(receives
            .map(|(id, its)| (id, outcomes(its).collect()))
            .collect())
    }

    /// Waits until some message has been received `times` times.
    pub async fn until_received(&self, times: usize) -> Result<()> {
        let begin = Instant::now();
        loop {
            let outcomes = self.outcomes().await?;
            if outcomes.values().any(|its| its.len() >= times) {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < PATIENCE,
                "no message was received {times} times: {outcomes:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Batch {
    /// Number of values in [`Self::arrival_to_publish`].
    pub fn latencies(&self) -> u64 {
        let counts = |metric: &Value| {
            let counts = metric.get("Counts")?.as_array()?.iter();
            Some(counts.filter_map(Value::as_u64).sum())
        };
        let latencies = self.arrival_to_publish.as_ref();
        latencies.map_or(0, |metric| counts(metric).unwrap_or(1))
    }
}

/// A new delivery of a callout's event, which arrives now.
pub fn delivery(name: &str, callout: u32) -> Result<Message> {
    delivery_at(name, callout, Timestamp::now())
}

/// A new delivery of a callout's event that arrived at this time.
pub fn delivery_at(name: &str, callout: u32, arrived: Timestamp) -> Result<Message> {
    let payload = format!(r#"{{"message":"{name}","callout":{{"id":{callout}}}}}"#);
    let payload = RawValue::from_string(payload)?;
    let envelope = Envelope::new(Uuid::now_v7(), arrived, Origin::Webhook, payload);
    Ok(envelope.message(&entity(callout)))
}

pub fn entity(callout: u32) -> Entity {
    Entity {
        kind: "callout".into(),
        id: callout.to_string(),
    }
}
