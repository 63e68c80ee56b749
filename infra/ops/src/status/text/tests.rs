use super::*;
use crate::status::tests::healthy;

fn lines(status: &Status) -> Vec<String> {
    let lines: Vec<_> = status.to_string().lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
    assert!(lines.len() <= 40, "{} lines", lines.len());
    lines
}

#[test]
fn a_healthy_stack_is_shown_in_few_lines() {
    let lines = lines(&healthy()).join("\n");
    let time = |time: &str| Time(format!("2026-11-28T{time}Z").parse().unwrap());
    let (now, registered) = (time("21:00:00"), time("20:55:00"));
    let (delivery, canary, run) = (time("20:59:00"), time("20:58:00"), time("20:59:30"));
    let expected = format!(
        "\
aura-webhooks in eu-west-1, {now}

Nothing needs a person. Of 36 alarms, none rings, 4 had no data yet.

AURA delivers to  https://example.com/aura/events
events            ALL
registered        {registered}, 5 min 0 s ago
proven by         Token: granted (3 ms); Canary: published (312 ms); Registration: done (20 ms);
                  Confirmation: as asked (0 ms)
last delivery     {delivery}, 1 min 0 s ago
last canary       {canary}, 2 min 0 s ago: published in 312 ms
reconciler        {run}, 30 s ago: nothing was missing
spill             empty

All 12 queues are empty."
    );
    assert_eq!(lines, expected);
}

/// A standby that took over days ago looks like one that never did.
#[test]
fn where_aura_delivers_is_unknown_to_a_standby_that_has_not_registered_within_a_day() {
    let mut status = healthy();
    status.registration.is_standby = true;
    let url = "https://example.com/aura/events";
    assert_eq!(status.registration.address(), url);
    status.registration.at = None;
    let told = lines(&status).join(" ");
    assert!(
        told.contains("AURA delivers to  unknown: this stack is a standby"),
        "{told}"
    );
    assert!(told.contains(url), "{told}");
    assert!(!told.contains("another stack"), "{told}");
}

#[test]
fn a_stack_in_trouble_fits_on_the_screen_too() {
    let mut status = healthy();
    let need = |number: usize| {
        Need {
        what: "An event may be lost: something with a long name has failed in a way that takes many \
               words to say, and AURA does not send an event again. And so on it goes, to the end of it."
            .to_owned(),
        alarm: format!("Number{number}Alarm"),
        rings: number.is_multiple_of(2),
        runbook: "docs/operate.md#numberalarm".to_owned(),
        command: Some("aura-ops quarantine list"),
        since: Some(status.at - SignedDuration::from_secs(200)),
    }
    };
    status.needs = (1..=9).map(need).collect();
    status.queues[2].waiting = 2;
    status.queues[2].oldest_seconds = Some(200);
    let lines = lines(&status);
    let has = |text: &str| assert!(lines.iter().any(|line| line == text), "{text}\n{lines:#?}");
    has("   Number2Alarm has rung for 3 min 20 s. Runbook: docs/operate.md#numberalarm");
    has("   Type: `aura-ops quarantine list`");
    has("5 more: Number5Alarm, Number6Alarm, Number7Alarm, Number8Alarm, Number9Alarm");
    has("quarantine  2        0       3 min 20 s");
    has("The other 11 queues are empty.");
}

#[test]
fn a_long_word_has_a_line_of_its_own() {
    let word = "x".repeat(WIDTH + 1);
    assert_eq!(
        wrapped(&format!("a {word} b"), 2),
        format!("a\n  {word}\n  b")
    );
}
