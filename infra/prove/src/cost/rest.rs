//! What a stack costs in a month in which nothing happens.

use anyhow::Result;
use stack::report::grouped;

use super::events::{Events, MONTH_SECONDS, hundredths, kilobytes};
use super::money::Money;
use super::prices::{Price, Prices};
use super::table::Table;
use super::template;

/// Runs of the reconciler: every minute.
const RUNS: u64 = MONTH_SECONDS / 60;
/// Canaries: every five minutes.
pub const CANARIES: u64 = MONTH_SECONDS / 300;
/// Alarms that `ConsumerWaitSeconds` adds.
const WAIT_ALARMS: u64 = 4;
/// Lambda's pollers of the ingest queue, and how often each asks in a minute.
const POLLS: [u64; 2] = [5, 3];
/// Reads and writes of the ledger in a run of the reconciler.
const RUN_CALLS: [u64; 2] = [18, 3];
/// Memory and time of a run; the time is an assumption.
const RUN_MB_MS: u64 = 512 * 100;
/// When [`RUN_BYTES`] and [`CANARY_BYTES`] were measured, and what they contain.
const BYTES_MEASURED: &str = "measured in November 2026, with Lambda's lines";
/// Bytes that a run logs.
const RUN_BYTES: u64 = 800;
/// Memory and time of the registrar for a canary; the time is an assumption.
const CANARY_MB_MS: u64 = 256 * 500;
/// Bytes that the registrar logs for a canary.
const CANARY_BYTES: u64 = 500;
/// How often the registrar reads the ledger for a canary. It is an assumption.
const CANARY_READS: u64 = 5;
/// The most calls with which new instances of the reconciler read AURA's credentials.
const CREDENTIAL_READS: u64 = 10_000;

/// A line of the month.
struct Line {
    name: &'static str,
    what: String,
    dollars: Money,
}

fn line(name: &'static str, what: String, dollars: Money) -> Line {
    Line {
        name,
        what,
        dollars,
    }
}

/// The month at rest. `canaries` are events as often as canaries come, on the stack's architecture.
///
/// # Errors
///
/// The template has no alarms.
pub fn at_rest(prices: &Prices, canaries: &Events) -> Result<(Table, Money)> {
    let mut table = Table::new(["", "", "a month"]);
    let mut lines = standing(prices)?;
    lines.extend(of_runs(prices, canaries.lambda_time()));
    lines.extend(of_canaries(prices, canaries));
    let secret_calls = CREDENTIAL_READS + 2 * CANARIES;
    let what = format!(
        "a new instance of the reconciler reads the credentials: at most {}. For each canary, the \
         registrar reads the webhook's secret; so does `ingest`, whose copy is five minutes old by \
         then: {}",
        grouped(CREDENTIAL_READS),
        grouped(2 * CANARIES)
    );
    let dollars = prices.secret_call.of(secret_calls);
    lines.push(line("calls to Secrets Manager", what, dollars));
    for Line {
        name,
        what,
        dollars,
    } in &lines
    {
        table.row([(*name).to_owned(), what.clone(), dollars.to_string()]);
    }
    let sum: Money = lines.iter().map(|line| line.dollars).sum();
    table.sum(["sum".to_owned(), String::new(), sum.to_string()]);
    Ok((table, sum))
}

fn standing(prices: &Prices) -> Result<Vec<Line>> {
    let (alarms, metrics) = template::alarms()?;
    let alarms_text = format!(
        "{alarms} × {alarm}, and RulesFailAlarm on {metrics} metrics × {alarm}. \
         `ConsumerWaitSeconds` adds {WAIT_ALARMS} × {alarm}",
        alarm = prices.alarm.of(1)
    );
    let [pollers, polls] = POLLS;
    let polls_text = format!(
        "Lambda's pollers, up to {pollers}, ask every 20 s: {pollers} × {polls} × {} = {} requests",
        grouped(RUNS),
        grouped(pollers * polls * RUNS)
    );
    let metric = format!(
        "1 of the registrar (`CanaryTime`) × {}",
        prices.metric.of(1)
    );
    let secrets = format!(
        "2 × {}: the webhook's, and AURA's credentials",
        prices.secret.of(1)
    );
    Ok(vec![
        line("metrics", metric, prices.metric.of(1)),
        line("alarms", alarms_text, prices.alarm.of(alarms + metrics)),
        line("secrets", secrets, prices.secret.of(2)),
        line(
            "ingest queue",
            polls_text,
            prices.fifo_request.of(pollers * polls * RUNS),
        ),
    ])
}

fn of_runs(prices: &Prices, lambda_time: &Price) -> [Line; 4] {
    let [reads, writes] = RUN_CALLS;
    let [reads_text, writes_text] = [(reads, "reads"), (writes, "writes")]
        .map(|(calls, of)| format!("{calls} {of} a run: {}", grouped(calls * RUNS)));
    let lambda = format!(
        "{} requests, and 0.5 GB × 100 ms each (assumed): {} GB-s",
        grouped(RUNS),
        grouped(RUN_MB_MS * RUNS / 1_024_000)
    );
    let logs = format!(
        "{} kB a run ({BYTES_MEASURED}): {} GB",
        kilobytes(RUN_BYTES),
        hundredths(RUN_BYTES * RUNS, 1_000_000_000)
    );
    let time = prices.lambda_request.of(RUNS) + lambda_time.of(RUN_MB_MS * RUNS);
    [
        line("DynamoDB", reads_text, prices.read.of(reads * RUNS)),
        line("", writes_text, prices.write.of(writes * RUNS)),
        line("Lambda", lambda, time),
        line("logs", logs, prices.logs.of(RUN_BYTES * RUNS)),
    ]
}

fn of_canaries(prices: &Prices, events: &Events) -> [Line; 3] {
    let canaries = grouped(CANARIES);
    let event = format!(
        "{canaries} × [an event](costs.md#a-million-events), at most {} a million",
        events.sum()
    );
    let registrar = format!(
        "registrar: {canaries} requests, and 0.25 GB × 500 ms each (assumed): {} GB-s",
        grouped(CANARY_MB_MS * CANARIES / 1_024_000)
    );
    let ledger = format!(
        "registrar: {canaries} writes (announcement) and {} reads of the ledger ({CANARY_READS} \
         each, assumed), {} kB of logs each ({BYTES_MEASURED})",
        grouped(CANARY_READS * CANARIES),
        kilobytes(CANARY_BYTES)
    );
    let time =
        prices.lambda_request.of(CANARIES) + events.lambda_time().of(CANARY_MB_MS * CANARIES);
    let kept = prices.write.of(CANARIES)
        + prices.read.of(CANARY_READS * CANARIES)
        + prices.logs.of(CANARY_BYTES * CANARIES);
    [
        line("canaries", event, events.of(CANARIES)),
        line("", registrar, time),
        line("", ledger, kept),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::docs::even;
    use crate::cost::measured::Measured;
    use crate::cost::savings::on_arm64;

    #[test]
    fn on_arm64_all_of_lambdas_time_costs_less() {
        let (prices, measured) = (Prices::read().unwrap(), Measured::read().unwrap());
        let load = even(CANARIES, 1);
        let [intel, arm] =
            [load, on_arm64(load)].map(|load| Events::new(&prices, &measured, load).unwrap());
        let time = |price: &Price| price.of(RUN_MB_MS * RUNS) + price.of(CANARY_MB_MS * CANARIES);
        let saved = time(&prices.lambda_x8664) - time(&prices.lambda_arm64);
        let saved = saved + (intel.of(CANARIES) - arm.of(CANARIES));
        let [intel, arm] = [intel, arm].map(|canaries| at_rest(&prices, &canaries).unwrap().1);
        assert!(arm < intel);
        assert_eq!(intel, arm + saved);
    }
}
