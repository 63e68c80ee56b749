use super::*;
use crate::event::Entity;

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
/// Seconds that a claim lasts here.
const LEASE: i64 = 10;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn request(owner: Uuid, second: i64, digest: &str) -> ClaimRequest {
    ClaimRequest {
        key: LedgerKey {
            partition: "callout#5003".into(),
            sort: "NEW_CALLOUT".into(),
        },
        digest: digest.into(),
        delivery_id: Uuid::from_u128(99),
        origin: Origin::Webhook,
        owner,
        now: at(second),
        lease_until: at(second + LEASE),
        expires_at: at(second + 1000),
    }
}

/// Claims at `second`; the item afterwards, and what was granted.
fn claim(
    item: Option<&Item>,
    owner: Uuid,
    second: i64,
    digest: &str,
) -> (Option<Item>, Result<Claim, Refusal>) {
    let request = request(owner, second, digest);
    match RULES.claim(&request).apply(item) {
        Some(claimed) => {
            let claim = claimed.claim().unwrap();
            (Some(claimed), Ok(claim))
        }
        None => (None, refused(item.unwrap(), &request).unwrap()),
    }
}

/// An item that [`OTHER`] claimed at second 0, and its claim.
fn claimed() -> (Item, Claim) {
    let (item, claim) = claim(None, OTHER, 0, "a");
    (item.unwrap(), claim.unwrap())
}

fn published() -> (Item, Claim) {
    let (item, claim) = claimed();
    let published = RULES.complete(&claim, "bus", at(1)).apply(Some(&item));
    (published.unwrap(), claim)
}

#[test]
fn an_unknown_event_is_granted_as_first_attempt() {
    let (item, granted) = claim(None, ME, 0, "a");
    let first = Claim {
        owner: ME,
        attempt: 1,
    };
    assert_eq!(granted, Ok(first));
    let lease_until = at(LEASE);
    let state = State::Claimed {
        claim: first,
        lease_until,
    };
    assert_eq!(item.unwrap().state(), Ok(state));
}

#[test]
fn a_running_lease_is_respected_and_passes_on_when_it_ends() {
    let (item, _) = claimed();
    let lease_until = at(LEASE);
    let (_, held) = claim(Some(&item), ME, LEASE - 1, "a");
    assert_eq!(held, Err(Refusal::Held { lease_until }));
    let (_, granted) = claim(Some(&item), ME, LEASE, "a");
    assert_eq!(granted.unwrap().attempt, 2);
}

#[test]
fn an_owner_whose_answer_was_lost_has_its_claim() {
    let (item, first) = claimed();
    let (unchanged, again) = claim(Some(&item), OTHER, 0, "a");
    assert_eq!((unchanged, again), (None, Ok(first)));
}

#[test]
fn a_published_event_is_never_claimed_again() {
    let (item, _) = published();
    for later in [0, LEASE, 100 * LEASE] {
        let same = claim(Some(&item), ME, later, "a");
        assert_eq!(same, (None, Err(Refusal::Duplicate)));
        let conflict = Refusal::Conflict {
            published: "a".into(),
        };
        assert_eq!(claim(Some(&item), ME, later, "b"), (None, Err(conflict)));
    }
}

#[test]
fn whoever_lost_the_claim_changes_nothing() {
    let (item, stale) = claimed();
    let (item, current) = claim(Some(&item), ME, LEASE, "a");
    let (item, current) = (item.unwrap(), current.unwrap());
    let steps = |claim| {
        let complete = RULES.complete(claim, "bus", at(LEASE));
        [complete, RULES.release(claim, at(LEASE))]
    };
    let wrong_attempt = Claim {
        attempt: stale.attempt,
        ..current
    };
    for claim in [&stale, &wrong_attempt] {
        for step in steps(claim) {
            assert_eq!(step.apply(Some(&item)), None);
            assert_eq!(step.apply(None), None);
        }
    }
    for step in steps(&current) {
        assert_ne!(step.apply(Some(&item)), None);
    }
}

#[test]
fn a_mark_that_was_made_is_known_by_its_claim() {
    let (item, claim) = published();
    assert_eq!(
        RULES.complete(&claim, "bus", at(2)).apply(Some(&item)),
        None
    );
    assert!(is_published_under(&item, &claim));
    let another = Claim { owner: ME, ..claim };
    assert!(!is_published_under(&item, &another));
    assert!(!is_published_under(&claimed().0, &claim));
}

#[test]
fn a_released_claim_is_free_at_once_but_not_for_an_older_call() {
    let (item, claim_of_other) = claimed();
    let released = RULES.release(&claim_of_other, at(2)).apply(Some(&item));
    let (_, granted) = claim(released.as_ref(), ME, 2, "a");
    assert_eq!(granted.unwrap().attempt, 2);
    // The first call's repetition, which was under way all the time.
    let (unchanged, _) = claim(released.as_ref(), OTHER, 0, "a");
    assert_eq!(unchanged, None);
}

#[test]
fn an_item_is_forgotten_only_after_its_retention() {
    let (item, _) = published();
    assert_eq!(item.has_expired(at(999)), Ok(false));
    assert_eq!(item.has_expired(at(1000)), Ok(true));
}

#[test]
fn an_item_of_another_kind_is_named_as_that() {
    let (mut item, _) = claimed();
    item.0
        .insert(Attribute::State, Value::Text("RETIRED".into()));
    assert_eq!(item.state(), Err(Malformed(Attribute::State)));
    assert_eq!(
        Item::default().claim().unwrap_err().to_string(),
        "item not understood: attribute owner"
    );
}

/// A rule that names a value which its step doesn't give would be one that never holds.
#[test]
fn every_step_has_all_values_that_its_rule_names() {
    let (_, claim) = claimed();
    let steps = [
        RULES.claim(&request(ME, 0, "a")),
        RULES.complete(&claim, "bus", at(0)),
        RULES.release(&claim, at(0)),
    ];
    for step in steps {
        let tests = step.rule.when.iter().copied().flatten();
        let of_tests = tests.filter_map(|test| match test {
            Test::Absent => None,
            Test::Equal(_, operand) | Test::AtMost(_, operand) => Some(operand),
        });
        let of_changes = step.rule.then.iter().filter_map(|change| match change {
            Change::Set(_, operand) => Some(operand),
            Change::Increment(_) | Change::Remove(_) => None,
        });
        for operand in of_tests.chain(of_changes) {
            assert!(step.values.contains_key(operand), "{operand:?} in {step:?}");
        }
    }
}

#[test]
fn each_recurrence_has_its_own_discriminator() {
    let key = |message: &str| {
        let entity = Entity {
            kind: "callout".into(),
            id: "5003".into(),
        };
        let event = Event {
            message: message.into(),
            entity,
            test: false,
        };
        LedgerKey::new(&event, "d1935t", ME).to_string()
    };
    assert_eq!(key("NEW_CALLOUT"), "callout#5003/NEW_CALLOUT");
    assert_eq!(key("CALLOUT_OWNED"), "callout#5003/CALLOUT_OWNED#d1935t");
    assert_eq!(
        key("CALLOUT_EVENTS_CHANGED"),
        format!("callout#5003/CALLOUT_EVENTS_CHANGED#{ME}")
    );
}
