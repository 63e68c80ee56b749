//! Tests of the template as a whole: its parameters, its conditions, its alarms.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use e2e::Local;
use e2e::inbox::queue_with_a_rule;
use prove::contract;
use serde_json::json;
use shared::telemetry::levels::METRICS;
use stack::consumers::Consumers;
use stack::ledger;
use stack::progress::Progress;
use stack::settled::all_published;
use stack::stack::DeployError;
use stack::system::Webhook;

use crate::registration::trial::Trial;

#[tokio::test]
async fn the_rule_for_other_kinds_can_be_turned_off() -> Result<()> {
    let system = Local::shared()
        .await?
        // The second parameter creates four more alarms, which the registration has to wait for.
        .system(&[
            ("PublishOtherEntities", "false"),
            ("ConsumerWaitSeconds", "300"),
        ])
        .await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
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
    // The processor published both events: consumers that add a rule of their own get the other
    // one.
    let items = ledger::items(&system.stack).await?;
    let states = items
        .iter()
        .filter_map(|item| item.get("state")?.as_s().ok());
    assert_eq!(states.filter(|state| *state == "PUBLISHED").count(), 2);
    Ok(())
}

/// Whoever has rules of their own doesn't pay for queues that nobody reads.
#[tokio::test]
async fn events_come_only_to_the_wanted_queues_and_all_are_on_the_bus() -> Result<()> {
    let local = Local::shared().await?;
    let mut system = local.system(&[("ConsumerQueues", "none")]).await?;
    let all = json!({"source": ["aura"], "detail": {"origin": [{"anything-but": ["canary"]}]}});
    let own = queue_with_a_rule(&system.stack, "own", &all).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);
    let http = shared::http_client::build()?;
    let wanted = [
        ("none", &[][..]),
        ("callout-subscription", &["callout", "patrol"]),
        ("ALL", &["callout", "customer", "patrol"]),
    ];
    for (id, (queues, kinds)) in (1..).zip(wanted) {
        if queues != "none" {
            let changes = [("ConsumerQueues", queues)];
            system.stack = local.update(&system.stack, &changes).await?;
        }
        let webhook = system.webhook().await?;
        for kind in ["callout", "customer", "patrol"] {
            let body = json!({"message": "EXAMPLE", kind: {"id": id}})
                .to_string()
                .into();
            assert_eq!(webhook.post(&http, body).await?.status, 202);
        }
        let published = all_published(&system.stack, &mut consumers).await?;
        let published: BTreeSet<_> = published
            .iter()
            .map(|its| &*its.detail.entity.kind)
            .collect();
        assert_eq!(published, kinds.iter().copied().collect(), "{queues}");
        assert_eq!(own.depth().await?, 3 * id, "{queues}");
    }
    Ok(())
}

/// Nothing in the stack may fail after AURA has switched to it, and a delivery needs all of these.
#[tokio::test]
async fn the_registration_waits_for_every_route_permission_policy_alarm_and_query() -> Result<()> {
    let awaited = [
        "ApiGatewayV2::Route",
        "ApiGatewayV2::Stage",
        "CloudWatch::Alarm",
        "CloudWatch::Dashboard",
        "IAM::ManagedPolicy",
        "Lambda::EventSourceMapping",
        "Lambda::Permission",
        "Logs::MetricFilter",
        "Logs::QueryDefinition",
    ];
    let local = Local::shared().await?;
    let text = local.template().text();
    let registration = text
        .split("  AuraWebhook:\n")
        .nth(1)
        .context("the template has no Webhook resource")?;
    let mut found = 0;
    for (name, kind) in text.lines().zip(text.lines().skip(1)) {
        let kind = kind.strip_prefix("    Type: AWS::").unwrap_or_default();
        if awaited.contains(&kind) {
            let name = name.trim().trim_end_matches(':');
            let awaited = registration.contains(&format!("\n      - {name}\n"));
            // A resource with a condition can't be in `DependsOn`, so a property names it.
            assert!(
                awaited || registration.contains(&format!("- !Ref {name}\n")),
                "{name}"
            );
            found += 1;
        }
    }
    assert!(found > 15, "{found}");
    Ok(())
}

#[tokio::test]
async fn invalid_source_ranges_are_refused_before_anything_is_created() -> Result<()> {
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
        "1::2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7",
        "10.0.0.0/8,10.0.0.256",
        "aura.services",
        "any/8",
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

/// `sam deploy --parameter-overrides` can't set a parameter to an empty value: it refuses
/// `HandBackUrl=`, and drops a parameter whose `=` is followed by a space. So a word lifts what was
/// set.
#[tokio::test]
async fn a_parameter_that_was_set_is_reset_by_a_word() -> Result<()> {
    let set = [
        ("AllowedSourceCidrs", "203.0.113.0/24"),
        ("AlarmTopicArn", "arn:aws:sns:us-east-1:000000000000:alarms"),
        (
            "AuraCredentialsKeyArn",
            "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555",
        ),
        ("HandBackUrl", "https://example.com/before"),
        ("WebhookHeaderScheme", "Token"),
    ];
    let words = set.map(|(name, _)| match name {
        "AllowedSourceCidrs" => (name, "any"),
        _ => (name, "none"),
    });
    let trial = Trial::begin().await?;
    // The answers don't show the effect of these two parameters, so outputs do.
    let outputs = "\nOutputs:\n\
        \x20 Alarms: {Value: !If [AlarmsTold, told, untold]}\n\
        \x20 Key: {Value: !If [CredentialsHaveAKey, own, default]}\n";
    let template = trial.local.template().with_first("\nOutputs:\n", outputs)?;
    let http = shared::http_client::build()?;
    let post = async |webhook: Webhook| {
        let body = include_str!("../../events/new-callout.json");
        anyhow::Ok(webhook.post(&http, body.into()).await?.status)
    };

    let stack = trial.deploy_from(&template, &set).await?;
    assert_eq!(stack.output("Alarms")?, "told");
    assert_eq!(stack.output("Key")?, "own");
    let webhook = Webhook::of(&stack).await?;
    assert!(webhook.header.value.starts_with("Token "));
    assert_eq!(post(webhook).await?, 403);

    let stack = trial.deploy_from(&template, &words).await?;
    assert_eq!(stack.output("Alarms")?, "untold");
    assert_eq!(stack.output("Key")?, "default");
    let webhook = Webhook::of(&stack).await?;
    assert!(!webhook.header.value.contains(' '));
    let registered = trial.registrations().await?.pop();
    let registered = registered.context("AURA has no registration")?;
    let header = registered.pointer("/headers/authorization");
    assert!(
        header.is_some_and(|value| *value == webhook.header.value),
        "AURA doesn't have the default header"
    );
    assert_eq!(post(webhook).await?, 202);

    let calls = trial.register_calls().await?;
    stack.delete(Progress::to_stderr()).await?;
    assert_eq!(
        trial.register_calls().await?,
        calls,
        "the webhook was handed back"
    );
    Ok(())
}

/// No default is empty either.
#[tokio::test]
async fn no_parameter_has_to_be_empty() -> Result<()> {
    let text = Local::shared().await?.template().text();
    assert!(!text.contains("Default: \"\""));
    Ok(())
}

/// An alarm on a metric that nobody writes would never fire, and a metric that no alarm reads only
/// costs. A unit test of each function checks that it writes its metrics and no others. Metric filters
/// write the others.
#[tokio::test]
async fn our_own_alarms_are_on_the_metrics_that_are_written() -> Result<()> {
    let local = Local::shared().await?;
    let alarms = local
        .template()
        .text()
        .split("      Namespace: !Ref AWS::StackName\n");
    let mut read = BTreeSet::new();
    for alarm in alarms.skip(1) {
        let metric = alarm
            .lines()
            .find_map(|line| line.trim().strip_prefix("MetricName: "));
        let metric = metric.context("the alarm names no metric")?;
        let line = |name| {
            alarm
                .lines()
                .find_map(|line| line.trim().strip_prefix(name))
        };
        // Zeros are not written, so a gap must count as zero. An alarm that rings at zero waits for
        // values, so for it a gap is as bad.
        let rings_at_zero = line("ComparisonOperator: ") == Some("LessThanOrEqualToThreshold");
        let expected = if rings_at_zero {
            "breaching"
        } else {
            "notBreaching"
        };
        assert_eq!(line("TreatMissingData: "), Some(expected), "{metric}");
        read.insert(metric);
    }
    let filters = local
        .template()
        .text()
        .split("MetricNamespace: !Ref AWS::StackName, MetricName: ");
    let filtered = filters
        .skip(1)
        .filter_map(|filter| filter.split(',').next());
    let written: BTreeSet<_> = METRICS
        .iter()
        .map(|(_, metric)| *metric)
        .chain(filtered)
        .collect();
    assert_eq!(read, written);
    Ok(())
}
