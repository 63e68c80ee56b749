//! Made-up views, for tests, and to look at the pages without a stack.

use std::fs;
use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use jiff::{SignedDuration, Timestamp};
use maud::Markup;
use serde_json::json;
use uuid::Uuid;

use super::layout::{self, Frame, Tab};
use super::losses::{Class, Fate, Losses, Recent};
use super::{Site, actions, audit, entity, losses, overview, queues, registration};
use crate::audit::{Audit, Changed};
use crate::dead_letters::{DeadLetter, DeadLetters, Letters};
use crate::delivery::{Delivery, Step};
use crate::logs::Line;
use crate::quarantine::{Quarantine, Quarantined};
use crate::spill::{SpillList, Spilled};
use crate::stack::Stack;
use crate::status::{Alarms, Depth, LastCanary, Need, Registration, Run, SpillDepth, Status};
use crate::timeline::{Happening, Timeline};

/// A page of port 4000 and of no stack.
pub(super) fn site(allow_actions: bool) -> Site {
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .build();
    Site::new(Stack::sample("aura-webhooks", &sdk), 4000, allow_actions)
}

/// The frame of a page.
pub(super) fn frame(allow_actions: bool) -> Frame {
    Frame {
        base: "/token".to_owned(),
        stack: "aura-webhooks".to_owned(),
        region: "eu-west-1".to_owned(),
        allow_actions,
    }
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_secs(seconds)
}

fn id() -> String {
    Uuid::now_v7().to_string()
}

fn depth(name: &str, waiting: u64, oldest_seconds: Option<u64>) -> Depth {
    Depth {
        name: name.to_owned(),
        waiting,
        hidden: waiting / 3,
        oldest_seconds,
    }
}

fn status(needs: Vec<Need>, busy: u64) -> Status {
    let names = ["ingest", "quarantine"].map(str::to_owned);
    let kinds = ["callout", "customer", "subscription", "other"];
    let dead = ["ingest"].into_iter().chain(kinds);
    let names = names
        .into_iter()
        .chain(kinds.map(|kind| format!("{kind} events")))
        .chain(dead.map(|kind| format!("{kind} dead letters")));
    let queues = names.map(|name| depth(&name, busy, (busy > 0).then_some(busy * 7)));
    Status {
        stack: "aura-webhooks".to_owned(),
        region: "eu-west-1".to_owned(),
        at: Timestamp::now(),
        is_new: false,
        needs,
        alarms: Alarms::default(),
        registration: registered(),
        queues: queues.collect(),
        spill: SpillDepth {
            waiting: usize::try_from(busy).unwrap(),
            oldest: (busy > 0).then(|| ago(700)),
        },
        last_delivery: Some(ago(42)),
        reconciler_scheduled: true,
        reconciler: Some(Run {
            at: ago(20),
            failure: None,
            found: busy,
            unsettled: 0,
        }),
        canary_scheduled: true,
        canary: Some(LastCanary {
            at: ago(130),
            milliseconds: Some(412),
            failure: None,
        }),
    }
}

fn registered() -> Registration {
    Registration {
        is_standby: false,
        url: "https://a1b2c3d4e5.execute-api.eu-west-1.amazonaws.com/aura/events".to_owned(),
        events: "ALL".to_owned(),
        at: Some(ago(90_000)),
        proof: "canary published in 0.4 s, AURA answered 200 in 0.2 s".to_owned(),
        rotated_at: None,
    }
}

fn need(alarm: &str, what: &str) -> Need {
    let runbook = "https://github.example/aura-webhooks/blob/main/docs/operate.md";
    Need {
        what: what.to_owned(),
        alarm: alarm.to_owned(),
        rings: !alarm.starts_with("Quarantine"),
        command: Some("aura-ops status"),
        runbook: format!("{runbook}#{}", alarm.to_lowercase()),
        since: Some(ago(600)),
    }
}

fn needs() -> Vec<Need> {
    vec![
        need(
            "CanaryFailsAlarm",
            "Two canaries in a row did not get from the public endpoint to the bus: AURA's deliveries \
             probably fail, too.",
        ),
        need(
            "DeadLettersAlarm",
            "Deliveries could not be published in fifty tries.",
        ),
        need(
            "QuarantineAlarm",
            "2 deliveries are in the quarantine: aura-ops quarantine list.",
        ),
    ]
}

fn happening(number: i64) -> Happening {
    let names = [
        "NEW_CALLOUT",
        "RESPONDER_ARRIVED_ON_SCENE",
        "CALLOUT_EVENTS_CHANGED",
    ];
    let index = usize::try_from(number).unwrap();
    let is_published = number % 97 != 96;
    Happening {
        key: format!("callout#5003/{number}"),
        message: names[index % 3].to_owned(),
        occurrence: u32::try_from(number / 3 + 1).unwrap(),
        state: if is_published { "PUBLISHED" } else { "CLAIMED" }.to_owned(),
        received_at: Some(ago(20_000 - number * 2)),
        published_at: is_published.then(|| ago(20_000 - number * 2)),
        latency_milliseconds: is_published.then_some(130 + number % 40),
        lease_until: (!is_published).then(|| ago(19_000 - number * 2)),
        origin: Some("webhook".to_owned()),
        attempts: Some(1),
        delivery_id: Some(id()),
        bus_event_id: None,
    }
}

fn timeline(events: i64) -> Timeline {
    Timeline {
        kind: "callout".to_owned(),
        id: "5003".to_owned(),
        test: true,
        events: (0..events).map(happening).collect(),
    }
}

fn delivery() -> Delivery {
    let step = |function: &str, what: &str| Step {
        at: ago(60),
        function: function.to_owned(),
        what: what.to_owned(),
    };
    Delivery {
        id: Uuid::now_v7(),
        verdict: "It was published 143 ms after its arrival.".to_owned(),
        received_at: Some(ago(60)),
        entity: Some("callout#5003".to_owned()),
        events: vec![happening(1)],
        waits_in: Vec::new(),
        steps: vec![step("ingest", "accepted"), step("processor", "published")],
    }
}

fn quarantined(reason: &str) -> Quarantined {
    Quarantined {
        id: id(),
        message_id: Uuid::new_v4().to_string(),
        reason: reason.to_owned(),
        meaning: "The event happens once, and was published with another payload.".to_owned(),
        advice: "Compare both payloads. Release it as a correction if this one is right, and \
                 discard it otherwise."
            .to_owned(),
        received_at: Some(ago(7300)),
        since: Some(ago(7200)),
        message: Some("NEW_CALLOUT".to_owned()),
        entity: Some("callout#5003".to_owned()),
        bytes: Some(1834),
        payload: None,
    }
}

fn quarantine() -> Quarantine {
    let mut odd = quarantined("not-json");
    odd.meaning = "The body is no JSON.".to_owned();
    (odd.message, odd.entity) = (None, None);
    Quarantine {
        deliveries: vec![quarantined("conflict"), odd],
        more: 3,
    }
}

fn dead_letter(queue: Letters) -> DeadLetter {
    DeadLetter {
        queue,
        id: id(),
        message_id: Uuid::new_v4().to_string(),
        reason: "its consumer received it five times and never deleted it".to_owned(),
        received_at: Some(ago(7300)),
        since: Some(ago(300)),
        message: Some("CALLOUT_CLOSED".to_owned()),
        entity: Some("callout#5003".to_owned()),
        test: Some(true),
        payload: None,
    }
}

fn fates(count: i64) -> Losses {
    let fate = |number: i64| {
        let class = match number % 50 {
            7 => Class::Duplicate,
            13 => Class::Quarantined,
            21 => Class::Recovered,
            _ => Class::Published,
        };
        Fate {
            id: Some(id()),
            at: ago(number * 8),
            message: Some("CALLOUT_EVENTS_CHANGED".to_owned()),
            is_finding: false,
            class,
            delay: (class != Class::Duplicate).then_some(120 + number % 300),
        }
    };
    Losses {
        fates: (0..count).map(fate).collect(),
    }
}

fn audit_trail() -> Audit {
    let changed = |action: &str, count, failure: Option<&str>| Changed {
        at: Some(ago(4000)),
        who: "arn:aws:sts::123456789012:assumed-role/OnCall/jane".to_owned(),
        action: action.to_owned(),
        subjects: vec![id(), id()],
        count,
        failure: failure.map(str::to_owned),
    };
    Audit {
        changes: vec![
            changed("quarantine release", Some(2), None),
            changed(
                "register",
                Some(0),
                Some("the canary was not published within 60 s"),
            ),
            changed("dead-letters redrive", None, None),
        ],
    }
}

fn history() -> Vec<Line> {
    let line = |request, succeeded: u8| Line {
        at: ago(90_000),
        fields: json!({
            "Request": request, "Succeeded": succeeded, "Reason": "AURA answered 503",
            "Steps": ["read the secret: ok, 12 ms", "canary: ok, 412 ms", "AURA: ok, 203 ms"],
        }),
    };
    vec![
        line("Create", 1),
        line("setSecret", 0),
        line("Reregister", 1),
    ]
}

fn spilled() -> SpillList {
    let one = |fault: Option<&str>| Spilled {
        id: id(),
        destination: Some("ingest".to_owned()),
        received_at: Some(ago(65)),
        entity: Some("callout#5003".to_owned()),
        fault: fault.map(str::to_owned),
    };
    SpillList {
        deliveries: vec![one(None), one(Some("its body can't be read"))],
        why: "The reconciler puts them back within a minute.".to_owned(),
    }
}

/// A page's name, its tab, and its content.
type Page = (&'static str, Tab, Markup);

fn pages() -> Vec<Page> {
    let (look, act) = (frame(false), frame(true));
    let recent = Recent {
        delivered: 12_345,
        published: 12_340,
        not_stored: 2,
    };
    let good = overview::draw(&look, &status(Vec::new(), 0), Some(recent));
    let bad = overview::draw(&act, &status(needs(), 1234), None);
    let timeline = |events| entity::draw_timeline(&look, &timeline(events), 0);
    let delivery = entity::draw_delivery(&look, &delivery());
    let losses = losses::draw(&look, &fates(10_000), None);
    let registration = registration::draw(&act, &registered(), &history());
    let refused =
        anyhow::anyhow!("AccessDenied: no identity-based policy allows sqs:ReceiveMessage")
            .context("quarantine: ReceiveMessage failed");
    let mut pages = vec![
        ("overview", Tab::Overview, good),
        ("overview-bad", Tab::Overview, bad),
        ("timeline", Tab::Search, timeline(12)),
        ("timeline-long", Tab::Search, timeline(10_000)),
        ("timeline-none", Tab::Search, timeline(0)),
        ("delivery", Tab::Search, delivery),
        ("losses", Tab::Losses, losses),
        ("registration", Tab::Registration, registration),
        ("audit", Tab::Audit, audit::draw(&look, &audit_trail())),
        ("failure", Tab::Quarantine, layout::failure(&refused)),
    ];
    pages.extend(waiting(&look, &act));
    pages
}

/// The pages of what waits beside the path.
fn waiting(look: &Frame, act: &Frame) -> [Page; 7] {
    let none = Quarantine {
        deliveries: Vec::new(),
        more: 0,
    };
    let none = queues::draw_quarantine(look, &none);
    let quarantine = queues::draw_quarantine(look, &quarantine());
    let mut with_payload = quarantined("conflict");
    with_payload.payload = Some(r#"{"message":"NEW_CALLOUT","callout":{"id":"5003"}}"#.repeat(9));
    let quarantined = queues::draw_quarantined(act, &with_payload);
    let letters = DeadLetters {
        messages: vec![dead_letter(Letters::Ingest), dead_letter(Letters::Callout)],
        more: 0,
    };
    let letters = queues::draw_dead_letters(act, &letters);
    let letter = queues::draw_dead_letter(look, &dead_letter(Letters::Other));
    let sentence = "Put 1 delivery back into the ingest queue. It is 2 h old: consumers act on it as on \
                    a new event.";
    let confirm = actions::draw(act, "x", &actions::sample(), sentence);
    [
        ("quarantine", Tab::Quarantine, quarantine),
        ("quarantine-none", Tab::Quarantine, none),
        ("quarantined", Tab::Quarantine, quarantined),
        ("dead-letters", Tab::DeadLetters, letters),
        ("dead-letter", Tab::DeadLetters, letter),
        ("spill", Tab::Spill, queues::draw_spill(look, &spilled())),
        ("confirm", Tab::Quarantine, confirm),
    ]
}

/// No page that only looks has a form that changes something.
#[test]
fn a_page_that_is_read_only_offers_no_change() {
    let look = frame(false);
    let pages = [
        queues::draw_quarantined(&look, &quarantined("conflict")),
        queues::draw_dead_letter(&look, &dead_letter(Letters::Callout)),
        registration::draw(&look, &registered(), &history()),
    ];
    for page in pages {
        let page = page.into_string();
        assert!(
            !page.contains("confirm") && !page.contains("method=\"post\""),
            "{page}"
        );
    }
}

/// Writes all pages to target/ci/samples, to look at them in a browser without a stack.
#[test]
#[ignore = "it writes files to look at"]
fn write_the_samples() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/ci/samples");
    fs::create_dir_all(&folder).unwrap();
    let link = r#"<link rel="stylesheet" href="/token/page.css">"#;
    let style = format!("<style>{}</style>", layout::STYLE);
    for (name, tab, content) in pages() {
        let page = frame(name == "quarantined" || name.ends_with("bad")).page(tab, name, &content);
        let page = page.into_string();
        assert!(page.contains(link));
        fs::write(
            folder.join(format!("{name}.html")),
            page.replace(link, &style),
        )
        .unwrap();
    }
}
