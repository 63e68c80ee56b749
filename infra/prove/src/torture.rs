//! `cargo prove torture`: kills the processor again and again in the middle of busy days, while the
//! ledger and the bus fail. Then it counts what became of every event.
//!
//! As in the demo, the counts come from programs that know nothing of each other: the AURA
//! stand-in, the consumers' queues, and the ledger table. The explanation of a double comes from
//! the proxies between the processor and its services, and from the program that does the killing.
//!
//! The local AWS runs one batch of a FIFO queue at a time. So no two processors are alive at once
//! here, and none meets a claim of another one that is still valid. `cargo prove ledger` covers that.

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
use stack::running::{Options, Prepared, log_line};
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

/// Account of the campaign.
const ACCOUNT: &str = "000000000003";
/// Number of progress lines over the whole campaign.
const NOTES: usize = 20;
/// The most deliveries that may wait for the processor when the next kill is due: some of AURA's
/// last ones, and those that earlier kills have delayed. If more and more waited, the same events
/// would meet every kill and later events none.
const MOST_WAITING: u64 = 200;
/// Pause between two looks at the number of waiting deliveries.
const POLL: Duration = Duration::from_millis(50);

/// Starts everything, runs the campaign, counts, and stops everything.
///
/// # Errors
///
/// Fails if something can't be started, or if the report is no success.
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
        // Release builds have no failpoints.
        profile: Profile::Dev,
        log: workspace.torture_log(),
        also_on: None,
    };
    let mut prepared = Prepared::prepare(workspace, options, progress).await?;
    let rig = Rig::before(prepared.endpoint(), workspace)?;
    prepared.bundle.template = rig.around_the_processor(&prepared.bundle.template)?;
    let running = prepared.deploy(Parameters::new(), progress).await?;
    let report = run(running.system(), &rig, campaign, progress).await;
    running.stop(progress).await;
    report
        .and_then(|report| out.conclude(&report))
        .inspect_err(|_| progress.say(&log_line(&workspace.torture_log())))
}

/// Runs a campaign against a system deployed with the rig, and counts.
///
/// # Errors
///
/// Fails if a kill doesn't happen or something can't be counted. A broken promise is no error; the
/// report has it.
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
    let stage = progress.stage("waiting for the events that are still on their way");
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
    /// Kills the processor once for each step of the campaign. Each kill has its own share of the
    /// load, so that the processor is at work.
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
            ensure!(
                Instant::now() < deadline,
                "the processor doesn't keep up: too many deliveries still wait for it"
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Lets the processor work undisturbed until no more events come.
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

/// Plays days at the same time, until every delivery has been answered.
async fn play(aura: &Aura, days: &[Day]) -> Result<()> {
    let mut playing = JoinSet::new();
    for day in days {
        let (aura, day) = (aura.clone(), day.clone());
        playing.spawn(async move { aura.play(&day).await });
    }
    while let Some(played) = playing.join_next().await {
        played.context("the task that plays a day ended before the day was over")??;
    }
    Ok(())
}
