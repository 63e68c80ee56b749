use serde_json::json;

use super::*;
use crate::torture::journal::{Entry, Mark};

const KEY: &str = "callout#1/NEW_CALLOUT";
const OTHER: &str = "callout#2/NEW_CALLOUT";

fn at(millisecond: i64) -> Timestamp {
    Timestamp::from_millisecond(millisecond).unwrap()
}

fn copy(key: &str, id: &str) -> Published {
    serde_json::from_value(json!({
        "id": id, "detail-type": "NEW_CALLOUT", "source": "aura", "time": "2026-01-01T00:00:00Z",
        "detail": {
            "key": key, "message": "NEW_CALLOUT", "entity": {"kind": "callout", "id": "1"},
            "deliveryId": "d", "receivedAt": "2026-01-01T00:00:00Z", "origin": "webhook",
            "sequence": "1", "test": false, "payload": {},
        },
    }))
    .unwrap()
}

/// Notes that an event is claimed, and published a bit later.
fn published(journal: &mut Journal, key: &str, id: &str, claimed: i64) {
    journal.claims.push(at(claimed));
    journal.publishes.push(Publish {
        arrived: at(claimed + 10),
        answer_lost: false,
        entries: vec![Entry {
            key: key.to_owned(),
            bus_event_id: id.to_owned(),
        }],
    });
}

fn marked(journal: &mut Journal, key: &str, arrived: i64) {
    journal.marks.push(Mark {
        key: key.to_owned(),
        arrived: at(arrived),
    });
}

fn killed(millisecond: i64) -> Kill {
    Kill {
        moment: Moment::AfterPublish,
        at: at(millisecond),
    }
}

/// A journal of an event that was published at 1010, and again at 9010.
fn doubled() -> Journal {
    let mut journal = Journal::default();
    published(&mut journal, KEY, "a", 1000);
    published(&mut journal, KEY, "b", 9000);
    marked(&mut journal, KEY, 9020);
    journal
}

/// The reasons for the doubles if consumers received the copies `a` and `b`.
fn reasons(journal: &Journal, kills: &[Kill]) -> Vec<Reason> {
    // Consumers may receive the copies in any order.
    let doubles = doubles(&[copy(KEY, "b"), copy(KEY, "a")], journal, kills);
    assert!(doubles.iter().all(|double| double.key == KEY));
    doubles.into_iter().map(|double| double.reason).collect()
}

fn reason(journal: &Journal, kills: &[Kill]) -> Reason {
    let reasons = reasons(journal, kills);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons[0]
}

#[test]
fn a_single_copy_needs_no_reason() {
    assert!(doubles(&[copy(KEY, "a"), copy(OTHER, "b")], &doubled(), &[]).is_empty());
}

#[test]
fn a_kill_between_publish_and_mark_explains_a_double() {
    let expected = Reason::Killed {
        moment: Moment::AfterPublish,
        at: at(1020),
    };
    assert_eq!(reason(&doubled(), &[killed(500), killed(1020)]), expected);
    assert!(expected.explains());
}

#[test]
fn what_was_on_its_way_when_the_processor_died_is_explained_too() {
    assert!(reason(&doubled(), &[killed(1005)]).explains());
}

#[test]
fn a_double_without_a_kill_in_between_is_unexplained() {
    for kills in [&[][..], &[killed(500)], &[killed(9100)]] {
        assert_eq!(reason(&doubled(), kills), Reason::Unexplained, "{kills:?}");
    }
    assert!(!Reason::Unexplained.explains());
}

#[test]
fn a_kill_after_the_processor_had_gone_on_explains_nothing() {
    let mut journal = doubled();
    journal.claims.push(at(2000));
    assert_eq!(reason(&journal, &[killed(2010)]), Reason::Unexplained);
    assert!(reason(&journal, &[killed(1400)]).explains());
}

#[test]
fn a_kill_after_the_processor_would_have_been_ended_explains_nothing() {
    assert!(reason(&doubled(), &[killed(6010)]).explains());
    assert_eq!(reason(&doubled(), &[killed(6011)]), Reason::Unexplained);
}

#[test]
fn what_was_marked_must_not_be_published_again_whatever_happened() {
    let mut journal = doubled();
    marked(&mut journal, KEY, 1015);
    journal.publishes[0].answer_lost = true;
    let expected = Reason::Marked { at: at(1015) };
    assert_eq!(reason(&journal, &[killed(1020)]), expected);
    assert!(!expected.explains());
    // The mark of another event doesn't count.
    let mut journal = doubled();
    marked(&mut journal, OTHER, 1015);
    assert!(reason(&journal, &[killed(1020)]).explains());
}

#[test]
fn a_lost_answer_explains_a_double() {
    let mut journal = doubled();
    journal.publishes[0].answer_lost = true;
    assert_eq!(reason(&journal, &[]), Reason::AnswerLost);
    assert!(Reason::AnswerLost.explains());
    // The lost answer of the second publish explains nothing.
    let mut journal = doubled();
    journal.publishes[1].answer_lost = true;
    assert_eq!(reason(&journal, &[]), Reason::Unexplained);
}

#[test]
fn a_copy_that_the_processor_did_not_publish_is_unexplained() {
    let mut journal = doubled();
    journal.publishes.pop();
    assert_eq!(reason(&journal, &[killed(1020)]), Reason::NotPublished);
    assert!(!Reason::NotPublished.explains());
}

#[test]
fn one_copy_that_comes_twice_is_unexplained_whatever_happened_to_its_call() {
    let mut journal = doubled();
    journal.publishes[0].answer_lost = true;
    let copies = [copy(KEY, "a"), copy(KEY, "b"), copy(KEY, "a")];
    let doubles = doubles(&copies, &journal, &[killed(1020)]);
    let reasons: Vec<_> = doubles.iter().map(|double| double.reason).collect();
    assert_eq!(reasons, [Reason::ReceivedTwice, Reason::AnswerLost]);
    assert!(!Reason::ReceivedTwice.explains());
}

#[test]
fn each_copy_beyond_the_first_needs_a_reason_of_its_own() {
    let mut journal = doubled();
    journal.marks.clear();
    published(&mut journal, KEY, "c", 17_000);
    let copies = [copy(KEY, "a"), copy(KEY, "c"), copy(KEY, "b")];
    let reasons = |kills: &[Kill]| -> Vec<bool> {
        let doubles = doubles(&copies, &journal, kills);
        doubles
            .iter()
            .map(|double| double.reason.explains())
            .collect()
    };
    assert_eq!(reasons(&[killed(1020), killed(9020)]), [true, true]);
    assert_eq!(reasons(&[killed(1020)]), [true, false]);
    assert_eq!(reasons(&[killed(9020)]), [false, true]);
}

fn item(key: &str, state: &str, bus_event_id: Option<&str>) -> Item {
    Item {
        key: key.to_owned(),
        state: state.to_owned(),
        bus_event_id: bus_event_id.map(str::to_owned),
    }
}

#[test]
fn the_ledger_holds_each_published_event_once_with_the_id_of_a_copy() {
    let copies = [copy(KEY, "a"), copy(KEY, "b")];
    for id in ["a", "b"] {
        let items = [item(KEY, "PUBLISHED", Some(id))];
        assert_eq!(differences(&items, &copies), [""; 0]);
    }
    let wrong = [
        vec![],
        vec![item(KEY, "PUBLISHED", Some("c"))],
        vec![item(KEY, "PUBLISHED", None)],
        vec![item(KEY, "CLAIMED", None)],
        vec![
            item(KEY, "PUBLISHED", Some("a")),
            item(OTHER, "PUBLISHED", Some("c")),
        ],
    ];
    for items in wrong {
        assert_eq!(differences(&items, &copies).len(), 1, "{items:?}");
    }
}

#[test]
fn an_item_is_read_as_the_processor_writes_it() {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let written = HashMap::from([
        ("pk".to_owned(), text("callout#1")),
        ("sk".to_owned(), text("NEW_CALLOUT")),
        ("state".to_owned(), text("PUBLISHED")),
        ("busEventId".to_owned(), text("a")),
        ("attempt".to_owned(), AttributeValue::N("1".to_owned())),
    ]);
    assert_eq!(Item::from(written), item(KEY, "PUBLISHED", Some("a")));
}

#[test]
fn a_double_is_told_with_its_key_its_times_and_its_reason() {
    let told = |reason| {
        let double = Double {
            key: KEY.to_owned(),
            published: Some(at(1010)),
            again: Some(at(9010)),
            reason,
        };
        double.told()
    };
    assert_eq!(
        told(Reason::Killed {
            moment: Moment::BeforeComplete,
            at: at(1020),
        }),
        "callout#1/NEW_CALLOUT published at 00:00:01.010 and 00:00:09.010: \
         killed at 00:00:01.020 (before-complete)"
    );
    for reason in [
        Reason::Unexplained,
        Reason::ReceivedTwice,
        Reason::NotPublished,
    ] {
        assert!(told(reason).contains("UNEXPLAINED"));
        assert_eq!(reason.name(), "UNEXPLAINED");
    }
}
