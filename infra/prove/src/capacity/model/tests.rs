use std::collections::{HashMap, HashSet};

use super::*;
use crate::capacity::load::Incident;
use crate::capacity::quotas::Figures;

fn limits(region: &str) -> (Figures, Limits) {
    let figures = Figures::read().unwrap();
    let region = figures.regions.iter().find(|its| its.name == region);
    let limits = figures.limits(region.unwrap());
    (figures, limits)
}

fn run(rate: u32, seconds: u32, figures: &Figures, limits: &Limits) -> (Vec<Delivery>, Outcome) {
    let incident = Incident {
        seconds,
        ..Incident::of_a_minute(1, rate)
    };
    let deliveries = incident.deliveries().unwrap();
    let outcome = simulate(
        &deliveries,
        limits,
        &figures.times,
        figures.writes_per_event,
    );
    (deliveries, outcome)
}

fn last(outcome: &Outcome) -> u64 {
    let published = outcome.fates.iter().filter_map(|fate| fate.published);
    published.max().unwrap()
}

#[test]
fn the_same_seed_has_the_same_outcome() {
    let (figures, limits) = limits("af-south-1");
    let (one, two) = (
        run(300, 20, &figures, &limits),
        run(300, 20, &figures, &limits),
    );
    assert_eq!(one.0, two.0);
    assert_eq!(one.1.order, two.1.order);
    assert_eq!(one.1.fates, two.1.fates);
}

#[test]
fn what_was_stored_is_published_once_and_in_order_of_its_entity() {
    let (figures, mut limits) = limits("us-east-1");
    limits.processor_concurrency = 60.0;
    limits.pollers = 60.0;
    let (deliveries, outcome) = run(2500, 10, &figures, &limits);
    // Failures and pauses are part of what is tested.
    assert!(
        outcome.met.contains_key(&Quota::LedgerWrites),
        "{:?}",
        outcome.met
    );
    assert_eq!(outcome.dead, 0);
    let stored = outcome.fates.iter().filter(|fate| fate.stored.is_some());
    assert_eq!(stored.clone().count(), outcome.order.len());
    assert!(stored.clone().all(|fate| fate.published.is_some()));
    assert_eq!(
        outcome.order.iter().collect::<HashSet<_>>().len(),
        outcome.order.len()
    );
    let mut last = HashMap::new();
    for n in &outcome.order {
        let fate = outcome.fates[*n];
        let before = last.insert(deliveries[*n].entity, fate.stored);
        assert!(fate.spilled || before <= Some(fate.stored), "delivery {n}");
    }
}

#[test]
fn every_delivery_is_stored_or_counted_as_lost() {
    let (figures, limits) = limits("af-south-1");
    let (deliveries, outcome) = run(5000, 5, &figures, &limits);
    let lost: u64 = outcome.met.values().map(|met| met.lost).sum();
    let stored = outcome.fates.iter().filter(|fate| fate.stored.is_some());
    assert!(lost > 1000, "{lost}");
    assert_eq!(stored.count() as u64 + lost, deliveries.len() as u64);
}

#[test]
fn no_more_runs_at_once_than_the_limits_allow() {
    let (figures, mut limits) = limits("us-east-1");
    limits.lambda_concurrency = 10.0;
    let (_, outcome) = run(100, 20, &figures, &limits);
    assert!(outcome.most_batches <= 5);
    assert_eq!(outcome.most_invocations, 10);
    assert!(
        outcome.met.contains_key(&Quota::LambdaRequests),
        "{:?}",
        outcome.met
    );
}

#[test]
fn no_second_has_more_published_than_the_ledger_and_the_bus_allow() {
    let (figures, mut limits) = limits("af-south-1");
    limits.processor_concurrency = 200.0;
    limits.pollers = 200.0;
    let (_, outcome) = run(2000, 10, &figures, &limits);
    let mut writes: HashMap<u64, f64> = HashMap::new();
    for published in outcome.fates.iter().filter_map(|fate| fate.published) {
        *writes.entry(published / SECOND).or_default() += figures.writes_per_event;
    }
    // A full bucket at first, and what a wave was claimed for before the second began.
    assert!(
        writes
            .values()
            .all(|writes| *writes < 2.0 * limits.ledger_writes),
        "{writes:?}"
    );
    let all: f64 = writes.values().sum();
    let seconds = seconds(last(&outcome)) + 1.0;
    assert!(
        all <= limits.ledger_writes * seconds,
        "{all} in {seconds} s"
    );
}

#[test]
fn at_ten_a_second_nothing_waits_in_any_region() {
    for region in ["us-east-1", "eu-west-2", "af-south-1"] {
        let (figures, limits) = limits(region);
        let (deliveries, outcome) = run(10, 60, &figures, &limits);
        assert_eq!(outcome.met, BTreeMap::new(), "{region}");
        for (delivery, fate) in deliveries.iter().zip(&outcome.fates) {
            assert!(fate.published.unwrap() - delivery.at < SECOND, "{region}");
        }
    }
}

#[test]
fn with_twice_the_limits_it_never_ends_later() {
    for (region, rate) in [("us-east-1", 300), ("eu-west-2", 900), ("af-south-1", 900)] {
        let (figures, once) = limits(region);
        let twice = Limits {
            lambda_concurrency: 2.0 * once.lambda_concurrency,
            processor_concurrency: 2.0 * once.processor_concurrency,
            pollers: 2.0 * once.pollers,
            ledger_writes: 2.0 * once.ledger_writes,
            put_events: 2.0 * once.put_events,
            ..once.clone()
        };
        let (first, second) = (
            run(rate, 30, &figures, &once).1,
            run(rate, 30, &figures, &twice).1,
        );
        assert!(last(&second) <= last(&first), "{region}");
    }
}

#[test]
fn one_entity_alone_is_as_fast_as_its_waves() {
    let (figures, limits) = limits("us-east-1");
    let deliveries: Vec<_> = (0..100).map(|n| Delivery { at: n, entity: 0 }).collect();
    let outcome = simulate(
        &deliveries,
        &limits,
        &figures.times,
        figures.writes_per_event,
    );
    // A hundred waves of 40 ms, and what ten batches take besides.
    let end = seconds(last(&outcome));
    assert!((4.0..5.0).contains(&end), "{end}");
    assert!(
        outcome.met.contains_key(&Quota::EntityOrder),
        "{:?}",
        outcome.met
    );
}

#[test]
fn what_the_queue_refuses_is_spilled_and_comes_back_with_the_reconciler() {
    let (figures, limits) = limits("us-east-1");
    let deliveries: Vec<_> = (0..900).map(|n| Delivery { at: n, entity: 0 }).collect();
    let outcome = simulate(
        &deliveries,
        &limits,
        &figures.times,
        figures.writes_per_event,
    );
    assert!(
        outcome.met.contains_key(&Quota::GroupCalls),
        "{:?}",
        outcome.met
    );
    let spilled = outcome.fates.iter().filter(|fate| fate.spilled);
    assert!(spilled.clone().count() > 100);
    assert!(spilled.clone().all(|fate| fate.published > Some(RUNS)));
}
