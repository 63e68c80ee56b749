//! The ledger's rules: what makes two deliveries the same event, and what may happen to it.
//!
//! An item goes absent → claimed → published and is never deleted by hand. A claim is held by
//! one owner for one attempt until a deadline; every later step names that owner and attempt,
//! which fences a worker out that stalled past its lease. The transitions here are pure; the
//! processor's DynamoDB adapter sends the same conditions.

use std::fmt;

use jiff::Timestamp;
use uuid::Uuid;

use crate::catalogue::{Recurrence, recurrence};
use crate::event::Event;

/// The identity of one event: the ledger's partition and sort key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LedgerKey {
    /// The entity, `callout#5003`: a query on it is the timeline of one callout.
    pub partition: String,
    /// The message, and what tells its recurrences apart.
    pub sort: String,
}

impl LedgerKey {
    /// The identity of an event, given its payload's digest and its delivery.
    #[must_use]
    pub fn new(event: &Event, payload_digest: &str, delivery_id: Uuid) -> Self {
        let message = &event.message;
        let sort = match recurrence(message) {
            Recurrence::Once => message.clone(),
            Recurrence::Recurring => format!("{message}#{payload_digest}"),
            Recurrence::Signal => format!("{message}#{delivery_id}"),
        };
        Self {
            partition: event.entity.key(),
            sort,
        }
    }
}

impl fmt::Display for LedgerKey {
    /// `callout#5003/NEW_CALLOUT`: the key that every published event carries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.sort)
    }
}

/// What the ledger knows of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Digest of the payload that was claimed first.
    pub digest: String,
    /// Where it stands.
    pub state: State,
}

/// Where an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Somebody has the right to publish it.
    Claimed {
        /// Whose right it is.
        claim: Claim,
        /// From then on anybody may claim it.
        lease_until: Timestamp,
    },
    /// It is on the bus.
    Published,
}

/// The right to publish one event, and the fence of everything done under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Fresh for each attempt.
    pub owner: Uuid,
    /// Counts the claims of this event, from 1.
    pub attempt: u32,
}

/// Why an event can't be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is on the bus with this very payload: drop the delivery.
    Duplicate,
    /// It is on the bus with another payload: keep the delivery, publish nothing.
    Conflict,
    /// Another worker has it until then: come back later.
    Held {
        /// When that worker's lease ends.
        lease_until: Timestamp,
    },
}

/// Claims an event: granted when it is unknown, or claimed with a lease that has run out, or by
/// this very owner. An owner is fresh for each attempt, so it meets a claim of its own only when
/// the answer to its first call was lost and the SDK has repeated the call.
///
/// # Errors
///
/// Says why not, and by that what to do with the delivery.
pub fn claim(
    item: Option<&Item>,
    digest: &str,
    owner: Uuid,
    now: Timestamp,
) -> Result<Claim, Refusal> {
    match item.map(|item| (&item.state, &item.digest)) {
        None => Ok(Claim { owner, attempt: 1 }),
        Some((State::Published, known)) if known == digest => Err(Refusal::Duplicate),
        Some((State::Published, _)) => Err(Refusal::Conflict),
        Some((State::Claimed { claim, lease_until }, _))
            if *lease_until <= now || claim.owner == owner =>
        {
            Ok(Claim {
                owner,
                attempt: claim.attempt.saturating_add(1),
            })
        }
        Some((State::Claimed { lease_until, .. }, _)) => Err(Refusal::Held {
            lease_until: *lease_until,
        }),
    }
}

/// Whether work done under `claim` may still change the item: completing and releasing ask it.
/// (Completing again what was completed under the same claim changes nothing and is no error.)
#[must_use]
pub fn holds(item: Option<&Item>, claim: &Claim) -> bool {
    matches!(
        item.map(|item| &item.state),
        Some(State::Claimed { claim: current, .. }) if current == claim
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Entity;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const ME: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn claimed(lease_until: Timestamp) -> Item {
        let claim = Claim {
            owner: OTHER,
            attempt: 3,
        };
        Item {
            digest: "a".into(),
            state: State::Claimed { claim, lease_until },
        }
    }

    fn published(digest: &str) -> Item {
        Item {
            digest: digest.into(),
            state: State::Published,
        }
    }

    fn later() -> Timestamp {
        Timestamp::from_second(1).unwrap()
    }

    #[test]
    fn an_unknown_event_is_granted_as_first_attempt() {
        assert_eq!(
            claim(None, "a", ME, NOW),
            Ok(Claim {
                owner: ME,
                attempt: 1
            })
        );
    }

    #[test]
    fn a_lease_that_has_run_out_passes_to_the_next_owner() {
        assert_eq!(
            claim(Some(&claimed(NOW)), "a", ME, NOW),
            Ok(Claim {
                owner: ME,
                attempt: 4
            })
        );
    }

    #[test]
    fn an_owner_whose_answer_was_lost_may_ask_again() {
        let again = claim(Some(&claimed(later())), "a", OTHER, NOW);
        assert_eq!(
            again,
            Ok(Claim {
                owner: OTHER,
                attempt: 4
            })
        );
    }

    #[test]
    fn a_running_lease_is_respected() {
        assert_eq!(
            claim(Some(&claimed(later())), "a", ME, NOW),
            Err(Refusal::Held {
                lease_until: later()
            })
        );
    }

    #[test]
    fn a_published_event_is_never_claimed_again() {
        assert_eq!(
            claim(Some(&published("a")), "a", ME, NOW),
            Err(Refusal::Duplicate)
        );
        assert_eq!(
            claim(Some(&published("a")), "b", ME, NOW),
            Err(Refusal::Conflict)
        );
    }

    #[test]
    fn only_the_current_owner_and_attempt_hold_the_claim() {
        let item = claimed(later());
        assert!(holds(
            Some(&item),
            &Claim {
                owner: OTHER,
                attempt: 3
            }
        ));
        assert!(!holds(
            Some(&item),
            &Claim {
                owner: OTHER,
                attempt: 2
            }
        ));
        assert!(!holds(
            Some(&item),
            &Claim {
                owner: ME,
                attempt: 3
            }
        ));
        assert!(!holds(
            Some(&published("a")),
            &Claim {
                owner: OTHER,
                attempt: 3
            }
        ));
        assert!(!holds(
            None,
            &Claim {
                owner: OTHER,
                attempt: 3
            }
        ));
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
}
