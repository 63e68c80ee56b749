//! The drills of the runbook, and every command of its first page and of the page On call.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use aura_sim::client::Delivery;
use e2e::Local;
use local::drill;
use local::drill::runbook::Page;
use local::drill::scene::Equipment;
use stack::progress::Progress;
use stack::system::System;
use stack::workspace::Workspace;

/// How many drills run at once.
const AT_ONCE: usize = 3;

#[tokio::test]
#[ignore = "takes five minutes of a machine of its own: .ci/run drills"]
async fn each_drills_alarm_is_raised_and_the_runbook_ends_it_without_a_loss() -> Result<()> {
    // Only IAM decides by the policy of a queue.
    let local = Local::with_iam().await?;
    let equipment = Equipment::gather(&Workspace::here()?, local.bundle()).await?;
    let drills = drill::all().map(|drill| (drill, local.new_account()));
    let played =
        drill::play_all(&equipment, drills.collect(), AT_ONCE, Progress::to_stderr()).await;
    let failed: Vec<_> = played.iter().filter(|it| it.problem.is_some()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    for (command, drill) in RUN_BY_A_DRILL {
        let its = played.iter().filter(|outcome| outcome.name == drill);
        let mut typed = its.flat_map(|outcome| &outcome.commands);
        assert!(
            typed.any(|its| its.starts_with(command)),
            "{drill} doesn't type {command}"
        );
    }
    Ok(())
}

/// Commands in the runbook's text that a drill runs instead: on a healthy stack they can't work.
const RUN_BY_A_DRILL: [(&str, &str); 3] = [
    ("for key in ANY POST", "route-gone"),
    ("aws secretsmanager put-secret-value", "credentials-refused"),
    ("aws sqs set-queue-attributes", "policy-broken"),
];

/// Whether what stands between backquotes is a command and not a name. `.ci/sam` runs `sam deploy`, and
/// `aura-ops console` stays until Ctrl-C: the tests of `aura-ops` run it.
fn is_command(code: &str) -> bool {
    let words = [
        "aura-ops",
        "aws",
        "log",
        "output",
        "parameter",
        "undelivered",
    ];
    let is_one = |(word, _): (&str, &str)| words.contains(&word);
    code != "aura-ops console" && code.split_once(' ').is_some_and(is_one)
}

/// The id of a delivery of AURA's.
async fn delivery_id(system: &System) -> Result<String> {
    let aura = system.aura().await?;
    aura.create_customer("+27820000001").await?;
    let deliveries = aura.all_answered().await?;
    let id = deliveries.iter().find_map(Delivery::delivery_id);
    Ok(id.context("AURA has delivered nothing")?.to_owned())
}

#[tokio::test]
async fn each_command_of_the_runbook_works_on_a_healthy_stack() -> Result<()> {
    let local = Local::shared().await?;
    let equipment = Equipment::gather(&Workspace::here()?, local.bundle()).await?;
    let watched = [("CanaryMinutes", "5"), ("ConsumerWaitSeconds", "300")];
    let system = local.system(&watched).await?;
    let id = delivery_id(&system).await?;
    let shell = equipment.shell(system.stack.account())?;
    let is_here = |code: &&str| {
        is_command(code) && !RUN_BY_A_DRILL.iter().any(|(its, _)| code.starts_with(its))
    };
    let pages = [Page::OnCall, Page::Operate];
    let sections = pages
        .iter()
        .flat_map(|page| equipment.runbook.sections(*page));
    let commands: BTreeSet<_> = sections
        .flat_map(|section| {
            let blocks = section.blocks.iter().map(String::as_str);
            blocks.chain(section.codes().filter(is_here))
        })
        .collect();
    assert!(commands.len() > 50, "{commands:#?}");
    let mut failed = Vec::new();
    for command in commands {
        let command = command.replace("delivery ID", &format!("delivery {id}"));
        failed.extend(shell.run(&command).await.err());
    }
    assert!(failed.is_empty(), "{failed:#?}");
    Ok(())
}
