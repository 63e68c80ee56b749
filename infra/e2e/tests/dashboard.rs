//! Tests of what an engineer is shown: the dashboard, and an alarm on the access log.

use anyhow::{Context as _, Result, ensure};
use e2e::Local;
use jiff::Timestamp;
use local::drill::alarms::State;
use serde_json::{Value, json};
use stack::boto;
use stack::system::System;

use crate::alarms::wait_for;

/// Calls the system's AWS account.
async fn ask(system: &System, service: &str, operation: &str, arguments: Value) -> Result<Value> {
    let answer = boto::call(system.stack.account(), service, operation, arguments).await;
    answer.with_context(|| format!("{service} failed at {operation}"))
}

/// A test of the template checks what stands on the dashboard. This one checks that CloudFormation has
/// put a name into each place.
#[tokio::test]
async fn the_dashboard_of_a_stack_has_the_names_of_its_resources() -> Result<()> {
    let watched = [("ConsumerWaitSeconds", "300")];
    let system = Local::shared().await?.system(&watched).await?;
    let url = system.stack.output("DashboardUrl")?;
    let (_, name) = url.rsplit_once('/').context("the URL has no name")?;
    let dashboard = json!({"DashboardName": name});
    let dashboard = ask(&system, "cloudwatch", "get_dashboard", dashboard).await?;
    let body = dashboard["DashboardBody"].as_str().context("no body")?;
    ensure!(!body.contains("${"), "{body}");
    let body: Value = serde_json::from_str(body)?;
    let widgets = body["widgets"].as_array().context("no widgets")?;
    let alarms = widgets
        .iter()
        .find_map(|widget| widget["properties"]["alarms"].as_array());
    let alarms = alarms.context("no widget lists the alarms")?;
    for alarm in ["DeliveriesFailAlarm", "OtherEventsWaitAlarm"] {
        let part = format!(":alarm:{}-{alarm}-", system.stack.name());
        let is_its = |arn: &Value| arn.as_str().is_some_and(|arn| arn.contains(&part));
        assert!(alarms.iter().any(is_its), "{alarms:?}");
    }
    let ingest = system.stack.output("IngestFunctionName")?;
    let throttles = json!(["AWS/Lambda", "Throttles", "FunctionName", ingest]);
    let rows = widgets
        .iter()
        .filter_map(|widget| widget["properties"]["metrics"].as_array());
    assert!(rows.flatten().any(|row| *row == throttles));
    Ok(())
}

/// The emulator's API Gateway refuses nobody, so the test writes the lines of its access log.
#[tokio::test]
async fn a_throttled_post_raises_an_alarm_and_a_throttled_get_does_not() -> Result<()> {
    let system = Local::shared().await?.system(&[]).await?;
    let alarm = "DeliveriesThrottledAlarm";
    wait_for(&system, alarm, State::Ok).await?;
    let group = system.stack.output("AccessLogGroupName")?;
    let stream = json!({"logGroupName": group, "logStreamName": "throttled"});
    ask(&system, "logs", "create_log_stream", stream).await?;
    for (method, is_counted) in [("GET", false), ("POST", true)] {
        let now = Timestamp::now();
        let line = json!({"status": "429", "method": method, "routeKey": "-"});
        let event = json!({"timestamp": now.as_millisecond(), "message": line.to_string()});
        let lines = json!({
            "logGroupName": group, "logStreamName": "throttled", "logEvents": [event],
        });
        ask(&system, "logs", "put_log_events", lines).await?;
        let asked = json!({
            "Namespace": system.stack.name(), "MetricName": "Throttled", "Statistics": ["Sum"],
            "Period": 3600, "StartTime": now.as_second() - 3600, "EndTime": now.as_second() + 60,
        });
        let counted = ask(&system, "cloudwatch", "get_metric_statistics", asked).await?;
        let sums = counted["Datapoints"].as_array().context("no data points")?;
        let sum: f64 = sums.iter().filter_map(|point| point["Sum"].as_f64()).sum();
        assert_eq!(sum > 0.0, is_counted, "{method}");
    }
    wait_for(&system, alarm, State::Alarm).await?;
    wait_for(&system, alarm, State::Ok).await
}
