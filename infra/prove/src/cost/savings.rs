//! What a stack could save beyond what it does, and what that would give up.

use super::events::{ACCESS_BYTES, Architecture, Events, Item, Load, MILLION};
use super::extras::Extras;
use super::money::Money;
use super::prices::Prices;

/// A saving that costs something else.
#[derive(Debug)]
pub struct Saving {
    /// What would be left out or replaced.
    pub what: &'static str,
    /// What a million events would cost less.
    pub dollars: Money,
    /// What would be lost, and how somebody gets the saving if the stack allows it.
    pub gives_up: &'static str,
}

/// All savings: first those that a parameter allows, then those that would change the code, the
/// largest first. `on_arm64` has the same events on the other architecture.
#[must_use]
pub fn savings(
    prices: &Prices,
    events: &Events,
    on_arm64: &Events,
    extras: &Extras,
) -> Vec<Saving> {
    let mut savings = by_parameter(events, on_arm64, extras);
    let mut others = by_replacement(prices, events, extras);
    others.extend(by_omission(prices, events, extras));
    for list in [&mut savings, &mut others] {
        list.sort_by_key(|saving| std::cmp::Reverse(saving.dollars));
    }
    savings.append(&mut others);
    savings
}

fn saving(what: &'static str, dollars: Money, gives_up: &'static str) -> Saving {
    Saving {
        what,
        dollars,
        gives_up,
    }
}

fn by_parameter(events: &Events, on_arm64: &Events, extras: &Extras) -> Vec<Saving> {
    vec![
        saving(
            "parameter `Architecture`: `arm64`",
            events.sum() - on_arm64.sum(),
            "nothing that is known: nobody has measured the functions there",
        ),
        saving(
            "parameter `ConsumerQueues`: `none`",
            events.cost(Item::ConsumerQueue),
            "a place where events wait while the consumer is down, if your own rules have none",
        ),
        saving(
            "parameter `ArchiveDays`: 0",
            extras.archive(),
            "[replays](replay.md): what a consumer lost is lost",
        ),
    ]
}

/// Services that others could replace, or that could be left out.
fn by_replacement(prices: &Prices, events: &Events, extras: &Extras) -> Vec<Saving> {
    let cost = |item| events.cost(item);
    let queue_requests = 3 * MILLION;
    vec![
        saving(
            "no ledger",
            cost(Item::EventWrites)
                + cost(Item::LastDelivery)
                + cost(Item::OpenWrites)
                + cost(Item::NoteReads)
                + extras.ledger(),
            "promise 2, the timeline, the finding of what AURA did not send, and the spill",
        ),
        saving(
            "a function URL for API Gateway",
            cost(Item::Api) + events.log_bytes(ACCESS_BYTES),
            "the access log, the alarm on refused deliveries, limits for each route, and your own domain",
        ),
        saving(
            "no bus: the processor sends to one consumer's queue",
            cost(Item::Bus) + extras.archive(),
            "rules, a second consumer, the archive and replays",
        ),
        saving(
            "a standard queue for the ingest queue",
            prices.fifo_request.of(queue_requests) - prices.standard_request.of(queue_requests),
            "the order of an entity's events, and their sequence numbers",
        ),
    ]
}

/// Writes, reads and lines that could be left out.
fn by_omission(prices: &Prices, events: &Events, extras: &Extras) -> Vec<Saving> {
    let cost = |item| events.cost(item);
    vec![
        saving(
            "no mark after publishing",
            prices.write.of(MILLION),
            "promise 2: a copy that comes after the lease is published again",
        ),
        saving(
            "no line of `START`, `END` and `REPORT`",
            events.log_bytes(events.lambda_bytes()),
            "the billed time and the memory of each request; Lambda's metrics keep their sums",
        ),
        saving(
            "no line of the processor for a record",
            events.log_bytes(events.record_bytes()),
            "the end of a delivery's trail: what became of it",
        ),
        saving(
            "no note of AURA's last delivery",
            cost(Item::LastDelivery),
            "the reconciler can't tell a dead webhook from a quiet one",
        ),
        saving(
            "no note of open callouts",
            cost(Item::OpenWrites),
            "closings that AURA did not send are not found",
        ),
        saving(
            "no access log",
            events.log_bytes(ACCESS_BYTES),
            "the addresses of refused requests, and the alarm on refused deliveries",
        ),
        saving(
            "no point-in-time recovery of the ledger",
            extras.recovery,
            "a damaged ledger can't be put back",
        ),
        saving(
            "no read for drills",
            cost(Item::NoteReads),
            "a drill's later events look like those of an emergency",
        ),
    ]
}

/// The same load on the other architecture.
#[must_use]
pub fn on_arm64(load: Load) -> Load {
    Load {
        architecture: Architecture::Arm64,
        ..load
    }
}
