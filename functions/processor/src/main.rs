//! The `processor` function: configuration, clients, run.

use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use processor::batch;
use processor::bus::EventBridge;
use processor::config::Config;
use processor::ledger::DynamoLedger;
use processor::queues::SqsQueues;
use processor::wave::Processor;
use shared::config::Environment;
use shared::{aws, telemetry};
use uuid::Uuid;

// One thread: a batch waits for AWS nearly all of its time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::end(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::of_process();
    let metrics = telemetry::start(&environment)?;
    let config = Config::from_environment(&environment)?;
    let sdk = aws::sdk_config().await;

    let dynamo = aws_sdk_dynamodb::Client::new(&sdk);
    let sqs = aws_sdk_sqs::Client::new(&sdk);
    let bus = EventBridge::new(aws_sdk_eventbridge::Client::new(&sdk), config.event_bus);
    if let Err(error) = bus.confirm().await {
        // The first batch asks again, and comes back to the queue if that fails too.
        tracing::error!(%error, "nothing can be published yet");
    }
    let processor = Arc::new(Processor {
        ledger: DynamoLedger::new(dynamo, config.ledger_table),
        bus,
        queues: SqsQueues::new(sqs, config.ingest_queue_url, config.quarantine_queue_url),
        retention: config.ledger_retention,
        now: Timestamp::now,
        new_owner: Uuid::now_v7,
        random: fastrand::f64,
        metrics,
    });
    let handler = async |event: LambdaEvent<_>| {
        let deadline = Timestamp::try_from(event.context.deadline())?;
        Ok::<_, Error>(batch::process(&processor, event.payload, deadline).await)
    };
    lambda_runtime::run(service_fn(handler)).await
}
