//! The world, and the input and the result of a change to it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    world::callout::Callout,
    world::customer::{Customer, Subscription},
    world::event::Event,
    world::location::{Position, PredefinedLocation},
    world::refusal::Refusal,
};

/// The result of a change: the answer, and the events of the change in order.
pub(crate) type Outcome<T> = Result<(T, Vec<Event>), Refusal>;

/// The source of ids. Ids are integers, and each is unique in a stand-in.
pub(crate) struct Ids {
    next: u64,
}

impl Ids {
    pub(crate) fn starting_at(next: u64) -> Self {
        Self { next }
    }

    pub(crate) fn take(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        id
    }
}

/// The time of a change, and the source of its new ids.
pub(crate) struct Moment<'a> {
    pub(crate) now: Timestamp,
    pub(crate) ids: &'a mut Ids,
}

/// The customers, subscriptions, callouts and predefined locations that AURA has.
pub(crate) struct World {
    pub(crate) customers: BTreeMap<u64, Customer>,
    /// Subscriptions by the customer's id.
    pub(crate) subscriptions: BTreeMap<u64, Subscription>,
    pub(crate) callouts: BTreeMap<u64, Callout>,
    /// Predefined locations by external reference.
    pub(crate) locations: BTreeMap<String, PredefinedLocation>,
}

impl World {
    /// Makes a world without customers, with the predefined locations `head-office` and
    /// `warehouse`.
    pub(crate) fn new() -> Self {
        let location = |id, latitude, longitude| PredefinedLocation {
            id,
            position: Position {
                latitude,
                longitude,
            },
        };
        Self {
            customers: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            callouts: BTreeMap::new(),
            locations: BTreeMap::from([
                ("head-office".to_owned(), location(991, -33.9249, 18.4241)),
                ("warehouse".to_owned(), location(992, -26.2041, 28.0473)),
            ]),
        }
    }

    /// Adds a predefined location under `reference`. It replaces the location that had this
    /// reference.
    pub(crate) fn put_location(
        &mut self,
        reference: String,
        position: Position,
        ids: &mut Ids,
    ) -> PredefinedLocation {
        let location = PredefinedLocation {
            id: ids.take(),
            position,
        };
        self.locations.insert(reference, location.clone());
        location
    }
}
