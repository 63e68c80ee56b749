//! The result of a soak, for people and for programs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::soak::evidence::name;
use crate::soak::loss::{Class, Entry};
use crate::soak::recovery::Recovery;
use aura_sim::client::Fate;
use aura_sim::plan::Plan;
use stack::reconciler::Runs;
use stack::system::Leftovers;

/// The result of a soak, which `--json` prints.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Seed of the day and the kills.
    pub seed: u32,
    /// Faults of AURA during the day.
    pub plan: Plan,
    /// Seconds from one run of the reconciler to the next.
    pub schedule: u64,
    /// Number of events of the day.
    pub planned: u64,
    /// Number of events that happened at AURA.
    pub events: u64,
    /// Number of deliveries that AURA made, repeats included.
    pub sent: usize,
    /// Number of deliveries that ingest accepted.
    pub accepted: usize,
    /// Number of events and repeats in each class.
    #[serde(flatten)]
    pub classes: Classes,
    /// How long it took to find out openings and closings that were not delivered.
    pub recovery: Recovery,
    /// The reconciler's runs.
    pub runs: Runs,
    /// Number of planned kills.
    pub kills: usize,
    /// Whether the reconciler had nothing more to report at the end.
    pub settled: bool,
    /// Messages left in queues that should be empty.
    #[serde(flatten)]
    pub leftovers: Leftovers,
    /// Breaches of the promises, each as a sentence.
    pub breaches: Vec<String>,
    /// Every event that consumers never heard of.
    pub missed: Vec<Missed>,
    /// Seconds from the first event to the last count.
    pub seconds: f64,
    /// The loss ledger: every event and repeat with its class.
    #[serde(skip)]
    pub ledger: Vec<Entry>,
}

/// How many events, and repeats of deliveries, are in each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Classes {
    /// Number of events and repeats.
    pub entries: usize,
    /// Number in [`Class::Published`].
    pub published: usize,
    /// Number in [`Class::Duplicate`].
    pub duplicates: usize,
    /// Number in [`Class::Quarantined`].
    pub quarantined: usize,
    /// Number in [`Class::Recovered`].
    pub recovered: usize,
    /// Number in [`Class::Missing`].
    pub missing: usize,
}

/// An event that consumers never heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missed {
    /// Name of the event.
    pub event: String,
    /// When the event happened.
    pub at: Timestamp,
    /// What AURA did with the event.
    pub fate: Fate,
    /// Whether the event must not be missing.
    pub owed: bool,
}

/// A reason why a soak is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcoming {
    /// AURA didn't have the events that were planned, or had none.
    OtherDay,
    /// An event that must not be missing is missing.
    Missing,
    /// A breach of the promises was found.
    Breaches,
    /// A delivery was quarantined.
    Quarantined,
    /// A message is left in a queue that should be empty.
    Leftovers,
    /// The reconciler always had more to report.
    Unsettled,
    /// Openings or closings were found out too late.
    Slow,
}

impl Shortcoming {
    fn told(self) -> &'static str {
        match self {
            Self::OtherDay => "AURA's events were not the planned ones",
            Self::Missing => "an event that must not be missing is missing",
            Self::Breaches => "there are breaches, listed above",
            Self::Quarantined => "a delivery was quarantined",
            Self::Leftovers => "messages are left in queues",
            Self::Unsettled => "the reconciler always had more to report",
            Self::Slow => "openings or closings were found out too late",
        }
    }
}

impl Classes {
    /// Counts a loss ledger by class.
    #[must_use]
    pub fn of(ledger: &[Entry]) -> Self {
        let mut classes = Self {
            entries: ledger.len(),
            ..Self::default()
        };
        for entry in ledger {
            *match entry.class {
                Class::Published => &mut classes.published,
                Class::Duplicate => &mut classes.duplicates,
                Class::Quarantined => &mut classes.quarantined,
                Class::Recovered { .. } => &mut classes.recovered,
                Class::Missing => &mut classes.missing,
            } += 1;
        }
        classes
    }
}

impl Missed {
    /// The missing events of a loss ledger.
    #[must_use]
    pub fn of(ledger: &[Entry]) -> Vec<Self> {
        let missing = ledger.iter().filter(|entry| entry.class == Class::Missing);
        missing
            .map(|entry| Self {
                event: name(entry.message, entry.entity),
                at: entry.at,
                fate: entry.fate,
                owed: entry.is_owed(),
            })
            .collect()
    }

    /// Name of the event without its entity.
    fn message(&self) -> &str {
        self.event.split(' ').next().unwrap_or(&self.event)
    }
}

impl stack::report::Report for Report {
    const FAILURE: &'static str = "the system did not keep its promises";

    /// True if the soak has no shortcoming: every opening and closing is on the bus once, every
    /// callout's last state is AURA's, and what had to be found out was found out in time.
    fn is_success(&self) -> bool {
        self.shortcomings().is_empty()
    }

    /// The breaches, the counts, and the verdict.
    fn summary(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .breaches
            .iter()
            .map(|line| format!("    {line}"))
            .collect();
        lines.extend(self.counts());
        lines.push(self.verdict());
        lines
    }
}

impl Report {
    /// The reasons why the soak is no success; empty if it is one.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<Shortcoming> {
        let owed = self.missed.iter().any(|missed| missed.owed);
        let all = [
            (
                self.events == 0 || self.events != self.planned,
                Shortcoming::OtherDay,
            ),
            (owed, Shortcoming::Missing),
            (!self.breaches.is_empty(), Shortcoming::Breaches),
            (self.classes.quarantined > 0, Shortcoming::Quarantined),
            (!self.leftovers.is_none(), Shortcoming::Leftovers),
            (!self.settled, Shortcoming::Unsettled),
            (!self.recovery.is_in_time(), Shortcoming::Slow),
        ];
        let found = all.into_iter().filter(|(is_so, _)| *is_so);
        found.map(|(_, shortcoming)| shortcoming).collect()
    }

    fn counts(&self) -> [String; 6] {
        let Classes {
            published,
            duplicates,
            quarantined,
            recovered,
            missing,
            ..
        } = self.classes;
        [
            format!(
                "Seed {}: {} runs of the reconciler, one every {} s; {} kills, {} of them in a run.",
                self.seed, self.runs.begun, self.schedule, self.kills, self.runs.died
            ),
            format!(
                "AURA had {} events out of {}, and sent {} deliveries; {} were accepted.",
                self.events, self.planned, self.sent, self.accepted
            ),
            format!(
                "Loss ledger of events and repeats: {published} published, {duplicates} duplicates, \
                 {quarantined} quarantined, {recovered} recovered, {missing} missing{}.",
                self.missed_in_total()
            ),
            self.delays(),
            self.leftovers.to_string(),
            self.end(),
        ]
    }

    fn missed_in_total(&self) -> String {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for missed in &self.missed {
            *names.entry(missed.message()).or_default() += 1;
        }
        let names = names.iter().map(|(name, count)| format!("{count} {name}"));
        match names.collect::<Vec<_>>().join(", ") {
            names if names.is_empty() => names,
            names => format!(" ({names})"),
        }
    }

    fn delays(&self) -> String {
        let Recovery {
            count,
            p50,
            p95,
            max,
            limit,
            limit_for_closings,
            late,
            ..
        } = self.recovery;
        format!(
            "{count} openings and closings were recovered: half of them within {p50:.1} s, nineteen \
             in twenty within {p95:.1} s, all within {max:.1} s. {late} reached the limit: \
             {limit:.1} s for an opening or {limit_for_closings:.1} s for a closing (one in twenty may)."
        )
    }

    fn end(&self) -> String {
        let end = if self.settled {
            "At the end the reconciler had nothing more to report"
        } else {
            "At the end the reconciler ALWAYS HAD MORE to report"
        };
        format!("{end}, after {:.0} s.", self.seconds)
    }

    fn verdict(&self) -> String {
        let shortcomings = self.shortcomings();
        if shortcomings.is_empty() {
            return "Every opening and closing is on the bus once, and every callout's last \
                    published state is AURA's."
                .to_owned();
        }
        let told: Vec<_> = shortcomings.into_iter().map(Shortcoming::told).collect();
        format!("NOT every promise was kept: {}.", told.join(", "))
    }
}

#[cfg(test)]
mod tests;
