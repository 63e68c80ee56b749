use proptest::prelude::*;

use super::*;
use crate::event::Entity;

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);
/// How many seconds a claim lasts in these tests.
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
        received_at: at(second),
        repeat_window: None,
        origin: Origin::Webhook,
        owner,
        now: at(second),
        lease_until: at(second + LEASE),
        expires_at: at(second + 1000),
    }
}

/// Claims at `second`. Returns the item if it changed, and the answer.
fn claim(
    item: Option<&Item>,
    owner: Uuid,
    second: i64,
    digest: &str,
) -> (Option<Item>, Result<Claim, ClaimRefusal>) {
    let request = request(owner, second, digest);
    let mut known = Occurrences(item.map(|item| (1, item.clone())).into_iter().collect());
    let answer = known.claim(&request).unwrap();
    let changed = known.0.remove(&1).filter(|after| Some(after) != item);
    (changed, answer)
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
        occurrence: 1,
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
    assert_eq!(held, Err(ClaimRefusal::Held { lease_until }));
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
        assert_eq!(same, (None, Err(ClaimRefusal::Duplicate)));
        let conflict = ClaimRefusal::Conflict {
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
    // A repetition of the first call, which was under way all the time.
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
fn an_item_of_another_form_is_malformed() {
    let (mut item, _) = claimed();
    item.0
        .insert(ItemAttribute::State, Value::Text("RETIRED".into()));
    assert_eq!(item.state(), Err(ItemAttribute::State.malformed()));
    assert_eq!(
        Item::default().claim().unwrap_err().to_string(),
        "the item's attribute owner is missing or malformed"
    );
}

/// If a rule names a value that its step doesn't give, the rule never holds.
#[test]
fn every_step_has_all_values_that_its_rule_names() {
    let (_, claim) = claimed();
    let steps = [
        RULES.claim(&request(ME, 0, "a"), 1),
        RULES.complete(&claim, "bus", at(0)),
        RULES.release(&claim, at(0)),
    ];
    for step in steps {
        let tests = step.rule.when.iter().copied().flatten();
        let of_tests = tests.filter_map(|test| match test {
            Condition::Missing(_) => None,
            Condition::Equal(_, operand)
            | Condition::AtMost(_, operand)
            | Condition::AtLeast(_, operand) => Some(operand),
        });
        let of_changes = step.rule.then.iter().filter_map(|change| match change {
            Effect::Set(_, operand) => Some(operand),
            Effect::Increment(_) | Effect::Remove(_) => None,
        });
        for operand in of_tests.chain(of_changes) {
            assert!(step.values.contains_key(operand), "{operand:?} in {step:?}");
        }
    }
}

#[test]
fn each_recurrence_has_its_own_discriminator() {
    let key = |message: &str, origin| {
        let entity = Entity {
            kind: "callout".into(),
            id: "5003".into(),
        };
        let event = Event {
            message: message.into(),
            entity,
            test: false,
        };
        LedgerKey::new(&event, "d1935t", ME, origin).to_string()
    };
    let [opening, owned, changed] = ["NEW_CALLOUT", "CALLOUT_OWNED", "CALLOUT_EVENTS_CHANGED"];
    let of_aura = [opening, owned, changed].map(|message| key(message, Origin::Webhook));
    let expected = [
        "callout#5003/NEW_CALLOUT".to_owned(),
        "callout#5003/CALLOUT_OWNED#d1935t".to_owned(),
        format!("callout#5003/CALLOUT_EVENTS_CHANGED#{ME}"),
    ];
    assert_eq!(of_aura, expected);
    // A correction is an event of its own, whatever its name is.
    for message in [opening, owned, changed] {
        let expected = format!("callout#5003/{message}#{ME}");
        assert_eq!(key(message, Origin::Operator), expected);
    }
}

#[test]
fn a_further_occurrence_has_a_key_of_its_own() {
    let key = request(ME, 0, "a").key;
    assert_eq!(key.of_occurrence(1), key);
    assert_eq!(
        key.of_occurrence(2).to_string(),
        "callout#5003/NEW_CALLOUT#2"
    );
}

/// The repeat window, in seconds.
const WINDOW: i64 = 300;

/// The ledger's state of one recurring event.
#[derive(Default)]
struct Recurring {
    known: Occurrences,
    owners: u128,
}

impl Recurring {
    /// Claims the event for a delivery that arrived at one second and is processed at another.
    fn claim(&mut self, arrived: i64, processed: i64) -> Result<Claim, ClaimRefusal> {
        self.owners += 1;
        let request = ClaimRequest {
            received_at: at(arrived),
            repeat_window: Some(Duration::from_secs(WINDOW.unsigned_abs())),
            ..request(Uuid::from_u128(self.owners), processed, "a")
        };
        self.known.claim(&request).unwrap()
    }

    fn complete(&mut self, claim: &Claim, at_second: i64) {
        let complete = RULES.complete(claim, "bus", at(at_second));
        self.known = self.known.after(&complete).unwrap();
    }

    /// Claims and completes at once. Returns the occurrence, or `None` for a duplicate.
    fn publish(&mut self, arrived: i64, processed: i64) -> Option<u32> {
        match self.claim(arrived, processed) {
            Ok(claim) => {
                self.complete(&claim, processed);
                Some(claim.occurrence)
            }
            Err(ClaimRefusal::Duplicate) => None,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_arrives_later_than_the_window_is_another_occurrence() {
    let mut event = Recurring::default();
    assert_eq!(event.publish(1000, 1000), Some(1));
    assert_eq!(event.publish(1000 + WINDOW, 1400), None);
    assert_eq!(event.publish(1001 + WINDOW, 1401), Some(2));
    assert_eq!(event.publish(9000, 9000), Some(3));
}

#[test]
fn a_copy_is_a_copy_however_late_it_is_processed() {
    let mut event = Recurring::default();
    assert_eq!(event.publish(1000, 1000), Some(1));
    assert_eq!(event.publish(5000, 5000), Some(2));
    assert_eq!(event.publish(1100, 2_000_000), None, "copy of the first");
    assert_eq!(event.publish(5100, 2_000_000), None, "copy of the second");
    assert_eq!(event.publish(3000, 2_000_000), Some(3), "no copy");
}

#[test]
fn an_occurrence_does_not_take_over_the_claim_of_another_one() {
    let mut event = Recurring::default();
    let died = event.claim(1000, 1000).unwrap();
    assert_eq!(event.publish(5000, 5000), Some(2));
    let again = event.claim(1000, 6000).unwrap();
    assert_eq!((again.occurrence, again.attempt), (1, died.attempt + 1));
    let second = event.claim(9000, 9000).unwrap();
    assert_eq!((second.occurrence, second.attempt), (3, 1));
    let lease_until = at(9000 + LEASE);
    assert_eq!(
        event.claim(9001, 9001),
        Err(ClaimRefusal::Held { lease_until })
    );
    let taken_over = event.claim(9001, 9000 + LEASE).unwrap();
    assert_eq!((taken_over.occurrence, taken_over.attempt), (3, 2));
}

#[test]
fn an_item_without_an_arrival_counts_as_arrived_before_it_was_published() {
    let mut event = Recurring::default();
    let claim = event.claim(1000, 1000).unwrap();
    let first = event.known.0.get_mut(&1).unwrap();
    first.0.remove(&ItemAttribute::ReceivedAt);
    first.0.remove(&ItemAttribute::Occurrence);
    let again = event.claim(9000, 9000).unwrap();
    assert_eq!((again.occurrence, again.attempt), (1, claim.attempt + 1));
    event.complete(&again, 9000);
    let first = event.known.0.get_mut(&1).unwrap();
    first.0.remove(&ItemAttribute::ReceivedAt);
    assert_eq!(event.publish(1000, 20_000), None);
    assert_eq!(event.publish(9000 + WINDOW, 20_000), None);
    assert_eq!(event.publish(9001 + WINDOW, 20_000), Some(2));
}

#[test]
fn without_a_window_nothing_happens_twice() {
    let (item, _) = published();
    let request = request(ME, 1_000_000, "a");
    let first = Occurrences([(1, item)].into());
    let next = first.after_refusal(1, &request).unwrap();
    assert_eq!(next, AfterRefusal::Answer(Err(ClaimRefusal::Duplicate)));
}

#[test]
fn the_first_and_the_latest_occurrences_are_remembered() {
    let (item, _) = published();
    let numbers = [1].into_iter().chain(7..).take(MOST_OCCURRENCES);
    let full = Occurrences(numbers.map(|number| (number, item.clone())).collect());
    let last = *full.0.last_key_value().unwrap().0;
    assert_eq!(full.to_forget(last + 1), Some(7));
    assert_eq!(full.to_forget(last), None);
    assert_eq!(Occurrences::default().to_forget(1), None);

    let mut event = Recurring::default();
    for number in 1..=i64::try_from(MOST_OCCURRENCES).unwrap() + 1 {
        assert!(event.publish(1000 * number, 1000 * number).is_some());
    }
    let remembered: Vec<_> = event.known.0.keys().copied().take(3).collect();
    assert_eq!(remembered, [1, 3, 4]);
    assert_eq!(event.known.0.len(), MOST_OCCURRENCES);
}

#[test]
fn names_of_attributes_are_read_as_they_are_written() {
    for attribute in ItemAttribute::ALL {
        assert_eq!(ItemAttribute::read(attribute.name()), Some((attribute, 1)));
        for occurrence in [1, 2, 17] {
            let read = ItemAttribute::read(&attribute.name_in(occurrence));
            let shared = attribute == ItemAttribute::ExpiresAt;
            let expected = if shared { 1 } else { occurrence };
            assert_eq!(read, Some((attribute, expected)));
        }
    }
    for foreign in ["pk", "state_1", "state_x", "state_", "other_2", "parts"] {
        assert_eq!(ItemAttribute::read(foreign), None, "{foreign}");
    }
}

proptest! {
    /// Deliveries may arrive and be processed in any order. A published delivery has no other
    /// published one within its window, and an unpublished delivery has one.
    #[test]
    fn a_delivery_is_published_unless_one_within_its_window_was(
        arrivals in prop::collection::vec(0_i64..4000, 1..20)
    ) {
        let mut event = Recurring::default();
        let mut published: Vec<i64> = Vec::new();
        for (index, arrived) in arrivals.into_iter().enumerate() {
            let is_copy = published.iter().any(|other| (other - arrived).abs() <= WINDOW);
            let processed = 10_000 + i64::try_from(index).unwrap();
            let occurrence = event.publish(arrived, processed);
            prop_assert_eq!(occurrence.is_none(), is_copy);
            if let Some(occurrence) = occurrence {
                published.push(arrived);
                prop_assert_eq!(occurrence as usize, published.len());
            }
        }
    }
}
