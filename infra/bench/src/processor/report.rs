//! The result, for people and for programs, compared with the bars.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde::Serialize;

use super::batch::Case;
use super::function::PythonVersions;
use super::instructions::Instructions;
use super::series::{Sides, Times};
use super::stubbed::{CaseFigures, Figures, Stubbed};
use super::typescript;
use crate::report::{self, Bars, in_thousands};
use crate::statistics::Spread;

/// The most instructions of an event, as a multiple of those of the bare calls.
const INSTRUCTIONS_BAR: f64 = 1.25;
/// The least ratio of the memory of the peer in Python to `processor`'s.
const MEMORY_BAR: f64 = 5.0;

const CPU: &str = "events per CPU second";
const MEMORY: &str = "memory";

/// Bars of one kind of batch: their names and values.
struct CaseBars {
    cpu: &'static str,
    /// The least ratio of `processor`'s events per CPU second to those of the peer in Python.
    cpu_ratio: f64,
    instructions: &'static str,
}

impl CaseBars {
    fn of(case: Case) -> Self {
        let (cpu, cpu_ratio, instructions) = match case {
            Case::Groups => (
                "events per CPU second: groups",
                15.0,
                "instructions: groups",
            ),
            Case::OneGroup => (
                "events per CPU second: oneGroup",
                8.0,
                "instructions: oneGroup",
            ),
            Case::OneEvent => (
                "events per CPU second: oneEvent",
                6.0,
                "instructions: oneEvent",
            ),
            Case::Duplicates => (
                "events per CPU second: duplicates",
                12.0,
                "instructions: duplicates",
            ),
        };
        Self {
            cpu,
            cpu_ratio,
            instructions,
        }
    }
}

/// Versions of the peers.
#[derive(Debug, Serialize)]
pub struct Versions {
    /// Versions of the peer in Python.
    pub python: PythonVersions,
    /// Versions of the peer in TypeScript.
    pub typescript: typescript::Versions,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Versions of the peers.
    pub versions: Versions,
    /// Figures against stubs of AWS that answer at once.
    pub stubbed: Stubbed,
    /// Instructions by kind of batch; empty if they weren't counted.
    pub instructions: Vec<Instructions>,
    /// Ratio of the memory of the peer in Python to `processor`'s.
    pub memory_ratio: f64,
    /// Each bar, and whether it was met.
    pub bars: Bars,
}

impl Report {
    /// Compares the figures with the bars.
    #[must_use]
    pub fn new(versions: Versions, stubbed: Stubbed, instructions: Vec<Instructions>) -> Self {
        let (memory_ratio, _) = times_less(stubbed.peak_kib.map(f64::from));
        let cpu = stubbed.cases.iter().map(|case| {
            let bars = CaseBars::of(case.case);
            (bars.cpu, case.cpu_ratios.python.median >= bars.cpu_ratio)
        });
        let counted = instructions.iter().map(|counted| {
            let bars = CaseBars::of(counted.case);
            (bars.instructions, counted.ratio <= INSTRUCTIONS_BAR)
        });
        let memory = (MEMORY, memory_ratio >= MEMORY_BAR);
        let bars = Bars::new(cpu.chain(counted).chain([memory]));
        Self {
            versions,
            stubbed,
            instructions,
            memory_ratio,
            bars,
        }
    }
}

/// How many times less `processor`'s figure is than that of the peer in Python, and in TypeScript.
fn times_less(figures: Sides<f64>) -> (f64, f64) {
    (
        figures.python / figures.processor,
        figures.typescript / figures.processor,
    )
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        let columns = [
            "processor",
            "Python",
            "better by",
            "TypeScript",
            "better by",
        ];
        report::row(f, "", columns, "bar", "")?;
        for case in &self.stubbed.cases {
            self.write_case(f, case)?;
        }
        self.write_memory_and_start(f)?;
        self.write_instructions(f)
    }
}

impl Report {
    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            "No side uses TLS: it would cost all about the same, and lower the ratios"
        )?;
        let PythonVersions {
            python,
            powertools,
            boto3,
        } = &self.versions.python;
        writeln!(f, "Python {python}, Powertools {powertools}, boto3 {boto3}")?;
        let typescript::Versions {
            node,
            powertools,
            sdk,
            ..
        } = &self.versions.typescript;
        writeln!(
            f,
            "TypeScript on Node.js {node}, Powertools {powertools}, AWS SDK {sdk}"
        )
    }

    fn write_case(&self, f: &mut fmt::Formatter<'_>, case: &CaseFigures) -> fmt::Result {
        let figures = &case.figures;
        let name = self.name(case.case);
        report::row(f, &name, [""; 5], "", "")?;
        write_cpu(f, case)?;
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
        let figures = figures.map(|figures| whole(figures.events_per_cpu_second));
        let bars = CaseBars::of(case.case);
        let ratios = &case.cpu_ratios;
        let better = (ratios.python.median, ratios.typescript.median);
        let bar = format!("at least {:.0} ×", bars.cpu_ratio);
        let verdict = self.bars.verdict(bars.cpu);
        let name = format!("  {CPU}");
        report::row(f, &name, columns(&figures, better), &bar, verdict)
    }

    fn write_memory_and_start(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |kib: u32| format!("{:.1} MiB", f64::from(kib) / 1024.0);
        let peaks = self.stubbed.peak_kib;
        let better = times_less(peaks.map(f64::from));
        report::row(
            f,
            "memory, at most",
            columns(&peaks.map(mebibytes), better),
            &format!("at least {MEMORY_BAR} ×"),
            self.bars.verdict(MEMORY),
        )?;
        let start = self.stubbed.start_ms;
        row(f, "start to first /next", start, milliseconds)
    }

    fn write_instructions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instructions.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "Instructions per event in user space, counted by valgrind"
        )?;
        report::row(f, "", ["processor", "bare calls", "ratio"], "bar", "")?;
        let bar = format!("at most {INSTRUCTIONS_BAR} ×");
        for counted in &self.instructions {
            let [processor, bare] = [counted.processor, counted.bare_calls].map(in_thousands);
            let ratio = format!("{:.2} ×", counted.ratio);
            let verdict = self.bars.verdict(CaseBars::of(counted.case).instructions);
            let name = self.name(counted.case);
            let figures = [&*processor, &bare, &ratio];
            report::row(f, &name, figures, &bar, verdict)?;
        }
        Ok(())
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

/// Writes the medians of the CPU time, and below them the lowest and the highest figures.
fn write_cpu(f: &mut fmt::Formatter<'_>, case: &CaseFigures) -> fmt::Result {
    let cpu = case
        .figures
        .as_ref()
        .map(|figures| figures.cpu_us_per_event);
    let ratios = &case.cpu_ratios;
    let medians = cpu.map(|cpu| microseconds(cpu.median));
    let better = (ratios.python.median, ratios.typescript.median);
    report::row(f, "  CPU per event", columns(&medians, better), "", "")?;
    let range = |spread: Spread| format!("{:.0}–{:.0} µs", spread.lowest, spread.highest);
    let cpu = cpu.map(range);
    let ratio = |spread: Spread| format!("{:.1}–{:.1} ×", spread.lowest, spread.highest);
    let (python, typescript) = (ratio(ratios.python), ratio(ratios.typescript));
    let figures = [
        &*cpu.processor,
        &cpu.python,
        &python,
        &cpu.typescript,
        &typescript,
    ];
    report::row(f, "    from the lowest to the highest", figures, "", "")
}

fn write_times(f: &mut fmt::Formatter<'_>, case: Case, times: Sides<&Times>) -> fmt::Result {
    let what = match case {
        Case::OneEvent => "an event",
        Case::Groups | Case::OneGroup | Case::Duplicates => "a batch",
    };
    let p50 = times.map(|times| times.p50_ms);
    row(f, &format!("  {what}, p50"), p50, milliseconds)?;
    write_tail(f, what, times)?;
    let rate = times.map(|times| times.events_per_second);
    let (python, typescript) = times_less(rate);
    let figures = rate.map(whole);
    let figures = columns(&figures, (1.0 / python, 1.0 / typescript));
    report::row(f, "  events per second, one instance", figures, "", "")
}

/// Writes the p99, or the slowest batch if there are too few batches for a p99.
fn write_tail(f: &mut fmt::Formatter<'_>, what: &str, times: Sides<&Times>) -> fmt::Result {
    let p99 = times.map(|times| times.p99_ms);
    if let [Some(processor), Some(python), Some(typescript)] = p99.in_turn() {
        let p99 = Sides {
            processor,
            python,
            typescript,
        };
        return row(f, &format!("  {what}, p99"), p99, milliseconds);
    }
    let slowest = times.map(|times| times.slowest_ms);
    row(f, &format!("  {what}, the slowest"), slowest, milliseconds)
}

fn write_calls(f: &mut fmt::Formatter<'_>, figures: Sides<&Figures>) -> fmt::Result {
    let calls = figures.map(|figures| &figures.calls_per_event);
    let operations = calls.in_turn().into_iter().flat_map(|calls| calls.keys());
    for operation in operations.collect::<BTreeSet<_>>() {
        let per_event = calls.map(|calls| match calls.get(operation) {
            Some(calls) => format!("{calls:.2}"),
            None => "0".to_owned(),
        });
        let name = format!("  {} per event", short(operation));
        let figures = [
            &*per_event.processor,
            &per_event.python,
            "",
            &per_event.typescript,
        ];
        report::row(f, &name, figures, "", "")?;
    }
    Ok(())
}

/// Writes a figure of all sides, and how many times less `processor`'s is.
fn row(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    figures: Sides<f64>,
    show: fn(f64) -> String,
) -> fmt::Result {
    let better = times_less(figures);
    report::row(f, name, columns(&figures.map(show), better), "", "")
}

/// The figures of all sides, each peer's with how many times better `processor`'s is.
fn columns(figures: &Sides<String>, (python, typescript): (f64, f64)) -> [String; 5] {
    [
        figures.processor.clone(),
        figures.python.clone(),
        times(python),
        figures.typescript.clone(),
        times(typescript),
    ]
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
    use std::path::PathBuf;

    use super::*;
    use crate::processor::stubbed::Ratios;

    fn steady(figure: f64) -> Spread {
        Spread::of([figure])
    }

    fn figures(cpu: f64, calls: &[(&str, f64)]) -> Figures {
        let calls = calls
            .iter()
            .map(|(name, calls)| ((*name).to_owned(), *calls));
        Figures {
            cpu_us_per_event: steady(cpu),
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

    /// Figures of a kind of batch in which `processor` handles this many times more events.
    fn case(case: Case, better: f64) -> CaseFigures {
        CaseFigures {
            case,
            figures: Sides {
                processor: figures(100.0, &[("AWSEvents.PutEvents", 0.1)]),
                python: figures(100.0 * better, &[("DynamoDB_20120810.PutItem", 1.0)]),
                typescript: figures(100.0, &[("DynamoDB_20120810.PutItem", 1.0)]),
            },
            cpu_ratios: Ratios {
                python: steady(better),
                typescript: steady(1.0),
            },
        }
    }

    fn counted(case: Case, ratio: f64) -> Instructions {
        Instructions {
            case,
            batches: 10,
            processor: 1,
            bare_calls: 1,
            ratio,
        }
    }

    fn report(cases: Vec<CaseFigures>, python_kib: u32, counted: Vec<Instructions>) -> Report {
        let versions = Versions {
            python: PythonVersions {
                python: "3.11.7".into(),
                powertools: "3.37.0".into(),
                boto3: "1.43.106".into(),
            },
            typescript: typescript::Versions {
                program: PathBuf::from("node"),
                node: "20.20.2".into(),
                powertools: "2.35.0".into(),
                sdk: "3.1169.0".into(),
            },
        };
        let stubbed = Stubbed {
            rounds: 1,
            batches: 10,
            duplicates_percent: 100,
            cases,
            peak_kib: Sides {
                processor: 20_000,
                python: python_kib,
                typescript: 1,
            },
            start_ms: SIDES_MS,
        };
        Report::new(versions, stubbed, counted)
    }

    const SIDES_MS: Sides<f64> = Sides {
        processor: 10.0,
        python: 500.0,
        typescript: 300.0,
    };

    #[test]
    fn each_kind_of_batch_has_its_own_bars() {
        let cases = vec![case(Case::Groups, 15.0), case(Case::OneGroup, 7.9)];
        let counted = vec![counted(Case::Groups, 1.25), counted(Case::OneEvent, 1.26)];
        let report = report(cases, 99_000, counted);
        let verdict = |name: &str| report.bars.verdict(name);
        assert_eq!(verdict("events per CPU second: groups"), "met");
        assert_eq!(verdict("events per CPU second: oneGroup"), "MISSED");
        assert_eq!(verdict("instructions: groups"), "met");
        assert_eq!(verdict("instructions: oneEvent"), "MISSED");
        assert_eq!(verdict(MEMORY), "MISSED");
    }

    #[test]
    fn every_bar_is_shown_with_its_verdict() {
        let cases = Case::ALL.map(|kind| case(kind, 5.0)).into();
        let counted = Case::ALL.map(|kind| counted(kind, 2.0)).into();
        let shown = report(cases, 100_000, counted).to_string();
        let missed = |bar: &str| {
            let lines = shown.lines().filter(|line| line.contains(bar));
            lines.filter(|line| line.ends_with("MISSED")).count()
        };
        for bar in ["15 ×", "8 ×", "6 ×", "12 ×"] {
            assert_eq!(missed(&format!("at least {bar}")), 1, "{shown}");
        }
        assert_eq!(missed("at most 1.25 ×"), Case::ALL.len(), "{shown}");
        assert_eq!(missed("at least 5 ×"), 0, "{shown}");
    }

    #[test]
    fn a_tail_of_few_batches_is_named_the_slowest() {
        let mut few = case(Case::Groups, 10.0);
        few.figures.typescript.times.p99_ms = None;
        let shown = report(vec![few], 1, Vec::new()).to_string();
        assert!(!shown.contains("p99"), "{shown}");
        assert!(shown.contains("a batch, the slowest"), "{shown}");
    }

    #[test]
    fn an_operation_that_one_side_alone_calls_is_shown_for_all() {
        let shown = report(vec![case(Case::Groups, 10.0)], 1, Vec::new()).to_string();
        let line = |name: &str| {
            let line = shown.lines().find(|line| line.contains(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("PutEvents"), "PutEvents per event 0.10 0 0");
        assert_eq!(line("PutItem"), "PutItem per event 0 1.00 1.00");
    }
}
