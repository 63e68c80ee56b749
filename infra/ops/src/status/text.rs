//! Writes the status for people: at most 40 lines of 100 characters.

use std::fmt::{self, Display, Formatter};

use super::{Depth, LastCanary, Need, Run, Status};
use crate::words::{Span, Time, table};
use jiff::{SignedDuration, Timestamp};

/// The width of the screen, in characters.
const WIDTH: usize = 100;
/// The width of the names before the facts.
const NAME: usize = 18;
/// How many needs are written in full. With more of them, the others are named, so that all is on
/// one screen.
const MOST_NEEDS: usize = 4;

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (stack, region) = (&self.stack, &self.region);
        writeln!(f, "{stack} in {region}, {}\n", Time(self.at))?;
        write_needs(self, f)?;
        write_facts(self, f)?;
        write_queues(&self.queues, f)
    }
}

fn write_needs(status: &Status, f: &mut Formatter<'_>) -> fmt::Result {
    let alarms = status.alarms;
    let ringing = match alarms.ringing {
        0 => "none rings".to_owned(),
        1 => "1 rings".to_owned(),
        ringing => format!("{ringing} ring"),
    };
    let no_data = match alarms.without_data {
        0 => String::new(),
        count => format!(", {count} had no data yet"),
    };
    let needs = match status.needs.len() {
        0 => "Nothing needs a person.",
        1 => "One thing needs a person.",
        _ => "Several things need a person, the most urgent first.",
    };
    writeln!(
        f,
        "{needs} Of {} alarms, {ringing}{no_data}.\n",
        alarms.count
    )?;
    for (number, need) in status.needs.iter().take(MOST_NEEDS).enumerate() {
        write_need(number + 1, need, status.at, f)?;
    }
    let more: Vec<_> = status.needs.iter().skip(MOST_NEEDS).collect();
    if !more.is_empty() {
        let names: Vec<_> = more.iter().map(|need| need.alarm.as_str()).collect();
        let text = format!("{} more: {}", more.len(), names.join(", "));
        writeln!(f, "{}\n", wrapped(&text, 0))?;
    }
    Ok(())
}

fn write_need(number: usize, need: &Need, now: Timestamp, f: &mut Formatter<'_>) -> fmt::Result {
    let indent = format!("{number}. ");
    writeln!(f, "{indent}{}", wrapped(&need.what, indent.len()))?;
    let since = need.since.map(|at| Span(now.duration_since(at)));
    let since = since.map_or_else(String::new, |span| format!(" for {span}"));
    let alarm = match (need.rings, since.as_str()) {
        (true, since) => format!("{} has rung{since}.", need.alarm),
        (false, "") => "No alarm says so yet.".to_owned(),
        (false, since) => format!("It has been so{since}, and no alarm says so yet."),
    };
    writeln!(f, "   {alarm} Runbook: {}", need.runbook)?;
    if let Some(command) = need.command {
        writeln!(f, "   Type: `{command}`")?;
    }
    writeln!(f)
}

fn write_facts(status: &Status, f: &mut Formatter<'_>) -> fmt::Result {
    let registration = &status.registration;
    let ago = |at| ago(at, status.at);
    let mut facts = vec![
        ("AURA delivers to", registration.address()),
        ("events", events(&registration.events)),
        ("registered", registration.at.map_or_else(unknown, ago)),
        ("proven by", registration.proof.clone()),
    ];
    facts.extend(
        registration
            .rotated_at
            .map(|at| ("secret rotated", ago(at))),
    );
    let never = || "none yet".to_owned();
    let delivery = status.last_delivery.map_or_else(never, ago);
    facts.extend([
        ("last delivery", delivery),
        ("last canary", last_canary(status)),
        ("reconciler", last_run(status)),
        ("spill", spill(status)),
    ]);
    for (name, fact) in facts {
        writeln!(f, "{name:NAME$}{}", wrapped(&fact, NAME))?;
    }
    Ok(())
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A time, and how long ago that is.
fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{}, {} ago", Time(at), Span(now.duration_since(at)))
}

fn events(events: &str) -> String {
    match events.split(',').count() {
        1..=3 => events.replace(',', ", "),
        count => format!("{count} names of events"),
    }
}

fn last_canary(status: &Status) -> String {
    let Some(LastCanary {
        at,
        milliseconds,
        failure,
    }) = &status.canary
    else {
        return none_of(status.canary_scheduled, "CanaryMinutes is 0");
    };
    let end = match (failure, milliseconds) {
        (Some(failure), _) => format!("failed: {failure}"),
        (None, Some(milliseconds)) => format!("published in {milliseconds} ms"),
        (None, None) => "published".to_owned(),
    };
    format!("{}: {end}", ago(*at, status.at))
}

fn last_run(status: &Status) -> String {
    let Some(Run {
        at,
        failure,
        found,
        unsettled,
    }) = &status.reconciler
    else {
        return none_of(
            status.reconciler_scheduled,
            "ReconcilerEnabled or Register is false",
        );
    };
    let end = match (failure, found) {
        (Some(failure), _) => format!("failed: {failure}"),
        (None, 0) => "nothing was missing".to_owned(),
        (None, 1) => "1 event was missing, and is on the ingest queue since".to_owned(),
        (None, found) => format!("{found} events were missing, and are on the ingest queue since"),
    };
    let left = match unsettled {
        0 => String::new(),
        count => format!("; {count} callouts were not checked"),
    };
    format!("{}: {end}{left}", ago(*at, status.at))
}

fn none_of(is_scheduled: bool, why: &str) -> String {
    if is_scheduled {
        "none within the last hour".to_owned()
    } else {
        format!("none within the last hour: it has no schedule ({why})")
    }
}

fn spill(status: &Status) -> String {
    let deliveries = match status.spill.waiting {
        0 => return "empty".to_owned(),
        1 => "1 delivery".to_owned(),
        count => format!("{count} deliveries"),
    };
    let oldest = status.spill.oldest.map(|at| ago(at, status.at));
    oldest.map_or(deliveries.clone(), |oldest| {
        format!("{deliveries}, the oldest of {oldest}")
    })
}

fn write_queues(queues: &[Depth], f: &mut Formatter<'_>) -> fmt::Result {
    let in_use = queues
        .iter()
        .filter(|depth| depth.waiting + depth.hidden > 0);
    let rows: Vec<_> = in_use.map(row).collect();
    if rows.is_empty() {
        return write!(f, "\nAll {} queues are empty.", queues.len());
    }
    let heads = ["queue", "waiting", "hidden", "oldest"];
    write!(f, "\n{}", table(heads, &rows))?;
    match queues.len() - rows.len() {
        0 => Ok(()),
        1 => write!(f, "\nThe other queue is empty."),
        others => write!(f, "\nThe other {others} queues are empty."),
    }
}

fn row(depth: &Depth) -> [String; 4] {
    let seconds = depth.oldest_seconds.and_then(|age| age.try_into().ok());
    let oldest = seconds.map(|age| Span(SignedDuration::from_secs(age)).to_string());
    [
        depth.name.clone(),
        depth.waiting.to_string(),
        depth.hidden.to_string(),
        oldest.unwrap_or_else(unknown),
    ]
}

/// A text in lines that fit on the screen behind an indent. The first line has no indent.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let length = lines.last().map_or(0, |line| line.chars().count());
        if length > 0 && length + 1 + word.chars().count() > WIDTH - indent {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}

#[cfg(test)]
mod tests;
