//! The template's life: created, updated, refused.

use anyhow::{Context as _, Result, bail};
use e2e::{Local, logs};
use local::consumers::Consumers;
use local::ledger;
use local::settled::{all_published, drained};
use local::stack::DeployError;
use local::system::System;
use serde_json::Value;

#[tokio::test]
async fn the_registration_is_what_the_stack_says() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let webhook = system.webhook().await?;
    let registration = system.aura().await?.registration().await?;
    let current = &registration["current"];
    assert_eq!(current["url"], system.stack.output("WebhookUrl")?);
    assert_eq!(current["method"], "webhook");
    assert_eq!(
        current["headers"][&webhook.header.name],
        webhook.header.value.as_str()
    );
    let events: Vec<_> = current["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::as_str)
        .collect();
    assert_eq!(events, shared::catalogue::EVENT_NAMES.map(Some));
    Ok(())
}

#[tokio::test]
async fn an_update_takes_effect_and_deliveries_go_on() -> Result<()> {
    let local = Local::shared().await?;
    let system = local.system(&[]).await?;
    let mut consumers = Consumers::read(&system.stack);
    let changes = [
        ("WebhookEvents", "NEW_CALLOUT,CALLOUT_CLOSED"),
        ("WebhookHeaderScheme", ""),
        ("LogLevel", "debug"),
    ];
    let updated = local.update(&system.stack, &changes).await?;

    let webhook = local::system::Webhook::of(&updated).await?;
    let registration = system.aura().await?.registration().await?;
    assert_eq!(
        registration["current"]["events"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        registration["current"]["headers"][&webhook.header.name],
        webhook.header.value.as_str()
    );
    let body = include_str!("../../events/new-callout.json");
    let answer = webhook
        .post(&shared::http_client::build()?, body.into())
        .await?;
    assert_eq!(answer.status, 202);
    let published = all_published(&updated, &mut consumers).await?;
    assert_eq!(published.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_deployment_that_aura_refuses_rolls_back_with_auras_own_words() -> Result<()> {
    let local = Local::shared().await?;
    let refused = local
        .system(&[("WebhookEvents", "NEW_CALLOUT,NOT_AN_EVENT")])
        .await;
    let failure = match refused {
        Err(DeployError::RolledBack(failure)) => failure,
        Err(other) => return Err(other.into()),
        Ok(_) => bail!("AURA took an event that it doesn't know"),
    };
    assert_eq!(failure.status, "ROLLBACK_COMPLETE");
    let cause = &failure.failures[0];
    assert_eq!(cause.resource, "AuraWebhook", "{failure}");
    assert!(cause.reason.contains("400"), "{failure}");
    assert!(cause.reason.contains("NOT_AN_EVENT"), "{failure}");
    Ok(())
}

#[tokio::test]
async fn an_update_that_aura_refuses_leaves_the_old_registration_in_force() -> Result<()> {
    let local = Local::shared().await?;
    let system = local.system(&[]).await?;
    let before = in_force(&system).await?;
    let changes = [("WebhookEvents", "NOT_AN_EVENT")];
    let refused = local.update(&system.stack, &changes).await;
    assert!(
        matches!(refused, Err(DeployError::RolledBack(_))),
        "{refused:?}"
    );
    assert_eq!(in_force(&system).await?, before);
    let events = system.stack.events_of("AuraWebhook").await?;
    let failed = events.iter().filter_map(|event| event.reason.as_deref());
    let reasons: Vec<_> = failed.collect();
    assert!(
        matches!(reasons[..], [reason] if reason.contains("NOT_AN_EVENT")),
        "{events:#?}"
    );
    let statuses: Vec<_> = events.iter().map(|event| &*event.status).collect();
    assert_eq!(statuses.first(), Some(&"CREATE_IN_PROGRESS"));
    assert_eq!(statuses.last(), Some(&"UPDATE_COMPLETE"), "no rollback");
    Ok(())
}

/// What is registered with AURA, whenever that was.
async fn in_force(system: &System) -> Result<Value> {
    let registration = system.aura().await?.registration().await?;
    let mut current = registration
        .get("current")
        .cloned()
        .context("none is registered")?;
    current
        .as_object_mut()
        .context("not an object")?
        .remove("registeredAt");
    Ok(current)
}

#[tokio::test]
async fn the_rule_for_other_kinds_can_be_turned_off() -> Result<()> {
    let system = Local::shared()
        .await?
        .system(&[("PublishOtherEntities", "false")])
        .await?;
    let mut consumers = Consumers::read(&system.stack);
    let webhook = system.webhook().await?;
    let http = shared::http_client::build()?;
    let other = include_str!("../../events/unknown-kind.json");
    let known = include_str!("../../events/new-callout.json");
    for body in [other, known] {
        assert_eq!(webhook.post(&http, body.into()).await?.status, 202);
    }
    let published = all_published(&system.stack, &mut consumers).await?;
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].detail.entity.kind, "callout");
    // Published both; consumers that add a rule of their own still get the other one.
    let items = ledger::items(&system.stack).await?;
    let states = items
        .iter()
        .filter_map(|item| item.get("state")?.as_s().ok());
    assert_eq!(states.filter(|state| *state == "PUBLISHED").count(), 2);
    Ok(())
}

/// Nothing may fail after AURA has switched, and a delivery needs them all.
#[tokio::test]
async fn the_registration_waits_for_every_route_permission_and_alarm() -> Result<()> {
    let awaited = [
        "ApiGatewayV2::Route",
        "ApiGatewayV2::Stage",
        "CloudWatch::Alarm",
        "Lambda::EventSourceMapping",
        "Lambda::Permission",
    ];
    let local = Local::shared().await?;
    let text = local.template().text();
    let registration = text
        .split("  AuraWebhook:\n")
        .nth(1)
        .context("no webhook")?;
    let mut found = 0;
    for (name, kind) in text.lines().zip(text.lines().skip(1)) {
        let kind = kind.strip_prefix("    Type: AWS::").unwrap_or_default();
        if awaited.contains(&kind) {
            let awaited = format!("\n      - {}\n", name.trim().trim_end_matches(':'));
            assert!(registration.contains(&awaited), "{name}");
            found += 1;
        }
    }
    assert!(found > 15, "{found}");
    Ok(())
}

#[tokio::test]
async fn source_ranges_that_are_none_are_refused_before_anything_is_made() -> Result<()> {
    let local = Local::shared().await?;
    let wrong = [
        "10.0.0.0/33",
        "10.0.0.256",
        "10.0.0",
        "10.0.0.01",
        "2001:db8::/129",
        "2001:db8/32",
        "fe80::1::2",
        ":",
        "10.0.0.0/8, 10.0.0.1",
        "10.0.0.0/8,",
        "aura.services",
    ];
    for ranges in wrong {
        let refused = local.system(&[("AllowedSourceCidrs", ranges)]).await;
        let Err(DeployError::Other(error)) = refused else {
            bail!("{ranges} was not refused as a parameter");
        };
        let told = format!("{error:#}");
        assert!(told.contains("AllowedSourceCidrs"), "{told}");
    }
    Ok(())
}

/// An alarm on a metric that nobody writes would never go off.
#[tokio::test]
async fn every_alarm_of_our_own_is_on_a_metric_that_is_written() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let http = shared::http_client::build()?;
    let body = include_str!("../../events/new-callout.json");
    system.webhook().await?.post(&http, body.into()).await?;
    drained(&system.stack).await?;
    let lines = logs::all_lines(&system.stack).await?;
    let local = Local::shared().await?;
    let alarms = local
        .template()
        .text()
        .split("      Namespace: !Ref AWS::StackName\n");
    let mut found = 0;
    for alarm in alarms.skip(1) {
        let metric = alarm
            .lines()
            .find_map(|line| line.trim().strip_prefix("MetricName: "));
        let function = alarm.split("Name: Function, Value: ").nth(1);
        let function = function
            .and_then(|text| text.split('}').next())
            .context("no function")?;
        let metric = format!("\"Name\":\"{}\"", metric.context("no metric")?);
        let function = format!("\"Function\":\"{function}\"");
        let written = lines
            .iter()
            .any(|line| line.contains(&metric) && line.contains(&function));
        assert!(written, "{metric} {function}");
        found += 1;
    }
    assert_eq!(found, 4);
    Ok(())
}
