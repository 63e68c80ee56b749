//! The result, for people and for programs, compared with the bars.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde::Serialize;

use super::batch::Case;
use super::function::Versions;
use super::series::{Both, Times};
use super::stubbed::{CaseFigures, Figures, Stubbed};
use crate::report::{self, Bars};

/// The least ratio of `processor`'s events per CPU second to the peer's.
const CPU_BAR: f64 = 10.0;
/// The least ratio of the peer's memory to `processor`'s.
const MEMORY_BAR: f64 = 5.0;

const CPU: &str = "events per CPU second";

/// Name of the bar for [`CPU`]; each kind of batch has its own bar.
fn cpu_bar(case: Case) -> &'static str {
    match case {
        Case::Groups => "events per CPU second: groups",
        Case::OneGroup => "events per CPU second: oneGroup",
        Case::OneEvent => "events per CPU second: oneEvent",
        Case::Duplicates => "events per CPU second: duplicates",
    }
}

const MEMORY: &str = "memory";

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Versions of the peer.
    pub versions: Versions,
    /// Figures against stubs of AWS that answer at once.
    pub stubbed: Stubbed,
    /// Ratio of the peer's memory to `processor`'s.
    pub memory_ratio: f64,
    /// Each bar, and whether it was met.
    pub bars: Bars,
}

impl Report {
    /// Compares the figures with the bars.
    #[must_use]
    pub fn new(versions: Versions, stubbed: Stubbed) -> Self {
        let memory_ratio = times_less(stubbed.peak_kib.map(f64::from));
        let cpu = |case: &CaseFigures| (cpu_bar(case.case), case.cpu_ratio >= CPU_BAR);
        let cpu = stubbed.cases.iter().map(cpu);
        let bars = Bars::new(cpu.chain([(MEMORY, memory_ratio >= MEMORY_BAR)]));
        Self {
            versions,
            stubbed,
            memory_ratio,
            bars,
        }
    }
}

fn times_less(both: Both<f64>) -> f64 {
    both.powertools / both.processor
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stubbed {
            rounds, batches, ..
        } = &self.stubbed;
        writeln!(
            f,
            "Against stubs of AWS that answer at once: medians of {rounds} rounds of {batches} \
             batches of each kind"
        )?;
        writeln!(
            f,
            "Neither side uses TLS: it would cost both about the same, and lower the ratios"
        )?;
        let Versions {
            python,
            powertools,
            boto3,
        } = &self.versions;
        writeln!(
            f,
            "The peer: Python {python}, Powertools {powertools}, boto3 {boto3}"
        )?;
        report::row(f, "", ["processor", "Powertools", "better by"], "bar", "")?;
        for case in &self.stubbed.cases {
            self.write_case(f, case)?;
        }
        self.write_memory_and_start(f)
    }
}

impl Report {
    fn write_case(&self, f: &mut fmt::Formatter<'_>, case: &CaseFigures) -> fmt::Result {
        let figures = &case.figures;
        let name = self.name(case.case);
        report::row(f, &name, [""; 3], "", "")?;
        let cpu = figures.as_ref().map(|figures| figures.cpu_us_per_event);
        row(f, "  CPU per event", cpu, microseconds, case.cpu_ratio)?;
        self.write_events_per_cpu_second(f, case)?;
        write_times(f, case.case, figures.as_ref().map(|figures| &figures.times))?;
        write_calls(f, figures.as_ref())
    }

    fn write_events_per_cpu_second(
        &self,
        f: &mut fmt::Formatter<'_>,
        case: &CaseFigures,
    ) -> fmt::Result {
        let figures = case.figures.as_ref();
        let Both {
            processor,
            powertools,
        } = figures.map(|figures| whole(figures.events_per_cpu_second));
        let ratio = times(case.cpu_ratio);
        let name = format!("  {CPU}");
        let verdict = self.bars.verdict(cpu_bar(case.case));
        report::row(
            f,
            &name,
            [&processor, &powertools, &ratio],
            "at least 10 ×",
            verdict,
        )
    }

    fn write_memory_and_start(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |kib: u32| format!("{:.1} MiB", f64::from(kib) / 1024.0);
        let Both {
            processor,
            powertools,
        } = self.stubbed.peak_kib.map(mebibytes);
        let ratio = times(self.memory_ratio);
        report::row(
            f,
            "memory, at most",
            [&processor, &powertools, &ratio],
            "at least 5 ×",
            self.bars.verdict(MEMORY),
        )?;
        let start = self.stubbed.start_ms;
        row(
            f,
            "start to first /next",
            start,
            milliseconds,
            times_less(start),
        )
    }

    fn name(&self, case: Case) -> String {
        match case {
            Case::Groups => "10 new events of 10 groups".into(),
            Case::OneGroup => "10 new events of one group".into(),
            Case::OneEvent => "1 new event".into(),
            Case::Duplicates => {
                let percent = self.stubbed.duplicates_percent;
                format!("10 events, {percent} % duplicates")
            }
        }
    }
}

fn write_times(f: &mut fmt::Formatter<'_>, case: Case, times: Both<&Times>) -> fmt::Result {
    let what = match case {
        Case::OneEvent => "an event",
        Case::Groups | Case::OneGroup | Case::Duplicates => "a batch",
    };
    let p50 = times.map(|times| times.p50_ms);
    let name = format!("  {what}, p50");
    row(f, &name, p50, milliseconds, times_less(p50))?;
    write_tail(f, what, times)?;
    let rate = times.map(|times| times.events_per_second);
    let more = 1.0 / times_less(rate);
    row(f, "  events per second, one instance", rate, whole, more)
}

/// Writes the p99, or the slowest batch if there are too few batches for a p99.
fn write_tail(f: &mut fmt::Formatter<'_>, what: &str, times: Both<&Times>) -> fmt::Result {
    let p99 = times.map(|times| times.p99_ms);
    let (name, tail) = match (p99.processor, p99.powertools) {
        (Some(processor), Some(powertools)) => (
            format!("  {what}, p99"),
            Both {
                processor,
                powertools,
            },
        ),
        _ => (
            format!("  {what}, the slowest"),
            times.map(|times| times.slowest_ms),
        ),
    };
    row(f, &name, tail, milliseconds, times_less(tail))
}

fn write_calls(f: &mut fmt::Formatter<'_>, figures: Both<&Figures>) -> fmt::Result {
    let calls = figures.map(|figures| &figures.calls_per_event);
    let operations: BTreeSet<&String> = calls
        .processor
        .keys()
        .chain(calls.powertools.keys())
        .collect();
    for operation in operations {
        let Both {
            processor,
            powertools,
        } = calls.map(|calls| match calls.get(operation) {
            Some(calls) => format!("{calls:.2}"),
            None => "0".to_owned(),
        });
        let name = format!("  {} per event", short(operation));
        report::row(f, &name, [&processor, &powertools, ""], "", "")?;
    }
    Ok(())
}

/// Writes a figure of both sides, and how many times better `processor`'s is.
fn row(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    figures: Both<f64>,
    show: fn(f64) -> String,
    better: f64,
) -> fmt::Result {
    let Both {
        processor,
        powertools,
    } = figures.map(show);
    report::row(f, name, [&processor, &powertools, &times(better)], "", "")
}

/// The operation's name alone: `UpdateItem` of `DynamoDB_20120810.UpdateItem`.
fn short(operation: &str) -> &str {
    operation.rsplit('.').next().unwrap_or(operation)
}

fn milliseconds(time: f64) -> String {
    format!("{time:.1} ms")
}

fn microseconds(time: f64) -> String {
    format!("{time:.0} µs")
}

fn whole(rate: f64) -> String {
    format!("{rate:.0}")
}

fn times(ratio: f64) -> String {
    format!("{ratio:.1} ×")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cpu: f64, calls: &[(&str, f64)]) -> Figures {
        let calls = calls
            .iter()
            .map(|(name, calls)| ((*name).to_owned(), *calls));
        Figures {
            cpu_us_per_event: cpu,
            events_per_cpu_second: 1e6 / cpu,
            times: Times {
                p50_ms: 2.0,
                p99_ms: Some(3.0),
                slowest_ms: 4.0,
                events_per_second: 5_000.0,
            },
            calls_per_event: calls.collect(),
        }
    }

    fn case(case: Case, cpu: Both<f64>) -> CaseFigures {
        CaseFigures {
            case,
            figures: Both {
                processor: figures(cpu.processor, &[("AWSEvents.PutEvents", 0.1)]),
                powertools: figures(cpu.powertools, &[("DynamoDB_20120810.PutItem", 1.0)]),
            },
            cpu_ratio: cpu.powertools / cpu.processor,
        }
    }

    fn report(cases: Vec<CaseFigures>, peak_kib: Both<u32>) -> Report {
        let versions = Versions {
            python: "3.11.7".into(),
            powertools: "3.37.0".into(),
            boto3: "1.43.106".into(),
        };
        let stubbed = Stubbed {
            rounds: 1,
            batches: 10,
            duplicates_percent: 100,
            cases,
            peak_kib,
            start_ms: Both {
                processor: 10.0,
                powertools: 500.0,
            },
        };
        Report::new(versions, stubbed)
    }

    #[test]
    fn a_tenth_of_the_cpu_and_a_fifth_of_the_memory_are_the_bars() {
        let cpu = |powertools| Both {
            processor: 100.0,
            powertools,
        };
        let cases = vec![
            case(Case::Groups, cpu(1_000.0)),
            case(Case::OneEvent, cpu(999.0)),
        ];
        let memory = Both {
            processor: 20_000,
            powertools: 99_000,
        };
        let report = report(cases, memory);
        assert_eq!(report.bars.verdict(cpu_bar(Case::Groups)), "met");
        assert_eq!(report.bars.verdict(cpu_bar(Case::OneEvent)), "MISSED");
        assert_eq!(report.bars.verdict(MEMORY), "MISSED");
    }

    #[test]
    fn every_kind_of_batch_is_held_against_the_bar() {
        let slow = Both {
            processor: 100.0,
            powertools: 900.0,
        };
        let cases = Case::ALL.map(|kind| case(kind, slow)).into();
        let shown = report(cases, slow.map(|_| 1)).to_string();
        let lines = shown.lines().filter(|line| line.contains(CPU));
        let missed = lines.filter(|line| line.ends_with("at least 10 ×    MISSED"));
        assert_eq!(missed.count(), Case::ALL.len());
    }

    #[test]
    fn a_tail_of_few_batches_is_named_the_slowest() {
        let both = Both {
            processor: 100.0,
            powertools: 1_000.0,
        };
        let mut few = case(Case::Groups, both);
        few.figures.powertools.times.p99_ms = None;
        let shown = report(vec![few], both.map(|_| 1)).to_string();
        assert!(!shown.contains("p99"), "{shown}");
        assert!(shown.contains("a batch, the slowest"), "{shown}");
    }

    #[test]
    fn an_operation_that_one_side_alone_calls_is_shown_for_both() {
        let both = Both {
            processor: 100.0,
            powertools: 1_000.0,
        };
        let cases = vec![case(Case::Groups, both)];
        let shown = report(cases, both.map(|_| 1)).to_string();
        let line = |name: &str| {
            let line = shown.lines().find(|line| line.contains(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("PutEvents"), "PutEvents per event 0.10 0");
        assert_eq!(line("PutItem"), "PutItem per event 0 1.00");
    }
}
