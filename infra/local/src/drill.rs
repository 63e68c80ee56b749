//! `cargo local drill`: drills of the runbook. Each breaks something, waits for the alarm, runs the
//! runbook's commands as they stand in its page, and waits until the alarm is over. Then it counts every
//! event.
//!
//! In this module, a drill is never a callout that AURA marked as a test.
//!
//! | module | does |
//! | --- | --- |
//! | [`runbook`], [`shell`] | reads the runbook's commands; runs them |
//! | [`scene`], [`traffic`], [`alarms`] | what a drill works with |
//! | [`count`] | what became of every event |
//! | `processing`, `dead_letters`, `consumers`, [`endpoint`], `aura` | the drills, by what they break |
//!
//! To add a drill, add a [`Drill`] to the list of one of the last modules.

pub mod alarms;
mod aura;
mod consumers;
pub mod count;
mod dead_letters;
pub mod endpoint;
mod processing;
pub mod runbook;
pub mod scene;
pub mod shell;
pub mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aura_sim::client::Delivery;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use serde::Serialize;
use stack::account::Account;
use stack::bundle::Bundle;
use stack::ministack::{LocalAws, LocalAwsOptions};
use stack::package::Profile;
use stack::progress::Progress;
use stack::python::Venv;
use stack::reconciler::Schedule;
use stack::report::Out;
use stack::running::log_line;
use stack::settled::all_published;
use stack::system::Leftovers;
use stack::workspace::Workspace;

use self::alarms::State;
use self::count::Count;
use self::scene::{Equipment, Scene, Schedules};

/// By how much the alarms' periods, and ages in their thresholds, are shorter than on AWS.
pub const PERIODS_DIVIDED_BY: u32 = 20;
/// How often the reconciler runs in a drill: its minute, divided by the same number.
pub const RECONCILER_EVERY: Duration = Duration::from_secs(60 / PERIODS_DIVIDED_BY as u64);
/// How often ingest reads its secret again when it gets unknown values. It is a fraction of
/// [`shared::webhook::REFRESH_INTERVAL`], because most of a rotation's time is waiting for it.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// By how much EventBridge's waits between two tries of a backend are shorter than on AWS. An hour is a
/// second.
pub const RETRIES_DIVIDED_BY: u32 = 3600;
/// How long an alarm may take to be raised, or to end.
const PATIENCE: Duration = Duration::from_secs(200);
/// How long a drill may take after its stack is deployed.
const LIMIT: Duration = Duration::from_mins(5);
/// The first account of the drills.
const FIRST_ACCOUNT: usize = 101;

/// Something that a drill does to its scene.
pub type Act = for<'a> fn(&'a mut Scene) -> BoxFuture<'a, Result<()>>;

/// A drill of the runbook.
pub struct Drill {
    /// The name on the command line.
    pub name: &'static str,
    /// The alarm that must be raised: its name in the template, and its heading in the runbook.
    pub alarm: &'static str,
    /// What breaks.
    pub breaks: &'static str,
    /// What ends it, apart from the first commands of the alarm's section.
    pub mends: &'static str,
    /// Template parameters that differ from the local stack's.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Lines of the template, and what stands in their place.
    pub changes: &'static [(&'static str, &'static str)],
    /// How often the reconciler runs, if it runs.
    pub reconciles: Option<Duration>,
    /// Breaks it.
    pub breaking: Act,
    /// Mends it, after the first commands of the alarm's section.
    pub mending: Act,
    /// What the count must be.
    pub expects: fn(&Count) -> bool,
}

/// What a drill has that doesn't name it: neither parameters nor changes, and no run of the reconciler.
const BASE: Drill = Drill {
    name: "",
    alarm: "",
    breaks: "",
    mends: "",
    parameters: &[],
    changes: &[],
    reconciles: None,
    breaking: |_| async { Ok(()) }.boxed(),
    mending: |_| async { Ok(()) }.boxed(),
    expects: Count::is_each_once,
};

/// All drills.
pub fn all() -> impl Iterator<Item = &'static Drill> {
    // AURA's take longest.
    [
        aura::DRILLS,
        dead_letters::DRILLS,
        consumers::DRILLS,
        endpoint::DRILLS,
        processing::DRILLS,
    ]
    .into_iter()
    .flatten()
}

/// The drill with a name, or all of them if the name is `all`.
///
/// # Errors
///
/// There is no such drill. The error lists them.
pub fn named(name: &str) -> Result<Vec<&'static Drill>> {
    let found: Vec<_> = all()
        .filter(|drill| name == "all" || drill.name == name)
        .collect();
    if found.is_empty() {
        let names: Vec<_> = all().map(|drill| drill.name).collect();
        bail!(
            "there is no drill {name}: choose all, or one of {}",
            names.join(", ")
        );
    }
    Ok(found)
}

/// The result of a drill.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The drill.
    pub name: &'static str,
    /// The alarm.
    pub alarm: &'static str,
    /// What broke.
    pub breaks: &'static str,
    /// What ended it, beside the runbook's commands.
    pub mends: &'static str,
    /// Seconds from the break until the alarm was raised.
    pub alarm_seconds: Option<f64>,
    /// The runbook's commands that were run.
    pub commands: Vec<String>,
    /// How many commands these are: a block has several.
    pub command_count: usize,
    /// Seconds from the mending until the alarm was over.
    pub ok_seconds: Option<f64>,
    /// What became of AURA's events.
    #[serde(flatten)]
    pub count: Count,
    /// Seconds from the first event until the count.
    pub seconds: f64,
    /// Why the drill failed.
    pub problem: Option<String>,
}

impl Outcome {
    fn line(&self) -> String {
        let time = |seconds: Option<f64>| {
            seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.0} s"))
        };
        let Count {
            sent,
            published,
            duplicates,
            refused,
            lost,
            doubled,
            recovered,
            ..
        } = self.count;
        let mark = if self.problem.is_none() { "✓" } else { "✗" };
        format!(
            "{mark} {}: {} after {}, {} commands, OK after {}; sent {sent}, published {published}, \
             duplicates {duplicates}, recovered {recovered}, refused {refused}, lost {lost}, doubled {doubled}",
            self.name,
            self.alarm,
            time(self.alarm_seconds),
            self.command_count,
            time(self.ok_seconds)
        )
    }
}

/// The results of all drills of a run. `--json` prints them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// One result for each drill, in the order in which they ended.
    pub drills: Vec<Outcome>,
    /// By how much the alarms' periods were shorter than on AWS.
    pub periods_divided_by: u32,
    /// How many seconds it all took.
    pub seconds: f64,
}

impl stack::report::Report for Report {
    const FAILURE: &'static str = "not every drill ended as the runbook says";

    fn is_success(&self) -> bool {
        let mut drills = self.drills.iter();
        !self.drills.is_empty() && drills.all(|drill| drill.problem.is_none())
    }

    fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for drill in &self.drills {
            lines.push(drill.line());
            lines.push(format!("    {}; then {}", drill.breaks, drill.mends));
            lines.extend(drill.problem.iter().map(|problem| format!("    {problem}")));
        }
        let held = self.drills.iter().filter(|drill| drill.problem.is_none());
        lines.push(format!(
            "{} of {} drills ended as the runbook says.",
            held.count(),
            self.drills.len()
        ));
        lines
    }
}

/// Brings up a local AWS, runs drills on stacks of their own, and takes everything down.
///
/// # Errors
///
/// Something couldn't be started, or a drill failed.
pub async fn drill(
    workspace: &Workspace,
    drills: Vec<&'static Drill>,
    at_once: usize,
    profile: Profile,
    json: bool,
    progress: Progress,
) -> Result<()> {
    let began = Instant::now();
    // A missing program is told before anything is built.
    shell::Programs::find().await?;
    let venv = Venv::prepare(workspace, progress).await?;
    let bundle = Bundle::build(workspace, profile, progress).await?;
    let equipment = Equipment::gather(workspace, &bundle).await?;
    let options = LocalAwsOptions {
        port: None,
        log: Some(workspace.drill_log()),
        auth: true,
        also_on: None,
        variables: variables(),
    };
    let aws = LocalAws::start(workspace, &venv, options, progress).await?;
    let accounts = (FIRST_ACCOUNT..).map(|number| aws.account(&format!("{number:012}")));
    let drills: Vec<_> = drills.into_iter().zip(accounts).collect();
    let drills = play_all(&equipment, drills, at_once, progress).await;
    aws.stop().await;
    let report = Report {
        drills,
        periods_divided_by: PERIODS_DIVIDED_BY,
        seconds: began.elapsed().as_secs_f64(),
    };
    Out { json }
        .conclude(&report)
        .inspect_err(|_| progress.say(&log_line(&workspace.drill_log())))
}

/// The environment variables with which the local AWS of drills and of the end-to-end tests runs.
#[must_use]
pub fn variables() -> Vec<(&'static str, String)> {
    vec![
        ("ALARM_PERIODS_DIVIDED_BY", PERIODS_DIVIDED_BY.to_string()),
        ("RETRIES_DIVIDED_BY", RETRIES_DIVIDED_BY.to_string()),
        (
            "WEBHOOK_REFRESH_SECONDS",
            REFRESH_INTERVAL.as_secs().to_string(),
        ),
    ]
}

/// Plays drills, each in its account, and some of them at once.
pub async fn play_all(
    equipment: &Equipment,
    drills: Vec<(&'static Drill, Account)>,
    at_once: usize,
    progress: Progress,
) -> Vec<Outcome> {
    let played = drills.iter().map(|(drill, account)| async move {
        let outcome = play(equipment, account, drill, progress).await;
        progress.say(&format!("  {}", outcome.line()));
        outcome
    });
    let played: Vec<_> = played.map(Box::pin).collect();
    futures::stream::iter(played)
        .buffer_unordered(at_once)
        .collect()
        .await
}

/// Plays one drill on a stack of its own in an account.
pub async fn play(
    equipment: &Equipment,
    account: &Account,
    drill: &Drill,
    progress: Progress,
) -> Outcome {
    let mut outcome = Outcome {
        name: drill.name,
        alarm: drill.alarm,
        breaks: drill.breaks,
        mends: drill.mends,
        ..Outcome::default()
    };
    let played = try_to_play(equipment, account, drill, progress, &mut outcome).await;
    outcome.problem = played.err().map(|error| format!("{error:#}"));
    outcome
}

async fn try_to_play(
    equipment: &Equipment,
    account: &Account,
    drill: &Drill,
    progress: Progress,
    outcome: &mut Outcome,
) -> Result<()> {
    progress.say(&format!("  {}: deploying a stack", drill.name));
    let (mut scene, schedules) = Scene::set(equipment, account, drill, progress).await?;
    let began = Instant::now();
    let Schedules {
        mut canaries,
        mut reconciler,
    } = schedules;
    let played = tokio::time::timeout(LIMIT, break_and_mend(&mut scene, drill, outcome));
    let played = tokio::select! {
        played = played => played,
        error = broken(canaries.as_mut()) => Ok(Err(error)),
        error = broken(reconciler.as_mut()) => Ok(Err(error)),
    };
    outcome.commands.clone_from(&scene.commands);
    outcome.command_count = scene.command_count();
    played.with_context(|| format!("the drill took over {} s", LIMIT.as_secs()))??;
    let counted = tokio::time::timeout_at((began + LIMIT).into(), tally(scene, reconciler)).await;
    let counted = counted
        .with_context(|| format!("the events were not published within {} s", LIMIT.as_secs()));
    let (count, leftovers) = counted??;
    outcome.count = count;
    outcome.seconds = began.elapsed().as_secs_f64();
    if !(drill.expects)(&outcome.count) {
        bail!("the count is wrong: {:?}", outcome.count);
    }
    ensure!(leftovers.is_none(), "not everything is mended. {leftovers}");
    Ok(())
}

/// Waits until a schedule ends by itself, which it shouldn't, and returns the reason.
async fn broken(schedule: Option<&mut Schedule>) -> anyhow::Error {
    match schedule {
        Some(schedule) => schedule.broken().await,
        None => std::future::pending().await,
    }
}

async fn break_and_mend(scene: &mut Scene, drill: &Drill, outcome: &mut Outcome) -> Result<()> {
    alarms::until(&scene.system.stack, drill.alarm, State::Ok, PATIENCE)
        .await
        .context("before anything is broken")?;
    scene.traffic.another_part().await?;
    scene.say(&format!("{}…", drill.breaks));
    let broken = Instant::now();
    (drill.breaking)(scene).await?;
    alarms::until(&scene.system.stack, drill.alarm, State::Alarm, PATIENCE).await?;
    let rang = broken.elapsed().as_secs_f64();
    outcome.alarm_seconds = Some(rang);
    scene.say(&format!("{} is raised after {rang:.0} s", drill.alarm));
    scene.begin_section(drill.alarm).await?;
    scene.say(&format!("{}…", drill.mends));
    let mended = Instant::now();
    (drill.mending)(scene).await?;
    alarms::until(&scene.system.stack, drill.alarm, State::Ok, PATIENCE).await?;
    let over = mended.elapsed().as_secs_f64();
    outcome.ok_seconds = Some(over);
    scene.say(&format!("{} is over after {over:.0} s", drill.alarm));
    let before = scene.aura.deliveries().await?.deliveries.len();
    scene.traffic.another_part().await?;
    let webhook = scene.system.stack.output("WebhookUrl")?;
    let sent = scene.aura.deliveries().await?.deliveries;
    let fails = |delivery: &&Delivery| {
        let is_elsewhere = delivery.url.as_deref() != Some(webhook);
        is_elsewhere || delivery.status.is_some_and(|status| status != 202)
    };
    let failed = sent.iter().skip(before).find(fails);
    ensure!(
        failed.is_none(),
        "AURA still can't deliver after it was mended: {failed:?}"
    );
    Ok(())
}

/// Ends the traffic, waits until everything is published, and counts.
async fn tally(scene: Scene, reconciler: Option<Schedule>) -> Result<(Count, Leftovers)> {
    scene.traffic.stop().await?;
    let deliveries = scene.aura.all_answered().await?;
    let stack = &scene.system.stack;
    let mut consumers = scene.consumers.context("the consumers are still stopped")?;
    let mut published = scene.received;
    published.extend(all_published(stack, &mut consumers).await?);
    if reconciler.is_some() {
        while Leftovers::count(stack).await?.spill_depth > 0 {
            tokio::time::sleep(RECONCILER_EVERY).await;
        }
        published.extend(all_published(stack, &mut consumers).await?);
    }
    let count = Count::of(&deliveries, &published, stack.output("WebhookUrl")?);
    Ok((count, Leftovers::count(stack).await?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::drill::runbook::{Page, Runbook};

    #[test]
    fn each_drill_has_an_alarm_of_the_template_and_a_section_of_the_runbook() {
        let workspace = Workspace::here().unwrap();
        let template = std::fs::read_to_string(workspace.template()).unwrap();
        let runbook = Runbook::read(&workspace).unwrap();
        for drill in all() {
            let resource = format!("\n  {}:\n    Type: AWS::CloudWatch::Alarm\n", drill.alarm);
            assert!(template.contains(&resource), "{}", drill.alarm);
            let section = runbook.section(Page::Operate, drill.alarm).unwrap();
            assert!(!section.commands().unwrap().is_empty());
        }
    }

    #[test]
    fn drills_have_names_of_their_own() {
        let names: HashSet<_> = all().map(|drill| drill.name).collect();
        assert_eq!(names.len(), all().count());
        assert!(!names.contains("all"));
        assert_eq!(named("all").unwrap().len(), names.len());
        assert!(named("nothing").is_err());
    }
}
