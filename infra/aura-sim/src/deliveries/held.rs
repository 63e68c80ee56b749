//! Deliveries that are held back until a time, or until a later delivery overtakes them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::world::event::Entity;

/// The terms on which a delivery is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// Latest time at which the delivery goes out.
    pub(crate) until: Timestamp,
    /// Whether the delivery goes out earlier, right behind a later delivery of its entity.
    pub(crate) behind: bool,
}

/// The deliveries that are held back, by number.
#[derive(Default)]
pub(crate) struct HeldDeliveries {
    waiting: BTreeMap<u64, (Entity, Hold)>,
}

impl HeldDeliveries {
    pub(crate) fn add(&mut self, n: u64, entity: Entity, hold: Hold) {
        self.waiting.insert(n, (entity, hold));
    }

    /// Releases the deliveries of this entity that delivery `by` overtakes.
    pub(crate) fn overtaken(&mut self, entity: Entity, by: u64) -> Vec<u64> {
        self.let_go(|n, of, hold| hold.behind && of == entity && n < by)
    }

    /// Releases the deliveries whose time has come.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<u64> {
        self.let_go(|_, _, hold| hold.until <= now)
    }

    /// Releases every delivery.
    pub(crate) fn all(&mut self) -> Vec<u64> {
        self.let_go(|_, _, _| true)
    }

    /// The time at which the next delivery goes out.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.values().map(|(_, hold)| hold.until).min()
    }

    /// Releases the deliveries that match, the oldest first.
    fn let_go(&mut self, goes: impl Fn(u64, Entity, Hold) -> bool) -> Vec<u64> {
        self.waiting
            .extract_if(.., |&n, &mut (entity, hold)| goes(n, entity, hold))
            .map(|(n, _)| n)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::event::Kind;

    fn callout(id: u64) -> Entity {
        let kind = Kind::Callout;
        Entity { kind, id }
    }

    fn hold(second: i64, behind: bool) -> Hold {
        let until = at(second);
        Hold { until, behind }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_reordered_delivery_waits_for_a_later_one_of_its_own_entity() {
        let mut held = HeldDeliveries::default();
        held.add(1, callout(1), hold(9, true));
        held.add(2, callout(2), hold(9, true));
        held.add(3, callout(1), hold(9, false));
        held.add(4, callout(1), hold(9, true));
        held.add(6, callout(1), hold(9, true));
        assert!(held.overtaken(callout(3), 5).is_empty());
        assert_eq!(held.overtaken(callout(1), 5), [1, 4]);
        assert!(held.overtaken(callout(1), 5).is_empty());
        assert_eq!(held.all(), [2, 3, 6]);
    }

    #[test]
    fn nothing_waits_longer_than_its_time() {
        let mut held = HeldDeliveries::default();
        held.add(1, callout(1), hold(5, true));
        held.add(2, callout(1), hold(3, false));
        assert_eq!(held.next_due(), Some(at(3)));
        assert!(held.due(at(2)).is_empty());
        assert_eq!(held.due(at(3)), [2]);
        assert_eq!(held.next_due(), Some(at(5)));
        assert_eq!(held.due(at(7)), [1]);
        assert_eq!(held.next_due(), None);
    }
}
