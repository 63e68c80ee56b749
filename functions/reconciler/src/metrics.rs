//! The log line of a run, with its metrics.

use std::time::Duration;

use jiff::Timestamp;
use metrique::timers;
use metrique::unit::{Millisecond, Second};
use metrique::unit_of_work::metrics;
use shared::panic_api::ActiveCallouts;

use crate::aura::AuraCounts;
use crate::payload::MissedEvent;
use crate::redrive::Redriven;

/// One run: its log line and its metrics. Numbers count callouts unless their description says
/// otherwise.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug, Default)]
pub struct RunMetrics {
    #[metrics(timestamp)]
    timestamp: timers::Timestamp,
    function: &'static str,
    /// Number of the run; none if it did nothing because another run was under way.
    pub run: Option<u32>,
    /// 1 if the run did nothing because another run was under way.
    pub skipped: u32,
    /// Active callouts in AURA's list; absent if AURA gave none.
    pub active: Option<usize>,
    /// Number of entries of AURA's list that could not be read.
    pub unreadable: usize,
    /// Callouts that are noted as open, or only as closed.
    pub open: usize,
    /// Callouts that AURA was asked about.
    pub checked: usize,
    /// Callouts whose opening was put on the queue.
    pub openings_recovered: usize,
    /// Callouts whose closing was put on the queue.
    pub closings_recovered: usize,
    /// Callouts whose state was put on the queue.
    pub observed: usize,
    /// Callouts that are left to the next run, because AURA or AWS failed, time ran out, or AURA's
    /// list can't be believed. Absent if AURA gave no list.
    pub unsettled: Option<usize>,
    /// Callouts that aren't taken for closed, because AURA's list lacks too many. Absent if AURA
    /// gave no list.
    pub held: Option<usize>,
    /// Number of deliveries that went from the spill to their queue.
    pub spill_redriven: usize,
    /// Number of items of the spill that can't be read.
    pub spill_unreadable: usize,
    /// Age of the oldest delivery that is left in the spill.
    #[metrics(unit = Second)]
    pub oldest_spill: Option<Duration>,
    /// Number of calls to AURA, those for a token included.
    pub aura_calls: u64,
    /// Number of calls to AURA that failed.
    pub aura_failures: u64,
    /// Number of calls about single callouts that AURA answered with 403; absent if there were
    /// none. A metric costs something in each hour in which it is sent.
    pub forbidden: Option<u64>,
    /// 1 if AURA refuses who asks; absent if it wasn't asked.
    pub aura_refuses: Option<u32>,
    /// Time since AURA's last delivery arrived; absent if none ever did.
    #[metrics(unit = Second)]
    pub since_delivery: Option<Duration>,
    /// 1 if AURA told changes only when it was asked, twice in a row.
    pub webhook_down: Option<u32>,
    /// 1 if the endpoint is being registered again.
    pub healing: u32,
    /// What failed, if anything did.
    pub failure: Option<String>,
    #[metrics(unit = Millisecond)]
    time: timers::Timer,
}

impl RunMetrics {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            function: "reconciler",
            ..Self::default()
        }
    }

    /// Notes what is compared: the number of noted callouts, and AURA's list.
    pub fn compared(&mut self, noted: usize, active: &ActiveCallouts) {
        self.open = noted;
        self.active = Some(active.callouts.len());
        self.unreadable = active.unreadable;
    }

    /// Notes what came of so many calls to AURA.
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

    /// Counts callouts that are left to the next run.
    pub fn leave(&mut self, callouts: usize) {
        *self.unsettled.get_or_insert_default() += callouts;
    }

    /// Notes what came of the spill.
    pub fn redriven(&mut self, redriven: Redriven, now: Timestamp) {
        self.spill_redriven = redriven.sent;
        self.spill_unreadable = redriven.unreadable;
        self.oldest_spill = Some(redriven.oldest_age(now));
    }
}
