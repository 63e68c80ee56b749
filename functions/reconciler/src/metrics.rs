//! The log line and the metrics of a run. Only what an alarm reads is a metric; see
//! [`shared::telemetry::levels`].

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use metrique::emf::flags::NoMetric;
use metrique::timers;
use metrique::unit::{Millisecond, Second};
use metrique::unit_of_work::metrics;
use shared::panic_api::ActiveCallouts;
use shared::telemetry::levels::Level;

use crate::aura::AuraCounts;
use crate::payload::MissedEvent;
use crate::redrive::Redriven;

/// The log line and the metrics of one run. Numbers count callouts unless their description says
/// otherwise.
#[metrics(rename_all = "PascalCase", default_flags(NoMetric))]
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
    #[metrics(no_close, flags(skip(NoMetric)))]
    pub unsettled: Level,
    /// Callouts whose closings are held back, because AURA's list lacks too many at once or AURA
    /// knows no open callout. Absent if AURA gave no list.
    #[metrics(no_close, flags(skip(NoMetric)))]
    pub held: Level,
    /// Number of deliveries that went from the spill to their queue.
    pub spill_redriven: usize,
    /// Number of items of the spill that can't be read.
    pub spill_unreadable: usize,
    /// Age of the oldest delivery that is still in the spill.
    #[metrics(no_close, flags(skip(NoMetric)))]
    pub oldest_spill: Level,
    /// Number of calls to AURA. Calls for a token count too.
    pub aura_calls: u64,
    /// Number of calls to AURA that failed.
    pub aura_failures: u64,
    /// Number of calls about single callouts that AURA answered with 403. Absent if there was none.
    pub forbidden: Option<u64>,
    /// 1 if AURA refuses the credentials; absent if the run made no call.
    #[metrics(no_close, flags(skip(NoMetric)))]
    pub aura_refuses: Level,
    /// Time since AURA's last delivery arrived; absent if no delivery ever arrived.
    #[metrics(unit = Second)]
    pub since_delivery: Option<Duration>,
    /// 1 if two runs found changes only by asking AURA, with no delivery in between.
    #[metrics(no_close, flags(skip(NoMetric)))]
    pub webhook_down: Level,
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
        self.aura_refuses.add(counts.has_refused.into());
    }

    /// Counts a missed event that was put on the queue.
    pub fn recovered(&mut self, event: MissedEvent) {
        match event {
            MissedEvent::Opened => self.openings_recovered += 1,
            MissedEvent::Closed { .. } => self.closings_recovered += 1,
            MissedEvent::Observed { .. } => self.observed += 1,
        }
    }

    /// Records the result of the redrive.
    pub fn redriven(&mut self, redriven: Redriven, now: Timestamp) {
        self.spill_redriven = redriven.sent;
        self.spill_unreadable = redriven.unreadable;
        self.oldest_spill.raise_age(redriven.oldest_age(now));
    }

    /// Records which levels were above zero when they were known last, so that their end is sent.
    pub fn raised_before(&mut self, names: &BTreeSet<String>) {
        for (name, level) in self.levels() {
            if names.contains(name) {
                level.was_raised();
            }
        }
    }

    /// The levels that are above zero, or were when they were known last. The next run needs them.
    pub fn raised(&mut self) -> BTreeSet<String> {
        let levels = self.levels().into_iter();
        let raised = levels.filter(|(_, level)| level.is_raised());
        raised.map(|(name, _)| name.to_owned()).collect()
    }

    /// The levels, by their names in the run state.
    fn levels(&mut self) -> [(&'static str, &mut Level); 5] {
        [
            ("auraRefuses", &mut self.aura_refuses),
            ("held", &mut self.held),
            ("oldestSpill", &mut self.oldest_spill),
            ("unsettled", &mut self.unsettled),
            ("webhookDown", &mut self.webhook_down),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use shared::telemetry::lines::{WrittenLines, metrics_of, metrics_of_function};

    use super::*;

    const CALLS: u64 = 1;

    /// A run that was told which levels were above zero, and the ones that are now.
    fn run(
        raised_before: &BTreeSet<String>,
        work: impl FnOnce(&mut RunMetrics),
    ) -> (Value, BTreeSet<String>) {
        let lines = WrittenLines::default();
        let mut metrics = RunMetrics::start().append_on_drop(lines.sink());
        metrics.raised_before(raised_before);
        work(&mut metrics);
        let raised = metrics.raised();
        drop(metrics);
        let [line] = lines.take().try_into().unwrap();
        (line, raised)
    }

    /// What a run notes in which nothing happens.
    fn idle(metrics: &mut RunMetrics) {
        let list = ActiveCallouts::default();
        metrics.run = Some(1);
        metrics.compared(0, &list);
        metrics.unsettled.add(0);
        metrics.held.add(0);
        metrics.asked(CALLS, &AuraCounts::default());
        metrics.redriven(Redriven::default(), Timestamp::UNIX_EPOCH);
        metrics.webhook_down.add(0);
    }

    /// What a run notes in which everything goes wrong.
    fn busy(metrics: &mut RunMetrics) {
        idle(metrics);
        metrics.unsettled.add(2);
        metrics.held.add(3);
        let mut counts = AuraCounts::default();
        counts.has_refused = true;
        metrics.asked(CALLS, &counts);
        let oldest = Some(Timestamp::UNIX_EPOCH);
        let redriven = Redriven {
            oldest,
            ..Redriven::default()
        };
        metrics.redriven(redriven, Timestamp::from_second(700).unwrap());
        metrics.webhook_down.add(1);
    }

    #[test]
    fn an_idle_run_sends_no_metric() {
        let (line, raised) = run(&BTreeSet::new(), idle);
        assert_eq!(metrics_of(&line), [""; 0]);
        assert!(raised.is_empty(), "{raised:?}");
        // A filter on a field finds it in every line.
        for field in [
            "Held",
            "OldestSpill",
            "Unsettled",
            "AuraRefuses",
            "WebhookDown",
            "Active",
        ] {
            assert_eq!(line[field], 0, "{field}");
        }
    }

    #[test]
    fn a_busy_run_sends_what_alarms_read_and_nothing_else() {
        let (line, raised) = run(&BTreeSet::new(), busy);
        assert_eq!(metrics_of(&line), metrics_of_function("reconciler"));
        assert_eq!(raised.len(), 5, "{raised:?}");
        assert_eq!(line["OldestSpill"], 700);
    }

    #[test]
    fn the_run_that_finds_a_level_at_zero_again_says_so_once() {
        let (_, raised) = run(&BTreeSet::new(), busy);
        let (line, raised) = run(&raised, idle);
        assert_eq!(metrics_of(&line), metrics_of_function("reconciler"));
        assert_eq!(line["Held"], 0);
        let (line, raised) = run(&raised, idle);
        assert_eq!(metrics_of(&line), [""; 0]);
        assert!(raised.is_empty(), "{raised:?}");
    }

    #[test]
    fn a_level_that_a_run_does_not_know_has_not_ended() {
        let (_, before) = run(&BTreeSet::new(), busy);
        let (line, raised) = run(&before, |_| ());
        assert_eq!(metrics_of(&line), [""; 0]);
        assert_eq!(raised, before);
    }
}
