//! What must never be in a log.

use anyhow::Result;
use e2e::{Local, logs};
use local::aura::{self, Controller};
use local::consumers::Consumers;
use local::settled::all_published;
use local::system::{Header, Webhook};

#[tokio::test]
async fn no_function_logs_a_secret_or_a_payload_at_any_level() -> Result<()> {
    let local = Local::shared().await?;
    let system = local.system(&[("LogLevel", "trace")]).await?;
    let mut consumers = Consumers::read(&system.stack);
    let webhook = system.webhook().await?;
    let aura = system.aura().await?;
    let customer = aura.create_customer("+27821234567").await?;
    let callout = aura.create_callout(&customer).await?;
    aura.control(&callout, Controller::Arrive).await?;
    let http = shared::http_client::build()?;
    let bodies = [
        r#"{"message": "marker-message", "callout": {"id": "marker-id", "x": "marker-field"}}"#,
        r#"{"message": "NEW_CALLOUT", "marker-kind": {"id": 1}}"#,
        r#"{"message": "NEW_CALLOUT", "callout": {"no-id": "marker-unreadable"}}"#,
        "marker-no-json",
    ];
    for body in bodies {
        assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    }
    let header = Header {
        value: "Bearer marker-wrong".into(),
        ..webhook.header.clone()
    };
    let wrong = Webhook {
        header,
        ..webhook.clone()
    };
    assert_eq!(wrong.post(&http, bodies[0].into()).await?.status, 401);
    let changes = [("WebhookEvents", "NOT_AN_EVENT")];
    assert!(local.update(&system.stack, &changes).await.is_err());
    // AURA's four events and the two of ours that can be read.
    let published = all_published(&system.stack, &mut consumers).await?;
    assert_eq!(published.len(), 6);

    let lines = logs::all_lines(&system.stack).await?;
    assert_each_function_spoke(&lines);
    let secret = webhook.header.value.trim_start_matches("Bearer ");
    let tokens = aura.tokens().await?;
    assert!(tokens.len() > 1, "the registrar had no token");
    let of_payloads = [
        "marker-",
        "incidentInformation",
        "Thandi",
        "+2782",
        "latitude",
    ];
    let others = [
        secret,
        aura::CLIENT_SECRET,
        "Bearer ",
        "_ministack/cfn-response",
    ];
    let forbidden = tokens.iter().map(String::as_str);
    for text in forbidden.chain(of_payloads).chain(others) {
        // The line isn't shown: it would log what must not be logged.
        assert!(
            !lines.iter().any(|line| line.contains(text)),
            "a line holds {text:.6}…"
        );
    }
    Ok(())
}

/// One line at least for a delivery accepted, quarantined and refused, for a batch, and for a
/// registration that succeeded and one that failed: otherwise there was nothing to look at.
fn assert_each_function_spoke(lines: &[String]) {
    let expected = [
        ("ingest", "\"Accepted\":1"),
        ("ingest", "\"Quarantined\":1"),
        ("ingest", "\"Unauthorized\":1"),
        ("processor", "\"Outcomes\":"),
        ("registrar", "\"Succeeded\":1"),
        ("registrar", "\"Failed\":1"),
    ];
    for (function, field) in expected {
        let its = format!("\"Function\":\"{function}\"");
        let found = lines
            .iter()
            .any(|line| line.contains(&its) && line.contains(field));
        assert!(found, "{function} wrote no line with {field}");
    }
}
