//! The result of a campaign, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use crate::torture::verdict::Double;
use stack::report::Report as _;
use stack::system::Leftovers;
use stack::tally::Tally;

/// The result of a campaign, which `--json` prints.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Seed of the campaign.
    pub seed: u32,
    /// Number of distinct events of the campaign.
    pub planned: u64,
    /// Number of distinct events that AURA sent.
    pub events: u64,
    /// Number of kills, by moment.
    pub kills: BTreeMap<&'static str, usize>,
    /// Number of calls to the ledger and the bus that failed.
    pub faults: usize,
    /// Counts of AURA's deliveries by what became of them.
    #[serde(flatten)]
    pub tally: Tally,
    /// Messages left in queues that should be empty.
    #[serde(flatten)]
    pub leftovers: Leftovers,
    /// Every copy of an event beyond its first.
    pub doubles: Vec<Double>,
    /// Number of doubles that nothing explains.
    pub unexplained: usize,
    /// Differences between the ledger and what consumers received.
    pub differences: Vec<String>,
    /// Violations: consumers received something else than AURA sent, or in another order.
    pub violations: Vec<String>,
    /// Seconds from the first event to the last count.
    pub seconds: f64,
}

impl stack::report::Report for Report {
    const FAILURE: &'static str = "the system did not keep its promises";

    /// True if every event was published, every double is explained, and nothing else is wrong.
    fn is_success(&self) -> bool {
        let Tally {
            sent,
            accepted,
            lost,
            quarantined,
            strangers,
            doubled,
            ..
        } = self.tally;
        let none = [
            lost,
            quarantined,
            strangers,
            self.unexplained,
            self.differences.len(),
            self.violations.len(),
        ];
        sent > 0
            && accepted == sent
            && self.events == self.planned
            && none.iter().all(|count| *count == 0)
            && doubled == self.doubles.len()
            && self.leftovers.is_none()
    }

    /// Every double with its reason, the counts, and the verdict.
    fn summary(&self) -> Vec<String> {
        let doubles = self.doubles.iter().map(Double::told);
        let found = self.differences.iter().chain(&self.violations).cloned();
        let found = doubles.chain(found);
        let mut lines: Vec<String> = found.map(|line| format!("    {line}")).collect();
        lines.extend(self.counts());
        lines.push(self.verdict());
        lines
    }
}

impl Report {
    fn counts(&self) -> [String; 5] {
        let tally = &self.tally;
        let kills: usize = self.kills.values().sum();
        [
            format!(
                "Seed {}: {kills} kills ({}), {} calls to the ledger and the bus failed.",
                self.seed,
                listed(&self.kills),
                self.faults
            ),
            format!(
                "AURA sent {} deliveries of {} events out of {}; {} were accepted.",
                tally.sent, self.events, self.planned, tally.accepted
            ),
            format!(
                "Consumers received {} of them; {} were duplicates, {} that AURA never sent.",
                tally.published, tally.duplicates, tally.strangers
            ),
            format!("Copies beyond the first: {}.", self.doubles_in_total()),
            self.leftovers.to_string(),
        ]
    }

    fn doubles_in_total(&self) -> String {
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for double in &self.doubles {
            *reasons.entry(double.reason.name()).or_default() += 1;
        }
        match self.doubles.len() {
            0 => "0".to_owned(),
            count => format!("{count} ({})", listed(&reasons)),
        }
    }

    fn verdict(&self) -> String {
        let verdict = if self.is_success() {
            "Every event was published, and every double is explained"
        } else {
            "NOT every event was published once, or published again for a known reason"
        };
        format!(
            "{verdict}: {} lost, {} unexplained, {} differences to the ledger, \
             {} to what AURA sent.",
            self.tally.lost,
            self.unexplained,
            self.differences.len(),
            self.violations.len()
        )
    }
}

fn listed<K: Display>(counts: &BTreeMap<K, usize>) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{count} {name}"));
    counts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::torture::campaign::Moment;
    use crate::torture::verdict::Reason;

    fn double(reason: Reason) -> Double {
        Double {
            key: "callout#1/NEW_CALLOUT".to_owned(),
            published: Some(Timestamp::UNIX_EPOCH),
            again: Some(Timestamp::UNIX_EPOCH),
            reason,
        }
    }

    fn good() -> Report {
        Report {
            seed: 7,
            planned: 8,
            events: 8,
            kills: BTreeMap::from([("after-claim", 1), ("random", 2)]),
            faults: 3,
            tally: Tally {
                sent: 10,
                accepted: 10,
                published: 8,
                duplicates: 2,
                doubled: 1,
                ..Tally::default()
            },
            leftovers: Leftovers {
                quarantine_depth: 0,
                spill_depth: 0,
                dead_letter_depth: 0,
            },
            doubles: vec![double(Reason::Killed {
                moment: Moment::Random,
                at: Timestamp::UNIX_EPOCH,
            })],
            unexplained: 0,
            differences: Vec::new(),
            violations: Vec::new(),
            seconds: 1.5,
        }
    }

    type Spoil = fn(&mut Report);

    #[test]
    fn success_is_every_event_published_and_every_double_explained() {
        assert!(good().is_success());
        let spoilt: [(&str, Spoil); 11] = [
            ("an event is lost", |report| report.tally.lost = 1),
            ("one was refused", |report| report.tally.accepted = 9),
            ("one is quarantined", |report| report.tally.quarantined = 1),
            ("one was never sent", |report| report.tally.strangers = 1),
            ("nothing was sent", |report| {
                (report.tally.sent, report.tally.accepted) = (0, 0);
            }),
            ("a double is unexplained", |report| report.unexplained = 1),
            ("a double has no explanation", |report| {
                report.tally.doubled = 2;
            }),
            ("the ledger differs", |report| {
                report.differences.push("x".to_owned());
            }),
            ("consumers got something else", |report| {
                report.violations.push("x".to_owned());
            }),
            ("AURA had fewer events than planned", |report| {
                report.events = 7;
            }),
            ("a dead letter", |report| {
                report.leftovers.dead_letter_depth = 1;
            }),
        ];
        for (what, spoil) in spoilt {
            let mut report = good();
            spoil(&mut report);
            assert!(!report.is_success(), "{what}");
            assert!(report.summary().concat().contains("NOT every"), "{what}");
        }
    }

    #[test]
    fn the_summary_has_every_double_and_their_total_by_reason() {
        let mut report = good();
        report.doubles.push(double(Reason::AnswerLost));
        let lines = report.summary();
        let doubled = lines
            .iter()
            .filter(|line| line.contains("callout#1/NEW_CALLOUT"));
        assert_eq!(doubled.count(), 2);
        let total = "Copies beyond the first: 2 (1 answer lost, 1 killed random).";
        assert!(lines.iter().any(|line| line == total), "{lines:#?}");
        assert!(
            lines
                .iter()
                .any(|line| line.contains("Seed 7: 3 kills (1 after-claim, 2 random)"))
        );
    }

    #[test]
    fn the_json_is_as_the_help_says() {
        let expected = json!({
            "seed": 7, "planned": 8, "events": 8, "kills": {"after-claim": 1, "random": 2}, "faults": 3,
            "sent": 10, "accepted": 10, "published": 8, "duplicates": 2, "quarantined": 0, "lost": 0,
            "doubled": 1, "strangers": 0,
            "quarantineDepth": 0, "spillDepth": 0, "deadLetterDepth": 0,
            "doubles": [{
                "key": "callout#1/NEW_CALLOUT", "reason": "killed", "moment": "random",
                "published": "1970-01-01T00:00:00Z", "again": "1970-01-01T00:00:00Z",
                "at": "1970-01-01T00:00:00Z",
            }],
            "unexplained": 0, "differences": [], "violations": [], "seconds": 1.5,
        });
        assert_eq!(serde_json::to_value(good()).unwrap(), expected);
    }
}
