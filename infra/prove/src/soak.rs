//! `cargo prove soak`: plays a long day with an unreliable AURA while the reconciler runs every few
//! seconds. Then it makes the loss ledger: what became of each event that happened at AURA.
//!
//! The AURA stand-in says what happened and what state each callout is in. The consumers say what
//! they received. Neither knows anything of the other, and nothing that the reconciler says is
//! used.
//!
//! Some losses cannot be found by asking, because AURA has no call for them: customers,
//! subscriptions, and steps of a callout that the next step overtook before a run asked. The report
//! names them and doesn't count them as failures.

pub mod breaches;
pub mod evidence;
mod killer;
mod lines;
pub mod loss;
pub mod order;
pub mod recovery;
pub mod report;
#[cfg(test)]
mod samples;
mod states;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Result;

pub use self::killer::Strike;

use crate::contract;
use aura_sim::client::Aura;
use shared::panic_api::may_be_a_page;
use stack::consumers::Consumers;
use stack::package::Profile;
use stack::progress::{Progress, Stage};
use stack::reconciler::{Runs, Schedule};
use stack::report::Out;
use stack::running::{Options, Prepared, log_line};
use stack::settled::all_published;
use stack::system::{Leftovers, System};
use stack::workspace::Workspace;

use self::breaches::breaches;
use self::evidence::{Evidence, Received};
use self::order::Order;
use self::recovery::Recovery;
use self::report::{Classes, Missed, Report};

/// Account of the soak.
const ACCOUNT: &str = "000000000004";
/// The shortest time between two lines of progress.
const NOTE_EVERY: Duration = Duration::from_secs(15);
/// The most lines of progress over the whole of a long day.
const NOTES: u32 = 40;
/// How many runs in a row, after the longest silence, must tell nothing new before the day counts
/// as settled. A killed run also blocks the next one.
const QUIET_RUNS: u32 = 4;
/// The longest wait for these quiet runs, as a multiple of the shortest wait.
const MOST_QUIETS: u32 = 8;

/// Starts everything, runs the soak, counts, and stops everything.
///
/// # Errors
///
/// Fails if something can't be started, or if the report is no success.
pub async fn soak(
    workspace: &Workspace,
    order: &Order,
    json: bool,
    progress: Progress,
) -> Result<()> {
    let out = Out { json };
    out.line(&format!("seed {}", order.seed));
    let options = Options {
        account: ACCOUNT,
        port: None,
        profile: Profile::Dev,
        log: workspace.soak_log(),
        also_on: None,
    };
    let prepared = Prepared::prepare(workspace, options, progress).await?;
    let running = prepared.deploy(order.parameters(), progress).await?;
    let report = run(running.system(), order, progress).await;
    running.stop(progress).await;
    report
        .and_then(|report| conclude(&report, &workspace.soak_ledger(), out))
        .inspect_err(|_| progress.say(&log_line(&workspace.soak_log())))
}

/// Writes the loss ledger to a file, and prints the result.
fn conclude(report: &Report, ledger: &Path, out: Out) -> Result<()> {
    lines::write(&report.ledger, ledger)?;
    out.line("");
    out.line(&format!(
        "The loss ledger, one line for each event: {}",
        ledger.display()
    ));
    out.conclude(report)
}

/// Runs a soak against a system that was deployed with the order's parameters, and counts.
///
/// # Errors
///
/// Fails if a kill doesn't happen or something can't be counted. A broken promise is no error; the
/// report has it.
pub async fn run(system: &System, order: &Order, progress: Progress) -> Result<Report> {
    let began = Instant::now();
    let aura = system.aura().await?;
    let mut run = Run {
        system,
        order,
        aura: &aura,
        consumers: Consumers::read(&system.stack, contract::check),
        received: Vec::new(),
        added: 0,
    };
    let mut schedule = Schedule::start(&system.stack, order.schedule);
    let mut stage = progress.stage("playing the day");
    run.play(&mut schedule, &mut stage).await?;
    stage.done(&format!("{} events received", run.received.len()));
    let stage = progress.stage("waiting until the reconciler has nothing more to report");
    let settled = run.settle(&mut schedule).await?;
    let runs = schedule.stop().await?;
    run.receive_the_rest().await?;
    stage.done(&format!("{} events received", run.received.len()));
    run.report(runs, settled, began).await
}

/// A soak under way.
struct Run<'a> {
    system: &'a System,
    order: &'a Order,
    aura: &'a Aura,
    consumers: Consumers,
    received: Vec<Received>,
    /// Number of events that were added to the day's.
    added: u64,
}

impl Run<'_> {
    /// Plays the day and the kills, while AURA is as unreliable as ordered.
    async fn play(&mut self, schedule: &mut Schedule, stage: &mut Stage) -> Result<()> {
        let (aura, order, stack) = (self.aura, self.order, &self.system.stack);
        let (runs, began) = (schedule.runs(), Instant::now());
        aura.plan(&order.plan).await?;
        let day = order.day();
        let work = async {
            let kills = killer::kill_all(stack, &order.strikes, runs, began);
            tokio::try_join!(aura.play(&day), kills)?;
            aura.end_plan().await?;
            let added = leave_no_page(aura).await?;
            aura.all_answered().await?;
            Ok(added)
        };
        self.added = self.receive_during(work, schedule, stage).await?;
        Ok(())
    }

    /// Receives published events while `work` runs, so that each has the time at which a consumer
    /// got it.
    async fn receive_during<T>(
        &mut self,
        work: impl Future<Output = Result<T>>,
        schedule: &mut Schedule,
        stage: &mut Stage,
    ) -> Result<T> {
        let (aura, runs) = (self.aura, schedule.runs());
        let pause = NOTE_EVERY.max(self.order.length / NOTES);
        let mut work = pin!(work);
        let mut counting = pin!(count_after(pause, aura));
        loop {
            tokio::select! {
                error = schedule.broken() => return Err(error),
                done = &mut work => return done,
                event = self.consumers.next(pause) => {
                    self.received.extend(event?.map(Received::now));
                }
                sent = &mut counting => {
                    self.note(sent?, *runs.borrow(), stage);
                    counting.set(count_after(pause, aura));
                }
            }
        }
    }

    fn note(&self, sent: usize, runs: Runs, stage: &mut Stage) {
        let found_out = self.received.iter().filter(|copy| copy.is_found_out());
        stage.note(&format!(
            "{sent} deliveries, {} runs of the reconciler, {} events received, {} of \
             them from the reconciler",
            runs.begun,
            self.received.len(),
            found_out.count()
        ));
    }

    /// Lets the reconciler find out what it can. Returns whether it had nothing more to report in the
    /// end.
    async fn settle(&mut self, schedule: &mut Schedule) -> Result<bool> {
        let quiet = self.order.silence() + self.order.schedule * QUIET_RUNS;
        let deadline = Instant::now() + quiet * MOST_QUIETS;
        while Instant::now() < deadline {
            let event = tokio::select! {
                error = schedule.broken() => return Err(error),
                event = self.consumers.next(quiet) => event?,
            };
            match event {
                Some(event) => self.received.push(Received::now(event)),
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn receive_the_rest(&mut self) -> Result<()> {
        let rest = all_published(&self.system.stack, &mut self.consumers).await?;
        self.received.extend(rest.into_iter().map(Received::now));
        Ok(())
    }

    async fn report(self, runs: Runs, settled: bool, began: Instant) -> Result<Report> {
        let evidence = Evidence {
            happened: self.aura.events().await?,
            deliveries: self.aura.all_answered().await?,
            callouts: self.aura.callouts().await?,
            received: self.received,
        };
        let ledger = loss::ledger(&evidence);
        let accepted = evidence.deliveries.iter();
        let accepted = accepted.filter(|delivery| delivery.was_answered("accepted"));
        Ok(Report {
            seed: self.order.seed,
            plan: self.order.plan.clone(),
            schedule: self.order.schedule.as_secs(),
            planned: self.order.events() + self.added,
            events: evidence.happened.len() as u64,
            sent: evidence.deliveries.len(),
            accepted: accepted.count(),
            classes: Classes::of(&ledger),
            recovery: Recovery::of(&ledger, self.order.schedule),
            runs,
            kills: self.order.strikes.len(),
            settled,
            leftovers: Leftovers::count(&self.system.stack).await?,
            breaches: breaches(&evidence, &ledger),
            missed: Missed::of(&ledger),
            seconds: began.elapsed().as_secs_f64(),
            ledger,
        })
    }
}

/// Opens one more callout if AURA's list would otherwise stay at a length that may be a full page:
/// a callout missing from such a list counts as closed only after an hour. Returns the number of
/// events added.
async fn leave_no_page(aura: &Aura) -> Result<u64> {
    let callouts = aura.callouts().await?;
    let active = callouts.iter().filter(|callout| !callout.closed).count();
    if !may_be_a_page(active) {
        return Ok(0);
    }
    let before = aura.events().await?.len();
    let customer = aura.create_customer("+27820000000").await?;
    aura.create_callout(&customer).await?;
    Ok((aura.events().await?.len() - before) as u64)
}

/// Returns the number of deliveries that AURA has made, after a pause.
async fn count_after(pause: Duration, aura: &Aura) -> Result<usize> {
    tokio::time::sleep(pause).await;
    Ok(aura.deliveries().await?.deliveries.len())
}
