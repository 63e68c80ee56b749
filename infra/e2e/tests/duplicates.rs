//! Tests one event that arrives again and again, in many batches at once.

use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use e2e::{Local, from_environment};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use metrique::writer::sink::DevNullSink;
use processor::batch;
use processor::bus::EventBridge;
use processor::queues::SqsQueues;
use processor::record::Processor;
use processor::services::AwsServices;
use processor::timing::Deliveries;
use prove::contract;
use serde_json::value::RawValue;
use shared::envelope::{Envelope, Origin};
use stack::consumers::Consumers;
use stack::consumers::PATIENCE;
use stack::ledger;
use stack::proxy::FaultProxy;
use stack::stack::Stack;
use uuid::Uuid;

/// The environment variable that sets the number of duplicates; the local AWS handles some hundreds
/// a second: `DUPLICATES=100000 cargo test -p e2e -- duplicates`.
const COUNT: &str = "DUPLICATES";
const DEFAULT_COUNT: u32 = 5_000;

/// The most messages that SQS hands over at once.
const BATCH: u32 = 10;
/// Number of batches that are processed at once.
const WORKERS: usize = 20;

type RealProcessor = Processor<AwsServices>;

/// Makes a processor from the function's own parts; it works in this process.
fn processor(stack: &Stack, bus: &FaultProxy) -> Result<RealProcessor> {
    let account = stack.account();
    let config = account.sdk_config().to_builder();
    let config = config.endpoint_url(bus.url()).build();
    let output = |name| stack.output(name).map(str::to_owned);
    let eventbridge = aws_sdk_eventbridge::Client::new(&config);
    let bus = EventBridge::new(eventbridge, output("EventBusName")?);
    let queues = SqsQueues::new(
        account.sqs(),
        output("IngestQueueUrl")?,
        output("QuarantineQueueUrl")?,
    );
    Ok(Processor {
        services: AwsServices::new(account.dynamodb(), output("LedgerTableName")?, bus, queues),
        deliveries: Deliveries::default(),
        retention: Duration::from_hours(24),
        repeat_window: None,
        now: Timestamp::now,
        new_owner: Uuid::now_v7,
        random: || 0.5,
        metrics: DevNullSink::boxed(),
    })
}

/// A delivery of the one event. It has a group of its own, because SQS hands over the messages of
/// one group one after the other.
fn record(number: u32) -> Result<SqsMessage> {
    let payload = r#"{"message":"NEW_CALLOUT","callout":{"id":1}}"#;
    let payload = RawValue::from_string(payload.to_owned())?;
    let envelope = Envelope::new(Uuid::now_v7(), Timestamp::now(), Origin::Webhook, payload);
    let mut message = SqsMessage::default();
    message.message_id = Some(number.to_string());
    message.body = Some(envelope.to_json());
    message
        .attributes
        .insert("SequenceNumber".into(), number.to_string());
    Ok(message)
}

/// Processes these records until all are settled. A record is sent again if another worker holds
/// the event's claim.
async fn settle(processor: &RealProcessor, records: Range<u32>) -> Result<()> {
    let begin = Instant::now();
    let mut open: HashSet<_> = records.collect();
    while !open.is_empty() {
        ensure!(begin.elapsed() < PATIENCE, "not settled: {open:?}");
        let mut event = SqsEvent::default();
        event.records = open.iter().copied().map(record).collect::<Result<_>>()?;
        let deadline = Timestamp::now() + SignedDuration::from_secs(10);
        let report = batch::process(processor, event, deadline).await;
        let failed = report.batch_item_failures.iter();
        let failed = failed.map(|failure| failure.item_identifier.parse());
        open = failed
            .collect::<Result<_, _>>()
            .context("a failed record's id is no number")?;
        if !open.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn however_often_an_event_comes_it_leaves_one_item_and_one_publish() -> Result<()> {
    let count = from_environment(COUNT, DEFAULT_COUNT)?;
    let system = Local::shared().await?.system(&[]).await?;
    let stack = &system.stack;
    let mut consumers = Consumers::read(stack, contract::check);
    let bus = FaultProxy::before(stack.account().endpoint())?;
    let processor = processor(stack, &bus)?;

    let begin = Instant::now();
    let starts = (0..count).step_by(BATCH as usize);
    let batches = starts.map(|start| settle(&processor, start..(start + BATCH).min(count)));
    let batches = stream::iter(batches).buffer_unordered(WORKERS);
    let () = batches.try_collect().await?;
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    println!("{count} duplicates, {rate:.0} a second");

    let published = consumers.all().await?;
    let keys: Vec<_> = published.iter().map(|event| &event.detail.key).collect();
    assert_eq!(keys, ["callout#1/NEW_CALLOUT"]);
    assert_eq!(ledger::items(stack).await?.len(), 1);
    let puts = bus.calls().into_iter();
    let puts = puts.filter(|call| call.operation == "AWSEvents.PutEvents");
    assert_eq!(puts.count(), 1);
    Ok(())
}
