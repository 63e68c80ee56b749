//! Tests that an alarm rings when it should and ends when it is over, and so of the emulator's
//! metrics, which are the alarms' only source.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use e2e::Local;
use serde::Deserialize;
use serde_json::json;
use stack::boto;
use stack::consumers::{PATIENCE, Published};
use stack::system::System;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alarms {
    metric_alarms: Vec<Alarm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Alarm {
    state_value: String,
    state_reason: String,
}

/// Waits until the alarm with this name in the template has a state.
async fn wait_for(system: &System, name: &str, state: &str) -> Result<()> {
    let prefix = format!("{}-{name}-", system.stack.name());
    let asked = json!({"AlarmNamePrefix": prefix});
    let began = Instant::now();
    loop {
        let account = system.stack.account();
        let alarms: Alarms =
            boto::call(account, "cloudwatch", "describe_alarms", asked.clone()).await?;
        let [alarm] = alarms.metric_alarms.as_slice() else {
            bail!("{} alarms begin with {prefix}", alarms.metric_alarms.len());
        };
        if alarm.state_value == state {
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{name} is {} and not {state}: {}",
            alarm.state_value,
            alarm.state_reason
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn send(system: &System, body: &str) -> Result<()> {
    let http = shared::http_client::build()?;
    let answer = system.webhook().await?.post(&http, body.into()).await?;
    ensure!(answer.status == 202, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn a_metric_in_a_log_line_raises_an_alarm_that_ends_by_itself() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    wait_for(&system, "DeliveriesQuarantinedAlarm", "OK").await?;
    send(&system, "unreadable").await?;
    wait_for(&system, "DeliveriesQuarantinedAlarm", "ALARM").await?;
    wait_for(&system, "DeliveriesQuarantinedAlarm", "OK").await
}

#[tokio::test]
async fn a_message_in_a_queue_raises_an_alarm_until_it_is_gone() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    wait_for(&system, "DeadLettersAlarm", "OK").await?;
    let sqs = system.stack.account().sqs();
    let url = system.stack.output("DeadLetterQueueUrl")?;
    let message = sqs.send_message().queue_url(url).message_body("a");
    let message = message.message_group_id("a").message_deduplication_id("a");
    message.send().await?;
    wait_for(&system, "DeadLettersAlarm", "ALARM").await?;
    sqs.purge_queue().queue_url(url).send().await?;
    wait_for(&system, "DeadLettersAlarm", "OK").await
}

#[tokio::test]
async fn a_queue_that_no_longer_takes_events_raises_an_alarm_and_the_event_is_kept() -> Result<()> {
    let system = Local::with_iam().await?.system(&[]).await?;
    let sqs = system.stack.account().sqs();
    let queue = system.stack.output("CalloutEventsQueueUrl")?;
    let forget = sqs.set_queue_attributes().queue_url(queue);
    let forget = forget.attributes(QueueAttributeName::Policy, "");
    forget.send().await?;

    send(
        &system,
        r#"{"message": "NEW_CALLOUT", "callout": {"id": 1}}"#,
    )
    .await?;
    wait_for(&system, "RulesFailAlarm", "ALARM").await?;
    wait_for(&system, "CalloutEventsDeadLettersAlarm", "ALARM").await?;
    let dead = system.stack.output("CalloutEventsDeadLetterQueueUrl")?;
    let receive = sqs.receive_message().queue_url(dead);
    let received = receive.message_attribute_names("All").send().await?;
    let [message] = received.messages() else {
        bail!("{:?}", received.messages());
    };
    let attributes = message.message_attributes();
    let code = attributes.and_then(|attributes| attributes.get("ERROR_CODE")?.string_value());
    assert_eq!(code, Some("NO_PERMISSIONS"));
    let event: Published = serde_json::from_str(message.body().unwrap_or_default())?;
    assert_eq!(event.detail_type, "NEW_CALLOUT");
    wait_for(&system, "RulesFailAlarm", "OK").await
}
