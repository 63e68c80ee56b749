//! What a soak came to, for people and for programs.

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

/// What a soak came to. `--json` prints it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the day and the kills were drawn from.
    pub seed: u32,
    /// What went wrong meanwhile.
    pub plan: Plan,
    /// From one run of the reconciler to the next, in seconds.
    pub schedule: u64,
    /// Events that the day has.
    pub planned: u64,
    /// Events that happened at AURA.
    pub events: u64,
    /// Deliveries that AURA made of them, repeats included.
    pub sent: usize,
    /// Deliveries that ingest accepted.
    pub accepted: usize,
    /// What became of events and repeats.
    #[serde(flatten)]
    pub classes: Classes,
    /// Of openings and closings that nobody was told of.
    pub recovery: Recovery,
    /// The reconciler's runs.
    pub runs: Runs,
    /// How often it was to be killed.
    pub kills: usize,
    /// Whether it had nothing more to tell at the end.
    pub settled: bool,
    /// What was left in queues that should be empty.
    #[serde(flatten)]
    pub leftovers: Leftovers,
    /// What must not be.
    pub breaches: Vec<String>,
    /// Every event that consumers never heard of.
    pub missed: Vec<Missed>,
    /// How long it took, from the first event to the last count.
    pub seconds: f64,
    /// Every event and repeat, with what became of it.
    #[serde(skip)]
    pub ledger: Vec<Entry>,
}

/// How many events, and repeats of deliveries, are in each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Classes {
    /// How many there are.
    pub entries: usize,
    /// See [`Class`].
    pub published: usize,
    /// See [`Class`].
    pub duplicates: usize,
    /// See [`Class`].
    pub quarantined: usize,
    /// See [`Class`].
    pub recovered: usize,
    /// See [`Class`].
    pub missing: usize,
}

/// An event that consumers never heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missed {
    /// Which.
    pub event: String,
    /// When it happened.
    pub at: Timestamp,
    /// What AURA did with it.
    pub fate: Fate,
    /// Whether it must not be missing.
    pub owed: bool,
}

/// Why a soak is no success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcoming {
    /// AURA had other events than planned, or none.
    OtherDay,
    /// Something is missing that must not be.
    Missing,
    /// Something is that must not be.
    Breaches,
    /// Something can't be understood.
    Quarantined,
    /// Something is left in a queue that should be empty.
    Leftovers,
    /// It had no end.
    Unsettled,
    /// What was to be found out was found out too late.
    Slow,
}

impl Shortcoming {
    fn told(self) -> &'static str {
        match self {
            Self::OtherDay => "the day was another than planned",
            Self::Missing => "something is missing that must not be",
            Self::Breaches => "the breaches above",
            Self::Quarantined => "something was quarantined",
            Self::Leftovers => "something is left in queues",
            Self::Unsettled => "it never came to an end",
            Self::Slow => "it took too long to find out",
        }
    }
}

impl Classes {
    /// Counts.
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
    /// Those of a loss ledger.
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

    /// The event's name alone.
    fn message(&self) -> &str {
        self.event.split(' ').next().unwrap_or(&self.event)
    }
}

impl stack::report::Report for Report {
    const FAILURE: &'static str = "the system did not keep its promises";

    /// True if every opening and closing is on the bus once, every callout is there as AURA has it,
    /// what was to be found out was found out in time, and nothing else happened.
    fn is_success(&self) -> bool {
        self.shortcomings().is_empty()
    }

    /// What must not be, the counts, and the verdict.
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
    /// What keeps it from being a success.
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
             in twenty within {p95:.1} s, all within {max:.1} s. {late} took too long: {limit:.1} s \
             for an opening or {limit_for_closings:.1} s for a closing (one in twenty may)."
        )
    }

    fn end(&self) -> String {
        let end = if self.settled {
            "At the end there was nothing more to tell"
        } else {
            "At the end there was ALWAYS MORE to tell"
        };
        format!("{end}, after {:.0} s.", self.seconds)
    }

    fn verdict(&self) -> String {
        let shortcomings = self.shortcomings();
        if shortcomings.is_empty() {
            return "Every opening and closing is on the bus once, and every callout is there as \
                    AURA has it."
                .to_owned();
        }
        let told: Vec<_> = shortcomings.into_iter().map(Shortcoming::told).collect();
        format!("NOT every promise was kept: {}.", told.join(", "))
    }
}

#[cfg(test)]
mod tests;
