//! The line that each run leaves behind.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use metrique::timers::Timer;
use metrique::unit::{Millisecond, Second};
use metrique::unit_of_work::metrics;

use crate::redrive::Redriven;

/// One run: its log line and its metrics. Numbers of callouts, unless it says otherwise.
#[metrics(rename_all = "PascalCase")]
#[derive(Debug)]
pub struct RunMetrics {
    #[metrics(timestamp)]
    timestamp: SystemTime,
    function: &'static str,
    /// The run's number. None if another run was under way, and this one did nothing.
    pub run: Option<u32>,
    /// 1 if another run was under way.
    pub skipped: u32,
    /// Active, says AURA; absent if AURA didn't.
    pub active: Option<usize>,
    /// Entries of AURA's list that could not be read.
    pub unreadable: usize,
    /// Noted as open, or as closed alone.
    pub open: usize,
    /// That AURA was asked about.
    pub checked: usize,
    /// Whose opening was put on the queue.
    pub openings_recovered: usize,
    /// Whose closing was put on the queue.
    pub closings_recovered: usize,
    /// Whose state was put on the queue.
    pub observed: usize,
    /// That could not be settled, because AURA or AWS failed, time ran out, or AURA's list can't be
    /// believed: the next run goes on. Absent if AURA's list wasn't there.
    pub unsettled: Option<usize>,
    /// That AURA's list lacks, and that aren't taken for closed, because too many are; absent as above.
    pub held: Option<usize>,
    /// Deliveries that went from the spill to their queue.
    pub spill_redriven: usize,
    /// Items of the spill that can't be read.
    pub spill_unreadable: usize,
    /// How long the oldest of what is left in the spill has been there.
    #[metrics(unit = Second)]
    pub oldest_spill: Option<Duration>,
    /// Calls to AURA, those for a token among them.
    pub aura_calls: u64,
    /// Calls to AURA that failed.
    pub aura_failures: u64,
    /// Calls about single callouts that AURA answered with 403; absent if there were none. A metric
    /// costs something in each hour in which it is sent.
    pub forbidden: Option<u64>,
    /// 1 if AURA refuses who asks; absent if it wasn't asked.
    pub aura_refuses: Option<u32>,
    /// Since AURA's last delivery arrived; absent if none ever did.
    #[metrics(unit = Second)]
    pub since_delivery: Option<Duration>,
    /// 1 if changes were learned by asking alone, twice in a row.
    pub webhook_down: Option<u32>,
    /// 1 if the endpoint is being registered again.
    pub healing: u32,
    /// What failed, if anything did.
    pub failure: Option<String>,
    #[metrics(unit = Millisecond)]
    time: Timer,
}

impl RunMetrics {
    /// Starts the clock.
    #[must_use]
    pub fn start(now: Timestamp) -> Self {
        Self {
            timestamp: now.into(),
            function: "reconciler",
            run: None,
            skipped: 0,
            active: None,
            unreadable: 0,
            open: 0,
            checked: 0,
            openings_recovered: 0,
            closings_recovered: 0,
            observed: 0,
            unsettled: None,
            held: None,
            spill_redriven: 0,
            spill_unreadable: 0,
            oldest_spill: None,
            aura_calls: 0,
            aura_failures: 0,
            forbidden: None,
            aura_refuses: None,
            since_delivery: None,
            webhook_down: None,
            healing: 0,
            failure: None,
            time: Timer::start_now(),
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
