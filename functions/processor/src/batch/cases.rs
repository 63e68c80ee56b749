//! A batch of up to ten records of every mix, and what becomes of each.
//!
//! A table has a line for each record: its group and its kind, and then what is expected.
//!
//! | column | says |
//! | --- | --- |
//! | `back` | `-`: settled, SQS may forget it. `2s`: reported failed, and hidden for so long |
//! | `item` | what the ledger has of its event afterwards: `absent`, `ours` (claimed by this batch, its lease running), `free` (its lease has ended), `theirs` (claimed by another worker) or `published` |
//! | `call` | the first `PutEvents` call in which it was offered to the bus, `-` if in none |
//! | `on-bus` | how often the bus has taken it in this batch |
//! | `aside` | why it is in the quarantine, with a `+` between two reasons, or `-` |

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::value::RawValue;
use shared::event::payload_digest;
use shared::ledger::State;

use super::fakes::*;
use crate::timing::MOST_PANICS;

/// What a record is, or what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An event that nobody knows.
    New,
    /// One that is on the bus.
    Duplicate,
    /// One that is on the bus with another payload.
    Conflict,
    /// One that another worker has claimed.
    Held,
    /// No envelope.
    Poison,
    /// It panics.
    Panic,
    /// It panics for the fifth time.
    Panic5,
    /// The ledger fails to claim it.
    Unclaimed,
    /// The bus has too many of them.
    Throttled,
    /// The bus will never take it.
    Refused,
    /// The bus will never take it with its payload.
    Choking,
    /// It is published, and its claim has passed on before it is marked.
    Unmarked,
    /// It is published, and marking it panics.
    MarkPanic,
    /// The bus can't take its payload.
    Odd,
}

impl Kind {
    const ALL: [Self; 14] = [
        Self::New,
        Self::Duplicate,
        Self::Conflict,
        Self::Held,
        Self::Poison,
        Self::Panic,
        Self::Panic5,
        Self::Unclaimed,
        Self::Throttled,
        Self::Refused,
        Self::Choking,
        Self::Unmarked,
        Self::MarkPanic,
        Self::Odd,
    ];

    fn ledger_fault(self) -> Option<LedgerFault> {
        match self {
            Self::Panic | Self::Panic5 => Some(LedgerFault::ClaimPanics),
            Self::Unclaimed => Some(LedgerFault::ClaimFails),
            Self::Unmarked => Some(LedgerFault::MarkIsStale),
            Self::MarkPanic => Some(LedgerFault::MarkPanics),
            _ => None,
        }
    }

    fn bus_refusal(self) -> Option<&'static str> {
        match self {
            Self::Throttled => Some("ThrottlingException"),
            Self::Refused => Some("MalformedDetail"),
            _ => None,
        }
    }

    fn refusal_of_payload(self) -> Option<&'static str> {
        (self == Self::Choking).then_some("MalformedDetail")
    }

    /// Whether it is offered to the bus again, without its payload.
    fn is_refused(self) -> bool {
        matches!(self, Self::Refused | Self::Choking)
    }

    fn receives(self) -> u32 {
        match self {
            Self::Panic5 => MOST_PANICS,
            _ => 1,
        }
    }

    fn payload(self, id: usize) -> String {
        let payload = payload("NEW_CALLOUT", id);
        match self {
            // Half of a surrogate pair.
            Self::Odd => payload.replacen('{', r#"{"text":"\ud83d","#, 1),
            _ => payload,
        }
    }

    fn body(self, id: usize) -> String {
        match self {
            Self::Poison => format!("not an envelope: {id}"),
            _ => envelope_of(uuid::Uuid::now_v7(), &self.payload(id)),
        }
    }

    /// What other workers have done with its event.
    fn happens_before(self, services: &Fakes, id: usize) {
        let payload = RawValue::from_string(self.payload(id)).unwrap();
        let digest = payload_digest(&payload);
        match self {
            Self::Duplicate => services.publish_elsewhere(&key(id), &digest),
            Self::Conflict => services.publish_elsewhere(&key(id), "another"),
            Self::Held => {
                services.claim_elsewhere(&key(id), &digest);
            }
            _ => {}
        }
    }
}

/// Each record's callout is its own.
fn key(id: usize) -> String {
    format!("callout#{id}/NEW_CALLOUT")
}

/// A record, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    group: String,
    kind: Kind,
    /// Hidden for so many seconds and reported failed, or settled.
    back: Option<u64>,
    item: &'static str,
    call: Option<usize>,
    on_bus: usize,
    aside: Option<String>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, item, .. } = self;
        let kind = format!("{:?}", self.kind).to_lowercase();
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let back = or_none(self.back.map(|seconds| format!("{seconds}s")));
        let call = or_none(self.call.map(|number| number.to_string()));
        let aside = or_none(self.aside.clone());
        write!(
            f,
            "{group} {kind} {back} {item} {call} {} {aside}",
            self.on_bus
        )
    }
}

/// Processes a batch of these records.
async fn play(records: &[(&str, Kind)]) -> Vec<Line> {
    let mut services = Fakes::default();
    let mut messages = Vec::new();
    for (id, (group, kind)) in records.iter().enumerate() {
        kind.happens_before(&services, id);
        let fault = kind.ledger_fault().map(|fault| (key(id), fault));
        services.faults.extend(fault);
        let refusal = kind.bus_refusal().map(|code| (key(id), code));
        services.refuses.extend(refusal);
        let refusal = kind.refusal_of_payload().map(|code| (key(id), code));
        services.refuses_payloads.extend(refusal);
        let body = kind.body(id);
        messages.push(message(&id.to_string(), group, kind.receives(), body));
    }
    let processor = processor(services);
    let bodies: Vec<_> = messages
        .iter()
        .map(|message| message.body.clone())
        .collect();
    let time = SignedDuration::from_secs(10);
    let failed = failures(time, &processor, messages).await;

    let hidden = hidden_at_the_end(&processor, &failed);
    let line = |(id, (group, kind)): (usize, &(&str, Kind))| Line {
        back: hidden.get(&id).copied(),
        aside: aside(&processor.services, bodies[id].as_deref().unwrap()),
        ..on_the_way(&processor.services, id, group, *kind)
    };
    records.iter().enumerate().map(line).collect()
}

/// What the ledger and the bus have of a record's event.
fn on_the_way(services: &Fakes, id: usize, group: &str, kind: Kind) -> Line {
    let calls = services.calls.lock().unwrap();
    let is_its = |detail: &serde_json::Value| key_of(detail) == key(id);
    let offered =
        |call: &Vec<(serde_json::Value, bool)>| call.iter().any(|(detail, _)| is_its(detail));
    let taken = calls.iter().flatten().filter(|(_, is_taken)| *is_taken);
    Line {
        group: group.to_owned(),
        kind,
        back: None,
        item: item(services, id),
        call: calls.iter().position(offered).map(|position| position + 1),
        on_bus: taken.filter(|(detail, _)| is_its(detail)).count(),
        aside: None,
    }
}

/// Why a record with this body is in the quarantine.
fn aside(services: &Fakes, body: &str) -> Option<String> {
    let quarantined = services.quarantined.lock().unwrap();
    let its = quarantined.iter().filter(|item| body.contains(&item.body));
    let reasons: Vec<_> = its.map(|item| item.reason.as_str()).collect();
    (!reasons.is_empty()).then(|| reasons.join("+"))
}

/// The records that were hidden when all was over, and for how many seconds: those that were
/// reported failed, and no others.
fn hidden_at_the_end(processor: &FakeProcessor, failed: &[String]) -> HashMap<usize, u64> {
    if failed.is_empty() {
        return HashMap::new();
    }
    let calls = processor.services.hidden.lock().unwrap();
    let hidden = calls.last().cloned().unwrap_or_default();
    let mut handles: Vec<_> = hidden.iter().map(|(handle, _)| handle.clone()).collect();
    handles.sort();
    let failed: Vec<_> = failed.iter().map(|id| format!("handle-{id}")).collect();
    assert_eq!(handles, failed);
    let id = |handle: &str| handle.trim_start_matches("handle-").parse().unwrap();
    let hidden = hidden.iter().map(|(handle, time)| (id(handle), *time));
    hidden.collect()
}

fn item(services: &Fakes, id: usize) -> &'static str {
    let Some(item) = services.item(&key(id)) else {
        return "absent";
    };
    match item.state().unwrap() {
        State::Published { .. } => "published",
        State::Claimed { claim, .. } if claim.owner.is_nil() => "theirs",
        State::Claimed { lease_until, .. } if lease_until <= NOW => "free",
        State::Claimed { .. } => "ours",
    }
}

/// The batch that the first two columns of a table describe comes out as its other columns say.
async fn check(table: &str) {
    let rows: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|row: &Vec<_>| !row.is_empty())
        .collect();
    let (head, rows) = rows.split_first().unwrap();
    assert_eq!(head.join(" "), "group kind back item call on-bus aside");
    let kind = |name: &str| {
        let is_its = |kind: &Kind| format!("{kind:?}").to_lowercase() == name;
        Kind::ALL.into_iter().find(is_its).unwrap()
    };
    let records: Vec<_> = rows.iter().map(|row| (row[0], kind(row[1]))).collect();
    assert!(records.len() <= 10, "SQS hands over no more");
    let lines = play(&records).await;
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    let expected: Vec<_> = rows.iter().map(|row| row.join(" ")).collect();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn each_kind_in_a_group_of_its_own() {
    check(
        "
        group  kind       back  item       call  on-bus  aside
        a      new        -     published  1     1       -
        b      duplicate  -     published  -     0       -
        c      conflict   -     published  -     0       conflict
        d      held       11s   theirs     -     0       -
        e      poison     -     absent     -     0       not-an-envelope
        f      panic      1s    absent     -     0       -
        g      throttled  2s    free       1     0       -
        h      refused    -     free       1     0       payload-omitted+unpublishable
        i      unmarked   -     ours       1     1       -
        j      odd        -     published  1     1       payload-omitted
        ",
    )
    .await;
    check(
        "
        group  kind       back  item       call  on-bus  aside
        a      panic5     -     absent     -     0       panicked
        b      unclaimed  2s    absent     -     0       -
        c      markpanic  -     ours       1     1       -
        d      choking    -     published  1     1       payload-omitted
        ",
    )
    .await;
}

#[tokio::test]
async fn one_group_goes_on_after_all_that_is_settled() {
    check(
        "
        group  kind       back  item       call  on-bus  aside
        a      duplicate  -     published  -     0       -
        a      conflict   -     published  -     0       conflict
        a      poison     -     absent     -     0       not-an-envelope
        a      panic5     -     absent     -     0       panicked
        a      refused    -     free       1     0       payload-omitted+unpublishable
        a      odd        -     published  3     1       payload-omitted
        a      unmarked   -     ours       4     1       -
        a      choking    -     published  5     1       payload-omitted
        a      markpanic  -     ours       7     1       -
        a      new        -     published  8     1       -
        ",
    )
    .await;
}

#[tokio::test]
async fn five_groups_stop_each_at_its_own_failure() {
    check(
        "
        group  kind       back  item       call  on-bus  aside
        a      held       11s   theirs     -     0       -
        a      new        11s   absent     -     0       -
        b      panic      1s    absent     -     0       -
        b      new        1s    absent     -     0       -
        c      throttled  2s    free       1     0       -
        c      new        2s    absent     -     0       -
        d      unclaimed  2s    absent     -     0       -
        d      new        2s    absent     -     0       -
        e      new        -     published  1     1       -
        e      new        -     published  2     1       -
        ",
    )
    .await;
}

/// What is settled before a failure stays settled; nothing behind it is looked at, not even what
/// would be a duplicate, a conflict or poison.
#[tokio::test]
async fn what_stands_behind_a_failure_waits_untouched_whatever_it_is() {
    check(
        "
        group  kind       back  item       call  on-bus  aside
        a      new        -     published  1     1       -
        a      throttled  2s    free       2     0       -
        a      duplicate  2s    published  -     0       -
        a      conflict   2s    published  -     0       -
        a      poison     2s    absent     -     0       -
        a      held       2s    theirs     -     0       -
        a      panic      2s    absent     -     0       -
        a      panic5     2s    absent     -     0       -
        a      odd        2s    absent     -     0       -
        b      new        -     published  1     1       -
        ",
    )
    .await;
}

#[tokio::test]
async fn groups_that_are_mixed_up_are_each_in_their_order() {
    check(
        "
        group  kind       back  item       call  on-bus  aside
        a      new        -     published  1     1       -
        b      poison     -     absent     -     0       not-an-envelope
        c      panic      1s    absent     -     0       -
        a      duplicate  -     published  -     0       -
        b      new        -     published  2     1       -
        c      new        1s    absent     -     0       -
        b      throttled  2s    free       3     0       -
        a      new        -     published  3     1       -
        b      new        2s    absent     -     0       -
        a      held       11s   theirs     -     0       -
        ",
    )
    .await;
}

fn batches() -> impl Strategy<Value = Vec<(&'static str, Kind)>> {
    let record = (select(vec!["a", "b", "c", "d"]), select(Kind::ALL.to_vec()));
    prop::collection::vec(record, 1..=10)
}

/// [`play`], for a test that is no async function.
fn played(records: &[(&str, Kind)]) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(play(records))
}

fn of_group(lines: &[Line], group: &str) -> Vec<Line> {
    let lines = lines.iter().filter(|line| line.group == group);
    lines.cloned().collect()
}

/// Without the number of the call, which others may have made one more or less.
fn uncounted(line: &Line) -> Line {
    Line {
        call: line.call.map(|_| 0),
        ..line.clone()
    }
}

proptest! {
    /// Until a group's first failure each of its records ends as it would alone; the others wait
    /// as long as that one, untouched.
    #[test]
    fn a_records_end_follows_from_its_kind_and_from_those_before_it(records in batches()) {
        let lines = played(&records);
        for group in ["a", "b", "c", "d"] {
            let mut failure = None;
            for line in of_group(&lines, group) {
                let alone = played(&[(group, line.kind)]).remove(0);
                let expected = match failure {
                    None => Line { call: line.call, ..alone.clone() },
                    Some(_) => Line {
                        back: failure,
                        item: before(line.kind),
                        call: None,
                        on_bus: 0,
                        aside: None,
                        ..alone.clone()
                    },
                };
                prop_assert_eq!(&line, &expected);
                prop_assert!(failure.is_some() || line.call.is_some() == alone.call.is_some());
                failure = failure.or(line.back);
            }
        }
    }
}

proptest! {
    #[test]
    fn groups_do_not_influence_each_other(records in batches()) {
        let lines = played(&records);
        for group in ["a", "b", "c", "d"] {
            let own: Vec<_> = records.iter().filter(|(its, _)| *its == group).copied().collect();
            let alone: Vec<_> = played(&own).iter().map(uncounted).collect();
            let beside: Vec<_> = of_group(&lines, group).iter().map(uncounted).collect();
            prop_assert_eq!(beside, alone);
        }
    }

    /// One call for each wave that has something for the bus, one more for each that was refused in
    /// it, and in each call at most one of a group. So a group's events go out in its order, and no
    /// event twice.
    #[test]
    fn a_wave_is_one_call_and_one_more_for_each_refusal(records in batches()) {
        let lines = played(&records);
        let mut waves: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for group in ["a", "b", "c", "d"] {
            for (wave, line) in of_group(&lines, group).iter().enumerate() {
                let Some(call) = line.call else { continue };
                let (first, calls) = waves.entry(wave).or_insert((call, 1));
                prop_assert_eq!(*first, call);
                *calls += usize::from(line.kind.is_refused());
            }
        }
        prop_assert!(lines.iter().all(|line| line.on_bus <= 1));
        let mut next = 1;
        for (first, calls) in waves.into_values() {
            prop_assert_eq!(first, next);
            next += calls;
        }
    }
}

/// What the ledger has of such an event before the batch.
fn before(kind: Kind) -> &'static str {
    match kind {
        Kind::Duplicate | Kind::Conflict => "published",
        Kind::Held => "theirs",
        _ => "absent",
    }
}
