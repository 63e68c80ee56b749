//! Tests of the scheduled canary, and of canaries that somebody else sends.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local::drill::endpoint::remove_routes;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::canary;
use shared::telemetry::lines::metrics_of;
use stack::boto;
use stack::consumers::PATIENCE;
use stack::function_logs;
use stack::ledger;
use stack::settled::drained;
use stack::stack::Stack;
use stack::system::Webhook;
use uuid::Uuid;

use crate::registration::trial::Trial;
use crate::reregistration::invoke;

/// Pause between two looks at a log.
const POLL: Duration = Duration::from_millis(50);

/// Has the stack's own registrar send a canary, as its schedule does. Returns its log line.
async fn send_canary(stack: &Stack) -> Result<Value> {
    let before = canary_lines(stack).await?.len();
    invoke(stack, &input_of_schedule(stack).await?).await?;
    let began = Instant::now();
    loop {
        if let Some(line) = canary_lines(stack).await?.into_iter().nth(before) {
            return Ok(line);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "the registrar has logged no canary"
        );
        tokio::time::sleep(POLL).await;
    }
}

/// What the deployed schedule sends to the registrar.
async fn input_of_schedule(stack: &Stack) -> Result<Value> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Rules {
        rule_names: Vec<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Targets {
        targets: Vec<Value>,
    }
    let (account, registrar) = (stack.account(), stack.output("RegistrarFunctionArn")?);
    let arguments = json!({"TargetArn": registrar});
    let rules: Rules =
        boto::call(account, "events", "list_rule_names_by_target", arguments).await?;
    let rule = rules.rule_names.first();
    let rule = rule.context("no schedule starts the registrar")?;
    let arguments = json!({"Rule": rule});
    let targets: Targets = boto::call(account, "events", "list_targets_by_rule", arguments).await?;
    let input = targets
        .targets
        .first()
        .and_then(|target| target["Input"].as_str());
    Ok(serde_json::from_str(
        input.context("the schedule has no input")?,
    )?)
}

/// The registrar's lines for scheduled canaries.
async fn canary_lines(stack: &Stack) -> Result<Vec<Value>> {
    let lines = lines_of(stack, "RegistrarLogGroupName").await?;
    Ok(lines
        .into_iter()
        .filter(|line| line["Request"] == "Canary")
        .collect())
}

async fn lines_of(stack: &Stack, output: &str) -> Result<Vec<Value>> {
    let lines = function_logs::lines(stack, output).await?;
    let lines = lines.iter();
    Ok(lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// How many canaries the processor has counted that the registrar has not announced.
async fn foreign_canaries(stack: &Stack) -> Result<u64> {
    let lines = lines_of(stack, "ProcessorLogGroupName").await?;
    let counts = lines
        .iter()
        .filter_map(|line| line["ForeignCanaries"].as_u64());
    Ok(counts.sum())
}

/// Makes the deliveries' route again.
async fn make_route(stack: &Stack) -> Result<()> {
    let integration = stack.resource("IngestIntegration").await?;
    let route = json!({
        "ApiId": stack.resource("HttpApi").await?, "RouteKey": "POST /aura/events",
        "Target": format!("integrations/{integration}"),
    });
    let _: Value = boto::call(stack.account(), "apigatewayv2", "create_route", route).await?;
    Ok(())
}

#[tokio::test]
async fn a_scheduled_canary_is_published_and_timed_and_one_without_a_route_fails() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let line = send_canary(&stack).await?;
    assert_eq!(line["Succeeded"], 1, "{line}");
    assert_eq!(metrics_of(&line), ["CanaryTime"]);
    let time = line["CanaryTime"]
        .as_f64()
        .context("the time is no number")?;
    assert!(time > 0.0, "{line}");
    let id = line["RequestId"].as_str().context("the canary has no id")?;
    let partition = canary::partition(id.parse()?);
    let canaries = ledger::canaries(&stack).await?;
    let its = canaries
        .iter()
        .find(|item| item["pk"].as_s() == Ok(&partition));
    let its = its.context("the canary is not in the ledger")?;
    assert_eq!(its["state"].as_s(), Ok(&"PUBLISHED".to_owned()));
    // Nobody registers because of it.
    assert_eq!(trial.register_calls().await?, 1);

    remove_routes(&stack).await?;
    let line = send_canary(&stack).await?;
    assert_eq!(line["Failed"], 1, "{line}");
    assert_eq!(line["CanaryTime"], 0, "{line}");
    let reason = line["Reason"].as_str().context("the line has no reason")?;
    assert!(reason.starts_with("the endpoint answered 404"), "{reason}");

    make_route(&stack).await?;
    let line = send_canary(&stack).await?;
    assert_eq!(line["Succeeded"], 1, "{line}");
    drained(&stack).await?;
    assert_eq!(foreign_canaries(&stack).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_canary_that_somebody_else_sends_is_counted_and_reaches_no_consumer() -> Result<()> {
    let trial = Trial::begin().await?;
    let stack = trial.deploy(&[]).await?;
    let webhook = Webhook::of(&stack).await?;
    let http = shared::http_client::build()?;
    let body = canary::body(Uuid::now_v7());
    assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    drained(&stack).await?;
    assert_eq!(foreign_canaries(&stack).await?, 1);
    // The deployment's canary and this one.
    assert_eq!(ledger::canaries(&stack).await?.len(), 2);
    assert!(ledger::items(&stack).await?.is_empty());
    Ok(())
}
