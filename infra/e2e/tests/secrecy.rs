//! What must never be in a log.

use std::time::Duration;

use anyhow::Result;
use e2e::{Local, logs};
use local::aura::{self, Controller};
use local::consumers::Consumers;

#[tokio::test]
async fn no_function_logs_a_secret_or_a_payload_at_any_level() -> Result<()> {
    let system = Local::shared()
        .await?
        .system(&[("LogLevel", "trace")])
        .await?;
    let mut consumers = Consumers::read(&system.stack);
    let webhook = system.webhook().await?;
    let aura = system.aura().await?;
    let customer = aura.create_customer("+27821234567").await?;
    let callout = aura.create_callout(&customer).await?;
    aura.control(&callout, Controller::Arrive).await?;
    let http = shared::http_client::build()?;
    let secret = webhook
        .header
        .value
        .trim_start_matches("Bearer ")
        .to_owned();
    let bodies = [
        r#"{"message": "marker-message", "callout": {"id": "marker-id", "x": "marker-field"}}"#,
        r#"{"message": "NEW_CALLOUT", "marker-kind": {"id": 1}}"#,
        r#"{"message": "NEW_CALLOUT", "callout": {"no-id": "marker-unreadable"}}"#,
        "marker-no-json",
    ];
    for body in bodies {
        assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    }
    // AURA's four events and the two of ours that can be read.
    assert_eq!(consumers.take(6, Duration::from_mins(1)).await?.len(), 6);

    let lines = logs::all_lines(&system.stack).await?;
    for function in ["ingest", "processor", "registrar"] {
        let its = format!("\"Function\":\"{function}\"");
        assert!(
            lines.iter().any(|line| line.contains(&its)),
            "{function} logged nothing"
        );
    }
    let forbidden = [
        secret.as_str(),
        aura::CLIENT_SECRET,
        "Bearer ",
        "access_token",
        "_ministack/cfn-response",
        "marker-",
        "incidentInformation",
        "Thandi",
        "+2782",
        "latitude",
    ];
    for line in &lines {
        for text in forbidden {
            // The line itself isn't shown: it would log what must not be logged.
            assert!(!line.contains(text), "a line holds {text:.8}…");
        }
    }
    Ok(())
}
