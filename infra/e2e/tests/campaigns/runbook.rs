//! The drills of the runbook, and every command of its first page.

use anyhow::Result;
use e2e::Local;
use local::drill;
use local::drill::runbook::Page;
use local::drill::scene::Ground;
use stack::progress::Progress;
use stack::workspace::Workspace;

/// How many drills run at once. They wait most of the time.
const AT_ONCE: usize = 5;

#[tokio::test]
async fn each_drills_alarm_is_raised_and_the_runbook_ends_it_without_a_loss() -> Result<()> {
    let local = Local::shared().await?;
    let ground = Ground::lay(&Workspace::here()?, local.bundle()).await?;
    let drills = drill::all().map(|drill| (drill, local.new_account()));
    let played = drill::play_all(&ground, drills.collect(), AT_ONCE, Progress::to_stderr()).await;
    let failed: Vec<_> = played.iter().filter(|it| it.problem.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

#[tokio::test]
async fn each_block_of_the_runbook_works_on_a_healthy_stack() -> Result<()> {
    let local = Local::shared().await?;
    let ground = Ground::lay(&Workspace::here()?, local.bundle()).await?;
    let system = local.system(&[("ConsumerWaitSeconds", "300")]).await?;
    let shell = ground.shell(system.stack.account())?;
    let mut failed = Vec::new();
    let pages = [Page::OnCall, Page::Operate];
    for section in pages.iter().flat_map(|page| ground.runbook.sections(*page)) {
        for block in &section.blocks {
            failed.extend(shell.run(block).await.err());
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    Ok(())
}
