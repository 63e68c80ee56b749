use std::time::Duration;

use serde_json::json;

use stack::report::Report as _;

use super::*;
use crate::soak::evidence::Evidence;
use crate::soak::loss;
use crate::soak::samples::{found_out, happened, sent, told};

fn missed(event: &str, owed: bool) -> Missed {
    Missed {
        event: event.to_owned(),
        at: Timestamp::UNIX_EPOCH,
        fate: Fate::Dropped,
        owed,
    }
}

fn good() -> Report {
    Report {
        seed: 7,
        plan: Plan::default(),
        schedule: 6,
        planned: 8,
        events: 8,
        sent: 7,
        accepted: 7,
        classes: Classes {
            entries: 9,
            published: 5,
            duplicates: 2,
            recovered: 1,
            missing: 1,
            ..Classes::default()
        },
        recovery: Recovery {
            count: 1,
            p50: 4.0,
            p95: 4.0,
            max: 4.0,
            limit: 12.0,
            limit_for_closings: 30.0,
            late: 0,
            slowest: Vec::new(),
        },
        runs: Runs {
            begun: 10,
            done: 9,
            died: 1,
            ..Runs::default()
        },
        kills: 2,
        settled: true,
        leftovers: Leftovers {
            quarantine_depth: 0,
            spill_depth: 0,
            dead_letter_depth: 0,
        },
        breaches: Vec::new(),
        missed: vec![missed("CREATED_CUSTOMER of customer 5", false)],
        seconds: 60.5,
        ledger: Vec::new(),
    }
}

type Spoil = fn(&mut Report);

#[test]
fn success_is_every_opening_and_closing_once_every_state_right_and_all_in_time() {
    assert!(good().is_success());
    let spoilt: [(Shortcoming, Spoil); 9] = [
        (Shortcoming::OtherDay, |report| {
            (report.planned, report.events) = (0, 0);
        }),
        (Shortcoming::OtherDay, |report| report.events = 7),
        (Shortcoming::Quarantined, |report| {
            report.classes.quarantined = 1;
        }),
        (Shortcoming::Breaches, |report| {
            report.breaches.push("x".to_owned());
        }),
        (Shortcoming::Missing, |report| {
            report
                .missed
                .push(missed("NEW_CALLOUT of callout 5003", true));
        }),
        (Shortcoming::Slow, |report| report.recovery.late = 1),
        (Shortcoming::Unsettled, |report| report.settled = false),
        (Shortcoming::Leftovers, |report| {
            report.leftovers.dead_letter_depth = 1;
        }),
        (Shortcoming::Leftovers, |report| {
            report.leftovers.spill_depth = 1;
        }),
    ];
    for (expected, spoil) in spoilt {
        let mut report = good();
        spoil(&mut report);
        assert!(!report.is_success(), "{expected:?}");
        assert_eq!(report.shortcomings(), [expected]);
        let summary = report.summary().concat();
        assert!(summary.contains("NOT every"), "{summary}");
        assert!(summary.contains(expected.told()), "{summary}");
    }
}

#[test]
fn the_summary_names_what_is_missing_and_what_is_broken() {
    let mut report = good();
    report
        .missed
        .push(missed("CREATED_CUSTOMER of customer 6", false));
    report
        .missed
        .push(missed("CALLOUT_OWNED of callout 7", false));
    report.breaches.push("a key came twice".to_owned());
    let lines = report.summary();
    assert_eq!(lines[0], "    a key came twice");
    let missing = "1 missing (1 CALLOUT_OWNED, 2 CREATED_CUSTOMER).";
    assert!(lines.iter().any(|line| line.ends_with(missing)));
}

#[test]
fn each_line_of_the_ledger_is_in_one_class() {
    let delivery = sent(1, "NEW_CALLOUT", "1", None);
    let repeat = sent(2, "NEW_CALLOUT", "1", Some(1));
    let evidence = Evidence {
        received: vec![told(&delivery, 1), found_out("CALLOUT_CLOSED", "1", 4)],
        happened: vec![
            happened(1, "NEW_CALLOUT", "1", &[1, 2]),
            happened(2, "CALLOUT_CLOSED", "1", &[]),
            happened(3, "CALLOUT_CLOSED", "2", &[]),
        ],
        deliveries: vec![delivery, repeat],
        ..Evidence::default()
    };
    let ledger = loss::ledger(&evidence);
    let expected = Classes {
        entries: 4,
        published: 1,
        duplicates: 1,
        recovered: 1,
        missing: 1,
        ..Classes::default()
    };
    assert_eq!(Classes::of(&ledger), expected);
    let missed = Missed::of(&ledger);
    assert_eq!(missed.len(), 1);
    assert_eq!(missed[0].event, "CALLOUT_CLOSED of callout 2");
    assert_eq!((missed[0].fate, missed[0].owed), (Fate::Dropped, true));
    let recovery = Recovery::of(&ledger, Duration::from_secs(6));
    assert_eq!((recovery.count, recovery.max), (1, 2.0));
}

#[test]
fn the_json_is_as_the_help_says() {
    let mut json = serde_json::to_value(good()).unwrap();
    let plan = json.as_object_mut().unwrap().remove("plan").unwrap();
    assert_eq!(plan["seed"], 0);
    let expected = json!({
        "seed": 7, "schedule": 6, "planned": 8, "events": 8, "sent": 7, "accepted": 7,
        "entries": 9, "published": 5, "duplicates": 2, "quarantined": 0, "recovered": 1,
        "missing": 1,
        "recovery": {
            "count": 1, "p50": 4.0, "p95": 4.0, "max": 4.0, "limit": 12.0,
            "limitForClosings": 30.0, "late": 0, "slowest": [],
        },
        "runs": {"begun": 10, "done": 9, "died": 1, "timedOut": 0, "failed": 0},
        "kills": 2, "settled": true,
        "quarantineDepth": 0, "spillDepth": 0, "deadLetterDepth": 0,
        "breaches": [],
        "missed": [{
            "event": "CREATED_CUSTOMER of customer 5", "at": "1970-01-01T00:00:00Z",
            "fate": "dropped", "owed": false,
        }],
        "seconds": 60.5,
    });
    assert_eq!(json, expected);
}
