//! The `ingest` function: configuration, clients, run.

use std::process::ExitCode;

use ingest::auth::Authenticator;
use ingest::config::IngestConfig;
use ingest::handler::Ingest;
use ingest::secret::{SecretsManager, ValidValues};
use ingest::store::AwsStore;
use ingest::{limits, service};
use jiff::Timestamp;
use lambda_http::Error;
use shared::config::Environment;
use shared::{aws, telemetry};
use tokio::time::timeout;

// One thread: Lambda gives a process one request at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::end(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::of_process();
    let metrics = telemetry::start(&environment)?;
    let config = IngestConfig::from_environment(&environment)?;
    let sdk = aws::sdk_config(&environment)?;

    let secrets_manager = SecretsManager {
        client: aws_sdk_secretsmanager::Client::new(&limits::SECRET.applied_to(&sdk)),
        arn: config.webhook_secret_arn.clone(),
    };
    let (header, interval) = (config.webhook_header.clone(), config.refresh_interval);
    let valid = ValidValues::new(header, secrets_manager, interval);
    let store = AwsStore::new(&sdk, &config);
    // The first delivery after a quiet night is an emergency too. When it arrives, this work is
    // done, or at least under way.
    let ready = async { tokio::join!(valid.load(Timestamp::now()), store.connect()) };
    let _ = timeout(limits::START, ready).await;

    let ingest = Ingest {
        allowed_sources: config.allowed_sources,
        authenticator: Authenticator::new(valid),
        store,
        now: Timestamp::now,
        metrics,
    };
    service::run(ingest).await
}
