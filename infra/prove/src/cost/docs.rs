//! The tables of `docs/costs.md` and `docs/deploy.md`.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::events::{ACCESS_BYTES, Architecture, Events, Load, MILLION, grouped, kilobytes};
use super::extras::Extras;
use super::measured::{FULL, Measured};
use super::money::Money;
use super::prices::Prices;
use super::rest;
use super::savings::{on_arm64, savings};
use super::table::Table;

/// The command that writes the tables into the pages.
pub const WRITE: &str = "cargo prove cost --write";
const COSTS: &str = "docs/costs.md";
const DEPLOY: &str = "docs/deploy.md";
/// Events a month in the columns of the sums.
const VOLUMES: [u64; 3] = [10_000, 50_000, MILLION];
/// The flood of forged requests: requests, bytes of `ingest`'s line, MB-ms of a request (assumed),
/// and calls to Secrets Manager: 100 instances, three versions, every 30 s for an hour.
const FLOOD: u64 = 1000 * 3600;
const FORGED_BYTES: u64 = 700;
const FORGED_MB_MS: u64 = 512 * 5;
const FLOOD_SECRET_CALLS: u64 = 100 * 3 * 120;

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
        forged_table(prices),
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
            "the ledger keeps 450 bytes of each for 35 days: 450 bytes × 35/30 million = 0.53 GB",
            extras.kept,
        ),
        ("the ledger's point-in-time recovery", extras.recovery),
        (
            "the [archive for replays](replay.md) takes 2 kB of each (assumed): 2 GB",
            extras.archived,
        ),
        (
            "the archive keeps them for 35 days: 2 GB × 35/30",
            extras.archive_kept,
        ),
    ] {
        table.row([what.to_owned(), dollars.to_string()]);
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

fn forged_table(prices: &Prices) -> Table {
    let mut table = Table::new(["", "a million", "the flood"]);
    let bytes = ACCESS_BYTES + FORGED_BYTES;
    let lines: [(String, &dyn Fn(u64) -> Money); 4] = [
        ("API Gateway".into(), &|count| prices.api_request.of(count)),
        ("`ingest`: requests".into(), &|count| {
            prices.lambda_request.of(count)
        }),
        (
            "`ingest`: 0.5 GB × 5 ms (assumed): 2,500 GB-s".into(),
            &|count| prices.lambda_x8664.of(FORGED_MB_MS * count),
        ),
        (
            format!(
                "logs: access {} kB, `ingest` {} kB",
                kilobytes(ACCESS_BYTES),
                kilobytes(FORGED_BYTES)
            ),
            &|count| prices.logs.of(bytes * count),
        ),
    ];
    for (what, price) in &lines {
        table.row([
            what.clone(),
            price(MILLION).to_string(),
            price(FLOOD).to_string(),
        ]);
    }
    let secrets = prices.secret_call.of(FLOOD_SECRET_CALLS);
    let what = "Secrets Manager: each instance of `ingest` reads three versions every 30 s; here 100 instances";
    table.row([what, "", &secrets.to_string()]);
    let sum = |count| lines.iter().map(|(_, price)| price(count)).sum::<Money>();
    let [million, flood] = [sum(MILLION), sum(FLOOD) + secrets].map(|sum| sum.to_string());
    table.sum(["sum", &million, &flood]);
    table
}

/// The sums of the volumes of [`VOLUMES`].
fn sum_table(sums: &[(u64, Events)], rest: Money, extras: &Extras) -> Result<Table> {
    let row = |of: &dyn Fn(&(u64, Events)) -> String| -> Result<[String; 3]> {
        let cells: Vec<String> = sums.iter().map(of).collect();
        cells.try_into().ok().context("a sum is missing")
    };
    let kept = extras.ledger() + extras.archive();
    let kept = |volume: u64| kept.for_units(volume, MILLION);
    let [a, b, c] = row(&|(volume, _)| grouped(*volume))?;
    let mut table = Table::new(["events a month", &a, &b, &c]);
    let rows: [(&str, &dyn Fn(&(u64, Events)) -> String); 3] = [
        (
            "[at rest](#a-month-at-rest): alarms, secrets, the reconciler every minute, a canary every five",
            &|_| rest.to_string(),
        ),
        (
            "[the events](costs.md#a-million-events), one at a time",
            &|(volume, events)| events.of(*volume).to_string(),
        ),
        (
            "[the ledger and the archive](costs.md#what-is-kept-of-a-million-events) keep them for 35 days",
            &|(volume, _)| kept(*volume).to_string(),
        ),
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
