//! The result of a measurement, for people and for programs.

use serde::Serialize;
use stack::report::percentile;

use super::journey::{Journey, milliseconds};

/// The result of a measurement, which `--json` prints.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether the functions were built as for AWS.
    pub release: bool,
    /// Number of deliveries that began in a second.
    pub per_second: u32,
    /// Number of deliveries that did not reach the consumer's queue.
    pub lost: usize,
    /// Deliveries to functions that had work before.
    pub usual: Figures,
    /// Deliveries to functions that had to be started.
    pub first: Figures,
}

/// The figures of some deliveries. All times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Number of deliveries.
    pub deliveries: usize,
    /// The parts of the path, in order. Together they are the time until the consumer's queue.
    pub hops: Vec<Hop>,
    /// The times since the POST was sent.
    pub since: Vec<Moment>,
    /// All hops of the functions.
    pub functions: Quantiles,
    /// All hops of the emulator.
    pub emulator: Quantiles,
}

/// A part of the path.
#[derive(Debug, Clone, Serialize)]
pub struct Hop {
    /// What happens there.
    pub hop: &'static str,
    /// Who needs the time.
    pub whose: Whose,
    /// How long it takes.
    #[serde(flatten)]
    pub time: Quantiles,
}

/// A moment on the path.
#[derive(Debug, Clone, Serialize)]
pub struct Moment {
    /// What has happened then.
    pub moment: &'static str,
    /// How long that is after the POST was sent.
    #[serde(flatten)]
    pub time: Quantiles,
}

/// Who needs the time of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Whose {
    /// Ingest and the processor, with their SDKs.
    Functions,
    /// The emulator, in the place of AWS.
    Emulator,
}

/// The median and the 99th percentile, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile. Of fewer than a hundred times, it is the greatest.
    pub p99: f64,
}

type Time = fn(&Journey) -> f64;

/// The parts of the path. An invocation includes the start of the function's process, if there is none
/// yet, and that of the processor the little that it does before its first call.
static HOPS: [(&str, Whose, Time); 7] = [
    ("API Gateway invokes ingest", Whose::Emulator, |its| {
        milliseconds(its.sent.posted, its.receipt.handled)
    }),
    ("ingest checks and reads", Whose::Functions, |its| {
        milliseconds(its.receipt.handled, its.store.began)
    }),
    ("SQS stores", Whose::Emulator, |its| {
        milliseconds(its.store.began, its.store.ended)
    }),
    (
        "event source invokes the processor",
        Whose::Emulator,
        |its| milliseconds(its.store.ended, its.first_call()),
    ),
    (
        "DynamoDB reads and claims",
        Whose::Emulator,
        Journey::ledger_time,
    ),
    ("processor between its calls", Whose::Functions, |its| {
        milliseconds(its.first_call(), its.publish.began) - its.ledger_time()
    }),
    (
        "EventBridge puts it into the queue",
        Whose::Emulator,
        |its| milliseconds(its.publish.began, its.receipt.queued),
    ),
];

/// The moments on the path. The emulator answers the bus's caller after it has put the event into the
/// consumer's queue.
static MOMENTS: [(&str, Time); 6] = [
    ("stored on the ingest queue", |its| {
        milliseconds(its.sent.posted, its.store.ended)
    }),
    ("AURA has the answer", |its| {
        milliseconds(its.sent.posted, its.sent.answered)
    }),
    ("claimed", |its| {
        milliseconds(its.sent.posted, its.claimed())
    }),
    ("in the consumer's queue", |its| {
        milliseconds(its.sent.posted, its.receipt.queued)
    }),
    ("published: the bus has answered", |its| {
        milliseconds(its.sent.posted, its.publish.ended)
    }),
    ("the consumer has it", |its| {
        milliseconds(its.sent.posted, its.receipt.received)
    }),
];

impl Figures {
    /// The figures of these deliveries.
    #[must_use]
    pub fn of(journeys: &[Journey]) -> Self {
        let of = |time: &dyn Fn(&Journey) -> f64| Quantiles::of(journeys.iter().map(time));
        let share = |whose: Whose| {
            let its = HOPS.iter().filter(move |(_, its, _)| *its == whose);
            of(&|journey| its.clone().map(|(_, _, time)| time(journey)).sum())
        };
        Self {
            deliveries: journeys.len(),
            hops: HOPS
                .map(|(hop, whose, time)| Hop {
                    hop,
                    whose,
                    time: of(&time),
                })
                .into(),
            since: MOMENTS
                .map(|(moment, time)| Moment {
                    moment,
                    time: of(&time),
                })
                .into(),
            functions: share(Whose::Functions),
            emulator: share(Whose::Emulator),
        }
    }

    fn table(&self, title: &str) -> Vec<String> {
        let line = |what: &str, whose: &str, time: Quantiles| {
            format!("  {what:<36}{whose:<10}{:>9.1}{:>9.1}", time.p50, time.p99)
        };
        let mut lines = vec![
            format!("{title}: {}, times in ms", self.deliveries),
            format!("  {:<36}{:<10}{:>9}{:>9}", "", "", "p50", "p99"),
        ];
        let hops = self.hops.iter();
        lines.extend(hops.map(|hop| line(hop.hop, hop.whose.name(), hop.time)));
        lines.push(line("all of the functions' hops", "", self.functions));
        lines.push(line("all of the emulator's hops", "", self.emulator));
        lines.push("  Since the POST was sent:".to_owned());
        let since = self.since.iter();
        lines.extend(since.map(|moment| line(moment.moment, "", moment.time)));
        lines
    }
}

impl Whose {
    fn name(self) -> &'static str {
        match self {
            Self::Functions => "functions",
            Self::Emulator => "emulator",
        }
    }
}

impl Quantiles {
    /// The quantiles of some times; zero if there are none.
    fn of(times: impl Iterator<Item = f64>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_by(f64::total_cmp);
        // A microsecond is far less than what the clock and the proxies can tell.
        let at = |percent| {
            let time = percentile(&times, percent).unwrap_or_default();
            (time * 1e3).round() / 1e3
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

impl stack::report::Report for Report {
    const FAILURE: &'static str = "not every delivery reached the consumer's queue";

    /// True if every delivery reached the consumer's queue. The times are not judged.
    fn is_success(&self) -> bool {
        self.lost == 0 && self.usual.deliveries > 0
    }

    fn summary(&self) -> Vec<String> {
        let build = if self.release { "release" } else { "debug" };
        let mut lines = self.usual.table("Deliveries");
        lines.extend(
            self.first
                .table("First deliveries, for which the functions start"),
        );
        lines.push(format!(
            "Functions of the {build} build, {} deliveries a second, {} lost.",
            self.per_second, self.lost
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use stack::report::Report as _;

    use super::*;
    use crate::latency::journey::tests::{at, example};

    fn report() -> Report {
        Report {
            release: false,
            per_second: 4,
            lost: 0,
            usual: Figures::of(&[example()]),
            first: Figures::of(&[]),
        }
    }

    fn quantiles(p50: f64, p99: f64) -> Quantiles {
        Quantiles { p50, p99 }
    }

    #[test]
    fn the_hops_are_the_whole_time_until_the_consumers_queue() {
        let figures = Figures::of(&[example()]);
        let hops: Vec<_> = figures.hops.iter().map(|hop| hop.time).collect();
        let expected = [3.0, 1.0, 3.0, 5.0, 7.0, 2.0, 9.0];
        assert_eq!(hops, expected.map(|time| quantiles(time, time)));
        assert_eq!(figures.functions, quantiles(3.0, 3.0));
        assert_eq!(figures.emulator, quantiles(27.0, 27.0));
        let since: Vec<_> = figures.since.iter().map(|moment| moment.time).collect();
        let expected = [7.0, 9.0, 20.0, 30.0, 31.0, 32.0];
        assert_eq!(since, expected.map(|time| quantiles(time, time)));
    }

    #[test]
    fn quantiles_are_times_that_occurred() {
        let times = (1..=200).rev().map(f64::from);
        assert_eq!(Quantiles::of(times), quantiles(100.0, 198.0));
        let queued_at = |milliseconds| {
            let mut journey = example();
            journey.receipt.queued = at(milliseconds);
            journey
        };
        let figures = Figures::of(&[queued_at(40), queued_at(900), queued_at(50)]);
        let bus = figures.hops.last().unwrap().time;
        assert_eq!(bus, quantiles(29.0, 879.0));
    }

    #[test]
    fn a_lost_delivery_and_a_run_without_any_fail_the_command() {
        assert!(report().is_success());
        let lost = Report {
            lost: 1,
            ..report()
        };
        let none = Report {
            usual: Figures::of(&[]),
            ..report()
        };
        assert!(!lost.is_success() && !none.is_success());
    }

    fn members(value: &Value) -> BTreeSet<&str> {
        let members = value.as_object().unwrap().keys();
        members.map(String::as_str).collect()
    }

    #[test]
    fn the_json_is_as_the_help_says() {
        let json = serde_json::to_value(report()).unwrap();
        let expected = ["first", "lost", "perSecond", "release", "usual"];
        assert_eq!(members(&json), expected.into());
        let usual = &json["usual"];
        let expected = ["deliveries", "emulator", "functions", "hops", "since"];
        assert_eq!(members(usual), expected.into());
        let hop = &usual["hops"][1];
        assert_eq!(members(hop), ["hop", "p50", "p99", "whose"].into());
        assert_eq!(hop["whose"], "functions");
        assert_eq!(members(&usual["since"][0]), ["moment", "p50", "p99"].into());
    }
}
