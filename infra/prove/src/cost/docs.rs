//! The tables of `docs/costs.md` and `docs/deploy.md`.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use stack::report::grouped;

use super::events::{
    ACCESS_BYTES, Architecture, Events, Load, MEMORY_MB, MILLION, hundredths, kilobytes,
};
use super::extras::{ARCHIVED_KB, DAYS, Extras, ITEM_BYTES, MONTH};
use super::measured::{FULL, Measured};
use super::money::Money;
use super::prices::Prices;
use super::rest;
use super::savings::{on_arm64, savings};
use super::table::Table;
use super::template;

/// The command that writes the tables into the pages.
pub const WRITE: &str = "cargo prove cost --write";
const COSTS: &str = "docs/costs.md";
const DEPLOY: &str = "docs/deploy.md";
/// Events a month in the columns of the sums.
const VOLUMES: [u64; 3] = [10_000, 50_000, MILLION];
/// Seconds of the flood of forged requests.
const FLOOD_SECONDS: u64 = 3600;
/// Requests of the flood: a thousand in a second.
const FLOOD: u64 = 1000 * FLOOD_SECONDS;
/// How long `ingest` takes to refuse a request. It is an assumption.
const FORGED_MS: u64 = 5;
/// How many instances of `ingest` the flood has work for.
const FLOOD_INSTANCES: u64 = 100;
/// How many versions of the secret an instance of `ingest` reads.
const VERSIONS: u64 = 3;
/// After how many seconds it reads them again.
const SECRET_SECONDS: u64 = 30;

/// A table of a page.
#[derive(Debug)]
pub struct PageTable {
    /// Path of the page below the checkout's root.
    pub page: &'static str,
    /// The table.
    pub table: Table,
}

/// A load that comes evenly over a month, on `x86_64`.
#[must_use]
pub fn even(events_per_month: u64, burst: u64) -> Load {
    Load {
        events_per_month,
        burst,
        seconds_apart: None,
        architecture: Architecture::X8664,
    }
}

/// All tables of the documentation that are written from the prices and the measurements.
///
/// # Errors
///
/// The arithmetic lacks a number.
pub fn tables(prices: &Prices, measured: &Measured) -> Result<Vec<PageTable>> {
    let events = |load| Events::new(prices, measured, load);
    let alone = events(even(MILLION, 1))?;
    let full = events(even(MILLION, FULL))?;
    let arm64 = events(on_arm64(even(MILLION, 1)))?;
    let extras = Extras::new(prices);
    let (at_rest, rest) = rest::at_rest(prices, &events(even(rest::CANARIES, 1))?)?;
    let volumes = VOLUMES.map(|volume| events(even(volume, 1)));
    let mut sums = Vec::new();
    for (volume, events) in VOLUMES.into_iter().zip(volumes) {
        sums.push((volume, events?));
    }
    let costs = [
        price_table(prices),
        event_table(&alone, &full),
        extra_table(&extras),
        saving_table(prices, &alone, &arm64, &extras),
        forged_table(prices, measured),
    ];
    let deploy = [sum_table(&sums, rest, &extras)?, at_rest];
    let of = |page| move |table| PageTable { page, table };
    let costs = costs.into_iter().map(of(COSTS));
    Ok(costs.chain(deploy.into_iter().map(of(DEPLOY))).collect())
}

fn price_table(prices: &Prices) -> Table {
    let mut table = Table::new(["service", "price", "as of"]);
    for price in prices.all() {
        let service = format!("[{}]({})", price.service, price.source);
        let text = format!("${} per {}", price.dollars, price.unit);
        table.row([service, text, price.as_of.clone()]);
    }
    table
}

fn event_table(alone: &Events, full: &Events) -> Table {
    let mut table = Table::new(["", "one at a time", "", "ten at a time", ""]);
    for (one, ten) in alone.lines().iter().zip(full.lines()) {
        let [of_one, of_ten] = [one, ten].map(|line| line.dollars_per_million.to_string());
        table.row([&one.what, &one.count, &of_one, &ten.count, &of_ten]);
    }
    let [one, ten] = [alone, full].map(|events| events.sum().to_string());
    table.sum(["sum", "", &one, "", &ten]);
    table
}

fn extra_table(extras: &Extras) -> Table {
    let mut table = Table::new(["on top of a million events", "a month"]);
    for (what, dollars) in [
        (
            format!(
                "the ledger keeps {ITEM_BYTES} bytes of each for {DAYS} days: \
                 {ITEM_BYTES} bytes × {DAYS}/{MONTH} million = {} GB",
                hundredths(ITEM_BYTES * DAYS, MONTH * 1000)
            ),
            extras.kept,
        ),
        (
            "the ledger's point-in-time recovery".to_owned(),
            extras.recovery,
        ),
        (
            format!(
                "the [archive for replays](replay.md) takes {ARCHIVED_KB} kB of each (assumed): \
                 {ARCHIVED_KB} GB"
            ),
            extras.archived,
        ),
        (
            format!("the archive keeps them for {DAYS} days: {ARCHIVED_KB} GB × {DAYS}/{MONTH}"),
            extras.archive_kept,
        ),
    ] {
        table.row([what, dollars.to_string()]);
    }
    table
}

fn saving_table(prices: &Prices, alone: &Events, arm64: &Events, extras: &Extras) -> Table {
    let mut table = Table::new(["saving", "a million events", "what it would give up"]);
    for saving in savings(prices, alone, arm64, extras) {
        let dollars = saving.dollars.to_string();
        table.row([saving.what, &dollars, saving.gives_up]);
    }
    table
}

fn forged_table(prices: &Prices, measured: &Measured) -> Table {
    let mut table = Table::new(["", "a million", "the flood"]);
    let mb_ms = MEMORY_MB * FORGED_MS;
    let (logs, bytes) = forged_logs(measured);
    let lines: [(String, &dyn Fn(u64) -> Money); 4] = [
        ("API Gateway".into(), &|count| prices.api_request.of(count)),
        ("`ingest`: requests".into(), &|count| {
            prices.lambda_request.of(count)
        }),
        (
            format!(
                "`ingest`: 0.5 GB × {FORGED_MS} ms (assumed): {} GB-s",
                grouped(mb_ms * MILLION / 1_024_000)
            ),
            &|count| prices.lambda_x8664.of(mb_ms * count),
        ),
        (logs, &|count| prices.logs.of(bytes * count)),
    ];
    for (what, price) in &lines {
        table.row([
            what.clone(),
            price(MILLION).to_string(),
            price(FLOOD).to_string(),
        ]);
    }
    let reads = FLOOD_INSTANCES * VERSIONS * FLOOD_SECONDS / SECRET_SECONDS;
    let secrets = prices.secret_call.of(reads);
    let what = format!(
        "Secrets Manager: each instance of `ingest` reads {VERSIONS} versions every {SECRET_SECONDS} s; \
         here {FLOOD_INSTANCES} instances"
    );
    table.row([what, String::new(), secrets.to_string()]);
    let sum = |count| lines.iter().map(|(_, price)| price(count)).sum::<Money>();
    let [million, flood] = [sum(MILLION), sum(FLOOD) + secrets].map(|sum| sum.to_string());
    table.sum(["sum", &million, &flood]);
    table
}

/// The logs of a forged request, for people, and their bytes. `ingest`'s line about a refused request is
/// shorter than the one about an accepted event, which was measured.
fn forged_logs(measured: &Measured) -> (String, u64) {
    let ingest = measured.ingest_bytes();
    let mut bytes = ACCESS_BYTES + ingest;
    let mut of_lambda = String::new();
    if template::lambda_writes_lines() {
        let lambda = measured.lambda_bytes();
        bytes += lambda;
        of_lambda = format!(", Lambda {} kB", kilobytes(lambda));
    }
    let what = format!(
        "logs, at most, as for an accepted event: access {} kB, `ingest` {} kB{of_lambda}",
        kilobytes(ACCESS_BYTES),
        kilobytes(ingest)
    );
    (what, bytes)
}

/// What a cell says of a volume.
type Cell<'a> = &'a dyn Fn(&(u64, Events)) -> String;

/// The sums of the volumes of [`VOLUMES`].
fn sum_table(sums: &[(u64, Events)], rest: Money, extras: &Extras) -> Result<Table> {
    let row = |of: Cell<'_>| -> Result<[String; 3]> {
        let cells: Vec<String> = sums.iter().map(of).collect();
        cells.try_into().ok().context("a sum is missing")
    };
    let kept = extras.ledger() + extras.archive();
    let kept = |volume: u64| kept.for_units(volume, MILLION);
    let [a, b, c] = row(&|(volume, _)| grouped(*volume))?;
    let mut table = Table::new(["events a month", &a, &b, &c]);
    let storage = format!(
        "[the ledger and the archive](costs.md#what-is-kept-of-a-million-events) keep them for {DAYS} days"
    );
    let rows: [(&str, Cell<'_>); 3] = [
        (
            "[at rest](#a-month-at-rest): alarms, secrets, the reconciler every minute, a canary every five",
            &|_| rest.to_string(),
        ),
        (
            "[the events](costs.md#a-million-events), one at a time",
            &|(volume, events)| events.of(*volume).to_string(),
        ),
        (&storage, &|(volume, _)| kept(*volume).to_string()),
    ];
    for (what, of) in rows {
        let [a, b, c] = row(of)?;
        table.row([what, &a, &b, &c]);
    }
    let [a, b, c] =
        row(&|(volume, events)| (rest + events.of(*volume) + kept(*volume)).to_string())?;
    table.sum(["sum", &a, &b, &c]);
    Ok(table)
}

/// Puts the tables into their pages.
///
/// # Errors
///
/// A page can't be read or written, or doesn't have a table with the same head.
pub fn write(root: &Path, tables: &[PageTable]) -> Result<()> {
    for PageTable { page, table } in tables {
        let path = root.join(page);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {page}"))?;
        let text = replaced(&text, table).with_context(|| format!("cannot write into {page}"))?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {page}"))?;
    }
    Ok(())
}

/// The page with this table in the place of the one that has the same head.
fn replaced(page: &str, table: &Table) -> Result<String> {
    let head = format!("\n{}\n", table.head());
    let mut parts = page.split(&head);
    let (before, after) = (parts.next(), parts.next());
    let (Some(before), Some(after), None) = (before, after, parts.next()) else {
        anyhow::bail!(
            "it must have exactly one table with the head {}",
            table.head()
        );
    };
    let rows = after.lines().take_while(|line| line.starts_with('|'));
    let length: usize = rows.map(|line| line.len() + 1).sum();
    let rest = after.get(length..).unwrap_or_default();
    Ok(format!("{before}\n{}{rest}", table.markdown()))
}

/// Checks that the pages of the checkout at `root` have these tables.
///
/// # Errors
///
/// A page has another table.
pub fn check(root: &Path, tables: &[PageTable]) -> Result<()> {
    for PageTable { page, table } in tables {
        let text = std::fs::read_to_string(root.join(page))
            .with_context(|| format!("cannot read {page}"))?;
        ensure!(
            text.contains(&table.markdown()),
            "{page} doesn't have this table. `{WRITE}` mends it:\n{}",
            table.markdown()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use stack::workspace::Workspace;

    use super::*;

    #[test]
    fn the_documentation_has_the_tables_of_the_command() {
        let tables = tables(&Prices::read().unwrap(), &Measured::read().unwrap()).unwrap();
        check(Workspace::here().unwrap().root(), &tables).unwrap();
    }

    #[test]
    fn a_table_takes_the_place_of_the_one_with_its_head() {
        let mut table = Table::new(["what", "price"]);
        table.row(["one", "$1.00"]);
        let page =
            "# Costs\n\n| what | price |\n| --- | --- |\n| one | $2.00 |\n| two | $2.00 |\n\nEnd\n";
        let written = replaced(page, &table).unwrap();
        assert_eq!(written, format!("# Costs\n\n{}\nEnd\n", table.markdown()));
        assert_eq!(replaced(&written, &table).unwrap(), written);
        assert!(replaced("# Costs\n", &table).is_err());
        assert!(replaced(&page.repeat(2), &table).is_err());
    }
}
