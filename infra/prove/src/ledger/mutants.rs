//! Mutants: designs that differ from the real one in one point. Most are wrong on purpose, and each
//! names the property that the checker must find violated. The others omit a part that another part
//! makes up for, and the checker must find nothing.

use std::time::Duration;

use jiff::Timestamp;
use processor::outcome::RecordOutcome;
use shared::ledger::{Condition, Effect, ItemAttribute, Operand, RULES, Rule, Rules, Value};

use crate::ledger::bounds::Scenario;
use crate::ledger::design::{Design, days};
use crate::ledger::properties::{
    ATTEMPTS_COUNT, EXCLUSIVE, GRANTED_ONCE, NOT_AFTER_MARK, NOTHING_LOST, ONE_KEY,
    ONLY_IN_THE_WINDOW, ONLY_THE_HOLDER, PUBLISHED_STAYS, STALE_CHANGES_NOTHING,
};

/// A design that differs from the real one in one point.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// The difference from the real design.
    pub name: &'static str,
    /// The design to explore.
    pub design: Design,
    /// The scenario in which the difference shows.
    pub scenario: Scenario,
    /// The property that the mutant violates; `None` if the design is safe without the missing
    /// part.
    pub violates: Option<&'static str>,
}

const CLAIMED: Condition = Condition::Equal(ItemAttribute::State, Operand::Claimed);
const OWNER: Condition = Condition::Equal(ItemAttribute::Owner, Operand::Its(ItemAttribute::Owner));
const ATTEMPT: Condition =
    Condition::Equal(ItemAttribute::Attempt, Operand::Its(ItemAttribute::Attempt));
const ABSENT: Condition = Condition::Missing(ItemAttribute::State);
const RUN_OUT: Condition = Condition::AtMost(ItemAttribute::LeaseUntil, Operand::Now);

/// Removes the fence: completions and releases don't ask whose the claim is.
#[must_use]
pub fn without_fence() -> Mutant {
    caught(
        "no fence: completions and releases don't ask whose the claim is",
        Scenario::ANY_TWO,
        STALE_CHANGES_NOTHING,
        with_fence(&[&[CLAIMED]]),
    )
}

/// All mutants, [`without_fence`] first.
#[must_use]
pub fn all() -> Vec<Mutant> {
    let wrong = [
        wrong_rules(),
        wrong_claims(),
        wrong_times(),
        wrong_occurrences(),
    ]
    .concat();
    let mutants = [without_fence()].into_iter().chain(wrong);
    mutants.chain(second_lines()).collect()
}

/// Wrong rules for releases and completions.
fn wrong_rules() -> Vec<Mutant> {
    vec![
        caught(
            "releases aren't fenced",
            Scenario::ANY_TWO,
            EXCLUSIVE,
            with_release(Rule {
                when: &[&[CLAIMED]],
                ..RULES.release
            }),
        ),
        caught(
            "a release ends the lease at the beginning of time",
            Scenario::ANY_TWO,
            GRANTED_ONCE,
            Design {
                given: vec![(Operand::Its(ItemAttribute::LeaseUntil), Value::Number(0))],
                ..with_release(Rule {
                    then: &[SET_LEASE],
                    ..RULES.release
                })
            },
        ),
        caught(
            "a completion doesn't ask for the state",
            Scenario::ANY_TWO,
            PUBLISHED_STAYS,
            with_complete(Rule {
                when: &[&[OWNER, ATTEMPT]],
                ..RULES.complete
            }),
        ),
        caught(
            "a claim asks for the lease alone, and a completion leaves that in place",
            Scenario::ANY_TWO,
            PUBLISHED_STAYS,
            with_rules(Rules {
                claim: CLAIM_BY_LEASE,
                complete: COMPLETE_WITH_LEASE,
                ..RULES
            }),
        ),
    ]
}

/// Wrong rules for a claim.
fn wrong_claims() -> Vec<Mutant> {
    vec![
        caught(
            "a claim doesn't wait for the lease to run out",
            Scenario::ANY_TWO,
            ONLY_IN_THE_WINDOW,
            with_claim(Rule {
                when: &[&[ABSENT], &[CLAIMED]],
                ..RULES.claim
            }),
        ),
        caught(
            "a claim never takes over a lease that has run out",
            Scenario::DEATH,
            NOTHING_LOST,
            with_claim(Rule {
                when: &[&[ABSENT]],
                ..RULES.claim
            }),
        ),
        caught(
            "a claim takes over the claim of another occurrence",
            Scenario::REPEATED,
            ONE_KEY,
            with_claim(Rule {
                when: &[&[ABSENT], &[CLAIMED, RUN_OUT]],
                ..RULES.claim
            }),
        ),
        caught(
            "each claim is attempt 1",
            Scenario::ANY_TWO,
            ATTEMPTS_COUNT,
            Design {
                given: vec![(Operand::Its(ItemAttribute::Attempt), Value::Number(1))],
                ..with_claim(CLAIM_UNCOUNTED)
            },
        ),
    ]
}

/// Wrong leases, deadlines and retention.
fn wrong_times() -> Vec<Mutant> {
    vec![
        caught(
            "the lease has no margin for clocks that differ",
            Scenario::CLOCKS_APART,
            EXCLUSIVE,
            Design {
                lease_until: |deadline: Timestamp| deadline,
                ..Design::REAL
            },
        ),
        caught(
            "a worker publishes without a look at the clock",
            Scenario::ANY_TWO,
            ONLY_THE_HOLDER,
            Design {
                publishing_time: |_| Duration::MAX,
                ..Design::REAL
            },
        ),
        caught(
            "the ledger forgets after 27 days: before the queue and the dead letters do",
            Scenario::RETENTION,
            NOT_AFTER_MARK,
            Design {
                retention: days(27),
                ..Design::REAL
            },
        ),
    ]
}

/// Wrong decisions about what another occurrence is, and about what is settled.
fn wrong_occurrences() -> Vec<Mutant> {
    vec![
        caught(
            "the window is counted between times of processing: an occurrence is dropped",
            Scenario::REPEATED,
            NOTHING_LOST,
            Design {
                arrival: |_, now| now,
                ..Design::REAL
            },
        ),
        caught(
            "the window is counted between times of processing: a copy is an occurrence",
            Scenario::COPIED,
            ONE_KEY,
            Design {
                arrival: |_, now| now,
                ..Design::REAL
            },
        ),
        caught(
            "an occurrence has the key of the first one",
            Scenario::REPEATED,
            ONE_KEY,
            Design {
                key: |event, _| event.clone(),
                ..Design::REAL
            },
        ),
        caught(
            "what another worker holds counts as settled",
            Scenario::ANY_TWO,
            NOTHING_LOST,
            Design {
                is_settled: |outcome| {
                    outcome.is_settled() || matches!(outcome, RecordOutcome::Held { .. })
                },
                ..Design::REAL
            },
        ),
    ]
}

/// Designs that omit one of two safeguards for the same thing; the other safeguard is enough.
fn second_lines() -> Vec<Mutant> {
    vec![
        safe(
            "the fence without the attempt: an owner is fresh for each",
            with_fence(&[&[CLAIMED, OWNER]]),
        ),
        safe(
            "the fence without the owner: attempts count up for as long as the item is there",
            with_fence(&[&[CLAIMED, ATTEMPT]]),
        ),
        safe(
            "a release that doesn't ask for the state: nobody gives back what it has marked",
            with_release(Rule {
                when: &[&[OWNER, ATTEMPT]],
                ..RULES.release
            }),
        ),
        safe(
            "a claim that asks for the lease alone: a published item has none",
            with_claim(CLAIM_BY_LEASE),
        ),
        safe(
            "a completion that leaves the lease in place: a claim asks for the state",
            with_complete(COMPLETE_WITH_LEASE),
        ),
    ]
}

const SET_LEASE: Effect = Effect::Set(
    ItemAttribute::LeaseUntil,
    Operand::Its(ItemAttribute::LeaseUntil),
);

const CLAIM_BY_LEASE: Rule = Rule {
    when: &[&[ABSENT], &[RUN_OUT]],
    ..RULES.claim
};

const COMPLETE_WITH_LEASE: Rule = Rule {
    then: &[
        Effect::Set(ItemAttribute::State, Operand::Published),
        Effect::Set(ItemAttribute::PublishedAt, Operand::Now),
    ],
    ..RULES.complete
};

/// Sets the attempt to the given value instead of counting it up.
const CLAIM_UNCOUNTED: Rule = Rule {
    then: &[
        Effect::Set(ItemAttribute::State, Operand::Claimed),
        Effect::Set(ItemAttribute::Owner, Operand::Its(ItemAttribute::Owner)),
        SET_LEASE,
        Effect::Set(ItemAttribute::Digest, Operand::Its(ItemAttribute::Digest)),
        Effect::Set(
            ItemAttribute::ExpiresAt,
            Operand::Its(ItemAttribute::ExpiresAt),
        ),
        Effect::Set(ItemAttribute::Attempt, Operand::Its(ItemAttribute::Attempt)),
    ],
    ..RULES.claim
};

fn caught(
    name: &'static str,
    scenario: Scenario,
    violates: &'static str,
    design: Design,
) -> Mutant {
    Mutant {
        name,
        design,
        scenario,
        violates: Some(violates),
    }
}

fn safe(name: &'static str, design: Design) -> Mutant {
    Mutant {
        name,
        design,
        scenario: Scenario::THREE,
        violates: None,
    }
}

fn with_rules(rules: Rules) -> Design {
    Design {
        rules,
        ..Design::REAL
    }
}

fn with_claim(claim: Rule) -> Design {
    with_rules(Rules { claim, ..RULES })
}

fn with_complete(complete: Rule) -> Design {
    with_rules(Rules { complete, ..RULES })
}

fn with_release(release: Rule) -> Design {
    with_rules(Rules { release, ..RULES })
}

/// The real rules with other conditions for completions and releases.
fn with_fence(when: &'static [&'static [Condition]]) -> Design {
    with_rules(Rules {
        complete: Rule {
            when,
            ..RULES.complete
        },
        release: Rule {
            when,
            ..RULES.release
        },
        ..RULES
    })
}
