//! One run: the lock, the spill beside AURA's side, the line, and the account of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{join, try_join_all};
use futures::stream;
use jiff::Timestamp;
use metrique::writer::BoxEntrySink;
use shared::aws::CallError;
use shared::ledger::last_delivery::LastDelivery;
use shared::ledger::open::{OpenCallout, OpenCallouts};
use shared::ledger::{EventLedger, LedgerError, SHARDS};
use shared::panic_api::ActiveCallouts;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::asking::{Asking, AskingError};
use crate::aura::Unheard;
use crate::cases::{Case, Place, cases, move_cursors};
use crate::healing::{Healing, HealingError};
use crate::lock;
use crate::memory::{Memory, MemoryError, MemoryItem};
use crate::metrics::RunMetrics;
use crate::payload::Finding;
use crate::settle::{Closing, Found, Round, Settled, Unsettled, key_of};
use crate::spill::Redrive;
use crate::verdict::{Patience, may_be_a_page};

/// How many cases are in work at once. AURA has a limit of its own.
const AT_ONCE: usize = 16;
/// Kept back from a run's time for its end: the line, the memory, the lock. No more than this, and no
/// more than a quarter.
const MOST_ENDING: Duration = Duration::from_secs(5);
const ENDING_SHARE: f64 = 0.25;
/// Kept back for the lock alone: no more than this, and no more than a tenth.
const MOST_RELEASING: Duration = Duration::from_secs(1);
const RELEASING_SHARE: f64 = 0.1;
/// Kept back for the run's line.
const TELLING: Duration = Duration::from_millis(100);
/// If there are closings to confirm, openings and closings may take so much of the time: what is left
/// is for the list that confirms them, and for changes.
const URGENT_SHARE: f64 = 0.6;

/// Everything that a run takes.
#[derive(Debug)]
pub struct Reconciler {
    /// The events, and the lock.
    pub ledger: EventLedger,
    /// The callouts that are noted as open.
    pub open: OpenCallouts,
    /// When AURA delivered last.
    pub line: LastDelivery,
    /// What runs hand on.
    pub memory: MemoryItem,
    /// What was spilled, and the queues.
    pub redrive: Redrive,
    /// How AURA is reached.
    pub asking: Asking,
    /// Who registers the endpoint again, if anybody.
    pub healing: Option<Healing>,
    /// When callouts are asked about.
    pub patience: Patience,
    /// Where each run's line goes.
    pub metrics: BoxEntrySink,
}

/// A run that didn't do all that it should have. What it did is done, and the next goes on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The lock can't be taken.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Nobody knows what the run before did.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Another AURA would be asked than the one whose callouts are in the ledger.
    #[error(
        "AURA isn't asked: this ledger belongs to another AURA system than AuraBaseUrl and \
         AuraCredentialsSecretArn name, and ids of two would collide. Put the old values of both \
         back, and deploy a second stack for the other system"
    )]
    AnotherAura,
    /// AURA can't be asked.
    #[error(transparent)]
    Asking(#[from] AskingError),
    /// AURA wasn't heard.
    #[error(transparent)]
    Unheard(#[from] Unheard),
    /// The open callouts can't be read, or nobody knows when AURA delivered last.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The endpoint isn't registered again.
    #[error(transparent)]
    Healing(#[from] HealingError),
    /// A queue or the table failed at a part of the spill.
    #[error("not all of the spill could be put back")]
    Spill,
    /// Time ran out before AURA's side was begun, or a later run has begun since.
    #[error("no time was left")]
    OutOfTime,
}

/// What was learned from AURA.
#[derive(Debug, Default)]
struct Learned {
    found: Vec<Found>,
    cursors: BTreeMap<String, String>,
    vanished_since: Option<Timestamp>,
    /// Whether AURA knows none of the open callouts; `None` if that was not found out.
    knows_none: Option<bool>,
    first_listed: BTreeMap<String, Timestamp>,
}

impl Reconciler {
    /// Does a run that has to end by `deadline`.
    ///
    /// # Errors
    ///
    /// The first of what went wrong; the run's line has it, too.
    pub async fn run(&self, deadline: Timestamp) -> Result<(), RunError> {
        let time = Time::until(deadline);
        let metrics = RunMetrics::start(time.began_at);
        let mut metrics = metrics.append_on_drop(self.metrics.clone());
        let done = self.locked_run(time, &mut metrics).await;
        metrics.failure = done.as_ref().err().map(ToString::to_string);
        done
    }

    async fn locked_run(&self, time: Time, metrics: &mut RunMetrics) -> Result<(), RunError> {
        let Some(claim) = lock::take(&self.ledger, time.began_at, time.deadline).await? else {
            tracing::info!("another run is under way");
            metrics.skipped = 1;
            return Ok(());
        };
        metrics.run = Some(claim.attempt);
        let work = Box::pin(self.work(claim.attempt, time, metrics));
        let done = timeout_at(time.release, work).await;
        let release = lock::release(&self.ledger, &claim);
        if timeout_at(time.over, release).await.is_err() {
            tracing::warn!("the lock is not given back: its lease runs out");
        }
        done.unwrap_or(Err(RunError::OutOfTime))
    }

    async fn work(&self, run: u32, time: Time, metrics: &mut RunMetrics) -> Result<(), RunError> {
        let mut memory = self.memory.read().await?;
        let learn = async {
            let own = timeout_at(time.end, self.own(run, &mut memory)).await;
            own.map_err(|_elapsed| RunError::OutOfTime)??;
            self.learn(run, &memory, time, metrics).await
        };
        let (redriven, learned) = join(self.redrive.run(time.end), Box::pin(learn)).await;
        metrics.redriven(redriven, Timestamp::now());
        let ended = self.end(run, memory, learned.as_ref().ok(), metrics).await;
        learned?;
        ended?;
        if redriven.failed {
            return Err(RunError::Spill);
        }
        Ok(())
    }

    /// Makes sure that the ledger belongs to the AURA that is about to be asked. That is written
    /// before AURA hears anything.
    async fn own(&self, run: u32, memory: &mut Memory) -> Result<(), RunError> {
        let aura = self.asking.which_aura();
        if memory.aura.as_ref() == Some(&aura) {
            return Ok(());
        }
        let noted = self.noted_callouts().await?;
        if !memory.may_ask(&aura, noted.len(), self.line.last().await?) {
            return Err(RunError::AnotherAura);
        }
        if !self.memory.belong_to(&aura, run).await? {
            return Err(RunError::OutOfTime);
        }
        if memory.aura.is_some() {
            // All clocks were the other's.
            *memory = Memory::default();
        }
        memory.aura = Some(aura);
        Ok(())
    }

    /// AURA's side.
    async fn learn(
        &self,
        run: u32,
        memory: &Memory,
        time: Time,
        metrics: &mut RunMetrics,
    ) -> Result<Learned, RunError> {
        let aura = self.asking.aura().await?;
        aura.begin_run();
        let calls_before = aura.calls();
        let round = Round {
            ledger: &self.ledger,
            open: &self.open,
            queue: &self.redrive.ingest,
            aura: &aura,
            patience: &self.patience,
            memory,
            may_be_a_page: false,
            run,
            deadline: time.end,
        };
        let learned = self.learn_in(&round, metrics).await;
        metrics.aura_calls = aura.calls() - calls_before;
        metrics.aura_failures = aura.failures();
        metrics.forbidden = Some(aura.forbidden()).filter(|calls| *calls > 0);
        metrics.aura_refuses = Some(aura.has_refused().into());
        if aura.has_refused() {
            // The credentials may be others by now.
            self.asking.forget().await;
        }
        learned
    }

    async fn learn_in(
        &self,
        round: &Round<'_>,
        metrics: &mut RunMetrics,
    ) -> Result<Learned, RunError> {
        // First what is noted, then AURA's list: what is opened in between is in the list alone,
        // and the ledger knows it.
        let noted = timeout_at(round.deadline, self.noted_callouts()).await;
        let noted = noted.map_err(|_elapsed| RunError::OutOfTime)??;
        let asked_at = Instant::now();
        let active = round.aura.active_callouts(round.deadline).await?;
        let list = List {
            asked_at,
            took: asked_at.elapsed(),
        };
        metrics.open = noted.len();
        metrics.active = Some(active.callouts.len());
        metrics.unreadable = active.unreadable;
        let round = &Round {
            may_be_a_page: may_be_a_page(active.callouts.len()),
            ..*round
        };
        let cases = cases(noted, active, round.memory, Timestamp::now());
        metrics.leave(cases.left);
        metrics.held = Some(cases.held);
        if cases.held > 0 {
            let held = cases.held;
            tracing::error!(
                held,
                "too many callouts have vanished at once: none counts as closed"
            );
        }
        let mut learned = Learned {
            found: Vec::new(),
            cursors: round.memory.cursors.clone(),
            vanished_since: cases.vanished_since,
            knows_none: (!cases.may_all_be_gone).then_some(false),
            first_listed: cases.first_listed,
        };
        let urgent = round.urgent(&cases.urgent, list);
        let closings = settle_all(&urgent, cases.urgent, &mut learned, metrics).await;
        let closed = confirm(round, closings, list, &mut learned, metrics).await;
        learned.found.extend(closed);
        settle_all(round, cases.changes, &mut learned, metrics).await;
        for found in &learned.found {
            match found.finding {
                Finding::Opened => metrics.openings_recovered += 1,
                Finding::Closed { .. } => metrics.closings_recovered += 1,
                Finding::Observed { .. } => metrics.observed += 1,
            }
        }
        Ok(learned)
    }

    async fn noted_callouts(&self) -> Result<Vec<OpenCallout>, CallError> {
        let shards = (0..SHARDS).map(|shard| self.open.of_shard(shard));
        Ok(try_join_all(shards).await?.into_iter().flatten().collect())
    }

    /// Draws the conclusions, and hands on to the next run, whatever fails.
    async fn end(
        &self,
        run: u32,
        mut memory: Memory,
        learned: Option<&Learned>,
        metrics: &mut RunMetrics,
    ) -> Result<(), RunError> {
        let now = Timestamp::now();
        let watched = self.watch(&mut memory, learned, now, metrics).await;
        hand_on(&mut memory, learned, now);
        if !self.memory.write(&memory, run).await? {
            tracing::warn!("a later run has begun: what this one would hand on is left out");
        }
        watched
    }

    /// Watches the line.
    async fn watch(
        &self,
        memory: &mut Memory,
        learned: Option<&Learned>,
        now: Timestamp,
        metrics: &mut RunMetrics,
    ) -> Result<(), RunError> {
        let delivered_at = self.line.last().await?;
        let since = delivered_at.map(|at| now.duration_since(at));
        metrics.since_delivery = since.and_then(|since| since.try_into().ok());
        let changes = learned.map_or(0, Learned::changes);
        memory.line = memory.line.after_run(changes, delivered_at);
        metrics.webhook_down = Some(memory.line.is_down().into());
        if memory.line.is_down() {
            tracing::error!("callouts change, and AURA tells nothing of it: the webhook is down");
        }
        if let Some(healing) = &self.healing
            && memory.line.is_to_be_healed(changes, now)
        {
            healing.begin().await?;
            metrics.healing = 1;
            memory.line.healed_at = Some(now);
        }
        Ok(())
    }
}

impl Learned {
    fn changes(&self) -> usize {
        self.found.iter().filter(|found| found.is_change).count()
    }

    /// Openings and closings that are on the queue now.
    fn on_their_way(&self, now: Timestamp) -> impl Iterator<Item = (String, Timestamp)> {
        let once = |found: &&Found| !matches!(found.finding, Finding::Observed { .. });
        let once = self.found.iter().filter(once);
        once.map(move |found| (key_of(&found.id, found.finding), now))
    }
}

/// Changes what is remembered, at the end of a run. What it has not found out stays as it is: so a run
/// that learned nothing of AURA, because it failed, leaves all clocks running.
fn hand_on(memory: &mut Memory, learned: Option<&Learned>, now: Timestamp) {
    if let Some(learned) = learned {
        memory.began_at = memory.began_at.or(Some(now));
        memory.cursors.clone_from(&learned.cursors);
        memory.vanished_since = learned.vanished_since;
        memory.gone_since = match learned.knows_none {
            Some(true) => memory.gone_since.or(Some(now)),
            Some(false) => None,
            None => memory.gone_since,
        };
        memory.first_listed.clone_from(&learned.first_listed);
        memory.on_their_way.extend(learned.on_their_way(now));
    }
    memory.tidy(now);
}

/// A run's time.
#[derive(Debug, Clone, Copy)]
struct Time {
    began_at: Timestamp,
    /// When Lambda ends it.
    deadline: Timestamp,
    /// When it has to come to its end.
    end: Instant,
    /// When it has to be over, but for the lock.
    release: Instant,
    /// When it has to be over.
    over: Instant,
}

impl Time {
    fn until(deadline: Timestamp) -> Self {
        let (now, began_at) = (Instant::now(), Timestamp::now());
        let whole = Duration::try_from(deadline.duration_since(began_at)).unwrap_or_default();
        let ending = whole.mul_f64(ENDING_SHARE).min(MOST_ENDING);
        let releasing = whole.mul_f64(RELEASING_SHARE).min(MOST_RELEASING);
        Self {
            began_at,
            deadline,
            end: now + whole.saturating_sub(ending),
            release: now + whole.saturating_sub(releasing),
            over: now + whole.saturating_sub(TELLING),
        }
    }
}

impl Round<'_> {
    /// The same, with time left for the list that confirms closings, if there may be any.
    fn urgent(&self, cases: &[Case], list: List) -> Self {
        let has_closings = cases
            .iter()
            .any(|case| !matches!(case, Case::Unknown { .. }));
        if !has_closings {
            return *self;
        }
        let now = Instant::now();
        let time = self.deadline.saturating_duration_since(now);
        let kept = time.mul_f64(1.0 - URGENT_SHARE).max(list.took * 2);
        Self {
            deadline: now + time.saturating_sub(kept),
            ..*self
        }
    }
}

/// Settles cases side by side, until the round's deadline. The closings that it answers are still to
/// be confirmed.
async fn settle_all(
    round: &Round<'_>,
    cases: Vec<Case>,
    learned: &mut Learned,
    metrics: &mut RunMetrics,
) -> Vec<Closing> {
    let order: Vec<_> = cases.iter().map(Place::of).collect();
    let (mut begun, mut closings) = (BTreeSet::new(), Vec::new());
    let mut settling = stream::iter(cases.into_iter().enumerate())
        .map(|(number, case)| async move { (number, settle(round, case).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((number, settled)) = settling.next().await {
        if !matches!(settled, Err(NotSettled::NotBegun)) {
            begun.insert(number);
        }
        match settled {
            Ok(settled) => {
                metrics.checked += usize::from(settled.was_asked);
                if settled.is_known {
                    learned.knows_none = Some(false);
                }
                learned.found.extend(settled.found);
                closings.extend(settled.closing);
            }
            Err(error) => {
                tracing::debug!(%error, "left for the next run");
                metrics.leave(1);
            }
        }
    }
    move_cursors(&mut learned.cursors, &order, &begun);
    closings
}

/// When AURA's list was asked for, and how long that took.
#[derive(Debug, Clone, Copy)]
struct List {
    asked_at: Instant,
    took: Duration,
}

/// Why a case isn't settled.
#[derive(Debug, thiserror::Error)]
enum NotSettled {
    /// It was left to the next run, which begins with it.
    #[error("not begun")]
    NotBegun,
    /// Time ran out in the middle of it.
    #[error("out of time")]
    OutOfTime,
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] Unsettled),
}

async fn settle(round: &Round<'_>, case: Case) -> Result<Settled, NotSettled> {
    // An opening can be told without AURA's further help.
    let is_in_vain = round.aura.is_given_up() && !matches!(case, Case::Unknown { .. });
    if is_in_vain || Instant::now() >= round.deadline {
        return Err(NotSettled::NotBegun);
    }
    // Boxed: there are many, and the SDKs' futures are large.
    let settled = timeout_at(round.deadline, Box::pin(round.settle(case))).await;
    let settled = settled.map_err(|_elapsed| NotSettled::OutOfTime)?;
    Ok(settled.inspect_err(|error| tracing::warn!(%error, "left for the next run"))?)
}

/// Whether AURA knows none of the open callouts, from what was known of that before, its second list,
/// and the callouts that it doesn't call active when asked. Another customer source's credentials see
/// none of ours. One callout alone is no sign of that, unless it `has_begun` to look like it in an
/// earlier run.
fn knows_none(
    before: Option<bool>,
    has_begun: bool,
    active: &ActiveCallouts,
    closings: &[Closing],
) -> Option<bool> {
    if before == Some(false) || !active.callouts.is_empty() {
        return Some(false);
    }
    if !closings.iter().all(Closing::is_gone) {
        return Some(false);
    }
    (has_begun || closings.len() > 1).then_some(true)
}

/// Puts those closings on the queue whose callouts AURA's list still lacks: AURA's answers may come
/// from places that don't know the same. Unless AURA has said of all of them that they are over, the
/// list is asked for when the first one is as old as AURA's answers may be, if there is time.
async fn confirm(
    round: &Round<'_>,
    closings: Vec<Closing>,
    first: List,
    learned: &mut Learned,
    metrics: &mut RunMetrics,
) -> Vec<Found> {
    if closings.is_empty() {
        return Vec::new();
    }
    if !closings.iter().all(Closing::is_told) {
        let latest = round.deadline.checked_sub(first.took * 2);
        let later = first.asked_at + round.patience.lag;
        sleep_until(latest.map_or(later, |latest| later.min(latest))).await;
    }
    let active = match round.aura.active_callouts(round.deadline).await {
        Ok(active) if active.unreadable == 0 => active,
        Ok(_) => {
            metrics.leave(closings.len());
            return Vec::new();
        }
        Err(error) => {
            tracing::warn!(%error, "closings are left for the next run");
            metrics.leave(closings.len());
            return Vec::new();
        }
    };
    let has_begun = round.memory.gone_since.is_some();
    learned.knows_none = knows_none(learned.knows_none, has_begun, &active, &closings);
    if learned.knows_none == Some(true) && round.memory.are_gone_lately(Timestamp::now()) {
        tracing::error!("AURA knows no open callout: are these the right credentials?");
        *metrics.held.get_or_insert_default() += closings.len();
        return Vec::new();
    }
    let is_page = may_be_a_page(active.callouts.len());
    let active: HashSet<_> = active
        .callouts
        .into_iter()
        .filter_map(|its| its.id)
        .collect();
    let closed = closings
        .into_iter()
        .filter(|closing| !active.contains(&closing.id))
        .map(|closing| timeout_at(round.deadline, round.settle_closing(closing, is_page)));
    let mut putting = stream::iter(closed).buffer_unordered(AT_ONCE);
    let mut found = Vec::new();
    while let Some(put) = putting.next().await {
        match put {
            Ok(Ok(closing)) => found.extend(closing),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a closing is left for the next run");
                metrics.leave(1);
            }
            Err(_elapsed) => metrics.leave(1),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// What earlier runs have handed on.
    fn memory() -> Memory {
        Memory {
            aura: Some("first".to_owned()),
            cursors: [("openings".to_owned(), "a".to_owned())].into(),
            began_at: Some(at(1)),
            vanished_since: Some(at(2)),
            gone_since: Some(at(3)),
            first_listed: [("b".to_owned(), at(4))].into(),
            ..Memory::default()
        }
    }

    #[test]
    fn a_run_that_fails_leaves_every_clock_running() {
        let mut after = memory();
        hand_on(&mut after, None, at(10_000));
        assert_eq!(after, memory());
    }

    #[test]
    fn a_run_that_learned_that_nothing_is_missing_ends_every_wait() {
        let learned = Learned {
            knows_none: Some(false),
            ..Learned::default()
        };
        let expected = Memory {
            aura: Some("first".to_owned()),
            began_at: Some(at(1)),
            ..Memory::default()
        };
        let mut after = memory();
        hand_on(&mut after, Some(&learned), at(100));
        assert_eq!(after, expected);
    }

    #[test]
    fn aura_knows_none_only_if_all_of_several_are_gone_from_an_empty_list() {
        let closing = |gone| Closing {
            id: "1".to_owned(),
            finding: Finding::Closed { gone },
            described: None,
            unless_a_page: None,
        };
        let (gone, closed) = (|| closing(true), || closing(false));
        let empty = ActiveCallouts::default();
        let knows = |before, has_begun, closings: &[Closing]| {
            knows_none(before, has_begun, &empty, closings)
        };
        assert_eq!(knows(None, false, &[gone(), gone()]), Some(true));
        assert_eq!(knows(None, false, &[gone()]), None);
        assert_eq!(knows(None, true, &[gone()]), Some(true));
        assert_eq!(knows(None, true, &[gone(), closed()]), Some(false));
        // AURA has one of them, or had a list.
        assert_eq!(knows(Some(false), true, &[gone(), gone()]), Some(false));
    }

    #[test]
    fn the_clock_of_gone_callouts_goes_on_until_aura_is_seen_to_know_one() {
        let gone_since = |before: Option<i64>, knows_none| {
            let mut memory = Memory {
                gone_since: before.map(at),
                ..Memory::default()
            };
            let learned = Learned {
                knows_none,
                ..Learned::default()
            };
            hand_on(&mut memory, Some(&learned), at(100));
            memory.gone_since
        };
        let table = [
            (None, None, None),
            (None, Some(false), None),
            (None, Some(true), Some(at(100))),
            // AURA failed when it was asked.
            (Some(3), None, Some(at(3))),
            (Some(3), Some(true), Some(at(3))),
            (Some(3), Some(false), None),
        ];
        for (before, knows_none, expected) in table {
            assert_eq!(
                gone_since(before, knows_none),
                expected,
                "{before:?} {knows_none:?}"
            );
        }
    }
}
