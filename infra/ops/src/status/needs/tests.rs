use super::*;
use crate::status::SpillDepth;
use crate::status::tests::healthy;

const RUNBOOK: &str = "docs/operate.md";

fn alarm(name: &str, description: &str) -> Alarm {
    let description = format!("{description} Runbook: https://x#{}", name.to_lowercase());
    Alarm {
        name: name.to_owned(),
        state: StateValue::Alarm,
        description,
        since: None,
    }
}

fn names(needs: &[Need]) -> Vec<(&str, bool)> {
    let names = needs.iter().map(|need| (need.alarm.as_str(), need.rings));
    names.collect()
}

#[test]
fn every_alarm_of_the_template_has_its_place_and_the_order_is_that_of_the_documents() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |file: &str| std::fs::read_to_string(format!("{root}/{file}")).unwrap();
    let template = read("template.yaml");
    let alarms = template
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.strip_suffix("Alarm:"))
        .filter(|name| !name.starts_with(' '));
    let alarms: Vec<_> = alarms.map(|name| format!("{name}Alarm")).collect();
    assert_eq!(alarms.len(), URGENCY.len());
    for name in &alarms {
        assert!(URGENCY.contains(&name.as_str()), "{name}");
    }

    let document = read("docs/on-call.md");
    let (_, table) = document.split_once("## What each alarm means").unwrap();
    let (table, _) = table.split_once("\n**").unwrap();
    let words = table.split(|character: char| !character.is_alphanumeric());
    let places = words.filter_map(|word| {
        let name = format!("{word}Alarm");
        URGENCY.iter().position(|known| *known == name)
    });
    let places: Vec<_> = places.collect();
    // The consumers' alarms are not named there.
    assert_eq!(places.len(), URGENCY.len() - 8);
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_healthy_stack_needs_nobody() {
    let quiet = Alarm {
        state: StateValue::InsufficientData,
        ..alarm("CanaryFailsAlarm", "")
    };
    assert_eq!(needs(&healthy(), &[quiet], RUNBOOK), []);
}

#[test]
fn alarms_come_by_urgency_with_their_meaning_and_their_section() {
    let alarms = [
        alarm(
            "AuraRefusesAlarm",
            "Not affected. But AURA refuses. Look at it. Then mend it.",
        ),
        alarm(
            "DeliveriesFailAlarm",
            "An event may be lost: 5xx. Look at the log (output A).",
        ),
    ];
    let needs = needs(&healthy(), &alarms, RUNBOOK);
    assert_eq!(
        names(&needs),
        [("DeliveriesFailAlarm", true), ("AuraRefusesAlarm", true)]
    );
    assert_eq!(needs[0].what, "An event may be lost: 5xx.");
    assert_eq!(needs[1].what, "Not affected. But AURA refuses.");
    assert_eq!(needs[0].runbook, "https://x#deliveriesfailalarm");
    assert_eq!(needs[0].command, Some("aura-ops canary"));
}

#[test]
fn what_no_alarm_says_yet_is_found_and_what_an_alarm_says_is_not_said_twice() {
    let mut status = healthy();
    for depth in &mut status.queues {
        depth.waiting = 1;
    }
    status.spill = SpillDepth {
        waiting: 1,
        oldest: Some(status.at - SignedDuration::from_mins(11)),
    };
    let canary = status.canary.as_mut().unwrap();
    canary.failure = Some("the endpoint answered 404".to_owned());
    let run = status.reconciler.as_mut().unwrap();
    run.at = status.at - SignedDuration::from_mins(31);
    let found = needs(&status, &[], RUNBOOK);
    let expected = [
        "CanaryFailsAlarm",
        "SpillWaitsAlarm",
        "DeadLettersAlarm",
        "ForwardDeadLettersAlarm",
        "CalloutEventsDeadLettersAlarm",
        "CustomerEventsDeadLettersAlarm",
        "SubscriptionEventsDeadLettersAlarm",
        "OtherEventsDeadLettersAlarm",
        "QuarantineAlarm",
        "ReconcilerStoppedAlarm",
    ];
    assert_eq!(names(&found), expected.map(|name| (name, false)));
    assert_eq!(found[0].runbook, "docs/operate.md#canaryfailsalarm");

    let mut alarms: Vec<_> = expected.map(|name| alarm(name, "")).into();
    assert_eq!(
        names(&needs(&status, &alarms, RUNBOOK)),
        expected.map(|name| (name, true))
    );
    // The quarantine has two alarms.
    alarms[8].name = "EventsQuarantinedAlarm".to_owned();
    assert_eq!(needs(&status, &alarms, RUNBOOK).len(), expected.len());
}

#[test]
fn a_new_stack_and_a_stack_without_schedules_need_no_run_and_no_canary() {
    let mut status = healthy();
    (status.reconciler, status.canary) = (None, None);
    assert_eq!(needs(&status, &[], RUNBOOK).len(), 1);
    status.is_new = true;
    assert_eq!(needs(&status, &[], RUNBOOK), []);
    (status.is_new, status.reconciler_scheduled) = (false, false);
    assert_eq!(needs(&status, &[], RUNBOOK), []);
}
