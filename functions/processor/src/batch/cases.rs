//! Tests batches of up to ten records, mixed in every way, and what becomes of each record.
//!
//! A table has a line for each record: its group, its kind, and the expected result.
//!
//! | column | says |
//! | --- | --- |
//! | `back` | `-`: the record is settled, and SQS may forget it. `2s`: the record is reported failed, and hidden for this time |
//! | `item` | the state of its event in the ledger afterwards: `absent`, `ours` (claimed by this batch, its lease running), `free` (its lease has ended), `theirs` (claimed by another worker) or `published` |
//! | `call` | the first `PutEvents` call that offered it to the bus, or `-` |
//! | `on-bus` | how often the bus accepted it in this batch |
//! | `aside` | why it is in the quarantine, with `+` between two reasons, or `-` |

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

/// What kind of record it is, or what happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A new event.
    New,
    /// An event that is already on the bus.
    Duplicate,
    /// An event that is on the bus with another payload.
    Conflict,
    /// An event that another worker has claimed.
    Held,
    /// A body that is not an envelope.
    Poison,
    /// Processing it panics.
    Panic,
    /// Processing it panics, on the fifth receive.
    Panic5,
    /// The ledger fails to claim it.
    Unclaimed,
    /// The bus throttles it.
    Throttled,
    /// The bus will never accept it.
    Refused,
    /// The bus will never accept it with its payload.
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

    /// Does what other workers have done with its event.
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

/// The key of a record's event. Each record has a callout of its own.
fn key(id: usize) -> String {
    format!("callout#{id}/NEW_CALLOUT")
}

/// A record, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    group: String,
    kind: Kind,
    /// The seconds for which it is hidden, if it was reported failed. `None` if it is settled.
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

/// The line of a record, as far as the ledger and the bus know it.
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

/// The records that were hidden at the end, and for how many seconds. These must be the records
/// that were reported failed, and no others.
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

/// Processes the batch in a table's first two columns, and compares the result with its other
/// columns.
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
    assert!(records.len() <= 10, "SQS hands over at most ten records");
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
async fn a_group_goes_on_after_every_settled_record() {
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

/// Records before a failure stay settled. Records behind it are not touched, not even a duplicate,
/// a conflict or poison.
#[tokio::test]
async fn records_behind_a_failure_wait_untouched_whatever_their_kind() {
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

/// Calls [`play`] from a test that is not async.
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

/// The line without the number of the call, because other groups may change that number.
fn uncounted(line: &Line) -> Line {
    Line {
        call: line.call.map(|_| 0),
        ..line.clone()
    }
}

proptest! {
    /// Until a group's first failure, each of its records ends as it would alone. The later records
    /// wait as long as that one, untouched.
    #[test]
    fn a_records_outcome_follows_from_its_kind_and_the_records_before_it(records in batches()) {
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

    /// Each wave with something for the bus makes one call, and one more for each refused record.
    /// Each call holds at most one record of a group. So a group's events go out in order, and no
    /// event goes out twice.
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

/// The state of such an event in the ledger before the batch.
fn before(kind: Kind) -> &'static str {
    match kind {
        Kind::Duplicate | Kind::Conflict => "published",
        Kind::Held => "theirs",
        _ => "absent",
    }
}
