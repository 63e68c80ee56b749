//! The drill in which events get into the dead letters, and how dead letters are redriven.

use std::time::Duration;

use anyhow::Result;
use futures::FutureExt as _;
use stack::system::Leftovers;

use super::runbook::Page;
use super::scene::Scene;
use super::{BASE, Drill};

/// How long to wait before what has got into the dead letters meanwhile is redriven, too.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) const DRILLS: &[Drill] = &[Drill {
    name: "dead-letters",
    alarm: "DeadLettersAlarm",
    breaks: "EventBridge cannot be reached for longer than all tries of an event take",
    mends: "EventBridge can be reached again, and a person redrives the dead letters",
    changes: &[("maxReceiveCount: 50", "maxReceiveCount: 2")],
    breaking: |scene| scene.bus.down().map(Ok).boxed(),
    mending: |scene| {
        async {
            scene.bus.up()?;
            let procedure = "Redrive the ingest queue's dead letters";
            redrive(scene, procedure).await
        }
        .boxed()
    },
    ..BASE
}];

/// Redrives dead letters by a procedure of two blocks until there are none.
pub(super) async fn redrive(scene: &mut Scene, procedure: &str) -> Result<()> {
    loop {
        for block in 0..2 {
            scene.type_block(Page::Procedures, procedure, block).await?;
        }
        tokio::time::sleep(PAUSE).await;
        let left = Leftovers::count(&scene.system.stack).await?;
        if left.dead_letter_depth == 0 {
            return Ok(());
        }
    }
}
