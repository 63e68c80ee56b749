//! One run. It reads from top to bottom: [`Reconciler::run`] writes the log line, takes the lock,
//! puts back what was spilled while it compares AURA's list with the ledger, watches the webhook's
//! health, and hands its state on to the next run.

mod deadlines;
mod lock;

use futures::future::{join, try_join_all};
use jiff::Timestamp;
use metrique::writer::BoxEntrySink;
use shared::aws::CallError;
use shared::ledger::last_delivery::LastDelivery;
use shared::ledger::open::{OpenCallout, OpenCallouts};
use shared::ledger::{EventLedger, LedgerError, SHARDS};
use tokio::time::timeout_at;

use self::deadlines::Deadlines;
use crate::aura::AuraError;
use crate::aura::connector::AuraConnector;
use crate::differences::differences;
use crate::metrics::RunMetrics;
use crate::redrive::Redrive;
use crate::run_state::{RunState, RunStateItem};
use crate::settle::closings::ListCall;
use crate::settle::learned::{Learned, hand_on};
use crate::settle::settle_all;
use crate::settle::settler::Settler;
use crate::verdict::{Patience, may_be_a_page};
use crate::webhook_health::healing::Healing;

/// Everything that a run takes.
#[derive(Debug)]
pub struct Reconciler {
    /// The ledger with the events and the lock.
    pub ledger: EventLedger,
    /// The callouts that are noted as open.
    pub open: OpenCallouts,
    /// When AURA delivered last.
    pub last_delivery: LastDelivery,
    /// What runs hand on.
    pub run_state: RunStateItem,
    /// The spill and the queues.
    pub redrive: Redrive,
    /// How AURA is reached.
    pub aura: AuraConnector,
    /// Who registers the endpoint again, if anybody does.
    pub healing: Option<Healing>,
    /// Waiting times of the verdicts.
    pub patience: Patience,
    /// Where each run's log line goes.
    pub metrics: BoxEntrySink,
}

/// A run that didn't do all that it should have. What it did is done, and the next goes on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The lock can't be taken.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The run's state, the notes of open callouts or the time of AURA's last delivery can't be
    /// read or written, or the registrar can't be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The ledger's callouts are those of another AURA than the one that would be asked.
    #[error(
        "AURA isn't asked: this ledger belongs to another AURA system than AuraBaseUrl and \
         AuraCredentialsSecretArn name, and ids of two would collide. Put the old values of both \
         back, and deploy a second stack for the other system"
    )]
    AnotherAura,
    /// AURA can't be asked, or has not answered.
    #[error(transparent)]
    Aura(#[from] AuraError),
    /// A queue or the table failed at a part of the spill.
    #[error("not all of the spill could be put back")]
    Spill,
    /// Time ran out before AURA could be asked, or a later run has begun since.
    #[error("no time was left")]
    OutOfTime,
}

impl Reconciler {
    /// Does a run that has to end by `deadline`. The first of its failures stands in its log line,
    /// too.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), RunError> {
        let deadlines = Deadlines::until(deadline);
        let mut metrics = RunMetrics::start().append_on_drop(self.metrics.clone());
        let done = self.run_alone(deadlines, &mut metrics).await;
        metrics.failure = done.as_ref().err().map(ToString::to_string);
        done
    }

    /// Does the run's work if no other run is under way.
    async fn run_alone(
        &self,
        deadlines: Deadlines,
        metrics: &mut RunMetrics,
    ) -> Result<(), RunError> {
        let Some(claim) = lock::take(&self.ledger, deadlines.began_at, deadlines.lambda).await?
        else {
            tracing::info!("another run is under way");
            metrics.skipped = 1;
            return Ok(());
        };
        metrics.run = Some(claim.attempt);
        let work = Box::pin(self.work(claim.attempt, deadlines, metrics));
        let done = timeout_at(deadlines.release, work).await;
        let release = lock::release(&self.ledger, &claim);
        if timeout_at(deadlines.over, release).await.is_err() {
            tracing::warn!("the lock is not given back: its lease runs out");
        }
        done.unwrap_or(Err(RunError::OutOfTime))
    }

    /// Puts back what was spilled and reconciles, side by side; then comes to the end, whatever
    /// failed.
    async fn work(
        &self,
        run: u32,
        deadlines: Deadlines,
        metrics: &mut RunMetrics,
    ) -> Result<(), RunError> {
        let mut state = self.run_state.read().await?;
        let reconcile = Box::pin(self.reconcile(run, &mut state, deadlines, metrics));
        let (redriven, learned) = join(self.redrive.run(deadlines.end), reconcile).await;
        metrics.redriven(redriven, Timestamp::now());
        let ended = self.end(run, state, learned.as_ref().ok(), metrics).await;
        learned?;
        ended?;
        if redriven.failed {
            return Err(RunError::Spill);
        }
        Ok(())
    }

    /// Asks AURA, if the ledger is that AURA's, and counts the calls.
    async fn reconcile(
        &self,
        run: u32,
        state: &mut RunState,
        deadlines: Deadlines,
        metrics: &mut RunMetrics,
    ) -> Result<Learned, RunError> {
        let own = timeout_at(deadlines.end, self.own_ledger(run, state)).await;
        own.map_err(|_elapsed| RunError::OutOfTime)??;
        let aura = self.aura.connect().await?;
        aura.begin_run();
        let calls_before = aura.calls();
        let settler = Settler {
            ledger: &self.ledger,
            open: &self.open,
            queue: &self.redrive.ingest,
            aura: &aura,
            patience: &self.patience,
            run_state: state,
            may_be_a_page: false,
            run,
            deadline: deadlines.end,
        };
        let learned = self.compare(settler, metrics).await;
        let has_refused = aura.counts().has_refused;
        metrics.asked(aura.calls() - calls_before, &aura.counts());
        if has_refused {
            // The credentials may be others by now.
            self.aura.disconnect().await;
        }
        learned
    }

    /// Makes sure that the ledger belongs to the AURA that is about to be asked. That is written
    /// before AURA hears anything.
    async fn own_ledger(&self, run: u32, state: &mut RunState) -> Result<(), RunError> {
        let aura = self.aura.system_id();
        if state.aura.as_ref() == Some(&aura) {
            return Ok(());
        }
        let noted = self.noted_callouts().await?;
        if !state.may_ask(&aura, noted.len(), self.last_delivery.last().await?) {
            return Err(RunError::AnotherAura);
        }
        if !self.run_state.belong_to(&aura, run).await? {
            return Err(RunError::OutOfTime);
        }
        if state.aura.is_some() {
            // All clocks were the other's.
            *state = RunState::default();
        }
        state.aura = Some(aura);
        Ok(())
    }

    /// Compares AURA's list with the notes, and settles the differences: openings and closings
    /// first.
    async fn compare(
        &self,
        mut settler: Settler<'_>,
        metrics: &mut RunMetrics,
    ) -> Result<Learned, RunError> {
        // The notes are read first: a callout that is opened before AURA answers is in AURA's list
        // alone, and the ledger knows it.
        let noted = timeout_at(settler.deadline, self.noted_callouts()).await;
        let noted = noted.map_err(|_elapsed| RunError::OutOfTime)??;
        let (active, first) = ListCall::make(settler.aura, settler.deadline).await?;
        metrics.compared(noted.len(), &active);
        settler.may_be_a_page = may_be_a_page(active.callouts.len());
        let differences = differences(noted, active, settler.run_state, Timestamp::now());
        metrics.leave(differences.left);
        metrics.held = Some(differences.held);
        if differences.held > 0 {
            let held = differences.held;
            tracing::error!(
                held,
                "too many callouts have vanished at once: none counts as closed"
            );
        }
        let mut learned = Learned {
            recovered: Vec::new(),
            cursors: settler.run_state.cursors.clone(),
            vanished_since: differences.vanished_since,
            knows_none: (!differences.may_all_be_gone).then_some(false),
            first_listed: differences.first_listed,
        };
        let urgent = settler.leaving_time_to_confirm(&differences.urgent, first);
        let closings = settle_all(&urgent, differences.urgent, &mut learned, metrics).await;
        settler
            .confirm(closings, first, &mut learned, metrics)
            .await;
        settle_all(&settler, differences.changes, &mut learned, metrics).await;
        for recovered in &learned.recovered {
            metrics.recovered(recovered.event);
        }
        Ok(learned)
    }

    async fn noted_callouts(&self) -> Result<Vec<OpenCallout>, CallError> {
        let shards = (0..SHARDS).map(|shard| self.open.of_shard(shard));
        Ok(try_join_all(shards).await?.into_iter().flatten().collect())
    }

    /// Watches the webhook, and hands the state on to the next run, whatever fails.
    async fn end(
        &self,
        run: u32,
        mut state: RunState,
        learned: Option<&Learned>,
        metrics: &mut RunMetrics,
    ) -> Result<(), RunError> {
        let now = Timestamp::now();
        let changes = learned.map_or(0, Learned::changes);
        let watched = self.watch(&mut state, changes, now, metrics).await;
        hand_on(&mut state, learned, now);
        if !self.run_state.write(&state, run).await? {
            tracing::warn!("a later run has begun: what this one would hand on is left out");
        }
        watched
    }

    /// Finds out whether AURA still delivers here, and has the endpoint registered again if not.
    async fn watch(
        &self,
        state: &mut RunState,
        changes: usize,
        now: Timestamp,
        metrics: &mut RunMetrics,
    ) -> Result<(), RunError> {
        let delivered_at = self.last_delivery.last().await?;
        let since = delivered_at.map(|at| now.duration_since(at));
        metrics.since_delivery = since.and_then(|since| since.try_into().ok());
        let health = &mut state.webhook_health;
        *health = health.after_run(changes, delivered_at);
        metrics.webhook_down = Some(health.is_down().into());
        if health.is_down() {
            tracing::error!("callouts change, and AURA tells nothing of it: the webhook is down");
        }
        if let Some(healing) = &self.healing
            && health.is_to_be_healed(changes, now)
        {
            healing.begin().await?;
            metrics.healing = 1;
            health.healed_at = Some(now);
        }
        Ok(())
    }
}
