//! The log line and the metrics of a run.

use std::time::Duration;

use jiff::Timestamp;
use metrique::timers;
use metrique::unit::{Millisecond, Second};
use metrique::unit_of_work::metrics;
use shared::panic_api::ActiveCallouts;

use crate::aura::AuraCounts;
use crate::payload::MissedEvent;
use crate::redrive::Redriven;

/// The log line and the metrics of one run. Numbers count callouts unless their description says
/// otherwise.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug, Default)]
pub struct RunMetrics {
    #[metrics(timestamp)]
    timestamp: timers::Timestamp,
    function: &'static str,
    /// Number of the run; absent if another run was under way, so that this one did nothing.
    pub run: Option<u32>,
    /// 1 if the run did nothing because another run was under way.
    pub skipped: u32,
    /// Active callouts in AURA's list; absent if AURA gave none.
    pub active: Option<usize>,
    /// Number of entries of AURA's list that could not be read.
    pub unreadable: usize,
    /// Callouts that are noted as open, and callouts of which only the closing is noted.
    pub open: usize,
    /// Callouts that AURA was asked about.
    pub checked: usize,
    /// Callouts whose opening was put on the queue.
    pub openings_recovered: usize,
    /// Callouts whose closing was put on the queue.
    pub closings_recovered: usize,
    /// Callouts whose description by AURA was put on the queue.
    pub observed: usize,
    /// Callouts that the next run must check, because AURA or AWS failed, the time ran out, or an
    /// entry of AURA's list could not be read. Absent if AURA gave no list.
    pub unsettled: Option<usize>,
    /// Callouts whose closings are held back, because AURA's list lacks too many at once or AURA
    /// knows no open callout. Absent if AURA gave no list.
    pub held: Option<usize>,
    /// Number of deliveries that went from the spill to their queue.
    pub spill_redriven: usize,
    /// Number of items of the spill that can't be read.
    pub spill_unreadable: usize,
    /// Age of the oldest delivery that is still in the spill.
    #[metrics(unit = Second)]
    pub oldest_spill: Option<Duration>,
    /// Number of calls to AURA. Calls for a token count too.
    pub aura_calls: u64,
    /// Number of calls to AURA that failed.
    pub aura_failures: u64,
    /// Number of calls about single callouts that AURA answered with 403. Absent instead of 0,
    /// because a metric has a cost in each hour in which it is sent.
    pub forbidden: Option<u64>,
    /// 1 if AURA refuses the credentials; absent if the run made no call.
    pub aura_refuses: Option<u32>,
    /// Time since AURA's last delivery arrived; absent if no delivery ever arrived.
    #[metrics(unit = Second)]
    pub since_delivery: Option<Duration>,
    /// 1 if two runs found changes only by asking AURA, with no delivery in between.
    pub webhook_down: Option<u32>,
    /// 1 if the run asked the registrar to register the endpoint again.
    pub healing: u32,
    /// Text of the run's error, if it failed.
    pub failure: Option<String>,
    #[metrics(unit = Millisecond)]
    time: timers::Timer,
}

impl RunMetrics {
    /// Starts the record of a run, and its clock.
    pub fn start() -> Self {
        Self {
            function: "reconciler",
            ..Self::default()
        }
    }

    /// Records what the run compares: the number of noted callouts, and AURA's list.
    pub fn compared(&mut self, noted: usize, active: &ActiveCallouts) {
        self.open = noted;
        self.active = Some(active.callouts.len());
        self.unreadable = active.unreadable;
    }

    /// Records the number of calls to AURA and their results.
    pub fn asked(&mut self, calls: u64, counts: &AuraCounts) {
        self.aura_calls = calls;
        self.aura_failures = counts.failures;
        self.forbidden = Some(counts.forbidden).filter(|calls| *calls > 0);
        self.aura_refuses = Some(counts.has_refused.into());
    }

    /// Counts a missed event that was put on the queue.
    pub fn recovered(&mut self, event: MissedEvent) {
        match event {
            MissedEvent::Opened => self.openings_recovered += 1,
            MissedEvent::Closed { .. } => self.closings_recovered += 1,
            MissedEvent::Observed { .. } => self.observed += 1,
        }
    }

    /// Counts callouts that the next run must check.
    pub fn leave(&mut self, callouts: usize) {
        *self.unsettled.get_or_insert_default() += callouts;
    }

    /// Records the result of the redrive.
    pub fn redriven(&mut self, redriven: Redriven, now: Timestamp) {
        self.spill_redriven = redriven.sent;
        self.spill_unreadable = redriven.unreadable;
        self.oldest_spill = Some(redriven.oldest_age(now));
    }
}
