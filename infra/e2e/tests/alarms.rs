//! Tests that an alarm rings when it should and ends when it is over, and so of the emulator's
//! metrics, which are the alarms' only source.

use anyhow::{Result, bail, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use e2e::Local;
use local::drill::alarms::{State, until};
use serde_json::{Value, json};
use stack::account::Account;
use stack::boto;
use stack::consumers::{PATIENCE, Published};
use stack::function_logs;
use stack::system::System;

/// Waits until the alarm with this name in the template has a state.
pub(crate) async fn wait_for(system: &System, name: &str, state: State) -> Result<()> {
    until(&system.stack, name, state, PATIENCE).await
}

/// Posts a delivery and checks the status of the answer.
async fn send(system: &System, body: &str, status: u16) -> Result<()> {
    let http = shared::http_client::build()?;
    let answer = system.webhook().await?.post(&http, body.into()).await?;
    ensure!(answer.status == status, "{answer:?}");
    Ok(())
}

#[tokio::test]
async fn an_own_metric_and_a_queue_raise_alarms_that_end_when_it_is_over() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let sqs = system.stack.account().sqs();
    let url = system.stack.output("DeadLetterQueueUrl")?;
    let alarms = ["EventsQuarantinedAlarm", "DeadLettersAlarm"];
    for alarm in alarms {
        wait_for(&system, alarm, State::Ok).await?;
    }
    send(&system, "unreadable", 202).await?;
    let message = sqs.send_message().queue_url(url).message_body("a");
    let message = message.message_group_id("a").message_deduplication_id("a");
    message.send().await?;
    for alarm in alarms {
        wait_for(&system, alarm, State::Alarm).await?;
    }
    sqs.purge_queue().queue_url(url).send().await?;
    for alarm in alarms {
        wait_for(&system, alarm, State::Ok).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_function_that_does_not_run_raises_alarms_and_the_logs_say_why() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let account = system.stack.account();
    let ingest = system.stack.output("IngestFunctionName")?;
    let nothing = json!({"FunctionName": ingest, "Environment": {"Variables": {}}});
    updated(account, "update_function_configuration", nothing).await?;
    send(&system, "{}", 500).await?;
    let pattern = "?Absent ?INIT_REPORT";
    let reports = function_logs::matching(&system.stack, "IngestLogGroupName", pattern).await?;
    assert_eq!(reports.len(), 1, "{reports:?}");

    let none = json!({"FunctionName": ingest, "ReservedConcurrentExecutions": 0});
    updated(account, "put_function_concurrency", none).await?;
    send(&system, "{}", 503).await?;
    for alarm in [
        "IngestFailsAlarm",
        "IngestThrottledAlarm",
        "DeliveriesFailAlarm",
    ] {
        wait_for(&system, alarm, State::Alarm).await?;
    }
    let mut failures = Vec::new();
    for pattern in [
        r#"{ $.status = "5*" }"#,
        r#"{ $.status = "503" && $.functionError = "Rate Exceeded*" }"#,
    ] {
        let lines = function_logs::matching(&system.stack, "AccessLogGroupName", pattern).await?;
        failures.push(lines.len());
    }
    assert_eq!(failures, [2, 1]);
    Ok(())
}

/// Changes a function.
async fn updated(account: &Account, operation: &str, arguments: Value) -> Result<()> {
    let _: Value = boto::call(account, "lambda", operation, arguments).await?;
    Ok(())
}

#[tokio::test]
async fn a_queue_that_no_longer_takes_events_raises_an_alarm_and_the_event_is_kept() -> Result<()> {
    let system = Local::with_iam().await?.system(&[]).await?;
    let sqs = system.stack.account().sqs();
    let queue = system.stack.output("CalloutEventsQueueUrl")?;
    let forget = sqs.set_queue_attributes().queue_url(queue);
    let forget = forget.attributes(QueueAttributeName::Policy, "");
    forget.send().await?;

    let event = json!({"message": "NEW_CALLOUT", "callout": {"id": 1}});
    send(&system, &event.to_string(), 202).await?;
    wait_for(&system, "RulesFailAlarm", State::Alarm).await?;
    wait_for(&system, "CalloutEventsDeadLettersAlarm", State::Alarm).await?;
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
    Ok(())
}
