//! The steps of an item as data, in terms that both Rust and DynamoDB's expressions have.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::item::{CLAIMED, PUBLISHED};
use super::{Attribute, Claim, ClaimRequest, Item, Value};

/// When a step is allowed and what it changes.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Allowed if in any of these all tests hold.
    pub when: &'static [&'static [Test]],
    /// What it does to the item then; without one it makes one.
    pub then: &'static [Change],
}

/// What is asked of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// There is no such attribute, or no item.
    Missing(Attribute),
    /// The attribute is there and equals that.
    Equal(Attribute, Operand),
    /// The attribute is there and is not greater than that.
    AtMost(Attribute, Operand),
    /// The attribute is there and is not less than that.
    AtLeast(Attribute, Operand),
}

/// What is done to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The attribute becomes that.
    Set(Attribute, Operand),
    /// The number becomes one more; without one, 1.
    Increment(Attribute),
    /// The attribute goes.
    Remove(Attribute),
}

/// What an attribute is compared with or set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operand {
    /// The word for a claimed item.
    Claimed,
    /// The word for a published item.
    Published,
    /// The clock of who takes the step, in milliseconds since 1970.
    Now,
    /// The earliest arrival of a copy of what the step is about, in milliseconds since 1970.
    Earliest,
    /// The latest one.
    Latest,
    /// What the step says that the attribute should be.
    Its(Attribute),
}

/// The rules of the ledger. Others exist only to show that the checker finds what is wrong with
/// them.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Takes the right to publish.
    pub claim: Rule,
    /// Marks as published.
    pub complete: Rule,
    /// Gives the right back, so that a retry needn't wait for the lease to run out.
    pub release: Rule,
}

/// Claimed by this owner for this attempt.
const HELD: &[Test] = &[
    Test::Equal(Attribute::State, Operand::Claimed),
    Test::Equal(Attribute::Owner, Operand::Its(Attribute::Owner)),
    Test::Equal(Attribute::Attempt, Operand::Its(Attribute::Attempt)),
];

/// The rules that run.
pub const RULES: Rules = Rules {
    claim: Rule {
        when: &[
            &[Test::Missing(Attribute::State)],
            // Another occurrence's claim isn't taken over, or its delivery would count as a copy.
            &[
                Test::Equal(Attribute::State, Operand::Claimed),
                Test::AtMost(Attribute::LeaseUntil, Operand::Now),
                Test::AtLeast(Attribute::ReceivedAt, Operand::Earliest),
                Test::AtMost(Attribute::ReceivedAt, Operand::Latest),
            ],
            // Items of older versions don't say when their delivery arrived.
            &[
                Test::Equal(Attribute::State, Operand::Claimed),
                Test::AtMost(Attribute::LeaseUntil, Operand::Now),
                Test::Missing(Attribute::ReceivedAt),
            ],
        ],
        then: &[
            Change::Set(Attribute::State, Operand::Claimed),
            Change::Set(Attribute::Owner, Operand::Its(Attribute::Owner)),
            Change::Set(Attribute::LeaseUntil, Operand::Its(Attribute::LeaseUntil)),
            Change::Set(Attribute::Digest, Operand::Its(Attribute::Digest)),
            Change::Set(Attribute::DeliveryId, Operand::Its(Attribute::DeliveryId)),
            Change::Set(Attribute::ReceivedAt, Operand::Its(Attribute::ReceivedAt)),
            Change::Set(Attribute::Occurrence, Operand::Its(Attribute::Occurrence)),
            Change::Set(Attribute::Origin, Operand::Its(Attribute::Origin)),
            Change::Set(Attribute::ExpiresAt, Operand::Its(Attribute::ExpiresAt)),
            Change::Increment(Attribute::Attempt),
        ],
    },
    complete: Rule {
        when: &[HELD],
        then: &[
            Change::Set(Attribute::State, Operand::Published),
            Change::Set(Attribute::BusEventId, Operand::Its(Attribute::BusEventId)),
            Change::Set(Attribute::PublishedAt, Operand::Now),
            Change::Remove(Attribute::LeaseUntil),
        ],
    },
    release: Rule {
        when: &[HELD],
        // Now, and not the beginning of time: a repetition of the claim's own call that was
        // under way all this while, with an older clock, must not be granted after this.
        then: &[Change::Set(Attribute::LeaseUntil, Operand::Now)],
    },
};

/// A rule with the values of one case.
#[derive(Debug, Clone)]
pub struct Step {
    /// When it is allowed and what it changes.
    pub rule: Rule,
    /// The value of each operand that the rule has.
    pub values: BTreeMap<Operand, Value>,
    /// The occurrence that it is about.
    pub occurrence: u32,
}

impl Rules {
    /// Claims an occurrence of an event: the first one, unless
    /// [`after_refusal`](super::Occurrences::after_refusal) says otherwise.
    #[must_use]
    pub fn claim(&self, request: &ClaimRequest, occurrence: u32) -> Step {
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
        let mut step = Step::new(
            self.claim,
            *now,
            occurrence,
            [
                (
                    Attribute::ReceivedAt,
                    Value::Number(received_at.as_millisecond()),
                ),
                (Attribute::Occurrence, Value::Number(occurrence.into())),
                (Attribute::Digest, text(digest)),
                (Attribute::DeliveryId, text(delivery_id)),
                (Attribute::Origin, text(&origin.name())),
                (Attribute::Owner, text(owner)),
                (
                    Attribute::LeaseUntil,
                    Value::Number(lease_until.as_millisecond()),
                ),
                (Attribute::ExpiresAt, Value::Number(expires_at.as_second())),
            ],
        );
        let arrivals = [(Operand::Earliest, earliest), (Operand::Latest, latest)];
        step.values.extend(arrivals);
        step
    }

    /// Marks an event as published that is claimed by `claim`. Refused, it may have been done
    /// before: see [`super::is_published_under`].
    #[must_use]
    pub fn complete(&self, claim: &Claim, bus_event_id: &str, now: Timestamp) -> Step {
        let [owner, attempt] = fence(claim);
        let bus_event_id = (Attribute::BusEventId, text(&bus_event_id));
        let values = [owner, attempt, bus_event_id];
        Step::new(self.complete, now, claim.occurrence, values)
    }

    /// Ends the lease of `claim`.
    #[must_use]
    pub fn release(&self, claim: &Claim, now: Timestamp) -> Step {
        Step::new(self.release, now, claim.occurrence, fence(claim))
    }
}

fn fence(claim: &Claim) -> [(Attribute, Value); 2] {
    [
        (Attribute::Owner, text(&claim.owner)),
        (Attribute::Attempt, Value::Number(claim.attempt.into())),
    ]
}

fn text(value: &dyn ToString) -> Value {
    Value::Text(value.to_string())
}

impl Step {
    fn new<const N: usize>(
        rule: Rule,
        now: Timestamp,
        occurrence: u32,
        values: [(Attribute, Value); N],
    ) -> Self {
        let of_the_step = values.map(|(attribute, value)| (Operand::Its(attribute), value));
        let of_every_step = [
            (Operand::Claimed, text(&CLAIMED)),
            (Operand::Published, text(&PUBLISHED)),
            (Operand::Now, Value::Number(now.as_millisecond())),
        ];
        Self {
            rule,
            values: of_every_step.into_iter().chain(of_the_step).collect(),
            occurrence,
        }
    }

    /// What DynamoDB makes of an occurrence's item by this step: the item afterwards, or `None` if
    /// it is refused and nothing changes.
    #[must_use]
    pub fn apply(&self, item: Option<&Item>) -> Option<Item> {
        let is_allowed = |tests: &&[Test]| tests.iter().all(|test| self.holds(*test, item));
        self.rule.when.iter().any(is_allowed).then(|| {
            let mut item = item.cloned().unwrap_or_default();
            for change in self.rule.then {
                self.change(*change, &mut item);
            }
            item
        })
    }

    fn holds(&self, test: Test, item: Option<&Item>) -> bool {
        let value = |attribute| item.and_then(|item| item.0.get(&attribute));
        let numbers = |attribute, operand| match (value(attribute), self.values.get(operand)) {
            (Some(Value::Number(value)), Some(Value::Number(bound))) => Some((*value, *bound)),
            _ => None,
        };
        match test {
            Test::Missing(attribute) => value(attribute).is_none(),
            Test::Equal(attribute, operand) => {
                let value = value(attribute);
                value.is_some() && value == self.values.get(&operand)
            }
            Test::AtMost(attribute, operand) => {
                numbers(attribute, &operand).is_some_and(|(value, most)| value <= most)
            }
            Test::AtLeast(attribute, operand) => {
                numbers(attribute, &operand).is_some_and(|(value, least)| value >= least)
            }
        }
    }

    fn change(&self, change: Change, item: &mut Item) {
        match change {
            Change::Set(attribute, operand) => {
                let value = self.values.get(&operand).cloned();
                item.0.extend(value.map(|value| (attribute, value)));
            }
            Change::Increment(attribute) => {
                let value = item.0.entry(attribute).or_insert(Value::Number(0));
                if let Value::Number(number) = value {
                    *number = number.saturating_add(1);
                }
            }
            Change::Remove(attribute) => {
                item.0.remove(&attribute);
            }
        }
    }
}
