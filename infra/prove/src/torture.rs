//! `cargo prove torture`: kills the processor again and again in the middle of busy days, while the
//! ledger and the bus fail it, and then counts.
//!
//! The counts come from programs that know nothing of each other, as in the demo: AURA's stand-in,
//! the consumers' queues, the ledger table. What explains a double comes from the proxies between
//! the processor and its services, and from who did the killing.
//!
//! The local AWS runs one batch of a FIFO queue at a time, so no two processors are alive at once
//! here, and none meets another's claim that still holds. `cargo prove ledger` has that.

pub mod campaign;
pub mod journal;
pub mod report;
pub mod rig;
pub mod verdict;
pub mod violations;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::contract;
use aura_sim::client::{Aura, Day};
use stack::consumers::PATIENCE;
use stack::consumers::{Consumers, Published, Queue};
use stack::ledger;
use stack::package::Profile;
use stack::progress::{Progress, Stage};
use stack::report::Out;
use stack::running::{Ground, Options, log_line};
use stack::settled::all_published;
use stack::stack::Parameters;
use stack::system::{Leftovers, System};
use stack::tally::Tally;
use stack::workspace::Workspace;

use self::campaign::Campaign;
use self::journal::Journal;
use self::report::Report;
use self::rig::{Kill, Rig};
use self::verdict::{differences, doubles};
use self::violations::violations;

/// The account of the campaign.
const ACCOUNT: &str = "000000000003";
/// Whoever waits is told that many times how far it is.
const NOTES: usize = 20;
/// The most deliveries that wait for the processor when the next kill is due: some of what AURA
/// said last, and what earlier kills keep waiting. With ever more, the same events would die again
/// and again, and later ones never.
const MOST_WAITING: u64 = 200;
/// Between two looks at them.
const POLL: Duration = Duration::from_millis(50);

/// Brings everything up, runs the campaign, counts, and takes everything down.
///
/// # Errors
///
/// Something can't be brought up, or the report is no success.
pub async fn torture(
    workspace: &Workspace,
    campaign: &Campaign,
    json: bool,
    progress: Progress,
) -> Result<()> {
    let out = Out { json };
    out.line(&format!("seed {}", campaign.seed));
    let options = Options {
        account: ACCOUNT,
        port: None,
        // A release build has no failpoints.
        profile: Profile::Dev,
        log: workspace.torture_log(),
        also_on: None,
    };
    let mut ground = Ground::lay(workspace, options, progress).await?;
    let rig = Rig::before(ground.endpoint(), workspace)?;
    ground.bundle.template = rig.around_the_processor(&ground.bundle.template)?;
    let running = ground.deploy(Parameters::new(), progress).await?;
    let report = run(running.system(), &rig, campaign, progress).await;
    running.stop(progress).await;
    report
        .and_then(|report| out.conclude(&report))
        .inspect_err(|_| progress.say(&log_line(&workspace.torture_log())))
}

/// Runs a campaign against a system that the rig is built into, and counts.
///
/// # Errors
///
/// A kill doesn't come about, or something can't be counted. What was found is no error.
pub async fn run(
    system: &System,
    rig: &Rig,
    campaign: &Campaign,
    progress: Progress,
) -> Result<Report> {
    let began = Instant::now();
    let aura = system.aura().await?;
    let mut run = Run {
        system,
        rig,
        aura: &aura,
        consumers: Consumers::read(&system.stack, contract::check),
        published: Vec::new(),
        kills: Vec::new(),
    };
    let mut stage = progress.stage("killing");
    run.kill_all(campaign, &mut stage).await?;
    stage.done(&format!("{} kills", run.kills.len()));
    let stage = progress.stage("waiting for what is still on its way");
    run.settle().await?;
    stage.done(&format!("{} events received", run.published.len()));
    run.report(campaign, began).await
}

/// A campaign under way.
struct Run<'a> {
    system: &'a System,
    rig: &'a Rig,
    aura: &'a Aura,
    consumers: Consumers,
    published: Vec<Published>,
    kills: Vec<Kill>,
}

impl Run<'_> {
    /// One kill after the other, each into its own share of the load, so that there is work at
    /// every kill.
    async fn kill_all(&mut self, campaign: &Campaign, stage: &mut Stage) -> Result<()> {
        let total = campaign.steps.len();
        self.rig.begin(campaign);
        for (n, step) in (1..).zip(&campaign.steps) {
            self.until_few_wait().await?;
            let kill = self.rig.kill(&self.system.stack, step);
            let (kill, ()) = tokio::try_join!(kill, play(self.aura, &step.days))?;
            self.kills.push(kill);
            while let Some(event) = self.consumers.next(Duration::ZERO).await? {
                self.published.push(event);
            }
            if n % total.div_ceil(NOTES) == 0 {
                let received = self.published.len();
                stage.note(&format!("{n} of {total}, {received} events received"));
            }
        }
        Ok(())
    }

    async fn until_few_wait(&self) -> Result<()> {
        let stack = &self.system.stack;
        let queue = Queue::new(stack.account().sqs(), stack.output("IngestQueueUrl")?);
        let deadline = Instant::now() + PATIENCE;
        while queue.depth().await? > MOST_WAITING {
            ensure!(Instant::now() < deadline, "the processor doesn't keep up");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Lets the processor do its work in peace, until nothing more comes.
    async fn settle(&mut self) -> Result<()> {
        self.rig.end();
        let rest = all_published(&self.system.stack, &mut self.consumers).await?;
        self.published.extend(rest);
        Ok(())
    }

    async fn report(self, campaign: &Campaign, began: Instant) -> Result<Report> {
        let stack = &self.system.stack;
        let (ledger_calls, bus_calls) = (self.rig.ledger_calls(), self.rig.bus_calls());
        let journal = Journal::read(&ledger_calls, &bus_calls)?;
        let doubles = doubles(&self.published, &journal, &self.kills);
        let items = ledger::items(stack).await?;
        let items: Vec<_> = items.into_iter().map(verdict::Item::from).collect();
        let calls = ledger_calls.iter().chain(&bus_calls);
        let mut kills = BTreeMap::new();
        for kill in &self.kills {
            *kills.entry(kill.moment.name()).or_default() += 1;
        }
        let sent = self.aura.deliveries().await?.deliveries;
        let originals = sent.iter().filter(|sent| sent.duplicate_of.is_none());
        Ok(Report {
            seed: campaign.seed,
            planned: campaign.events(),
            events: originals.count() as u64,
            kills,
            faults: calls.filter(|call| call.fault.is_some()).count(),
            tally: Tally::of(&sent, &self.published),
            violations: violations(&sent, &self.published, &journal),
            leftovers: Leftovers::count(stack).await?,
            unexplained: doubles
                .iter()
                .filter(|double| !double.reason.explains())
                .count(),
            doubles,
            differences: differences(&items, &self.published),
            seconds: began.elapsed().as_secs_f64(),
        })
    }
}

/// Plays days at once, until all that they have to say has been answered.
async fn play(aura: &Aura, days: &[Day]) -> Result<()> {
    let mut playing = JoinSet::new();
    for day in days {
        let (aura, day) = (aura.clone(), day.clone());
        playing.spawn(async move { aura.play(&day).await });
    }
    while let Some(played) = playing.join_next().await {
        played.context("a day broke off")??;
    }
    Ok(())
}
