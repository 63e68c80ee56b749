//! The drill in which events get into the dead letters, and how dead letters are redriven.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use stack::consumers::Queue;

use super::Drill;
use super::count::Count;
use super::runbook::Page;
use super::scene::Scene;

/// How long to wait before what has got into the dead letters meanwhile is redriven, too.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) const DRILLS: &[Drill] = &[Drill {
    name: "dead-letters",
    alarm: "DeadLettersAlarm",
    breaks: "EventBridge cannot be reached for longer than all tries of an event take",
    mends: "EventBridge can be reached again, and a person redrives the dead letters",
    parameters: &[],
    changes: &[("maxReceiveCount: 50", "maxReceiveCount: 2")],
    reconciles: None,
    breaking: |scene| scene.bus.down().map(Ok).boxed(),
    mending: |scene| {
        async {
            scene.bus.up()?;
            let procedure = "Redrive the ingest queue's dead letters";
            redrive(scene, procedure, "DeadLetterQueueUrl").await
        }
        .boxed()
    },
    expects: Count::is_each_once,
}];

/// Redrives dead letters by a procedure of two blocks until there are none. `output` names the URL of
/// their queue.
pub(super) async fn redrive(scene: &mut Scene, procedure: &str, output: &str) -> Result<()> {
    let stack = &scene.system.stack;
    let queue = Queue::new(stack.account().sqs(), stack.output(output)?);
    loop {
        for block in 0..2 {
            scene.type_block(Page::Procedures, procedure, block).await?;
        }
        tokio::time::sleep(PAUSE).await;
        if queue.depth().await? == 0 {
            return Ok(());
        }
    }
}
