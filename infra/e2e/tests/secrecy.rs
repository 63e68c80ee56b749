//! Tests that no secret is in a log, or in another place where people look.

use std::collections::HashSet;

use anyhow::Result;
use aura_sim::client::{Aura, Controller, Fault, FaultyAnswer, REGISTER, Reply};
use e2e::{Local, logs};
use local::rotate::rotate;
use prove::contract;
use serde_json::json;
use stack::consumers::Consumers;
use stack::progress::Progress;
use stack::reconciler;
use stack::settled::all_published;
use stack::stack::Stack;
use stack::system::{Header, Webhook};
use stack::template::Template;

use crate::registration::trial::{Trial, rolled_back};

#[tokio::test]
async fn no_function_logs_a_secret_or_a_payload_at_any_level() -> Result<()> {
    let local = Local::shared().await?;
    let system = local.system(&[("LogLevel", "trace")]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
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
    reconcile(&system.stack, &aura).await?;
    // The published events are AURA's four, two readable ones of this test, and the opening that
    // the reconciler found out.
    let published = all_published(&system.stack, &mut consumers).await?;
    assert_eq!(published.len(), 8);

    let lines = logs::all_lines(&system.stack).await?;
    assert_each_function_spoke(&lines);
    assert_holds_no_secret(&lines, &secrets(&aura).await?);
    let of_payloads = [
        "marker-",
        "incidentInformation",
        "Thandi",
        "+2782",
        "latitude",
    ];
    for text in of_payloads {
        assert!(!lines.iter().any(|line| line.contains(text)), "{text}");
    }
    Ok(())
}

/// Runs the reconciler so that it finds an opening in AURA's list. AURA refuses to answer about the
/// callouts themselves, in words that name somebody.
async fn reconcile(stack: &Stack, aura: &Aura) -> Result<()> {
    let created = "2024-04-20T14:45:00Z";
    let list = json!([
        {"id": 7, "status": "marker-status", "createdAt": created},
        {"id": 8, "status": "marker-status", "createdAt": created, "latitude": 1},
    ]);
    for (call, status, body) in [
        ("GET /callouts/activeCallouts", 200, list),
        (
            "GET /callouts/{id}",
            403,
            json!({"message": "marker-person"}),
        ),
    ] {
        let headers = [].into();
        let reply = Reply {
            status,
            headers,
            body,
        };
        let fault = Fault {
            times: 4,
            ..Fault::once(call, FaultyAnswer::Reply(reply))
        };
        aura.order(&fault).await?;
    }
    for _ in 0..2 {
        reconciler::invoke(stack).await?;
    }
    aura.forget_faults().await?;
    Ok(())
}

/// The test covers two deployments, of which one fails because AURA refuses and repeats what it was
/// sent, and a rotation.
#[tokio::test]
async fn nothing_secret_is_in_a_log_an_event_an_output_or_the_resources_data() -> Result<()> {
    let trial = Trial::begin().await?;
    let data = ["Token", "Canary", "Registration", "Confirmation"];
    let data = data.map(|name| format!("  Data{name}:\n    Value: !GetAtt AuraWebhook.{name}\n"));
    let template = format!("{}\n{}", trial.local.template().text(), data.concat());
    let template = Template::from_text(template);
    let trace = ("LogLevel", "trace");
    let stack = trial.deploy_from(&template, &[trace]).await?;
    let sent = Webhook::of(&stack).await?.header.value;
    let repeated = FaultyAnswer::refusal(400, &format!("{sent} is marked"));
    trial.order(Fault::once(REGISTER, repeated)).await?;
    let changes = [trace, ("WebhookEvents", "NEW_CALLOUT")];
    let failure = rolled_back(trial.deploy_from(&template, &changes).await)?;
    assert!(failure.to_string().contains("is marked"), "{failure}");
    rotate(&stack, Progress::to_stderr()).await?;

    let mut lines = logs::all_lines(&stack).await?;
    let steps = ["Create", "setSecret", "testSecret", "Update"];
    for step in steps {
        let field = format!("\"Request\":\"{step}\"");
        assert!(
            lines.iter().any(|line| line.contains(&field)),
            "no line has a step {step}"
        );
    }
    let stack = Stack::find(stack.account(), stack.name()).await?;
    assert!(stack.output("DataCanary")?.starts_with("published"));
    lines.extend(stack.outputs().values().cloned());
    lines.push(failure.to_string());
    lines.extend(all_events(&stack).await?);
    let secrets = secrets(&trial.aura).await?;
    assert!(secrets.len() > 6, "{} secrets", secrets.len());
    assert_holds_no_secret(&lines, &secrets);
    Ok(())
}

/// Every event of the stack, with all that CloudFormation says in it.
async fn all_events(stack: &Stack) -> Result<Vec<String>> {
    let client = aws_sdk_cloudformation::Client::new(stack.account().sdk_config());
    let events = client.describe_stack_events().stack_name(stack.name());
    let mut events = events.into_paginator().items().send();
    let mut texts = Vec::new();
    while let Some(event) = events.next().await {
        texts.push(format!("{:?}", event?));
    }
    assert!(texts.iter().any(|text| text.contains("UpdateFailed")));
    Ok(texts)
}

/// The secret texts: the values of the webhook's secret, AURA's credentials, the tokens, and the
/// beginnings of the URLs for CloudFormation's answers.
async fn secrets(aura: &Aura) -> Result<HashSet<String>> {
    let report = aura.registration().await?;
    let values = report.history.iter().flat_map(|its| its.headers.values());
    let values = values.filter_map(|value| value.split(' ').next_back());
    let tokens = aura.tokens().await?;
    assert!(tokens.len() > 1, "AURA gave the registrar no token");
    let others = [
        aura_sim::CLIENT_ID,
        aura_sim::CLIENT_SECRET,
        "_ministack/cfn-response",
    ];
    let texts = values.chain(others).map(ToOwned::to_owned);
    Ok(texts.chain(tokens).collect())
}

fn assert_holds_no_secret(lines: &[String], secrets: &HashSet<String>) {
    for secret in secrets {
        // The message doesn't show the line, because it would then log the secret.
        let found = lines.iter().any(|line| line.contains(secret.as_str()));
        assert!(!found, "a line holds {secret:.6}…");
    }
}

/// Asserts that each function logged: a delivery accepted, quarantined and refused, a batch, and a
/// registration that succeeded and one that failed. Without these lines the test would check
/// nothing.
fn assert_each_function_spoke(lines: &[String]) {
    let expected = [
        ("ingest", "\"Accepted\":1"),
        ("ingest", "\"IntoQuarantine\":1"),
        ("ingest", "\"Unauthorized\":1"),
        ("processor", "\"Records\":"),
        ("registrar", "\"Succeeded\":1"),
        ("registrar", "\"Failed\":1"),
        ("reconciler", "\"OpeningsRecovered\":2"),
        ("reconciler", "\"Forbidden\":"),
    ];
    for (function, field) in expected {
        let its = format!("\"Function\":\"{function}\"");
        let found = lines
            .iter()
            .any(|line| line.contains(&its) && line.contains(field));
        assert!(found, "{function} wrote no line with {field}");
    }
}
