//! The `registrar` function: configuration, clients, run.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use registrar::config::RegistrarConfig;
use registrar::invocation::Handler;
use registrar::registration::Registrar;
use shared::aws::CallLimits;
use shared::config::Environment;
use shared::{aws, http_client, invocation, telemetry};

/// A call that takes long delays a deployment; one that is given up fails it.
const PATIENT: CallLimits = CallLimits {
    connect: Duration::from_secs(2),
    attempt: Duration::from_secs(5),
    call: Duration::from_secs(15),
    pause: Duration::from_secs(1),
};

#[tokio::main]
async fn main() -> ExitCode {
    telemetry::end(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::of_process();
    let metrics = telemetry::start(&environment)?;
    let config = RegistrarConfig::from_environment(&environment)?;
    let sdk = PATIENT.applied_to(&aws::sdk_config(&environment)?);

    let registrar = Registrar::new(&sdk, http_client::build()?, config);
    let handler = Handler {
        registrar: Arc::new(registrar),
        metrics,
    };
    let handle = async |event: LambdaEvent<_>| {
        let now = Timestamp::now();
        let deadline = invocation::deadline(event.context.deadline(), now)?;
        let time_left = deadline.duration_since(now).try_into().unwrap_or_default();
        let done = handler.handle(event.payload, time_left).await;
        Ok::<_, Error>(done?)
    };
    lambda_runtime::run(service_fn(handle)).await
}
