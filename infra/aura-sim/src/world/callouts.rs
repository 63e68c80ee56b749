//! The rules for callouts: raising, cancelling, remarks, and the acts of the control room.

use jiff::SignedDuration;

use crate::world::{
    callout::{
        Callout, Cancellation, Controller, Emergency, NewCallout, Remark, Responder, StreamEntry,
    },
    change::{Moment, Outcome, World},
    event::{Event, EventName},
    location::Position,
    payload::{CalloutPayload, NestedCallout},
    refusal::Refusal,
};

/// Travel time that an acknowledging responder estimates.
const ESTIMATED_TRAVEL: SignedDuration = SignedDuration::from_mins(8);

impl Responder {
    fn dispatched(moment: &mut Moment<'_>) -> Self {
        Self {
            id: moment.ids.take(),
            dispatched_at: moment.now,
            estimated_arrival_at: None,
            arrived_at: None,
            completed_at: None,
        }
    }
}

impl Callout {
    fn raised(position: Position, emergency: Emergency, moment: &mut Moment<'_>) -> Self {
        Self {
            id: moment.ids.take(),
            customer_id: None,
            predefined_location_id: None,
            position,
            emergency,
            created_at: moment.now,
            responders: Vec::new(),
            owner: None,
            cancelled: false,
            closed: false,
            stream: Vec::new(),
        }
    }

    fn status_event(&self, message: EventName) -> Event {
        Event::about_callout(message, CalloutPayload::with_incident(self, None))
    }

    /// Does an act of the control room, and returns its event.
    fn act(&mut self, act: Controller, moment: &mut Moment<'_>) -> Event {
        match act {
            Controller::Dispatch => {
                let responder = Responder::dispatched(moment);
                self.tell_of(responder, EventName::ResponderManuallyDispatched)
            }
            Controller::Acknowledge => {
                let mut responder = Responder::dispatched(moment);
                responder.estimated_arrival_at = Some(moment.now + ESTIMATED_TRAVEL);
                self.tell_of(responder, EventName::ResponderAcknowledgedCallout)
            }
            Controller::Arrive => {
                let mut responder = self.take_responder(&[Responder::is_on_the_way], moment);
                responder.arrived_at = Some(moment.now);
                self.tell_of(responder, EventName::ResponderArrivedOnScene)
            }
            Controller::Complete => {
                let due = [Responder::is_on_scene, Responder::is_on_the_way];
                let mut responder = self.take_responder(&due, moment);
                responder.completed_at = Some(moment.now);
                self.tell_of(responder, EventName::ResponderCompleted)
            }
            Controller::Own => {
                self.owner = Some(moment.ids.take());
                self.status_event(EventName::CalloutOwned)
            }
            Controller::Close => {
                self.closed = true;
                self.status_event(EventName::CalloutClosed)
            }
        }
    }

    /// Makes the event of a responder's act, and puts the responder last. The event describes only
    /// this responder, so the second arrival at a callout has another payload than the first.
    fn tell_of(&mut self, responder: Responder, message: EventName) -> Event {
        let payload = CalloutPayload::with_incident(self, Some(&responder));
        self.responders.push(responder);
        Event::about_callout(message, payload)
    }

    /// Takes the responder of an act: the first for whom the act is due, or otherwise a new one. So
    /// no responder arrives twice, and an arrival without a dispatch has a responder too.
    fn take_responder(
        &mut self,
        due: &[fn(&Responder) -> bool],
        moment: &mut Moment<'_>,
    ) -> Responder {
        let mut positions = due.iter().map(|due| self.responders.iter().position(due));
        match positions.find_map(|position| position) {
            Some(position) => self.responders.remove(position),
            None => Responder::dispatched(moment),
        }
    }

    fn refuse_if_closed(&self) -> Result<(), Refusal> {
        if self.closed {
            return Err(Refusal::Conflict(format!("callout {} is closed", self.id)));
        }
        Ok(())
    }
}

impl World {
    /// Raises a callout for a customer. If the customer has an active callout, this returns that
    /// one, without a change and without an event.
    pub(crate) fn raise_callout(
        &mut self,
        customer_id: u64,
        new: &NewCallout,
        moment: &mut Moment<'_>,
    ) -> Outcome<NestedCallout> {
        if !self.customers.contains_key(&customer_id) {
            return Err(Refusal::Unknown(format!(
                "customer {customer_id} is unknown"
            )));
        }
        if !self.is_subscribed(customer_id, moment.now) {
            return Err(Refusal::NotPermitted(
                "the customer has no active subscription",
            ));
        }
        if let Some(callout) = self
            .active()
            .find(|callout| callout.customer_id == Some(customer_id))
        {
            return Ok((NestedCallout::of(callout), Vec::new()));
        }
        let mut callout = Callout::raised(new.location, new.emergency, moment);
        callout.customer_id = Some(customer_id);
        Ok(self.enter(callout))
    }

    /// Raises a callout at a predefined location. The documentation limits only customers to one
    /// active callout, so a location can have several.
    pub(crate) fn raise_callout_at_location(
        &mut self,
        reference: &str,
        emergency: Emergency,
        moment: &mut Moment<'_>,
    ) -> Outcome<NestedCallout> {
        let location = self.locations.get(reference).ok_or_else(|| {
            Refusal::Malformed(format!("predefined location {reference} is unknown"))
        })?;
        let mut callout = Callout::raised(location.position, emergency, moment);
        callout.predefined_location_id = Some(location.id);
        Ok(self.enter(callout))
    }

    /// Cancels a callout for the customer. Without a responder, this is a soft cancellation. With a
    /// responder, the callout no longer requires a response. In both cases, the control room closes
    /// the callout later. A second cancellation is a conflict.
    pub(crate) fn cancel(&mut self, id: u64, request: &Cancellation) -> Outcome<NestedCallout> {
        self.check_safe_code(id, request.safe_code.as_deref())?;
        let callout = self.open_callout(id)?;
        if callout.cancelled {
            return Err(Refusal::Conflict(format!(
                "callout {id} is cancelled already"
            )));
        }
        callout.cancelled = true;
        let message = if callout.responders.is_empty() {
            EventName::CalloutSoftCancelledByCustomer
        } else {
            EventName::CalloutNoLongerRequiresResponse
        };
        let event = callout.status_event(message);
        Ok((NestedCallout::of(callout), vec![event]))
    }

    /// Adds a remark to a callout's event stream.
    pub(crate) fn remark(
        &mut self,
        id: u64,
        remark: Remark,
        moment: &mut Moment<'_>,
    ) -> Outcome<StreamEntry> {
        let callout = self.open_callout(id)?;
        let entry = StreamEntry {
            id: moment.ids.take(),
            callout_id: id,
            message: remark.message,
            created_at: moment.now,
        };
        callout.stream.push(entry.clone());
        let payload = CalloutPayload::bare(callout.id);
        let event = Event::about_callout(EventName::CalloutEventsChanged, payload);
        Ok((entry, vec![event]))
    }

    /// Does an act of the control room on a callout.
    pub(crate) fn control(
        &mut self,
        id: u64,
        act: Controller,
        moment: &mut Moment<'_>,
    ) -> Outcome<NestedCallout> {
        let callout = self.open_callout(id)?;
        let event = callout.act(act, moment);
        Ok((NestedCallout::of(callout), vec![event]))
    }

    fn active(&self) -> impl Iterator<Item = &Callout> {
        self.callouts.values().filter(|callout| !callout.closed)
    }

    fn enter(&mut self, callout: Callout) -> (NestedCallout, Vec<Event>) {
        let event = callout.status_event(EventName::NewCallout);
        let answer = NestedCallout::of(&callout);
        self.callouts.insert(callout.id, callout);
        (answer, vec![event])
    }

    fn known_callout(&self, id: u64) -> Result<&Callout, Refusal> {
        self.callouts
            .get(&id)
            .ok_or_else(|| Refusal::unknown_callout(id))
    }

    fn open_callout(&mut self, id: u64) -> Result<&mut Callout, Refusal> {
        let callout = self
            .callouts
            .get_mut(&id)
            .ok_or_else(|| Refusal::unknown_callout(id))?;
        callout.refuse_if_closed()?;
        Ok(callout)
    }

    /// Checks the safe code, if there is one: the last four digits of the customer's mobile number.
    /// The documentation doesn't say how AURA refuses a wrong one. "Not permitted" fits best.
    fn check_safe_code(&self, id: u64, given: Option<&str>) -> Result<(), Refusal> {
        let callout = self.known_callout(id)?;
        let Some(given) = given else { return Ok(()) };
        let customer = callout.customer_id.and_then(|id| self.customers.get(&id));
        let right = customer.is_some_and(|customer| {
            given.chars().count() == 4 && customer.person.mobile.ends_with(given)
        });
        if !right {
            return Err(Refusal::NotPermitted("the safe code is wrong"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::world::change::Ids;
    use jiff::Timestamp;

    /// Makes a world with one callout at a predefined location. Returns the callout's id too.
    fn world_with_callout(ids: &mut Ids) -> (World, u64) {
        let mut world = World::new();
        let emergency = serde_json::from_value(json!({})).unwrap();
        let (callout, _) = world
            .raise_callout_at_location("warehouse", emergency, &mut at(0, ids))
            .unwrap();
        (world, callout.id())
    }

    fn at(second: i64, ids: &mut Ids) -> Moment<'_> {
        let now = Timestamp::from_second(second).unwrap();
        Moment { now, ids }
    }

    /// Does the acts one after the other. Returns the world, the callout's id, and the events.
    fn play(acts: &[Controller]) -> (World, u64, Vec<Value>) {
        let ids = &mut Ids::starting_at(1);
        let (mut world, id) = world_with_callout(ids);
        let events = acts
            .iter()
            .flat_map(|&act| world.control(id, act, &mut at(60, ids)).unwrap().1)
            .map(|event| serde_json::to_value(event).unwrap())
            .collect();
        (world, id, events)
    }

    #[test]
    fn a_new_callout_has_the_shape_of_the_captures() {
        let ids = &mut Ids::starting_at(5003);
        let emergency = serde_json::from_value(json!({"calloutClassificationId": 2})).unwrap();
        let (_, events) = World::new()
            .raise_callout_at_location("warehouse", emergency, &mut at(0, ids))
            .unwrap();
        assert_eq!(
            serde_json::to_string(&events.first().unwrap()).unwrap(),
            concat!(
                r#"{"message":"NEW_CALLOUT","callout":{"id":5003,"incidentInformation":[{"#,
                r#""predefinedLocationId":"992","typeOfEmergency":{"description":"Panic"},"#,
                r#""responseType":{"value":"SECURITY"},"calloutCurrentLocation":"#,
                r#"{"latitude":"-26.2041","longitude":"28.0473","#,
                r#""formattedAddress":"-26.2041, 28.0473"},"incidentcategory":"CRIME"}],"#,
                r#""calloutClassification":{"value":"TEST"}}}"#
            )
        );
    }

    #[test]
    fn each_responder_arrives_once() {
        use Controller::{Acknowledge, Arrive, Dispatch};
        let (_, _, events) = play(&[Acknowledge, Dispatch, Arrive, Arrive, Arrive]);
        let responder = |n: usize| {
            events[n]
                .pointer("/callout/incidentInformation/0/responder/id")
                .and_then(Value::as_u64)
                .unwrap()
        };
        assert_eq!(responder(2), responder(0));
        assert_eq!(responder(3), responder(1));
        assert!(responder(4) > responder(1));
    }

    #[test]
    fn the_one_on_scene_completes_before_the_one_on_the_way() {
        use Controller::{Arrive, Complete, Dispatch};
        let (_, _, events) = play(&[Dispatch, Dispatch, Arrive, Complete, Complete]);
        let arrived = |n: usize| {
            let incident = "/callout/incidentInformation/0";
            let incident = events[n].pointer(incident).unwrap();
            incident.get("arrivedAt").is_some()
        };
        assert!(arrived(3));
        assert!(!arrived(4));
    }

    #[test]
    fn the_status_follows_the_last_responder() {
        use Controller::{Acknowledge, Arrive, Close, Complete, Own};
        let status = |acts: &[Controller]| {
            let (world, id, _) = play(acts);
            world.known_callout(id).unwrap().status()
        };
        assert_eq!(status(&[Own]), "created");
        assert_eq!(status(&[Acknowledge]), "Responder Dispatched");
        assert_eq!(status(&[Acknowledge, Arrive]), "Responder Arrived");
        assert_eq!(status(&[Acknowledge, Complete]), "Responder Completed");
        assert_eq!(status(&[Acknowledge, Close]), "closed");
    }

    #[test]
    fn cancelling_stands_down_whoever_responds() {
        let cancelled = |acts: &[Controller]| {
            let (mut world, id, _) = play(acts);
            let (_, events) = world.cancel(id, &Cancellation { safe_code: None }).unwrap();
            assert!(world.cancel(id, &Cancellation { safe_code: None }).is_err());
            events.first().unwrap().message
        };
        assert_eq!(cancelled(&[]), EventName::CalloutSoftCancelledByCustomer);
        assert_eq!(
            cancelled(&[Controller::Dispatch]),
            EventName::CalloutNoLongerRequiresResponse
        );
    }
}
