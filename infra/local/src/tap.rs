//! A tap on the bus, for `cargo local events`.
//!
//! Reading the consumers' queues would take messages from anybody who develops a consumer against
//! the local stack. So `cargo local up` adds its own rule and queue to the template's, and writes
//! what arrives to a file. `events` can show everything since `up` to any number of readers, any
//! number of times. Canaries, the registrar's own deliveries, are not events and are not shown.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;
use tokio::task::JoinSet;

use stack::consumers::Queue;
use stack::stack::Stack;

/// The name of both the rule and the queue.
const NAME: &str = "aura-local-tap";

/// Writes what is published to a file, one JSON object a line, until this is dropped.
#[derive(Debug)]
pub struct Recorder {
    task: JoinSet<Result<()>>,
}

impl Recorder {
    /// Taps the bus and begins to write. The payloads come from AURA's stand-in but may look like a
    /// person's data, so only the owner can read the file.
    ///
    /// # Errors
    ///
    /// The rule or the queue can't be created, or the file can't be written.
    pub async fn start(stack: &Stack, path: &Path) -> Result<Self> {
        let queue = open(stack).await?;
        let file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let mut task = JoinSet::new();
        task.spawn(record(queue, file));
        Ok(Self { task })
    }

    /// Waits until the recorder ends by itself, which it shouldn't, and returns the reason.
    pub async fn ended(&mut self) -> anyhow::Error {
        let error = match self.task.join_next().await {
            Some(Ok(Err(error))) => error,
            _ => anyhow::anyhow!("the recorder ended without a reason"),
        };
        error.context("published events are no longer recorded")
    }
}

async fn record(queue: Queue, mut file: File) -> Result<()> {
    loop {
        for body in queue.receive().await? {
            // A line break in JSON is only layout.
            let line = body.replace(['\n', '\r'], " ");
            writeln!(file, "{line}").context("cannot write target/local/events.jsonl")?;
        }
    }
}

/// Creates the rule and the queue if they don't exist: an update of the stack may have created a new
/// bus.
///
/// # Errors
///
/// A call to SQS or EventBridge fails.
pub async fn open(stack: &Stack) -> Result<Queue> {
    let sqs = stack.account().sqs();
    let created = sqs.create_queue().queue_name(NAME).send().await;
    let url = created.context("cannot create the tap's queue")?.queue_url;
    let url = url.context("the tap's queue has no URL")?;
    let attributes = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names(QueueAttributeName::QueueArn)
        .send()
        .await
        .context("cannot read the ARN of the tap's queue")?
        .attributes
        .unwrap_or_default();
    let arn = attributes
        .get(&QueueAttributeName::QueueArn)
        .context("the tap's queue has no ARN")?;
    connect(stack, arn).await?;
    Ok(Queue::new(sqs, &url))
}

async fn connect(stack: &Stack, queue_arn: &str) -> Result<()> {
    let events = stack.account().eventbridge();
    let bus = stack.output("EventBusName")?;
    let pattern = json!({
        "source": ["aura"],
        "detail": {"origin": [{"anything-but": ["canary"]}]},
    });
    events
        .put_rule()
        .name(NAME)
        .event_bus_name(bus)
        .event_pattern(pattern.to_string())
        .send()
        .await
        .context("cannot create the tap's rule")?;
    let target = Target::builder()
        .id(NAME)
        .arn(queue_arn)
        .build()
        .context("cannot build the target of the tap's rule")?;
    events
        .put_targets()
        .rule(NAME)
        .event_bus_name(bus)
        .targets(target)
        .send()
        .await
        .context("cannot connect the tap's queue to its rule")?;
    Ok(())
}
