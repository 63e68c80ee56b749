//! The `ingest` function: configuration, clients, run.

use std::process::ExitCode;

use ingest::auth::Authenticator;
use ingest::config::Config;
use ingest::handler::Ingest;
use ingest::store::SqsStore;
use jiff::Timestamp;
use lambda_http::{Error, service_fn};
use shared::config::Environment;
use shared::{aws, secrets, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::end(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::of_process();
    let metrics = telemetry::start(&environment)?;
    let config = Config::from_environment(&environment)?;
    let sdk = aws::sdk_config().await;

    let secrets_manager = aws_sdk_secretsmanager::Client::new(&sdk);
    let secret = secrets::read(&secrets_manager, &config.webhook_secret_arn).await?;
    let header = config.webhook_header;
    let ingest = Ingest {
        authenticator: Authenticator::new(header.name.clone(), vec![header.value(&secret)?]),
        store: SqsStore::new(
            aws_sdk_sqs::Client::new(&sdk),
            config.ingest_queue_url,
            config.quarantine_queue_url,
        ),
        now: Timestamp::now,
        metrics,
    };
    lambda_http::run(service_fn(async |request| {
        Ok::<_, Error>(ingest.handle(request).await)
    }))
    .await
}
