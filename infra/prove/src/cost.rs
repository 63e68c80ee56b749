//! What the system costs on AWS: `cargo prove cost`.
//!
//! The prices stand in `cost/prices.json`, each with its source and date. The counts of calls and the
//! bytes of log lines stand in `cost/measured.json`; an end-to-end test compares them with what the
//! functions do. Numbers of alarms, and how often AURA's last delivery is noted, are read from the
//! template and the processor. Lambda's times are assumptions. So are the figures of [`rest`] and
//! [`extras`] that say so.
//!
//! Amounts are integers ([`money::Money`]). Only a printed amount is rounded, so a sum can differ by a
//! cent from the sum of the printed amounts.

pub mod docs;
pub mod events;
pub mod extras;
pub mod measured;
pub mod money;
pub mod prices;
pub mod rest;
pub mod savings;
pub mod table;
mod template;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use stack::report::grouped;
use stack::workspace::Workspace;

use self::docs::{even, tables};
use self::events::{Architecture, Events, Line, Load, MILLION};
use self::extras::{DAYS, Extras};
use self::measured::Measured;
use self::money::Money;
use self::prices::Prices;
use self::table::Table;

/// The options that say how events come. The tables of the documentation have loads of their own.
const LOAD_OPTIONS: [&str; 4] = ["events_per_month", "burst", "seconds_apart", "architecture"];

/// The options of the command.
#[derive(Debug, Args)]
pub struct Options {
    /// Events in a month of 30 days
    #[arg(long, default_value_t = MILLION, value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    events_per_month: u64,
    /// How many events come at once, of different entities: the processor gets them as one batch
    #[arg(long, default_value_t = 1, value_name = "B",
        value_parser = clap::value_parser!(u64).range(1..=measured::FULL))]
    burst: u64,
    /// Seconds from one batch to the next [default: spread evenly over the month]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    seconds_apart: Option<u64>,
    /// Processor architecture of the functions
    #[arg(long, value_enum, default_value_t = Architecture::X8664)]
    architecture: Architecture,
    /// Print one JSON object; amounts are dollars with all their decimal places
    #[arg(long, conflicts_with_all = ["markdown", "write"])]
    json: bool,
    /// Print the tables of the documentation
    #[arg(long, conflicts_with_all = LOAD_OPTIONS, conflicts_with = "write")]
    markdown: bool,
    /// Write the tables into docs/costs.md and docs/deploy.md
    #[arg(long, conflicts_with_all = LOAD_OPTIONS)]
    write: bool,
}

/// A month under a load.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Month<'a> {
    load: Load,
    measured: &'a str,
    lines: &'a [Line],
    dollars_per_million: Money,
    at_rest: Money,
    events: Money,
    ledger: Money,
    archive: Money,
    sum: Money,
}

/// Prints or writes what the options ask for.
///
/// # Errors
///
/// A file of numbers can't be read, or a page can't be written.
pub fn cost(options: &Options) -> Result<()> {
    let (prices, measured) = (Prices::read()?, Measured::read()?);
    if options.write {
        let tables = tables(&prices, &measured)?;
        return docs::write(Workspace::here()?.root(), &tables);
    }
    if options.markdown {
        let tables = tables(&prices, &measured)?.into_iter();
        let tables: Vec<String> = tables.map(|its| its.table.markdown()).collect();
        print!("{}", tables.join("\n"));
        return Ok(());
    }
    let events = Events::new(&prices, &measured, options.load())?;
    let month = month(&prices, &measured, &events, options.load())?;
    if options.json {
        println!("{}", serde_json::to_string(&month)?);
    } else {
        print!("{}", month.text());
    }
    Ok(())
}

fn month<'a>(
    prices: &Prices,
    measured: &'a Measured,
    events: &'a Events,
    load: Load,
) -> Result<Month<'a>> {
    let canaries = Load {
        architecture: load.architecture,
        ..even(rest::CANARIES, 1)
    };
    let canaries = Events::new(prices, measured, canaries)?;
    let (_, at_rest) = rest::at_rest(prices, &canaries)?;
    let extras = Extras::new(prices);
    let [ledger, archive] = [extras.ledger(), extras.archive()]
        .map(|its| its.for_units(load.events_per_month, MILLION));
    let of_events = events.of(load.events_per_month);
    Ok(Month {
        load,
        measured: &measured.date,
        lines: events.lines(),
        dollars_per_million: events.sum(),
        at_rest,
        events: of_events,
        ledger,
        archive,
        sum: at_rest + of_events + ledger + archive,
    })
}

impl Options {
    fn load(&self) -> Load {
        Load {
            events_per_month: self.events_per_month,
            burst: self.burst,
            seconds_apart: self.seconds_apart,
            architecture: self.architecture,
        }
    }
}

impl Month<'_> {
    /// Two tables for people.
    fn text(&self) -> String {
        let count = grouped(self.load.events_per_month);
        let month = format!("{count} a month");
        let mut events = Table::new(["an event", "", "a million", &month]);
        for line in self.lines {
            let [million, month] = self.priced(line.dollars_per_million);
            events.row([&line.what, &line.count, &million, &month]);
        }
        let [million, of_month] = self.priced(self.dollars_per_million);
        events.sum(["sum", "", &million, &of_month]);
        let mut sums = Table::new(["a month", &format!("{count} events")]);
        for (what, dollars) in [
            ("at rest".to_owned(), self.at_rest),
            ("the events".to_owned(), self.events),
            (
                format!("the ledger keeps them for {DAYS} days"),
                self.ledger,
            ),
            (
                format!("the archive keeps them for {DAYS} days"),
                self.archive,
            ),
        ] {
            sums.row([what, dollars.to_string()]);
        }
        sums.sum(["sum", &self.sum.to_string()]);
        format!(
            "US dollars in us-east-1, without free tiers; calls counted on {}. No bill was measured.\n\n\
             {events}\n{sums}",
            self.measured
        )
    }

    fn priced(&self, per_million: Money) -> [String; 2] {
        let month = per_million.for_units(self.load.events_per_month, MILLION);
        [per_million, month].map(|dollars| dollars.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::savings::on_arm64;
    use super::*;

    #[test]
    fn the_architecture_is_that_of_the_month_at_rest_too() {
        let (prices, measured) = (Prices::read().unwrap(), Measured::read().unwrap());
        let load = even(MILLION, 1);
        let [intel, arm] = [load, on_arm64(load)].map(|load| {
            let events = Events::new(&prices, &measured, load).unwrap();
            month(&prices, &measured, &events, load).unwrap().at_rest
        });
        assert!(arm < intel);
    }
}
