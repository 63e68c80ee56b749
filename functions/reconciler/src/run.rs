//! One run of the reconciler. [`Reconciler::run`] does these steps:
//!
//! 1. It takes the lock.
//! 2. It puts the spill back. At the same time, it compares AURA's list with the ledger and settles
//!    the differences.
//! 3. It checks the webhook's health, and writes the state for the next run.
//! 4. It writes the run's log line.

mod deadlines;
mod lock;

use futures::future::{join, try_join_all};
use jiff::Timestamp;
use metrique::writer::BoxEntrySink;
use shared::aws::CallError;
use shared::ledger::last_delivery::LastDelivery;
use shared::ledger::open::{OpenCallout, OpenCallouts};
use shared::ledger::{EventLedger, SHARDS};
use shared::panic_api::may_be_a_page;
use tokio::time::timeout_at;

use self::deadlines::Deadlines;
use crate::Failure;
use crate::aura::connector::AuraConnector;
use crate::differences::differences;
use crate::metrics::RunMetrics;
use crate::redrive::Redrive;
use crate::run_state::{RunState, RunStateItem};
use crate::settle::closings::ListCall;
use crate::settle::learned::{Learned, hand_on};
use crate::settle::settle_all;
use crate::settle::settler::Settler;
use crate::verdict::Patience;
use crate::webhook_health::healing::Healing;

/// Why a run did nothing: the ledger holds the callouts of another AURA system.
const ANOTHER_AURA: &str = "AURA was not asked: this ledger belongs to another AURA system than \
     the one in AuraBaseUrl and AuraCredentialsSecretArn, and ids of two systems would collide. Set \
     both parameters to their old values, and deploy a second stack for the other system";
/// Why a run did not do all of its work: a part of the spill could not be read, sent or removed.
const SPILL: &str = "some spilled deliveries could not be put back; the next run tries again";
/// Why a run did not do all of its work: no time was left to ask AURA, or a later run has begun.
const OUT_OF_TIME: &str =
    "the run had no time left, or a later run has begun; the next run continues";

/// Does runs. Holds the clients and settings that a run needs.
#[derive(Debug)]
pub struct Reconciler {
    /// The ledger with the events and the lock.
    pub ledger: EventLedger,
    /// The callouts that are noted as open.
    pub open: OpenCallouts,
    /// The time of AURA's last delivery.
    pub last_delivery: LastDelivery,
    /// The state that runs write for the next one.
    pub run_state: RunStateItem,
    /// The spill and the queues.
    pub redrive: Redrive,
    /// The connection to AURA.
    pub aura: AuraConnector,
    /// Asks the registrar to register the endpoint again. `None` if healing is switched off.
    pub healing: Option<Healing>,
    /// Waiting times of the verdicts.
    pub patience: Patience,
    /// Sink for each run's log line and metrics.
    pub metrics: BoxEntrySink,
}

impl Reconciler {
    /// Does a run that must end by `deadline`. The returned error also stands in the run's log
    /// line.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), Failure> {
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
    ) -> Result<(), Failure> {
        let Some(claim) = lock::take(&self.ledger, deadlines.began_at, deadlines.lambda).await?
        else {
            tracing::info!("run skipped, because another run is under way");
            metrics.skipped = 1;
            return Ok(());
        };
        metrics.run = Some(claim.attempt);
        let work = Box::pin(self.work(claim.attempt, deadlines, metrics));
        let done = timeout_at(deadlines.release, work).await;
        let release = lock::release(&self.ledger, &claim);
        if timeout_at(deadlines.over, release).await.is_err() {
            tracing::warn!("lock not released in time, its lease will expire");
        }
        done.unwrap_or(Err(OUT_OF_TIME.into()))
    }

    /// Puts the spill back and reconciles at the same time. Then it ends the run, even if one of
    /// them failed.
    async fn work(
        &self,
        run: u32,
        deadlines: Deadlines,
        metrics: &mut RunMetrics,
    ) -> Result<(), Failure> {
        let mut state = self.run_state.read().await?;
        metrics.raised_before(&state.raised);
        let reconcile = Box::pin(self.reconcile(run, &mut state, deadlines, metrics));
        let (redriven, learned) = join(self.redrive.run(deadlines.end), reconcile).await;
        metrics.redriven(redriven, Timestamp::now());
        let ended = self.end(run, state, learned.as_ref().ok(), metrics).await;
        learned?;
        ended?;
        if redriven.failed {
            return Err(SPILL.into());
        }
        Ok(())
    }

    /// Asks AURA if the ledger belongs to it, settles the differences, and counts the calls.
    async fn reconcile(
        &self,
        run: u32,
        state: &mut RunState,
        deadlines: Deadlines,
        metrics: &mut RunMetrics,
    ) -> Result<Learned, Failure> {
        let own = timeout_at(deadlines.end, self.own_ledger(run, state)).await;
        own.map_err(|_elapsed| OUT_OF_TIME)??;
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
            // The secret may hold new credentials, so the next run reads it again.
            self.aura.disconnect().await;
        }
        learned
    }

    /// Makes sure that the ledger belongs to the configured AURA system. The id of the system is
    /// written before the first call to AURA.
    async fn own_ledger(&self, run: u32, state: &mut RunState) -> Result<(), Failure> {
        let aura = self.aura.system_id();
        if state.aura.as_ref() == Some(&aura) {
            return Ok(());
        }
        let noted = self.noted_callouts().await?;
        if !state.may_ask(&aura, noted.len(), self.last_delivery.last().await?) {
            return Err(ANOTHER_AURA.into());
        }
        if !self.run_state.belong_to(&aura, run).await? {
            return Err(OUT_OF_TIME.into());
        }
        if state.aura.is_some() {
            // All times in the state belong to the other system.
            *state = RunState::default();
        }
        state.aura = Some(aura);
        Ok(())
    }

    /// Compares AURA's list with the notes and settles the differences. Openings and closings come
    /// first.
    async fn compare(
        &self,
        mut settler: Settler<'_>,
        metrics: &mut RunMetrics,
    ) -> Result<Learned, Failure> {
        // The notes are read first. If a callout opens between the two readings, only AURA's list
        // has it, and the ledger then shows that its opening is not missed.
        let noted = timeout_at(settler.deadline, self.noted_callouts()).await;
        let noted = noted.map_err(|_elapsed| OUT_OF_TIME)??;
        let (active, first) = ListCall::make(settler.aura, settler.deadline).await?;
        metrics.compared(noted.len(), &active);
        settler.may_be_a_page = may_be_a_page(active.callouts.len());
        let differences = differences(noted, active, settler.run_state, Timestamp::now());
        metrics.unsettled.add(differences.unsettled);
        metrics.held.add(differences.held);
        if differences.held > 0 {
            let held = differences.held;
            tracing::error!(
                held,
                "too many callouts vanished from AURA's list at once, their closings are held back"
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

    /// Checks the webhook's health, and writes the state for the next run even if the check fails.
    async fn end(
        &self,
        run: u32,
        mut state: RunState,
        learned: Option<&Learned>,
        metrics: &mut RunMetrics,
    ) -> Result<(), Failure> {
        let now = Timestamp::now();
        let changes = learned.map_or(0, Learned::changes);
        let watched = self.watch(&mut state, changes, now, metrics).await;
        hand_on(&mut state, learned, now);
        state.raised = metrics.raised();
        if !self.run_state.write(&state, run).await? {
            tracing::warn!("state of this run not saved, because a later run has begun");
        }
        watched
    }

    /// Checks whether AURA still delivers here. If not, it asks the registrar to register the
    /// endpoint again.
    async fn watch(
        &self,
        state: &mut RunState,
        changes: usize,
        now: Timestamp,
        metrics: &mut RunMetrics,
    ) -> Result<(), Failure> {
        let delivered_at = self.last_delivery.last().await?;
        let since = delivered_at.map(|at| now.duration_since(at));
        metrics.since_delivery = since.and_then(|since| since.try_into().ok());
        let health = &mut state.webhook_health;
        *health = health.after_run(changes, delivered_at);
        metrics.webhook_down.add(health.is_down().into());
        if health.is_down() {
            tracing::error!("the webhook is down: callouts change, but AURA sends no deliveries");
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
