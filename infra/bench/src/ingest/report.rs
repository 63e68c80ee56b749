//! The result, for people and for programs, compared with the bars.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use serde::Serialize;

use super::instructions::Instructions;
use super::start::{Start, Starts};
use super::warm::{Memory, Warm};
use crate::report::{self, Bars, in_thousands};

/// The most that the start may take, as a multiple of the empty handler's start.
const START_BAR: f64 = 2.5;
/// Bar of the time in the handler, in microseconds.
const HANDLER_BAR: f64 = 100.0;
/// Bar of the memory, in KiB.
const MEMORY_BAR: u32 = 30 * 1024;
/// Bar of the memory's growth from the thousandth delivery to the last, in percent.
const GROWTH_BAR: f64 = 5.0;
/// The most instructions of a delivery, as a multiple of those of one `SendMessage`.
const INSTRUCTIONS_BAR: f64 = 1.1;
/// Bar of the size of each zip, in bytes.
const ZIP_BAR: usize = 7 * 1024 * 1024 / 2;

/// Everything that was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How long the functions take to start.
    pub start: Starts,
    /// Times and memory of the running functions.
    pub warm: Warm,
    /// Instructions per delivery; `None` if they weren't counted.
    pub instructions: Option<Instructions>,
    /// Size of each function's zip in bytes.
    pub zip_bytes: BTreeMap<&'static str, usize>,
    /// Each bar, and whether it was met.
    pub bars: Bars,
}

impl Report {
    /// Compares the figures with the bars.
    #[must_use]
    pub fn new(
        start: Starts,
        warm: Warm,
        instructions: Option<Instructions>,
        zip_bytes: BTreeMap<&'static str, usize>,
    ) -> Self {
        let bars = [
            ("start", start.ratio <= START_BAR),
            ("handler", warm.handler.p50_us < HANDLER_BAR),
            ("memory", peak(&warm.memory) < MEMORY_BAR),
            (
                "memory growth",
                growth(&warm.memory).is_some_and(|growth| growth < GROWTH_BAR),
            ),
        ];
        let counted = instructions.as_ref();
        let counted = counted.map(|counted| ("instructions", counted.ratio <= INSTRUCTIONS_BAR));
        let zips = zip_bytes
            .iter()
            .map(|(name, bytes)| (*name, *bytes <= ZIP_BAR));
        let bars = Bars::new(bars.into_iter().chain(counted).chain(zips));
        Self {
            start,
            warm,
            instructions,
            zip_bytes,
            bars,
        }
    }
}

fn peak(memory: &[Memory]) -> u32 {
    let sizes = memory.iter().map(|memory| memory.ingest_kib);
    sizes.max().unwrap_or_default()
}

/// Growth of the memory from the thousandth delivery to the last, in percent; `None` if there were
/// fewer deliveries.
fn growth(memory: &[Memory]) -> Option<f64> {
    let settled = memory.iter().find(|memory| memory.deliveries >= 1_000)?;
    let last = memory
        .last()
        .filter(|last| last.deliveries > settled.deliveries)?;
    Some((f64::from(last.ingest_kib) / f64::from(settled.ingest_kib) - 1.0) * 100.0)
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        row(f, ["", "ingest", "sdk-call", "empty", "bar", ""])?;
        self.write_start(f)?;
        self.write_warm(f)?;
        self.write_instructions(f)?;
        self.write_memory(f)?;
        self.write_zips(f)
    }
}

impl Report {
    fn write_start(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = &self.start;
        let functions = [start.ingest, start.sdk_call, start.empty];
        let milliseconds = |time: f64| format!("{time:.1} ms");
        let times = |function: Start| format!("{:.1} ×", function.next_ms / start.empty.next_ms);

        let name = format!("start to first /next, median of {}", start.starts);
        let [ingest, sdk_call, empty] = functions.map(|function| milliseconds(function.next_ms));
        row(f, [&name, &ingest, &sdk_call, &empty, "", ""])?;
        let [ingest, sdk_call, empty] = functions.map(times);
        let verdict = self.bars.verdict("start");
        row(
            f,
            [
                "  relative to the empty handler",
                &ingest,
                &sdk_call,
                &empty,
                &format!("at most {START_BAR} ×"),
                verdict,
            ],
        )?;
        let [ingest, sdk_call, empty] =
            functions.map(|function| milliseconds(function.first_delivery_ms));
        row(f, ["first delivery", &ingest, &sdk_call, &empty, "", ""])
    }

    fn write_warm(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = |time: f64| format!("{time:.0} µs");
        let handler = &self.warm.handler;
        let [p50, p95] = [handler.p50_us, handler.p95_us].map(microseconds);
        let verdict = self.bars.verdict("handler");
        row(
            f,
            [
                "in the handler without SQS, p50",
                &p50,
                "",
                "",
                &format!("below {HANDLER_BAR} µs"),
                verdict,
            ],
        )?;
        row(f, ["  p95", &p95, "", "", "", ""])?;
        let trips = &self.warm.round_trip;
        let trips = [&trips.ingest, &trips.sdk_call, &trips.empty];
        let [ingest, sdk_call, empty] = trips.map(|trip| microseconds(trip.p50_us));
        row(f, ["round trip, p50", &ingest, &sdk_call, &empty, "", ""])?;
        let [ingest, sdk_call, empty] = trips.map(|trip| microseconds(trip.p95_us));
        row(f, ["  p95", &ingest, &sdk_call, &empty, "", ""])
    }

    fn write_instructions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(counted) = &self.instructions else {
            return Ok(());
        };
        let [ingest, sdk_call, empty] =
            [counted.ingest, counted.sdk_call, counted.empty].map(in_thousands);
        let name = "instructions per delivery";
        row(f, [name, &ingest, &sdk_call, &empty, "", ""])?;
        let ratio = format!("{:.2} ×", counted.ratio);
        let verdict = self.bars.verdict("instructions");
        let name = "  relative to sdk-call";
        let bar = format!("at most {INSTRUCTIONS_BAR} ×");
        row(f, [name, &ratio, "", "", &bar, verdict])
    }

    fn write_zips(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bar = format!("at most {}", mebibytes(ZIP_BAR));
        for (function, bytes) in &self.zip_bytes {
            let name = format!("zip of {function}");
            let zip = mebibytes(*bytes);
            let verdict = self.bars.verdict(function);
            row(f, [&name, &zip, "", "", &bar, verdict])?;
        }
        Ok(())
    }

    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |kib: u32| format!("{:.1} MiB", f64::from(kib) / 1024.0);
        for memory in &self.warm.memory {
            let name = format!("resident after {} deliveries", memory.deliveries);
            let [ingest, sdk_call, empty] =
                [memory.ingest_kib, memory.sdk_call_kib, memory.empty_kib].map(size);
            row(f, [&name, &ingest, &sdk_call, &empty, "", ""])?;
        }
        let peak = size(peak(&self.warm.memory));
        let verdict = self.bars.verdict("memory");
        let bar = format!("below {} MiB", MEMORY_BAR / 1024);
        row(f, ["  at most", &peak, "", "", &bar, verdict])?;
        let growth = growth(&self.warm.memory);
        let verdict = growth.map_or("", |_| self.bars.verdict("memory growth"));
        let growth = growth.map_or("not measured".into(), |growth| format!("{growth:.1} %"));
        row(
            f,
            [
                "  growth from the thousandth",
                &growth,
                "",
                "",
                &format!("below {GROWTH_BAR} %"),
                verdict,
            ],
        )
    }
}

/// A size with two digits, because the bar has one.
fn mebibytes(bytes: usize) -> String {
    let hundredths = bytes * 100 / (1 << 20);
    format!("{}.{:02} MiB", hundredths / 100, hundredths % 100)
}

fn row(f: &mut fmt::Formatter<'_>, cells: [&str; 6]) -> fmt::Result {
    let [name, ingest, sdk_call, empty, bar, verdict] = cells;
    report::row(f, name, [ingest, sdk_call, empty], bar, verdict)
}
