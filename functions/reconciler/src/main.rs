//! The `reconciler` function: configuration, clients, run.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use reconciler::aura::connector::AuraConnector;
use reconciler::config::ReconcilerConfig;
use reconciler::redrive::Redrive;
use reconciler::run::Reconciler;
use reconciler::run_state::RunStateItem;
use reconciler::webhook_health::healing::Healing;
use serde_json::Value;
use shared::config::Environment;
use shared::ledger::EventLedger;
use shared::ledger::last_delivery::LastDelivery;
use shared::ledger::open::OpenCallouts;
use shared::ledger::spill::Spill;
use shared::queue::Queue;
use shared::{aws, http_client, invocation, telemetry};
use tokio::sync::Mutex;

/// Time limit of a call to AURA. A list of ten thousand callouts has some megabytes.
const LIST_TIME: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::end(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::of_process();
    let metrics = telemetry::start(&environment)?;
    let config = ReconcilerConfig::from_environment(&environment)?;
    let sdk = aws::sdk_config(&environment)?;

    let dynamo = aws_sdk_dynamodb::Client::new(&sdk);
    let sqs = aws_sdk_sqs::Client::new(&sdk);
    let table = &config.ledger_table;
    let reconciler = Reconciler {
        ledger: EventLedger::new(dynamo.clone(), table.clone()),
        open: OpenCallouts::new(dynamo.clone(), table.clone()),
        last_delivery: LastDelivery::new(dynamo.clone(), table.clone()),
        run_state: RunStateItem::new(dynamo.clone(), table.clone()),
        redrive: Redrive {
            spill: Spill::new(dynamo, table.clone()),
            ingest: Queue::new(sqs.clone(), config.ingest_queue_url),
            quarantine: Queue::new(sqs, config.quarantine_queue_url),
        },
        aura: AuraConnector {
            secrets_manager: aws_sdk_secretsmanager::Client::new(&sdk),
            credentials_arn: config.aura_credentials_secret_arn,
            base_url: config.aura_base_url,
            http: http_client::builder().timeout(LIST_TIME).build()?,
            limits: config.limits,
            kept: Mutex::default(),
        },
        healing: config.healing_function.map(|function| Healing {
            lambda: aws_sdk_lambda::Client::new(&sdk),
            function,
        }),
        patience: config.patience,
        metrics,
    };
    let handler = async |event: LambdaEvent<Value>| {
        let deadline = invocation::deadline(event.context.deadline(), Timestamp::now())?;
        reconciler.run(deadline).await
    };
    lambda_runtime::run(service_fn(handler)).await
}
