//! The `processor` function: configuration, clients, run.

use std::process::ExitCode;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use processor::batch;
use processor::bus::EventBridge;
use processor::config::ProcessorConfig;
use processor::limits;
use processor::queues::SqsQueues;
use processor::record::Processor;
use processor::services::AwsServices;
use processor::timing::Deliveries;
use shared::config::Environment;
use shared::{aws, invocation, telemetry};
use uuid::Uuid;

// One thread is enough: a batch waits for AWS nearly all of its time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::end(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::of_process();
    let metrics = telemetry::start(&environment)?;
    let config = ProcessorConfig::from_environment(&environment)?;
    let sdk = aws::sdk_config(&environment)?;

    let repeatable = limits::REPEATABLE.applied_to(&sdk);
    let dynamo = aws_sdk_dynamodb::Client::new(&repeatable);
    let sqs = aws_sdk_sqs::Client::new(&repeatable);
    let eventbridge = aws_sdk_eventbridge::Client::new(&limits::PUBLISHING.applied_to(&sdk));
    let bus = EventBridge::new(eventbridge, config.event_bus);
    let queues = SqsQueues::new(sqs, config.ingest_queue_url, config.quarantine_queue_url);
    let services = AwsServices::new(dynamo, config.ledger_table, bus, queues);
    Box::pin(services.connect()).await;
    let processor = Processor {
        services,
        deliveries: Deliveries::default(),
        retention: config.ledger_retention,
        repeat_window: config.repeat_window,
        now: Timestamp::now,
        new_owner: Uuid::now_v7,
        random: fastrand::f64,
        metrics,
    };
    let handler = async |event: LambdaEvent<_>| {
        let deadline = invocation::deadline(event.context.deadline(), Timestamp::now())?;
        // Boxed, because the whole future is too deep for the compiler.
        Ok::<_, Error>(Box::pin(batch::process(&processor, event.payload, deadline)).await)
    };
    lambda_runtime::run(service_fn(handler)).await
}
