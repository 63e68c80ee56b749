//! What an event costs on its way, line by line.

use anyhow::{Result, ensure};
use serde::Serialize;
use stack::report::grouped;

use super::measured::{Counts, FULL, Measured, divided};
use super::money::Money;
use super::prices::{Price, Prices};
use super::template;

/// All counts are for a million events.
pub const MILLION: u64 = 1_000_000;
/// A month of 30 days.
pub const MONTH_SECONDS: u64 = 30 * 24 * 60 * 60;
/// The functions' memory.
pub const MEMORY_MB: u64 = 512;
/// How long `ingest` takes for a delivery. It is an assumption.
const INGEST_MS: u64 = 20;
/// How long the processor takes for a batch of one, and for a full one. They are assumptions.
const PROCESSOR_MS: [u64; 2] = [50, 80];
/// A line of the access log, in the format of the template.
pub const ACCESS_LINE: &str = concat!(
    r#"{"time":"29/Nov/2026:04:00:00 +0000","requestId":"JkJuYiEAoAMEZ1Q=","#,
    r#""sourceIp":"203.0.113.10","method":"POST","routeKey":"POST /aura/events","status":"202","#,
    r#""responseBytes":"74","latencyMs":"28","functionMs":"25","functionStatus":"200","#,
    r#""error":"-","functionError":"-"}"#
);
/// Bytes of a line of the access log.
pub const ACCESS_BYTES: u64 = ACCESS_LINE.len() as u64;

/// How many events come, and how.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Events in a month.
    pub events_per_month: u64,
    /// Events that come at once, of different entities: the processor gets them as one batch.
    pub burst: u64,
    /// Seconds from one batch to the next. Without it, the batches are spread evenly over the month.
    pub seconds_apart: Option<u64>,
    /// Which processors the functions run on.
    pub architecture: Architecture,
}

/// The architectures that the template allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub enum Architecture {
    /// Intel and AMD.
    #[value(name = "x86_64")]
    #[serde(rename = "x86_64")]
    X8664,
    /// Graviton.
    #[value(name = "arm64")]
    #[serde(rename = "arm64")]
    Arm64,
}

/// What a line of the arithmetic pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Item {
    /// Requests to API Gateway.
    Api,
    /// Requests to `ingest`.
    IngestRequests,
    /// Time of `ingest`.
    IngestTime,
    /// Requests to the ingest queue.
    IngestQueue,
    /// Requests to the processor.
    ProcessorRequests,
    /// Time of the processor.
    ProcessorTime,
    /// Claims and marks.
    EventWrites,
    /// The time of AURA's last delivery.
    LastDelivery,
    /// Notes about open callouts.
    OpenWrites,
    /// Notes about drills.
    NoteReads,
    /// Events on the bus.
    Bus,
    /// Requests to a consumer's queue.
    ConsumerQueue,
    /// Bytes of logs.
    Logs,
}

/// A line of the arithmetic.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What it pays for.
    pub item: Item,
    /// The same for people.
    pub what: String,
    /// How many or how much: for an event, or for a million.
    pub count: String,
    /// The price for a million events.
    pub dollars_per_million: Money,
}

/// The lines of a million events under a load.
#[derive(Debug)]
pub struct Events<'a> {
    prices: &'a Prices,
    measured: &'a Measured,
    load: Load,
    lines: Vec<Line>,
}

impl Load {
    /// Milliseconds from one batch to the next.
    fn milliseconds_apart(&self) -> u64 {
        let evenly = MONTH_SECONDS * 1000 * self.burst / self.events_per_month.max(1);
        self.seconds_apart.map_or(evenly, |seconds| seconds * 1000)
    }

    fn batches(&self) -> u64 {
        divided(MILLION, self.burst)
    }
}

impl<'a> Events<'a> {
    /// The costs of a million events under this load.
    ///
    /// # Errors
    ///
    /// No batch has so many events, or the processor doesn't say how often it notes.
    pub fn new(prices: &'a Prices, measured: &'a Measured, load: Load) -> Result<Self> {
        ensure!(
            (1..=FULL).contains(&load.burst),
            "a batch has 1 to {FULL} events, and not {}",
            load.burst
        );
        let (lines, notes) = (Vec::new(), template::seconds_between_notes()?);
        let mut events = Self {
            prices,
            measured,
            load,
            lines,
        };
        events.add_ingest();
        events.add_processor();
        events.add_ledger(notes);
        events.add_bus();
        events.add_logs();
        Ok(events)
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The price of a million events.
    #[must_use]
    pub fn sum(&self) -> Money {
        self.lines.iter().map(|line| line.dollars_per_million).sum()
    }

    /// The price of some events.
    #[must_use]
    pub fn of(&self, events: u64) -> Money {
        self.sum().for_units(events, MILLION)
    }

    /// What one item costs for a million events.
    #[must_use]
    pub fn cost(&self, item: Item) -> Money {
        let lines = self.lines.iter().filter(|line| line.item == item);
        lines.map(|line| line.dollars_per_million).sum()
    }

    fn add(&mut self, item: Item, what: impl Into<String>, count: String, dollars: Money) {
        self.lines.push(Line {
            item,
            what: what.into(),
            count,
            dollars_per_million: dollars,
        });
    }

    fn per_million(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        self.measured.per_million(self.load.burst, count)
    }

    fn add_ingest(&mut self) {
        let prices = self.prices;
        let (api, request) = (
            prices.api_request.of(MILLION),
            prices.lambda_request.of(MILLION),
        );
        self.add(Item::Api, "API Gateway", "1 request".into(), api);
        self.add(
            Item::IngestRequests,
            "`ingest`: requests",
            "1".into(),
            request,
        );
        let what = format!("`ingest`: 0.5 GB × {INGEST_MS} ms (assumed)");
        self.add_time(Item::IngestTime, what, MILLION * INGEST_MS);
        let batches = self.load.batches();
        let sent = self.per_million(|counts| counts.sent);
        let count = format!("{0} + {1} + {1}", each(sent), each(batches));
        let dollars = prices.fifo_request.of(sent + 2 * batches);
        self.add(
            Item::IngestQueue,
            "ingest queue: send, receive, delete",
            count,
            dollars,
        );
    }

    fn add_processor(&mut self) {
        let batches = self.load.batches();
        let dollars = self.prices.lambda_request.of(batches);
        self.add(
            Item::ProcessorRequests,
            "`processor`: requests",
            each(batches),
            dollars,
        );
        let [one, ten] = PROCESSOR_MS;
        let what = format!(
            "`processor`: 0.5 GB × {one} ms for a batch of one, {ten} ms for ten (assumed)"
        );
        let burst = self.load.burst;
        let of_nine = one * (FULL - burst) + ten * (burst - 1);
        let time = divided(MILLION * of_nine, (FULL - 1) * burst);
        self.add_time(Item::ProcessorTime, what, time);
    }

    fn add_time(&mut self, item: Item, what: String, milliseconds: u64) {
        let dollars = self.lambda_time().of(MEMORY_MB * milliseconds);
        let gb_s = divided(MEMORY_MB * milliseconds, 1024 * 1000);
        self.add(item, what, format!("{} GB-s", grouped(gb_s)), dollars);
    }

    /// The price of Lambda's time on the load's architecture.
    #[must_use]
    pub fn lambda_time(&self) -> &'a Price {
        match self.load.architecture {
            Architecture::X8664 => &self.prices.lambda_x8664,
            Architecture::Arm64 => &self.prices.lambda_arm64,
        }
    }

    fn add_ledger(&mut self, seconds_between_notes: u64) {
        let prices = self.prices;
        let writes = self.per_million(|counts| counts.event_writes);
        let count = format!("{} writes", each(writes));
        self.add(
            Item::EventWrites,
            "ledger: claim, mark",
            count,
            prices.write.of(writes),
        );
        let apart = self.load.milliseconds_apart().max(1);
        let batches_for_a_note = (seconds_between_notes * 1000).div_ceil(apart).max(1);
        let notes = divided(MILLION, batches_for_a_note * self.load.burst);
        let what = format!(
            "ledger: time of AURA's last delivery, at most every {seconds_between_notes} s"
        );
        let count = format!("{} write", each(notes));
        self.add(Item::LastDelivery, what, count, prices.write.of(notes));
        let open = self.per_million(|counts| counts.open_writes);
        let count = format!("{} write", each(open));
        self.add(
            Item::OpenWrites,
            "ledger: a callout is open or closed",
            count,
            prices.write.of(open),
        );
        let reads = self.per_million(|counts| counts.note_reads);
        let count = format!("{} read", each(reads));
        self.add(
            Item::NoteReads,
            "ledger: which callouts are drills",
            count,
            prices.read.of(reads),
        );
    }

    fn add_bus(&mut self) {
        let published = self.per_million(|counts| counts.published);
        let (count, dollars) = (each(published), self.prices.bus_event.of(published));
        self.add(Item::Bus, "EventBridge", format!("{count} event"), dollars);
        let batches = self.load.batches();
        let count = format!("{count} + {0} + {0}", each(batches));
        let dollars = self.prices.standard_request.of(published + 2 * batches);
        let what = "consumer's queue: send, receive, delete";
        self.add(Item::ConsumerQueue, what, count, dollars);
    }

    fn add_logs(&mut self) {
        let lambda = u64::from(template::lambda_writes_lines());
        let bytes = self.per_million(|its| its.ingest_bytes + its.processor_bytes)
            + lambda * self.per_million(|its| its.lambda_bytes)
            + MILLION * ACCESS_BYTES;
        let [alone, full] = [&self.measured.alone, &self.measured.full];
        let batch = |counts: &Counts| kilobytes(divided(counts.processor_bytes, counts.batches));
        let of_lambda = if lambda > 0 {
            let of_request = kilobytes(self.measured.lambda_bytes());
            format!(", Lambda {of_request} kB a request")
        } else {
            String::new()
        };
        let what = format!(
            "logs: access {} kB, `ingest` {} kB, `processor` {} kB for a batch of one, {} kB for \
             ten{of_lambda}",
            kilobytes(ACCESS_BYTES),
            kilobytes(self.measured.ingest_bytes()),
            batch(alone),
            batch(full)
        );
        let count = format!("{} GB", hundredths(bytes, 1000 * MILLION));
        self.add(Item::Logs, what, count, self.prices.logs.of(bytes));
    }

    /// What some bytes of logs for each of a million events cost.
    #[must_use]
    pub fn log_bytes(&self, bytes: u64) -> Money {
        self.prices.logs.of(bytes * MILLION)
    }

    /// Bytes of the processor's line for a record, from what a batch of ten has more than one of
    /// one.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        let [alone, full] = [&self.measured.alone, &self.measured.full];
        let more = full.processor_bytes.saturating_sub(alone.processor_bytes);
        divided(more, (FULL - 1) * alone.batches)
    }

    /// Bytes of Lambda's own lines for each event; none if Lambda doesn't write them.
    #[must_use]
    pub fn lambda_bytes(&self) -> u64 {
        let bytes = divided(self.per_million(|its| its.lambda_bytes), MILLION);
        bytes * u64::from(template::lambda_writes_lines())
    }
}

/// A count for a million events as one for each event, with up to two decimal places.
fn each(per_million: u64) -> String {
    let text = hundredths(per_million, MILLION);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes as kilobytes, with two decimal places.
#[must_use]
pub fn kilobytes(bytes: u64) -> String {
    hundredths(bytes, 1000)
}

/// A quotient with two decimal places, rounded.
#[must_use]
pub fn hundredths(number: u64, by: u64) -> String {
    let hundredths = divided(number * 100, by);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn load(events_per_month: u64, burst: u64) -> Load {
        Load {
            events_per_month,
            burst,
            seconds_apart: None,
            architecture: Architecture::X8664,
        }
    }

    /// The names of an object's fields, all of which are texts.
    fn fields(line: &str) -> BTreeSet<&str> {
        let parts = line
            .split("\":\"")
            .filter_map(|part| part.rsplit('"').next());
        parts.collect()
    }

    #[test]
    fn the_line_of_the_access_log_has_the_templates_fields() {
        let template = include_str!("../../../../template.yaml");
        let format = template.split("        Format: >-\n").nth(1).unwrap();
        let format: String = format
            .lines()
            .map_while(|its| its.strip_prefix("          "))
            .collect();
        assert!(fields(&format).len() > 10);
        assert_eq!(fields(&format), fields(ACCESS_LINE));
    }

    #[test]
    fn the_rarer_the_events_the_more_of_them_pay_for_a_note() {
        let (prices, measured) = (Prices::read().unwrap(), Measured::read().unwrap());
        let seconds = template::seconds_between_notes().unwrap();
        let notes = |events, burst, seconds_apart| {
            let load = Load {
                seconds_apart,
                ..load(events, burst)
            };
            let events = Events::new(&prices, &measured, load).unwrap();
            events.cost(Item::LastDelivery)
        };
        assert_eq!(
            notes(MONTH_SECONDS / seconds, 1, None),
            prices.write.of(MILLION)
        );
        assert_eq!(notes(1, 1, Some(seconds)), prices.write.of(MILLION));
        assert_eq!(notes(1, 5, Some(seconds)), prices.write.of(MILLION / 5));
        let rush = notes(4 * MONTH_SECONDS / seconds, 1, None);
        assert_eq!(rush, prices.write.of(MILLION / 4));
    }

    #[test]
    fn a_batch_shares_what_it_pays_once() {
        let (prices, measured) = (Prices::read().unwrap(), Measured::read().unwrap());
        let sums = (1..=FULL).map(|burst| {
            Events::new(&prices, &measured, load(MILLION, burst))
                .unwrap()
                .sum()
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.windows(2).all(|pair| pair[0] > pair[1]), "{sums:?}");
        let beyond = Events::new(&prices, &measured, load(MILLION, FULL + 1));
        assert!(beyond.is_err());
    }

    #[test]
    fn a_count_of_a_million_events_is_one_of_each() {
        let counts = [
            0, 222_222, 777_778, 1_000_000, 100_000, 2_000_000, 12_000_000,
        ]
        .map(each);
        assert_eq!(counts, ["0", "0.22", "0.78", "1", "0.1", "2", "12"]);
    }
}
