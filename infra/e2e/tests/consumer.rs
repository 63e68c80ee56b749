//! Tests of the example consumer, deployed beside the publishing stack.

use std::time::Duration;

use anyhow::{Result, ensure};
use aura_sim::client::Controller;
use e2e::Local;
use prove::contract;
use serde_json::{Value, json};
use stack::consumers::PATIENCE;
use stack::consumers::{Consumers, Published};
use stack::function_logs;
use stack::settled::all_published;
use stack::stack::Stack;
use stack::system::System;
use tokio::time::{sleep, timeout};

const DRILL: &str =
    r#"{"message": "RESPONDER_ARRIVED_ON_SCENE", "callout": {"id": 7, "internalTest": true}}"#;
const POLL: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_consumer_beside_the_stack_is_told_of_arrivals_alone() -> Result<()> {
    let local = Local::shared().await?;
    let system = local.system(&[]).await?;
    let bus = system.stack.output("EventBusName")?;
    let consumer = local.consumer(&system, &[("EventBusName", bus)]).await?;
    let mut consumers = Consumers::read(&system.stack, contract::check);

    // The drill comes first, and each arrival's callout has other events before it. So when the
    // last line is there, lines for those events would be there too.
    let (webhook, http) = (system.webhook().await?, shared::http_client::build()?);
    assert_eq!(webhook.post(&http, DRILL.into()).await?.status, 202);
    let first = arrival(&system, "+27000000001").await?;
    printed(&consumer, 1).await?;
    let second = arrival(&system, "+27000000002").await?;
    let lines = printed(&consumer, 2).await?;

    let published = all_published(&system.stack, &mut consumers).await?;
    let told = published
        .iter()
        .filter(|event| event.detail_type == "RESPONDER_ARRIVED_ON_SCENE");
    assert_eq!(told.clone().count(), 3, "the drill must be published too");
    let of = |callout: &str| told.clone().find(|event| event.detail.entity.id == callout);
    let expected: Vec<_> = [of(&first), of(&second)]
        .into_iter()
        .flatten()
        .map(line)
        .collect();
    assert_eq!(lines, expected);
    Ok(())
}

fn line(event: &Published) -> Value {
    let detail = &event.detail;
    json!({"callout": detail.entity.id, "key": detail.key, "receivedAt": detail.received_at})
}

/// Plays a callout up to the responder's arrival; returns its id.
async fn arrival(system: &System, phone: &str) -> Result<String> {
    let aura = system.aura().await?;
    let customer = aura.create_customer(phone).await?;
    let callout = aura.create_callout(&customer).await?;
    for action in [Controller::Own, Controller::Acknowledge, Controller::Arrive] {
        aura.control(&callout, action).await?;
    }
    Ok(callout)
}

/// The lines that the consumer has printed, once there are `count` of them.
async fn printed(consumer: &Stack, count: usize) -> Result<Vec<Value>> {
    let enough = async {
        loop {
            let lines = function_logs::lines(consumer, "ArrivalsLogGroupName").await?;
            // Lambda writes its own lines to the log too.
            let lines: Vec<Value> = lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            if lines.len() >= count {
                ensure!(lines.len() == count, "{lines:?}");
                return Ok(lines);
            }
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, enough).await?
}
