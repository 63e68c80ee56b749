//! Drills in which events don't get from the bus to their consumer.

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::types::QueueAttributeName;
use futures::FutureExt as _;
use stack::consumers::{Consumers, by_type};

use super::dead_letters::redrive;
use super::runbook::Page;
use super::scene::Scene;
use super::{BASE, Drill};

const QUEUE: &str = "CalloutEventsQueueUrl";

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        name: "consumer-stopped",
        alarm: "CalloutEventsWaitAlarm",
        breaks: "the consumers stop",
        mends: "the consumers are started again",
        parameters: &[("ConsumerWaitSeconds", "5")],
        breaking: |scene| stop(scene).boxed(),
        mending: |scene| {
            async {
                scene.consumers = Some(Consumers::read(&scene.system.stack, by_type));
                Ok(())
            }
            .boxed()
        },
        ..BASE
    },
    Drill {
        name: "policy-broken",
        alarm: "RulesFailAlarm",
        breaks: "the policy of the callouts' queue names another rule",
        mends: "a person puts the policy back and redrives the consumer's dead letters",
        breaking: |scene| allow_another_rule(scene).boxed(),
        mending: |scene| put_policy_back(scene).boxed(),
        ..BASE
    },
];

async fn stop(scene: &mut Scene) -> Result<()> {
    let consumers = scene.consumers.take();
    let consumers = consumers.context("the consumers are stopped already")?;
    scene.received.extend(consumers.stop().await?);
    Ok(())
}

async fn allow_another_rule(scene: &mut Scene) -> Result<()> {
    let stack = &scene.system.stack;
    let (sqs, queue) = (stack.account().sqs(), stack.output(QUEUE)?);
    let asked = sqs.get_queue_attributes().queue_url(queue);
    let answer = asked.attribute_names(QueueAttributeName::Policy).send();
    let answer = answer.await.context("cannot read the queue's policy")?;
    let policy = answer
        .attributes()
        .and_then(|its| its.get(&QueueAttributeName::Policy));
    let policy = policy.context("the queue has no policy")?;
    let other = policy.replace(":rule/", ":rule/renamed-");
    ensure!(other != *policy, "the queue's policy names no rule");
    let change = sqs.set_queue_attributes().queue_url(queue);
    let change = change.attributes(QueueAttributeName::Policy, other).send();
    change.await.context("cannot change the queue's policy")?;
    Ok(())
}

async fn put_policy_back(scene: &mut Scene) -> Result<()> {
    let seen = &scene.seen;
    ensure!(
        !seen.contains("Callout 0 0") && seen.contains("Customer 0 0"),
        "the section's numbers don't show that only callouts' events failed: {seen}"
    );
    scene
        .type_inline(
            Page::Operate,
            "RulesFailAlarm",
            "aws sqs set-queue-attributes",
        )
        .await?;
    redrive(scene, "Redrive a consumer's dead letters").await
}
