//! Drills in which the way from ingest to the bus is broken.

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use stack::proxy::{Fault, Plan};

use super::count::Count;
use super::runbook::Page;
use super::scene::{Scene, patched};
use super::{Drill, RECONCILER_EVERY};

/// A line of the processor's environment, and one with which the processor doesn't start.
const GOOD: &str = "LEDGER_RETENTION_DAYS: \"35\"";
const BAD: &str = "LEDGER_RETENTION_DAYS: \"a month\"";

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        name: "queue-unreachable",
        alarm: "DeliveriesSpilledAlarm",
        breaks: "ingest cannot reach SQS",
        mends: "SQS can be reached again",
        parameters: &[],
        changes: &[],
        reconciles: Some(RECONCILER_EVERY),
        breaking: |scene| scene.queue.down().map(Ok).boxed(),
        mending: |scene| async { scene.queue.up() }.boxed(),
        expects: Count::is_each_once,
    },
    Drill {
        name: "bus-throttled",
        alarm: "EventsFailAlarm",
        breaks: "EventBridge throttles every call of the processor",
        mends: "EventBridge no longer throttles",
        parameters: &[],
        changes: &[],
        reconciles: None,
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
        expects: Count::is_each_once,
    },
    Drill {
        name: "table-throttled",
        alarm: "EventsFailAlarm",
        breaks: "DynamoDB throttles every call of the processor",
        mends: "DynamoDB no longer throttles",
        parameters: &[],
        changes: &[],
        reconciles: None,
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
        expects: Count::is_each_once,
    },
    Drill {
        name: "bad-deployment",
        alarm: "ProcessorFailsAlarm",
        breaks: "a deployment brings a processor that ends at its start",
        mends: "the version before is deployed again",
        parameters: &[],
        changes: &[],
        reconciles: None,
        breaking: |scene| deploy_bad(scene).boxed(),
        mending: |scene| deploy_good(scene).boxed(),
        expects: Count::is_each_once,
    },
    Drill {
        name: "poison-record",
        alarm: "EventsQuarantinedAlarm",
        breaks: "somebody puts something on the ingest queue that is no delivery",
        mends: "a person looks into the quarantine and drops it",
        parameters: &[],
        changes: &[],
        reconciles: None,
        breaking: |scene| poison(scene).boxed(),
        mending: |scene| look_and_drop(scene).boxed(),
        expects: Count::is_each_once,
    },
];

async fn deploy_bad(scene: &mut Scene) -> Result<()> {
    let bad = patched(&scene.template, GOOD, BAD)?;
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

async fn look_and_drop(scene: &mut Scene) -> Result<()> {
    let seen = scene
        .type_block(Page::Procedures, "Look into the quarantine", 0)
        .await?;
    ensure!(
        seen.contains("\"reason\":\"not-an-envelope\""),
        "the quarantine doesn't say why the record is there: {seen}"
    );
    scene
        .type_inline(Page::Procedures, "Put a message back", "drop 0")
        .await?;
    Ok(())
}

async fn deploy_good(scene: &mut Scene) -> Result<()> {
    let good = scene.template.clone();
    scene.deploy(&good).await
}
