//! What AURA knows: customers, subscriptions, callouts and predefined locations.
//!
//! Every change is a pure function of the world, a request and a [`Moment`]; it answers with
//! what the caller asked for and the events that the change makes. Nothing here knows of HTTP,
//! of registrations or of deliveries, and time and ids come in from outside. So the API, the
//! controller's side and a seeded day drive the same rules.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    world::callout::Callout,
    world::customer::{Customer, Subscription},
    world::event::Event,
    world::refusal::Refusal,
};

/// What a change answers, and the events that it made, in order.
pub(crate) type Outcome<T> = Result<(T, Vec<Event>), Refusal>;

/// Ids are integers, and no two things of one stand-in share one.
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

/// When a change happens, and where its new ids come from.
pub(crate) struct Moment<'a> {
    pub(crate) now: Timestamp,
    pub(crate) ids: &'a mut Ids,
}

/// A point on the map. A request's `accuracy` is read over: no answer shows it.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
}

/// A fixed place from which callouts can be raised by its partner's own reference.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PredefinedLocation {
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) position: Position,
}

/// All that AURA knows.
pub(crate) struct World {
    pub(crate) customers: BTreeMap<u64, Customer>,
    /// By the customer that they belong to.
    pub(crate) subscriptions: BTreeMap<u64, Subscription>,
    pub(crate) callouts: BTreeMap<u64, Callout>,
    /// By external reference.
    pub(crate) locations: BTreeMap<String, PredefinedLocation>,
}

impl World {
    /// A world without people, and with two predefined locations: `head-office` and `warehouse`.
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

    /// Makes a location known under `reference`, in place of the one that had it.
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
