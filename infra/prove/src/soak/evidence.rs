//! The evidence: what the AURA stand-in says and what the consumers received. Neither knows of the
//! other.

use std::collections::HashMap;

use jiff::Timestamp;

use aura_sim::client::{CalloutState, Delivery, Entity, EventName, Kind, LoggedEvent};
use stack::consumers::{self, Detail, Published};

/// The `origin` of an event that the reconciler reported.
const RECONCILER: &str = "reconciler";

/// The evidence of both sides.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Every event that happened at AURA.
    pub happened: Vec<LoggedEvent>,
    /// The deliveries that AURA made of them.
    pub deliveries: Vec<Delivery>,
    /// AURA's callouts in their last state.
    pub callouts: Vec<CalloutState>,
    /// The copies that consumers received.
    pub received: Vec<Received>,
}

/// A copy of an event, as a consumer received it.
#[derive(Debug, Clone)]
pub struct Received {
    /// When the consumer received it.
    pub at: Timestamp,
    /// The copy itself.
    pub event: Published,
}

impl Received {
    /// Makes a copy that a consumer receives at this moment.
    #[must_use]
    pub fn now(event: Published) -> Self {
        let at = Timestamp::now();
        Self { at, event }
    }

    /// The event's detail.
    #[must_use]
    pub fn detail(&self) -> &Detail {
        &self.event.detail
    }

    /// Whether the reconciler found it out by asking AURA.
    #[must_use]
    pub fn is_found_out(&self) -> bool {
        self.detail().origin == RECONCILER
    }
}

/// Whether an entity is a callout.
#[must_use]
pub fn is_callout(entity: Entity) -> bool {
    entity.kind == Kind::Callout
}

/// Name of an event in messages.
#[must_use]
pub fn name(message: EventName, entity: Entity) -> String {
    format!("{message} of {} {}", entity.kind, entity.id)
}

/// The copies that consumers received, indexed by entity.
pub struct Bus<'a> {
    by_delivery: HashMap<&'a str, Vec<&'a Received>>,
    /// Copies by the entity's kind and id.
    by_entity: HashMap<&'a str, HashMap<&'a str, Vec<&'a Received>>>,
}

impl<'a> Bus<'a> {
    /// Builds the index.
    #[must_use]
    pub fn of(received: &'a [Received]) -> Self {
        let mut bus = Self {
            by_delivery: HashMap::new(),
            by_entity: HashMap::new(),
        };
        for copy in received {
            let Detail {
                delivery_id,
                entity,
                ..
            } = copy.detail();
            bus.by_delivery.entry(delivery_id).or_default().push(copy);
            let of_kind = bus.by_entity.entry(&entity.kind).or_default();
            of_kind.entry(&entity.id).or_default().push(copy);
        }
        bus
    }

    /// The copies of one of AURA's deliveries.
    #[must_use]
    pub fn copies_of(&self, delivery: &Delivery) -> &[&'a Received] {
        let id = delivery.delivery_id();
        id.and_then(|id| self.by_delivery.get(id))
            .map_or(&[], Vec::as_slice)
    }

    /// All copies about one entity, in the order of arrival.
    #[must_use]
    pub fn about(&self, entity: Entity) -> &[&'a Received] {
        let entity = consumers::Entity::from(entity);
        let of_kind = self.by_entity.get(entity.kind.as_str());
        let its = of_kind.and_then(|of_kind| of_kind.get(entity.id.as_str()));
        its.map_or(&[], Vec::as_slice)
    }
}
