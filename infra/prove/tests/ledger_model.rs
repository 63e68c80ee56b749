//! The part of `cargo prove ledger` that takes a moment.

use processor::timing::MOST_RECEIVES;
use prove::ledger::bounds::{QUEUE_RETENTION, Scenario};
use prove::ledger::design::RETENTION;
use prove::ledger::explore::{Explored, explore, try_mutant};
use prove::ledger::mutants;

fn failed(explored: &Explored) -> Vec<String> {
    let failed = explored.verdicts.iter().filter(|verdict| !verdict.holds);
    let told = failed.map(|verdict| {
        let story = verdict.counter_example.join("\n");
        format!("{:?} {}\n{story}", verdict.kind, verdict.property)
    });
    told.collect()
}

#[test]
fn every_property_holds_whatever_one_trouble_comes() {
    for scenario in [Scenario::SMALL, Scenario::DEATH] {
        let explored = explore(&scenario, |_| ());
        assert_eq!(failed(&explored), [""; 0], "{}", scenario.name);
        assert!(explored.size.unique_states > 1000, "{:?}", explored.size);
    }
}

#[test]
fn without_the_fence_a_stale_worker_changes_what_another_one_holds() {
    let tried = try_mutant(&mutants::without_fence(), |_| ());
    assert!(
        tried.as_expected,
        "the checker didn't catch the design without the fence"
    );
    let last = tried.counter_example.last().unwrap();
    assert!(last.contains("takes effect"), "{last}");
}

#[test]
fn every_design_that_is_wrong_on_purpose_is_caught() {
    for mutant in mutants::all() {
        if let Some(property) = mutant.violates {
            let tried = try_mutant(&mutant, |_| ());
            assert!(
                tried.as_expected,
                "{}: no violation of {property}",
                mutant.name
            );
        }
    }
}

/// The model's figures are the template's.
#[test]
fn retentions_and_receives_are_those_that_are_deployed() {
    let template = include_str!("../../../template.yaml");
    let days = RETENTION.as_hours() / 24;
    let retention = QUEUE_RETENTION.as_secs();
    for line in [
        format!("LEDGER_RETENTION_DAYS: \"{days}\""),
        format!("maxReceiveCount: {MOST_RECEIVES}"),
    ] {
        assert!(template.contains(&line), "{line}");
    }
    let deployed = |name: &str| {
        let (_, resource) = template.split_once(&format!("\n  {name}:\n")).unwrap();
        let (_, retention) = resource.split_once("MessageRetentionPeriod: ").unwrap();
        retention
            .split_whitespace()
            .next()
            .unwrap()
            .parse::<i64>()
            .unwrap()
    };
    assert_eq!(
        ["IngestQueue", "DeadLetterQueue"].map(deployed),
        [retention; 2]
    );
}
