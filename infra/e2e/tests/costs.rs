//! Counts the calls and log lines of events, for the arithmetic of `cargo prove cost`.

use anyhow::{Context as _, Result, bail, ensure};
use e2e::Local;
use jiff::Timestamp;
use prove::cost::measured::{Counts, FULL, Measured};
use serde_json::{Value, json};
use stack::boto;
use stack::function_logs;
use stack::proxy::{Call, FaultProxy};
use stack::settled::drained;
use stack::stack::Stack;
use stack::system::Webhook;
use stack::template::OF_INGEST;
use stack::workspace::Workspace;

use crate::processing::trial::Trial;

/// The events of `cargo local demo`, each with the kind of its entity.
const EVENTS: [(&str, &str); 9] = [
    ("CREATED_CUSTOMER", "customer"),
    ("SUBSCRIPTION_CREATED", "subscription"),
    ("NEW_CALLOUT", "callout"),
    ("CALLOUT_OWNED", "callout"),
    ("RESPONDER_ACKNOWLEDGED_CALLOUT", "callout"),
    ("RESPONDER_ARRIVED_ON_SCENE", "callout"),
    ("CALLOUT_EVENTS_CHANGED", "callout"),
    ("RESPONDER_COMPLETED", "callout"),
    ("CALLOUT_CLOSED", "callout"),
];
/// The key under which the processor notes when AURA delivered last. How often it does so depends on
/// the clock, so it isn't counted here.
const LAST_DELIVERY: &str = "line";

/// A system whose ingest and processor reach AWS through proxies.
struct Meter {
    trial: Trial,
    of_ingest: FaultProxy,
    webhook: Webhook,
    http: reqwest::Client,
    /// Id of what takes batches from the ingest queue for the processor.
    source: String,
}

#[tokio::test]
async fn events_make_the_calls_and_lines_that_the_costs_count() -> Result<()> {
    Measured::read()?.agrees_with(&measure().await?)
}

/// Writes `measured.json` anew.
#[tokio::test]
#[ignore = "it writes a file of the repository"]
async fn measure_what_events_cost() -> Result<()> {
    measure().await?.write(Workspace::here()?.root())
}

async fn measure() -> Result<Measured> {
    let meter = Meter::begin().await?;
    // A first event of each kind includes what a process does only once.
    meter.batches(0, 1).await?;
    Ok(Measured {
        date: Timestamp::now().strftime("%F").to_string(),
        alone: meter.batches(100, 1).await?,
        full: meter.batches(200, FULL).await?,
    })
}

impl Meter {
    async fn begin() -> Result<Self> {
        let local = Local::shared().await?;
        let of_ingest = FaultProxy::before(local.endpoint())?;
        let url = of_ingest.url();
        let behind = ["SQS", "DYNAMODB"].map(|service| format!("AWS_ENDPOINT_URL_{service}"));
        let variables = behind.each_ref().map(|name| (name.as_str(), url.as_str()));
        let template = local.template().with_variables(OF_INGEST, &variables)?;
        let trial = Trial::begin_with(&template, &[]).await?;
        Ok(Self {
            of_ingest,
            webhook: trial.system.webhook().await?,
            http: shared::http_client::build()?,
            source: source(&trial.system.stack).await?,
            trial,
        })
    }

    /// Posts each of [`EVENTS`] for `size` entities, and has the processor take these as one batch.
    /// `first` is the first entity's id.
    async fn batches(&self, first: u64, size: u64) -> Result<Counts> {
        let stack = &self.trial.system.stack;
        let lines_before = lines(stack).await?.map(|lines| lines.len());
        let proxies = [
            &self.of_ingest,
            &self.trial.dynamodb,
            &self.trial.eventbridge,
            &self.trial.sqs,
        ];
        for proxy in proxies {
            proxy.forget();
        }
        for event in EVENTS {
            self.batch(event, first..first + size).await?;
        }
        let mut counts = Counts {
            events: 9 * size,
            batches: 9,
            ..Counts::default()
        };
        for call in proxies.into_iter().flat_map(FaultProxy::calls) {
            count(&mut counts, &call)?;
        }
        let [ingest, processor] = lines(stack).await?;
        let [ingest_before, processor_before] = lines_before;
        for line in ingest.iter().skip(ingest_before) {
            *bytes_of(line, &mut counts.ingest_bytes, &mut counts.lambda_bytes) +=
                line.len() as u64;
        }
        let mut batches = 0;
        for line in processor.iter().skip(processor_before) {
            batches += u64::from(line.starts_with("START "));
            *bytes_of(line, &mut counts.processor_bytes, &mut counts.lambda_bytes) +=
                line.len() as u64;
        }
        ensure!(
            batches == counts.batches,
            "the processor got {batches} batches, and not {}",
            counts.batches
        );
        Ok(counts)
    }

    /// Has one batch processed.
    async fn batch(&self, (message, kind): (&str, &str), ids: std::ops::Range<u64>) -> Result<()> {
        let stack = &self.trial.system.stack;
        take(stack, &self.source, false).await?;
        for id in ids {
            let body = json!({"message": message, kind: {"id": id}});
            let answer = self
                .webhook
                .post(&self.http, body.to_string().into())
                .await?;
            ensure!(answer.status == 202, "{answer:?}");
        }
        take(stack, &self.source, true).await?;
        drained(stack).await
    }
}

fn bytes_of<'a>(line: &str, of_function: &'a mut u64, of_lambda: &'a mut u64) -> &'a mut u64 {
    let is_lambda = ["START ", "END ", "REPORT "]
        .iter()
        .any(|word| line.starts_with(word));
    if is_lambda { of_lambda } else { of_function }
}

/// Adds a call to the counts. A call that the SDK repeats counts once.
fn count(counts: &mut Counts, call: &Call) -> Result<()> {
    if call.is_retry {
        return Ok(());
    }
    let request: Value = serde_json::from_slice(&call.request)?;
    let (counter, number) = match call.operation.as_str() {
        "AmazonSQS.SendMessage" => (&mut counts.sent, 1),
        "AmazonSQS.ChangeMessageVisibilityBatch" => (&mut counts.hidden, 1),
        "DynamoDB_20120810.UpdateItem" => match partition(&request)? {
            LAST_DELIVERY => return Ok(()),
            key if key.starts_with("open/") => (&mut counts.open_writes, 1),
            _ => (&mut counts.event_writes, 1),
        },
        "DynamoDB_20120810.BatchGetItem" => (&mut counts.note_reads, keys(&request)?),
        "AWSEvents.PutEvents" => (&mut counts.published, length(&request, "Entries")?),
        other => bail!("{other} has no price in the arithmetic of the costs"),
    };
    *counter += number;
    Ok(())
}

fn partition(request: &Value) -> Result<&str> {
    let key = request.pointer("/Key/pk/S").and_then(Value::as_str);
    key.context("a write has no key")
}

/// Number of keys that are looked up, in all tables.
fn keys(request: &Value) -> Result<u64> {
    let tables = request.get("RequestItems").and_then(Value::as_object);
    let tables = tables.context("a look-up has no table")?;
    tables.values().map(|table| length(table, "Keys")).sum()
}

fn length(value: &Value, list: &str) -> Result<u64> {
    let list = value.get(list).and_then(Value::as_array);
    Ok(list.context("a list is missing")?.len() as u64)
}

/// The log lines of ingest and of the processor.
async fn lines(stack: &Stack) -> Result<[Vec<String>; 2]> {
    let ingest = function_logs::lines(stack, "IngestLogGroupName").await?;
    let processor = function_logs::lines(stack, "ProcessorLogGroupName").await?;
    Ok([ingest, processor])
}

/// Id of the event source mapping of the ingest queue.
async fn source(stack: &Stack) -> Result<String> {
    let list = boto::call::<Value>(
        stack.account(),
        "lambda",
        "list_event_source_mappings",
        json!({}),
    );
    let list = list.await?;
    let id = list
        .pointer("/EventSourceMappings/0/UUID")
        .and_then(Value::as_str);
    Ok(id
        .context("the processor has no event source mapping")?
        .to_owned())
}

/// Turns the processor's event source on or off.
async fn take(stack: &Stack, source: &str, enabled: bool) -> Result<()> {
    let arguments = json!({"UUID": source, "Enabled": enabled});
    let operation = "update_event_source_mapping";
    boto::call::<Value>(stack.account(), "lambda", operation, arguments).await?;
    Ok(())
}
