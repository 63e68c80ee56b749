//! The transitions of an item as data, in terms that both Rust and DynamoDB's expressions can
//! express.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::item::{CLAIMED, PUBLISHED};
use super::{Claim, ClaimRequest, Item, ItemAttribute, Value};

/// When a transition is allowed and what it changes.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The transition is allowed if all conditions of one of these lists hold.
    pub when: &'static [&'static [Condition]],
    /// The changes to the item. If there is no item, they make one.
    pub then: &'static [Effect],
}

/// A condition on an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The attribute or the item doesn't exist.
    Missing(ItemAttribute),
    /// The attribute exists and equals the operand.
    Equal(ItemAttribute, Operand),
    /// The attribute exists and is not greater than the operand.
    AtMost(ItemAttribute, Operand),
    /// The attribute exists and is not less than the operand.
    AtLeast(ItemAttribute, Operand),
}

/// A change to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Sets the attribute to the operand.
    Set(ItemAttribute, Operand),
    /// Adds one to the number. A missing number becomes 1.
    Increment(ItemAttribute),
    /// Removes the attribute.
    Remove(ItemAttribute),
}

/// A value that an attribute is compared with or set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operand {
    /// The word for a claimed item.
    Claimed,
    /// The word for a published item.
    Published,
    /// The clock of the worker that makes the transition, in milliseconds since 1970.
    Now,
    /// The earliest arrival of a copy of the transition's delivery, in milliseconds since 1970.
    Earliest,
    /// The latest arrival of a copy, in milliseconds since 1970.
    Latest,
    /// The value that the transition has for the attribute.
    Its(ItemAttribute),
}

/// The rules of the ledger. Rules other than [`RULES`] exist only to show that the model checker
/// finds their faults.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Takes the right to publish.
    pub claim: Rule,
    /// Marks as published.
    pub complete: Rule,
    /// Gives the right back, so that a retry need not wait until the lease ends.
    pub release: Rule,
}

/// The item is claimed by this owner for this attempt.
const HELD: &[Condition] = &[
    Condition::Equal(ItemAttribute::State, Operand::Claimed),
    Condition::Equal(ItemAttribute::Owner, Operand::Its(ItemAttribute::Owner)),
    Condition::Equal(ItemAttribute::Attempt, Operand::Its(ItemAttribute::Attempt)),
];

/// The rules that run.
pub const RULES: Rules = Rules {
    claim: Rule {
        when: &[
            &[Condition::Missing(ItemAttribute::State)],
            // The claim of another occurrence isn't taken over. Otherwise, its delivery would count
            // as a copy.
            &[
                Condition::Equal(ItemAttribute::State, Operand::Claimed),
                Condition::AtMost(ItemAttribute::LeaseUntil, Operand::Now),
                Condition::AtLeast(ItemAttribute::ReceivedAt, Operand::Earliest),
                Condition::AtMost(ItemAttribute::ReceivedAt, Operand::Latest),
            ],
            // Items of older versions don't say when their delivery arrived.
            &[
                Condition::Equal(ItemAttribute::State, Operand::Claimed),
                Condition::AtMost(ItemAttribute::LeaseUntil, Operand::Now),
                Condition::Missing(ItemAttribute::ReceivedAt),
            ],
        ],
        then: &[
            Effect::Set(ItemAttribute::State, Operand::Claimed),
            Effect::Set(ItemAttribute::Owner, Operand::Its(ItemAttribute::Owner)),
            Effect::Set(
                ItemAttribute::LeaseUntil,
                Operand::Its(ItemAttribute::LeaseUntil),
            ),
            Effect::Set(ItemAttribute::Digest, Operand::Its(ItemAttribute::Digest)),
            Effect::Set(
                ItemAttribute::DeliveryId,
                Operand::Its(ItemAttribute::DeliveryId),
            ),
            Effect::Set(
                ItemAttribute::ReceivedAt,
                Operand::Its(ItemAttribute::ReceivedAt),
            ),
            Effect::Set(
                ItemAttribute::Occurrence,
                Operand::Its(ItemAttribute::Occurrence),
            ),
            Effect::Set(ItemAttribute::Origin, Operand::Its(ItemAttribute::Origin)),
            Effect::Set(
                ItemAttribute::ExpiresAt,
                Operand::Its(ItemAttribute::ExpiresAt),
            ),
            Effect::Increment(ItemAttribute::Attempt),
        ],
    },
    complete: Rule {
        when: &[HELD],
        then: &[
            Effect::Set(ItemAttribute::State, Operand::Published),
            Effect::Set(
                ItemAttribute::BusEventId,
                Operand::Its(ItemAttribute::BusEventId),
            ),
            Effect::Set(ItemAttribute::PublishedAt, Operand::Now),
            Effect::Remove(ItemAttribute::LeaseUntil),
        ],
    },
    release: Rule {
        when: &[HELD],
        // The lease ends now, and not at the beginning of time. A repetition of the claim's own
        // call, with an older clock, may still be under way. It must not be granted after this.
        then: &[Effect::Set(ItemAttribute::LeaseUntil, Operand::Now)],
    },
};

/// A rule with the values of one case.
#[derive(Debug, Clone)]
pub struct Transition {
    /// When it is allowed and what it changes.
    pub rule: Rule,
    /// The value of each operand in the rule.
    pub values: BTreeMap<Operand, Value>,
    /// The occurrence that it is about.
    pub occurrence: u32,
}

impl Rules {
    /// Claims an occurrence of an event. It is the first one, unless
    /// [`after_refusal`](super::Occurrences::after_refusal) says otherwise.
    #[must_use]
    pub fn claim(&self, request: &ClaimRequest, occurrence: u32) -> Transition {
        let ClaimRequest {
            key: _,
            digest,
            delivery_id,
            received_at,
            repeat_window: _,
            origin,
            owner,
            now,
            lease_until,
            expires_at,
        } = request;
        let [earliest, latest] = request.arrivals().map(Value::Number);
        let mut transition = Transition::new(
            self.claim,
            *now,
            occurrence,
            [
                (
                    ItemAttribute::ReceivedAt,
                    Value::Number(received_at.as_millisecond()),
                ),
                (ItemAttribute::Occurrence, Value::Number(occurrence.into())),
                (ItemAttribute::Digest, text(digest)),
                (ItemAttribute::DeliveryId, text(delivery_id)),
                (ItemAttribute::Origin, text(&origin.name())),
                (ItemAttribute::Owner, text(owner)),
                (
                    ItemAttribute::LeaseUntil,
                    Value::Number(lease_until.as_millisecond()),
                ),
                (
                    ItemAttribute::ExpiresAt,
                    Value::Number(expires_at.as_second()),
                ),
            ],
        );
        let arrivals = [(Operand::Earliest, earliest), (Operand::Latest, latest)];
        transition.values.extend(arrivals);
        transition
    }

    /// Marks an event that `claim` holds as published. If this is refused, it may have been done
    /// before; see [`super::is_published_under`].
    #[must_use]
    pub fn complete(&self, claim: &Claim, bus_event_id: &str, now: Timestamp) -> Transition {
        let [owner, attempt] = fence(claim);
        let bus_event_id = (ItemAttribute::BusEventId, text(&bus_event_id));
        let values = [owner, attempt, bus_event_id];
        Transition::new(self.complete, now, claim.occurrence, values)
    }

    /// Ends the lease of `claim`.
    #[must_use]
    pub fn release(&self, claim: &Claim, now: Timestamp) -> Transition {
        Transition::new(self.release, now, claim.occurrence, fence(claim))
    }
}

fn fence(claim: &Claim) -> [(ItemAttribute, Value); 2] {
    [
        (ItemAttribute::Owner, text(&claim.owner)),
        (ItemAttribute::Attempt, Value::Number(claim.attempt.into())),
    ]
}

fn text(value: &dyn ToString) -> Value {
    Value::Text(value.to_string())
}

impl Transition {
    fn new<const N: usize>(
        rule: Rule,
        now: Timestamp,
        occurrence: u32,
        values: [(ItemAttribute, Value); N],
    ) -> Self {
        let of_this_one = values.map(|(attribute, value)| (Operand::Its(attribute), value));
        let of_all = [
            (Operand::Claimed, text(&CLAIMED)),
            (Operand::Published, text(&PUBLISHED)),
            (Operand::Now, Value::Number(now.as_millisecond())),
        ];
        Self {
            rule,
            values: of_all.into_iter().chain(of_this_one).collect(),
            occurrence,
        }
    }

    /// Applies the transition to an occurrence's item, as DynamoDB does. Returns the item
    /// afterwards, or `None` if the transition is refused and nothing changes.
    #[must_use]
    pub fn apply(&self, item: Option<&Item>) -> Option<Item> {
        let is_allowed = |all: &&[Condition]| all.iter().all(|one| self.holds(*one, item));
        self.rule.when.iter().any(is_allowed).then(|| {
            let mut item = item.cloned().unwrap_or_default();
            for effect in self.rule.then {
                self.change(*effect, &mut item);
            }
            item
        })
    }

    fn holds(&self, condition: Condition, item: Option<&Item>) -> bool {
        let value = |attribute| item.and_then(|item| item.0.get(&attribute));
        let numbers = |attribute, operand| match (value(attribute), self.values.get(operand)) {
            (Some(Value::Number(value)), Some(Value::Number(bound))) => Some((*value, *bound)),
            _ => None,
        };
        match condition {
            Condition::Missing(attribute) => value(attribute).is_none(),
            Condition::Equal(attribute, operand) => {
                let value = value(attribute);
                value.is_some() && value == self.values.get(&operand)
            }
            Condition::AtMost(attribute, operand) => {
                numbers(attribute, &operand).is_some_and(|(value, most)| value <= most)
            }
            Condition::AtLeast(attribute, operand) => {
                numbers(attribute, &operand).is_some_and(|(value, least)| value >= least)
            }
        }
    }

    fn change(&self, effect: Effect, item: &mut Item) {
        match effect {
            Effect::Set(attribute, operand) => {
                let value = self.values.get(&operand).cloned();
                item.0.extend(value.map(|value| (attribute, value)));
            }
            Effect::Increment(attribute) => {
                let value = item.0.entry(attribute).or_insert(Value::Number(0));
                if let Value::Number(number) = value {
                    *number = number.saturating_add(1);
                }
            }
            Effect::Remove(attribute) => {
                item.0.remove(&attribute);
            }
        }
    }
}
