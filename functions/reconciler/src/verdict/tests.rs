use jiff::SignedDuration;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::view::CalloutStage::{Arrived, Cancelled, Completed, Created, Dispatched};
use crate::view::LastEvent;

const PATIENCE: Patience = Patience {
    lag: Duration::from_secs(10),
    created: Duration::from_secs(100),
    dispatched: Duration::from_secs(200),
    arrived: Duration::from_mins(5),
    completed: Duration::from_secs(400),
    cancelled: Duration::from_secs(500),
};

/// The documented status values in several letter cases, and other values.
const STATUSES: [Option<&str>; 8] = [
    None,
    Some("created"),
    Some("CREATED "),
    Some("Responder Dispatched"),
    Some("responder cancelled"),
    Some("Responder Arrived"),
    Some("closed"),
    Some(""),
];
const STAGES: [CalloutStage; 5] = [Created, Dispatched, Arrived, Completed, Cancelled];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Makes the view of a callout whose last event led to this stage and was published at second 0.
fn view(stage: CalloutStage) -> CalloutView {
    CalloutView {
        opening: Presence::Published(at(0)),
        last: Some(LastEvent {
            sort: "last".to_owned(),
            at: at(0),
            has_stage: true,
        }),
        stage,
        staged_at: Some(at(0)),
        ..CalloutView::default()
    }
}

/// Makes the state that a run saves at second 50 if it finds this status after the event `last`.
fn last_check(status: Option<&str>, last: &str) -> LastCheck {
    LastCheck {
        status: status.map(str::to_owned),
        last: Some(last.to_owned()),
        // Second 50 plus the shortest silence.
        look_at: Some(at(150)),
        ask_at: Some(at(1000)),
        ..LastCheck::default()
    }
}

fn facts<'a>(
    view: &'a CalloutView,
    last_check: Option<&'a LastCheck>,
    now: Timestamp,
) -> Facts<'a> {
    Facts {
        view,
        last_check,
        patience: &PATIENCE,
        now,
    }
}

fn open_at(
    view: &CalloutView,
    last_check: Option<&LastCheck>,
    status: Option<&str>,
    second: i64,
) -> Verdict {
    facts(view, last_check, at(second)).on_open(at(0), status)
}

#[test]
fn a_documented_status_is_compared_with_the_last_event() {
    // Columns: the stage; whether "created", "Responder Dispatched" and "Responder Cancelled"
    // contradict it.
    let table = [
        (Created, [false, true, true]),
        (Dispatched, [true, false, true]),
        (Arrived, [true, false, true]),
        (Completed, [true, false, true]),
        (Cancelled, [false, true, false]),
    ];
    let words = ["Created", "responder dispatched", "RESPONDER CANCELLED"];
    for (stage, differ) in table {
        for (word, differs) in words.into_iter().zip(differ) {
            let verdict = open_at(&view(stage), None, Some(word), 50);
            let asks = verdict == Verdict::Ask(AskReason::Change);
            assert_eq!(asks, differs, "{stage:?} {word}: {verdict:?}");
        }
        for word in [None, Some("closed"), Some("Responder Arrived")] {
            let verdict = open_at(&view(stage), None, word, 50);
            assert!(
                matches!(verdict, Verdict::Remember(_)),
                "{stage:?} {word:?}"
            );
        }
    }
}

#[test]
fn a_status_that_changes_without_an_event_is_asked_about_whatever_it_says() {
    let view = view(Arrived);
    let before = last_check(Some("Responder Arrived"), "last");
    let same = open_at(&view, Some(&before), Some("Responder Arrived"), 50);
    assert_eq!(same, Verdict::Remember(before.clone()));
    for status in [Some("Something New"), None, Some("Responder Dispatched")] {
        let verdict = open_at(&view, Some(&before), status, 50);
        assert_eq!(verdict, Verdict::Ask(AskReason::Change), "{status:?}");
    }
    // A status that has changed together with an event is explained by the event.
    let before = last_check(Some("Responder Dispatched"), "an earlier one");
    let verdict = open_at(&view, Some(&before), Some("Responder Arrived"), 50);
    assert!(matches!(verdict, Verdict::Remember(_)), "{verdict:?}");
}

#[test]
fn each_stage_has_a_patience_of_its_own() {
    for (stage, seconds) in STAGES.into_iter().zip([100, 200, 300, 400, 500]) {
        let verdict = |second| open_at(&view(stage), None, None, second);
        let Verdict::Remember(last_check) = verdict(seconds - 1) else {
            panic!("{stage:?}");
        };
        assert_eq!(last_check.ask_at, Some(at(seconds)));
        assert_eq!(
            verdict(seconds),
            Verdict::Ask(AskReason::Silence),
            "{stage:?}"
        );
    }
}

#[test]
fn nothing_is_concluded_from_an_answer_that_may_be_older_than_the_last_event() {
    let young = |second| open_at(&view(Dispatched), None, Some("created"), second);
    assert_eq!(young(9), Verdict::Wait);
    assert_eq!(young(10), Verdict::Ask(AskReason::Change));
    let vanished = |second| facts(&view(Dispatched), None, at(second)).on_vanished(at(0));
    assert_eq!(vanished(9), Verdict::Wait);
    assert_eq!(vanished(10), Verdict::Ask(AskReason::Closing));
    let unknown = |second| facts(&CalloutView::default(), None, at(second)).on_unknown(at(0));
    // AURA's clock is ahead of ours.
    assert_eq!(unknown(-9), Verdict::Wait);
    assert_eq!(unknown(9), Verdict::Wait);
    assert_eq!(unknown(10), Verdict::Ask(AskReason::Opening));
}

#[test]
fn the_verdict_on_an_unknown_callout_follows_from_the_ledger() {
    use Presence::{Abandoned, Claimed, Published, Unknown};
    let old = Published(at(0));
    let young = Published(at(95));
    let adopt = Verdict::Adopt { opened_at: at(0) };
    let table = [
        (Unknown, Unknown, Verdict::Ask(AskReason::Opening)),
        (Claimed, Unknown, Verdict::Wait),
        (old, Unknown, adopt.clone()),
        (old, Abandoned, adopt),
        (Unknown, Claimed, Verdict::Wait),
        (old, Claimed, Verdict::Wait),
        (old, young, Verdict::Wait),
        (Unknown, young, Verdict::Wait),
        (Claimed, old, Verdict::Wait),
        (old, old, Verdict::Ask(AskReason::Reopened)),
        (Unknown, old, Verdict::Ask(AskReason::Opening)),
        (Abandoned, Unknown, Verdict::Ask(AskReason::Opening)),
        (Abandoned, old, Verdict::Ask(AskReason::Opening)),
        (Unknown, Abandoned, Verdict::Ask(AskReason::Opening)),
    ];
    for (opening, closing, expected) in table {
        let view = CalloutView {
            opening,
            closing,
            ..CalloutView::default()
        };
        let verdict = facts(&view, None, at(100)).on_unknown(at(0));
        assert_eq!(verdict, expected, "{opening:?} {closing:?}");
    }
}

#[test]
fn the_verdict_on_a_vanished_callout_follows_from_the_ledger() {
    use Presence::{Abandoned, Claimed, Published, Unknown};
    let table = [
        (Unknown, None, Verdict::Ask(AskReason::Closing)),
        (Abandoned, None, Verdict::Ask(AskReason::Closing)),
        (Claimed, None, Verdict::Wait),
        (Published(at(50)), None, Verdict::Forget),
        (Published(at(50)), Some(at(40)), Verdict::Forget),
        (
            Published(at(50)),
            Some(at(60)),
            Verdict::Ask(AskReason::ClosedAgain),
        ),
    ];
    for (closing, observed_at, expected) in table {
        let view = CalloutView {
            closing,
            observed_at,
            ..view(Completed)
        };
        let verdict = facts(&view, None, at(100)).on_vanished(at(0));
        assert_eq!(verdict, expected, "{closing:?} {observed_at:?}");
    }
}

#[test]
fn a_callout_that_is_active_after_its_closing_is_observed_once() {
    let closed = CalloutView {
        closing: Presence::Published(at(50)),
        ..view(Created)
    };
    let verdict = |view: &CalloutView, second| open_at(view, None, Some("created"), second);
    assert_eq!(verdict(&closed, 55), Verdict::Wait);
    assert_eq!(verdict(&closed, 60), Verdict::Ask(AskReason::Reopened));
    let told = CalloutView {
        observed_at: Some(at(61)),
        ..closed
    };
    assert!(matches!(verdict(&told, 62), Verdict::Remember(_)));
}

#[test]
fn a_callout_that_aura_calls_active_when_asked_is_over_only_after_its_patience() {
    let over = |status, missing_since, second| {
        let last_check = LastCheck {
            missing_since,
            ..LastCheck::default()
        };
        facts(&view(Created), Some(&last_check), at(second)).is_over(status, false)
    };
    for status in [None, Some("closed"), Some("Responder Cancelled")] {
        assert!(over(status, None, 50), "{status:?}");
    }
    let hour = 3600;
    for status in [Some("created"), Some("Responder dispatched")] {
        assert!(!over(status, None, hour), "{status:?}");
        assert!(!over(status, Some(at(0)), hour - 1), "{status:?}");
        assert!(over(status, Some(at(0)), hour), "{status:?}");
    }
}

#[test]
fn a_callout_that_a_page_lacks_is_over_after_an_hour() {
    use Presence::{Abandoned, Unknown};
    let word = Some("Responder Arrived");
    let minute = |minutes: i64| at(minutes * 60);
    // Columns: the closing's state in the ledger; AURA's status; the second since which AURA's list
    // lacks the callout; whether it is over one second before the hour, and after the hour.
    let table = [
        (Unknown, word, None, [false, false]),
        (Unknown, word, Some(0), [false, true]),
        (Unknown, word, Some(1), [false, false]),
        (Unknown, None, Some(0), [false, true]),
        (Unknown, Some("closed"), None, [false, false]),
        (Unknown, Some("closed"), Some(0), [false, true]),
        (Unknown, Some("Responder Cancelled"), Some(0), [false, true]),
        (Unknown, Some("created"), Some(0), [false, true]),
        (Abandoned, word, None, [true, true]),
        (Abandoned, Some("created"), None, [false, false]),
    ];
    for (closing, status, missing, expected) in table {
        let view = CalloutView {
            closing,
            ..view(Arrived)
        };
        let last_check = LastCheck {
            missing_since: missing.map(at),
            ..LastCheck::default()
        };
        let over = |now| facts(&view, Some(&last_check), now).is_over(status, true);
        let hour = minute(60);
        let just_before = hour - SignedDuration::from_secs(1);
        assert_eq!(
            [over(just_before), over(hour)],
            expected,
            "{closing:?} {status:?} {missing:?}"
        );
    }
    // If the silence of a stage is longer than an hour, it holds a callout that AURA calls active.
    // It holds no other callout.
    let patience = Patience {
        arrived: Duration::from_hours(2),
        ..PATIENCE
    };
    let last_check = LastCheck {
        missing_since: Some(at(0)),
        ..LastCheck::default()
    };
    let over = |status, now| {
        let view = view(Arrived);
        let facts = facts(&view, Some(&last_check), now);
        let patience = &patience;
        Facts { patience, ..facts }.is_over(status, true)
    };
    assert!(over(word, minute(60)) && !over(Some("created"), minute(60)));
    assert!(over(Some("created"), minute(120)));
}

#[test]
fn a_missed_opening_is_recovered_even_if_the_closing_was_delivered() {
    use Presence::{Abandoned, Claimed, Published, Unknown};
    let verdict = |opening, second| {
        let view = CalloutView {
            opening,
            closing: Published(at(0)),
            ..CalloutView::default()
        };
        facts(&view, None, at(second)).on_closed(false, at(0))
    };
    assert_eq!(verdict(Unknown, 9), Verdict::Wait);
    assert_eq!(verdict(Unknown, 10), Verdict::Ask(AskReason::Opening));
    assert_eq!(verdict(Abandoned, 10), Verdict::Ask(AskReason::Opening));
    assert_eq!(verdict(Claimed, 10), Verdict::Wait);
    assert_eq!(verdict(Published(at(1)), 10), Verdict::Forget);
    // The callout is noted as opened, but the ledger no longer has the opening: it was published
    // long ago.
    let forgotten = CalloutView {
        closing: Published(at(0)),
        ..CalloutView::default()
    };
    let verdict = facts(&forgotten, None, at(10)).on_closed(true, at(0));
    assert_eq!(verdict, Verdict::Forget);
}

#[test]
fn a_closed_callout_is_not_forgotten_while_an_answer_of_auras_is_on_its_way() {
    let closed = CalloutView {
        closing: Presence::Published(at(50)),
        ..view(Completed)
    };
    let last_check = LastCheck {
        observations: 1,
        ..LastCheck::default()
    };
    let verdict = |view: &CalloutView, second| {
        facts(view, Some(&last_check), at(second)).on_closed(true, at(50))
    };
    assert_eq!(verdict(&closed, 100), Verdict::Wait);
    assert_eq!(verdict(&closed, 50 + 300), Verdict::Forget);
    let told = |second| CalloutView {
        observations: 1,
        observed_at: Some(at(second)),
        ..closed.clone()
    };
    assert_eq!(verdict(&told(40), 100), Verdict::Forget);
    assert_eq!(
        verdict(&told(60), 100),
        Verdict::Ask(AskReason::ClosedAgain)
    );
}

#[test]
fn an_abandoned_opening_is_recovered_while_the_callout_is_open() {
    let view = CalloutView {
        opening: Presence::Abandoned,
        ..view(Created)
    };
    let verdict = open_at(&view, None, Some("created"), 50);
    assert_eq!(verdict, Verdict::Ask(AskReason::Opening));
}

#[test]
fn an_answer_and_an_event_that_may_be_in_the_wrong_order_are_observed_again() {
    let told = |status, last| LastCheck {
        observations: 1,
        observed: Some("d".to_owned()),
        ..last_check(status, last)
    };
    let status = Some("Responder Arrived");
    let verdict =
        |view: &CalloutView, last_check: &LastCheck| open_at(view, Some(last_check), status, 50);
    // The answer was published after an event that AURA may not have known when it answered.
    let behind = CalloutView {
        observed_at: Some(at(1)),
        ..view(Arrived)
    };
    let overtaken = Verdict::Ask(AskReason::Overtaken);
    let before = told(Some("Responder Dispatched"), "an earlier one");
    assert_eq!(verdict(&behind, &before), overtaken);
    // The event was published after the answer, and the status did not change.
    let late = view(Dispatched);
    assert_eq!(verdict(&late, &told(status, "an earlier one")), overtaken);
    // The status did change; or the event leads to no stage, so the status need not change.
    assert!(matches!(verdict(&late, &before), Verdict::Remember(_)));
    let mut idle = view(Dispatched);
    idle.last.as_mut().unwrap().has_stage = false;
    let verdict = verdict(&idle, &told(status, "an earlier one"));
    assert!(matches!(verdict, Verdict::Remember(_)));
}

#[test]
fn the_pause_between_calls_about_an_unchanged_callout_doubles_up_to_a_limit() {
    let view = view(Created);
    let mut now = at(100);
    let mut last_check = facts(&view, None, now).asked(None, Some("d".to_owned()));
    assert_eq!(last_check.observations, 1);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let next = last_check.ask_at.unwrap();
        pauses.push(next.duration_since(now).as_secs());
        now = next;
        last_check = facts(&view, Some(&last_check), now).asked(None, None);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 3200, 3200]);
    assert_eq!(
        (last_check.observations, last_check.observed.as_deref()),
        (1, Some("d"))
    );
    // After a change, the pause is the first one again.
    let told = facts(&view, Some(&last_check), now).asked(None, Some("e".to_owned()));
    assert_eq!(told.ask_at, Some(now + SignedDuration::from_secs(100)));
    assert_eq!(told.observations, 2);
}

fn views() -> impl Strategy<Value = CalloutView> {
    let presence = || {
        prop_oneof![
            Just(Presence::Unknown),
            Just(Presence::Claimed),
            Just(Presence::Abandoned),
            (0..100_i64).prop_map(|second| Presence::Published(at(second))),
        ]
    };
    let last = prop::option::of(("[ab]", 0..100_i64)).prop_map(|last| {
        last.map(|(sort, second)| LastEvent {
            sort,
            at: at(second),
            has_stage: true,
        })
    });
    let observed_at = prop::option::of((0..100_i64).prop_map(at));
    (
        presence(),
        presence(),
        last,
        select(&STAGES[..]),
        observed_at,
    )
        .prop_map(|(opening, closing, last, stage, observed_at)| CalloutView {
            opening,
            closing,
            last,
            stage,
            staged_at: None,
            observed_at,
            observations: 0,
        })
}

fn last_checks() -> impl Strategy<Value = Option<LastCheck>> {
    let status = select(&STATUSES[..]);
    let last = prop::option::of("[ab]");
    let ask_at = prop::option::of((0..1000_i64).prop_map(at));
    let check = (status, last, ask_at).prop_map(|(status, last, ask_at)| LastCheck {
        status: status.map(str::to_owned),
        last,
        ask_at,
        ..LastCheck::default()
    });
    prop::option::of(check)
}

proptest! {
    /// Two undocumented status values lead to the same verdict, as long as the value doesn't
    /// change.
    #[test]
    fn no_verdict_depends_on_an_undocumented_status_value(
        view in views(), word in "[d-z]{1,12}", other in "[d-z]{1,12}", second in 0..1000_i64,
    ) {
        let verdict = |word: &str| {
            let last_check = last_check(Some(word), "a");
            match open_at(&view, Some(&last_check), Some(word), second) {
                Verdict::Remember(kept) => Verdict::Remember(LastCheck { status: None, ..kept }),
                verdict => verdict,
            }
        };
        prop_assert_eq!(verdict(&word), verdict(&other));
        let over = |word: &str| facts(&view, None, at(second)).is_over(Some(word), false);
        prop_assert!(over(&word) && over(&other));
    }

    /// A callout that a page lacks waits an hour for its closing, whatever its status is. If AURA
    /// calls it active, it waits no longer than without the page. If the ledger has a closing,
    /// there is no wait because of the page.
    #[test]
    fn a_page_closes_no_callout_within_an_hour_and_adds_no_wait_after_it(
        view in views(), word in "[a-z]{0,12}", status in select(&STATUSES[..]), any in any::<bool>(),
        missing in 0..10_000_i64, second in 0..10_000_i64,
    ) {
        let status = if any { Some(word.as_str()) } else { status };
        let last_check = LastCheck { missing_since: Some(at(missing)), ..LastCheck::default() };
        let over = |page, second| {
            facts(&view, Some(&last_check), at(second)).is_over(status, page)
        };
        let is_told = view.closing != Presence::Unknown;
        if second < missing + 3600 && !is_told {
            prop_assert!(!over(true, second));
        }
        if over(true, second) {
            prop_assert!(over(false, second));
        }
        if over(false, second) && (is_told || second >= missing + 3600) {
            prop_assert!(over(true, second));
        }
        prop_assert!(over(true, missing + 3600));
        prop_assert!(!facts(&view, None, at(second)).is_over(status, true) || is_told);
    }

    /// While the processor has a claim on the closing, the reconciler does nothing.
    #[test]
    fn nothing_is_asked_about_a_callout_whose_closing_is_claimed(
        view in views(), last_check in last_checks(), status in select(&STATUSES[..]),
        second in 0..1000_i64,
    ) {
        let view = CalloutView { closing: Presence::Claimed, ..view };
        let now = at(second);
        prop_assert_eq!(open_at(&view, last_check.as_ref(), status, second), Verdict::Wait);
        prop_assert_eq!(facts(&view, None, now).on_unknown(at(0)), Verdict::Wait);
        prop_assert_eq!(facts(&view, None, now).on_vanished(at(0)), Verdict::Wait);
    }

    /// An opening or a closing is recovered only if the ledger has no item of it, or only an
    /// abandoned claim.
    #[test]
    fn no_claimed_or_published_event_is_recovered(view in views(), second in 0..1000_i64) {
        let now = at(second);
        let is_told = |presence| matches!(presence, Presence::Claimed | Presence::Published(_));
        let opening = Verdict::Ask(AskReason::Opening);
        let recovers = [
            facts(&view, None, now).on_unknown(at(-100)),
            facts(&view, None, now).on_closed(false, at(0)),
            open_at(&view, None, None, second),
        ];
        prop_assert!(!(is_told(view.opening) && recovers.contains(&opening)));
        if facts(&view, None, now).on_vanished(at(0)) == Verdict::Ask(AskReason::Closing) {
            prop_assert!(!is_told(view.closing));
        }
    }

    /// After a check, a callout isn't due again until something changes or the time of the next
    /// check comes.
    #[test]
    fn a_checked_callout_is_not_due_again_and_its_state_stays_the_same(
        view in views(), last_check in last_checks(), status in select(&STATUSES[..]),
        second in 0..1000_i64,
    ) {
        if let Verdict::Remember(kept) = open_at(&view, last_check.as_ref(), status, second) {
            prop_assert!(!is_due(Some(&kept), status, at(second)));
            let again = open_at(&view, Some(&kept), status, second);
            prop_assert_eq!(again, Verdict::Remember(kept));
        }
    }

    /// The reconciler asks AURA about every silent callout in the end.
    #[test]
    fn every_open_callout_is_asked_about_in_the_end(
        view in views(), last_check in last_checks(), status in select(&STATUSES[..]),
    ) {
        let verdict = open_at(&view, last_check.as_ref(), status, 10_000);
        let is_claimed = view.closing == Presence::Claimed;
        prop_assert!(is_claimed || matches!(verdict, Verdict::Ask(_)), "{:?}", verdict);
    }
}
