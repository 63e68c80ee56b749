use SecretVerdict::{Undecided, Valid, Wrong};
use VersionStage::{Current, Pending, Previous};

use shared::webhook::REFRESH_INTERVAL;

use super::*;
use crate::fakes::{FakeSecret, webhook_header};

const ALL: [VersionStage; 3] = [Current, Pending, Previous];

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

async fn loaded(secret: &FakeSecret) -> Arc<ValidValues<FakeSecret>> {
    let valid = ValidValues::new(webhook_header(), secret.clone(), REFRESH_INTERVAL);
    valid.load(second(0)).await.unwrap();
    valid
}

/// Waits for the end of a reading that has begun.
async fn wait_for_refresh(valid: &ValidValues<FakeSecret>) {
    tokio::task::yield_now().await;
    valid.wait_for_refresh().await;
}

#[tokio::test]
async fn all_versions_of_a_rotation_are_valid_and_nothing_else() {
    let secret = FakeSecret::with(&[(Current, "b"), (Pending, "c"), (Previous, "a")]);
    let valid = loaded(&secret).await;
    for known in ["a", "b", "c"] {
        assert_eq!(
            valid.check(known.as_bytes(), second(1)).await,
            Valid,
            "{known}"
        );
    }
    for unknown in ["", "d", "ab", "B", "b ", "Bearer b"] {
        let verdict = valid.check(unknown.as_bytes(), second(1)).await;
        assert_eq!(verdict, Wrong, "{unknown}");
    }
}

#[tokio::test]
async fn a_new_value_is_known_thirty_seconds_after_it_was_made_at_the_latest() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    // A forged value has used up the reading that an unknown value may cause.
    assert_eq!(valid.check(b"forged", second(100)).await, Wrong);
    secret.set(&[(Current, "a"), (Pending, "b")]);
    assert_eq!(valid.check(b"b", second(129)).await, Wrong);
    assert_eq!(valid.check(b"b", second(130)).await, Valid);
}

#[tokio::test]
async fn a_reading_that_failed_keeps_a_new_value_out_for_a_second_only() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    secret.set(&[(Current, "a"), (Pending, "b")]);
    secret.hide(&[Pending]);
    assert_eq!(valid.check(b"forged", second(100)).await, Undecided);
    secret.hide(&[]);
    assert_eq!(valid.check(b"b", second(101)).await, Valid);
}

#[tokio::test]
async fn a_flood_of_unknown_values_is_one_reading_in_thirty_seconds() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    let before = secret.reads();
    for n in 0..90 {
        let forged = format!("forged {n}");
        let verdict = valid.check(forged.as_bytes(), second(100 + n)).await;
        assert_eq!(verdict, Wrong);
    }
    assert_eq!(secret.reads() - before, 3 * ALL.len());
}

#[tokio::test]
async fn a_request_that_comes_while_the_secret_is_read_waits_for_the_reading() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    secret.set(&[(Current, "b")]);
    let together = tokio::join!(
        valid.check(b"b", second(100)),
        valid.check(b"b", second(100)),
    );
    assert_eq!(together, (Valid, Valid));
}

#[tokio::test]
async fn old_values_are_read_again_in_the_background() {
    let secret = FakeSecret::with(&[(Current, "b"), (Previous, "a")]);
    let valid = loaded(&secret).await;
    secret.set(&[(Current, "c"), (Previous, "b")]);
    let before = secret.reads();
    // At this age, the values are not read again.
    assert_eq!(valid.check(b"b", second(300)).await, Valid);
    wait_for_refresh(&valid).await;
    assert_eq!(secret.reads(), before);
    // The values are old now. This request is checked against the known values, and the next one
    // against the new values.
    assert_eq!(valid.check(b"a", second(301)).await, Valid);
    wait_for_refresh(&valid).await;
    assert_eq!(secret.reads(), before + ALL.len());
    assert_eq!(valid.check(b"c", second(302)).await, Valid);
    assert_eq!(valid.check(b"a", second(303)).await, Wrong);
}

#[tokio::test]
async fn while_it_cannot_be_read_known_values_go_on_working() {
    let secret = FakeSecret::with(&[(Current, "b"), (Previous, "a")]);
    let valid = loaded(&secret).await;
    secret.hide(&ALL);
    for day in 1..4 {
        let now = second(86_400 * day);
        assert_eq!(valid.check(b"a", now).await, Valid);
        wait_for_refresh(&valid).await;
        assert_eq!(valid.check(b"b", now).await, Valid);
        assert_eq!(valid.check(b"c", now).await, Undecided);
    }
}

#[tokio::test]
async fn while_it_cannot_be_read_an_unknown_value_is_not_called_wrong() {
    for hidden in ALL {
        let secret = FakeSecret::with(&[(Current, "a")]);
        let valid = loaded(&secret).await;
        assert_eq!(valid.check(b"b", second(100)).await, Wrong);
        secret.hide(&[hidden]);
        // The value is known to be wrong until the secret may be read again.
        assert_eq!(valid.check(b"b", second(129)).await, Wrong);
        assert_eq!(valid.check(b"b", second(130)).await, Undecided);
        // After that, it is undecided until all versions were read.
        secret.set(&[(Current, "a"), (Pending, "b")]);
        secret.hide(&[]);
        assert_eq!(valid.check(b"c", second(130)).await, Undecided);
        assert_eq!(valid.check(b"c", second(131)).await, Wrong);
        assert_eq!(valid.check(b"b", second(131)).await, Valid);
    }
}

#[tokio::test]
async fn after_a_failed_background_reading_an_unknown_value_is_not_called_wrong() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    secret.hide(&[Pending]);
    assert_eq!(valid.check(b"a", second(301)).await, Valid);
    wait_for_refresh(&valid).await;
    let before = secret.reads();
    assert_eq!(valid.check(b"b", second(301)).await, Undecided);
    assert_eq!(secret.reads(), before, "asked again within a second");
}

#[tokio::test]
async fn without_a_first_reading_nobody_gets_in_and_the_reading_is_repeated() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    secret.hide(&ALL);
    let valid = loaded(&secret).await;
    // The delivery that caused the cold start causes a reading of its own.
    let before = secret.reads();
    for forged in ["", "a"] {
        assert_eq!(valid.check(forged.as_bytes(), second(0)).await, Undecided);
    }
    assert_eq!(secret.reads() - before, ALL.len());
    // After that, there is at most one reading a second.
    secret.hide(&[]);
    assert_eq!(valid.check(b"a", second(0)).await, Undecided);
    assert_eq!(valid.check(b"a", second(1)).await, Valid);
    assert_eq!(valid.check(b"b", second(40)).await, Wrong);
}

#[tokio::test]
async fn a_value_is_not_called_wrong_while_a_version_is_unread() {
    let secret = FakeSecret::with(&[(Current, "b"), (Previous, "a")]);
    secret.hide(&[Previous]);
    let valid = loaded(&secret).await;
    assert_eq!(valid.check(b"b", second(1)).await, Valid);
    assert_eq!(valid.check(b"a", second(1)).await, Undecided);
    // Without a current version, nothing is called wrong.
    let none = loaded(&FakeSecret::default()).await;
    assert_eq!(none.check(b"a", second(1)).await, Undecided);
}

#[tokio::test]
async fn a_version_that_no_header_can_carry_does_not_affect_the_others() {
    let secret = FakeSecret::with(&[(Current, "a"), (Pending, "line\nbreak")]);
    let valid = loaded(&secret).await;
    assert_eq!(valid.check(b"a", second(1)).await, Valid);
    assert_eq!(valid.check(b"b", second(1)).await, Wrong);
}

#[tokio::test]
async fn a_current_version_that_has_vanished_stays_valid() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    secret.set(&[]);
    assert_eq!(valid.check(b"b", second(100)).await, Undecided);
    assert_eq!(valid.check(b"a", second(100)).await, Valid);
}

#[tokio::test]
async fn a_reading_that_fails_in_part_takes_no_value_away() {
    for hidden in ALL {
        let secret = FakeSecret::with(&[(Pending, "b"), (Current, "a"), (Previous, "z")]);
        let valid = loaded(&secret).await;
        secret.set(&[(Current, "b"), (Previous, "a")]);
        secret.hide(&[hidden]);
        assert_eq!(valid.check(b"forged", second(100)).await, Undecided);
        for live in ["a", "b"] {
            assert!(valid.knows(live.as_bytes()), "{live} without {hidden:?}");
        }
        secret.hide(&[]);
        assert_eq!(valid.check(b"forged", second(200)).await, Wrong);
        assert!(!valid.knows(b"z"), "withdrawn");
    }
}

#[tokio::test]
async fn a_delivery_that_comes_while_the_first_reading_fails_starts_its_own() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    secret.hide(&[Current]);
    let valid = ValidValues::new(webhook_header(), secret.clone(), REFRESH_INTERVAL);
    let load = valid.load(second(0));
    tokio::task::yield_now().await;
    let (verdict, ()) = tokio::join!(valid.check(b"a", second(0)), async {
        load.await.unwrap();
        secret.hide(&[]);
    });
    assert_eq!(verdict, Valid);
}

/// A rotation may move its values at any moment of a reading. The reading sees both values.
#[tokio::test]
async fn no_value_is_missed_if_a_rotation_happens_during_a_reading() {
    let before = [(Pending, "b"), (Current, "a"), (Previous, "z")];
    let after = [(Current, "b"), (Previous, "a")];
    for reads in 0..=ALL.len() {
        let secret = FakeSecret::with(&before);
        secret.change_after(reads, &after);
        let valid = loaded(&secret).await;
        for live in ["a", "b"] {
            assert!(valid.knows(live.as_bytes()), "{live} after {reads} reads");
        }
    }
}

#[tokio::test]
async fn a_request_waits_for_secrets_manager_only_for_a_limited_time() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    secret.hang(&ALL);
    assert_eq!(valid.check(b"b", second(100)).await, Undecided);
    // The reading is still under way, and delays no known value.
    assert_eq!(valid.check(b"a", second(1000)).await, Valid);
}

#[tokio::test]
async fn a_value_that_was_read_is_valid_though_the_next_version_takes_too_long() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    secret.hang(&[Previous]);
    let valid = ValidValues::new(webhook_header(), secret, REFRESH_INTERVAL);
    drop(valid.load(second(0)));
    assert_eq!(valid.check(b"a", second(0)).await, Valid);
    assert_eq!(valid.check(b"b", second(0)).await, Undecided);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_prevent_a_reading() {
    let secret = FakeSecret::with(&[(Current, "a")]);
    let valid = loaded(&secret).await;
    secret.set(&[(Current, "b")]);
    assert_eq!(valid.check(b"b", second(-1000)).await, Valid);
}

#[test]
fn debug_hides_the_values() {
    let known = KnownValues {
        values: vec![SecretString::from("s3cret")],
        ..KnownValues::default()
    };
    assert!(!format!("{known:?}").contains("s3cret"));
}
