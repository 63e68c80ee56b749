//! Drills in which the way from ingest to the bus is broken.

use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use stack::proxy::{Fault, Plan};

use super::runbook::Page;
use super::scene::Scene;
use super::{BASE, Drill, RECONCILER_EVERY};

/// A line of the processor's environment, and one with which the processor doesn't start.
const GOOD: &str = "LEDGER_RETENTION_DAYS: \"35\"";
const BAD: &str = "LEDGER_RETENTION_DAYS: \"a month\"";
/// The seconds after which a failing event raises an alarm, and as many as [`PERIODS_DIVIDED_BY`]
/// leaves of them.
///
/// [`PERIODS_DIVIDED_BY`]: super::PERIODS_DIVIDED_BY
const SOONER: &[(&str, &str)] = &[(
    "      MetricName: OldestFailed
      Statistic: Maximum
      Period: 180
      EvaluationPeriods: 1
      ComparisonOperator: GreaterThanThreshold
      Threshold: 90 # seconds",
    "      MetricName: OldestFailed
      Statistic: Maximum
      Period: 180
      EvaluationPeriods: 1
      ComparisonOperator: GreaterThanThreshold
      Threshold: 4.5 # seconds",
)];

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        name: "queue-unreachable",
        alarm: "DeliveriesSpilledAlarm",
        breaks: "ingest cannot reach SQS",
        mends: "SQS can be reached again",
        reconciles: Some(RECONCILER_EVERY),
        breaking: |scene| scene.queue.down().map(Ok).boxed(),
        mending: |scene| async { scene.queue.up() }.boxed(),
        ..BASE
    },
    Drill {
        name: "bus-throttled",
        alarm: "EventsFailAlarm",
        breaks: "EventBridge throttles every call of the processor",
        mends: "EventBridge no longer throttles",
        changes: SOONER,
        breaking: |scene| {
            async {
                scene.bus.set(Plan::Always(Fault::Throttled));
                Ok(())
            }
            .boxed()
        },
        mending: |scene| {
            async {
                scene.bus.set(Plan::Through);
                Ok(())
            }
            .boxed()
        },
        ..BASE
    },
    Drill {
        name: "table-throttled",
        alarm: "EventsFailAlarm",
        breaks: "DynamoDB throttles every call of the processor",
        mends: "DynamoDB no longer throttles",
        changes: SOONER,
        breaking: |scene| {
            async {
                scene.ledger.set(Plan::Always(Fault::Throttled));
                Ok(())
            }
            .boxed()
        },
        mending: |scene| {
            async {
                scene.ledger.set(Plan::Through);
                Ok(())
            }
            .boxed()
        },
        ..BASE
    },
    Drill {
        name: "bad-deployment",
        alarm: "ProcessorFailsAlarm",
        breaks: "a deployment brings a processor that ends at its start",
        mends: "the version before is deployed again",
        breaking: |scene| deploy_bad(scene).boxed(),
        mending: |scene| deploy_good(scene).boxed(),
        ..BASE
    },
    Drill {
        name: "poison-record",
        alarm: "EventsQuarantinedAlarm",
        breaks: "somebody puts something on the ingest queue that is no delivery",
        mends: "a person looks into the quarantine and discards it",
        breaking: |scene| poison(scene).boxed(),
        mending: |scene| look_and_discard(scene).boxed(),
        ..BASE
    },
];

async fn deploy_bad(scene: &mut Scene) -> Result<()> {
    let bad = scene.template.with_first(GOOD, BAD)?;
    scene.deploy(&bad).await
}

async fn poison(scene: &mut Scene) -> Result<()> {
    let stack = &scene.system.stack;
    let send = stack.account().sqs().send_message();
    send.queue_url(stack.output("IngestQueueUrl")?)
        .message_body("no envelope")
        .message_group_id("poison")
        .message_deduplication_id("poison")
        .send()
        .await
        .context("cannot put the poison on the ingest queue")?;
    Ok(())
}

async fn look_and_discard(scene: &mut Scene) -> Result<()> {
    let mut lines = scene.seen.lines();
    let line = lines.find(|line| line.contains("not-an-envelope"));
    let id = line.and_then(|line| line.split_whitespace().find(|word| is_id(word)));
    let id = id.with_context(|| format!("the list has no such record: {}", scene.seen))?;
    let (id, page) = (id.to_owned(), Page::Procedures);
    for (heading, command) in [
        ("Look into the quarantine", "aura-ops quarantine show ID"),
        ("Put a message back", "aura-ops quarantine discard ID"),
    ] {
        scene.type_inline_of(page, heading, command, &id).await?;
    }
    Ok(())
}

/// Whether a word looks like an id of a delivery or of a message.
fn is_id(word: &str) -> bool {
    word.len() == 36 && word.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

async fn deploy_good(scene: &mut Scene) -> Result<()> {
    let good = scene.template.clone();
    scene.deploy(&good).await
}
