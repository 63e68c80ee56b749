//! The stand-in's state, and the path from a change to its deliveries.

use std::{collections::BTreeSet, iter};

use jiff::Timestamp;

use crate::{
    deliveries::events::{EventLog, Fate},
    deliveries::log::DeliveryLog,
    deliveries::sender::Outgoing,
    faults::calls::{CallLog, POLLS},
    faults::in_force::{Manner, PlanInForce, PollFate},
    faults::ordered::{Fault, Faults},
    world::change::{Ids, Moment, World},
    world::event::{Event, EventName, Kind},
    world::history::History,
    world::refusal::Refusal,
    world::registration::Registrations,
    world::tokens::Tokens,
};

/// The first id that the API gives out. The ids of a seeded day start far above.
const FIRST_ID: u64 = 5001;

/// The whole state of a stand-in.
pub(crate) struct SimState {
    pub(crate) world: World,
    pub(crate) ids: Ids,
    /// The versions of every callout. The API reads callouts from here.
    pub(crate) history: History,
    pub(crate) tokens: Tokens,
    pub(crate) registrations: Registrations,
    pub(crate) events: EventLog,
    pub(crate) deliveries: DeliveryLog,
    pub(crate) calls: CallLog,
    pub(crate) faults: Faults,
    pub(crate) plan: Option<PlanInForce>,
    /// The seeds of all days that were played.
    pub(crate) days: BTreeSet<u32>,
}

/// The fault of a call.
pub(crate) enum Trouble {
    /// A fault that was ordered. It comes before the plan.
    Ordered(Fault),
    /// A fault that the plan has decided.
    Planned(PollFate),
}

impl SimState {
    pub(crate) fn new() -> Self {
        Self {
            world: World::new(),
            ids: Ids::starting_at(FIRST_ID),
            history: History::default(),
            tokens: Tokens::default(),
            registrations: Registrations::default(),
            events: EventLog::default(),
            deliveries: DeliveryLog::default(),
            calls: CallLog::default(),
            faults: Faults::default(),
            plan: None,
            days: BTreeSet::new(),
        }
    }

    /// Records an event and the current version of its callout. Sends the event if the registration
    /// in force lists it and the plan allows it. Returns the number of its delivery, or `None` if
    /// there is no delivery.
    pub(crate) fn tell(&mut self, event: Event, now: Timestamp) -> Result<Option<u64>, Refusal> {
        self.advance(now);
        self.keep(&event, now);
        match self.judge(event.message, now) {
            Ok((name, manner)) => {
                let number = self.events.add(&event, now, Fate::Sent);
                let event = if manner.bare { event.bare() } else { event };
                let message = name;
                self.deliver(&Event { message, ..event }, number, manner)
                    .map(Some)
            }
            Err(fate) => {
                self.events.add(&event, now, fate);
                Ok(None)
            }
        }
    }

    /// Sends delivery `n` again, even if the plan dropped or delayed other deliveries of its event.
    pub(crate) fn tell_again(&mut self, n: u64) -> Result<u64, Refusal> {
        let repeat = self.deliveries.enter_again(n)?;
        if let Some(delivery) = self.deliveries.get(repeat) {
            self.events.add_delivery(delivery.event(), repeat);
        }
        self.deliveries.send(repeat);
        Ok(repeat)
    }

    /// Raises a crowd, and returns the number of its callouts.
    pub(crate) fn crowd(&mut self, size: u64, now: Timestamp) -> Result<usize, Refusal> {
        let ids = &mut self.ids;
        let crowd = self.world.raise_crowd(size, &mut Moment { now, ids })?;
        for id in &crowd {
            if let Some(callout) = self.world.callouts.get(id) {
                self.history.keep_as_ever(callout.clone());
            }
        }
        Ok(crowd.len())
    }

    /// Records a call. Returns its index in the log, and its fault if it has one.
    pub(crate) fn begin_call(&mut self, call: String, now: Timestamp) -> (usize, Option<Trouble>) {
        let fault = self.faults.take(&call).map(Trouble::Ordered);
        let is_poll = POLLS.contains(&call.as_str());
        let n = self.calls.begin(call, now);
        let plan = self.plan.as_ref().filter(|_| is_poll);
        let trouble = fault.or_else(|| plan?.poll(n as u64, now).map(Trouble::Planned));
        (n, trouble)
    }

    /// Ends the plan and releases the deliveries that it held back. Returns their number.
    pub(crate) fn end_plan(&mut self) -> usize {
        self.plan = None;
        self.deliveries.release_all()
    }

    /// Takes the next delivery that may go out. It goes to the registration that is in force now,
    /// not when the event happened, because a registration replaces the one before at once.
    pub(crate) fn start_next(&mut self, now: Timestamp) -> Option<Outgoing> {
        self.advance(now);
        if self.is_dark(now) {
            return None;
        }
        let target = self.registrations.current()?;
        let (n, body) = self.deliveries.start(&target.url, now)?;
        Some(Outgoing {
            n,
            url: target.url.clone(),
            headers: target.headers().clone(),
            body,
        })
    }

    /// The next time at which the clock lets a delivery go out. Nothing goes out before a dark
    /// window ends.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let turn = self.plan.as_ref().and_then(|plan| plan.next_turn(now));
        let held = self.deliveries.next_due().filter(|_| !self.is_dark(now));
        turn.into_iter().chain(held).min()
    }

    /// Does everything that is due at this time.
    fn advance(&mut self, now: Timestamp) {
        if let Some(plan) = &mut self.plan
            && plan.loses_registration(now)
        {
            self.registrations.lose(now);
        }
        if !self.is_dark(now) {
            self.deliveries.release_due(now);
        }
    }

    fn is_dark(&self, now: Timestamp) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.is_dark(now))
    }

    fn keep(&mut self, event: &Event, now: Timestamp) {
        let entity = event.entity();
        let callout = self.world.callouts.get(&entity.id);
        if let Some(callout) = callout.filter(|_| entity.kind == Kind::Callout) {
            self.history.keep(callout.clone(), now);
        }
    }

    /// Decides the name and the manner in which the next event is sent, or why it is not sent.
    fn judge(&self, message: EventName, now: Timestamp) -> Result<(EventName, Manner), Fate> {
        let registration = self.registrations.current().ok_or(Fate::Unregistered)?;
        let name = registration.name_for(message).ok_or(Fate::Unlisted)?;
        let manner = match &self.plan {
            Some(plan) => plan.manner(self.events.next(), now)?,
            None => Manner::default(),
        };
        Ok((name, manner))
    }

    fn deliver(&mut self, event: &Event, number: u64, manner: Manner) -> Result<u64, Refusal> {
        let n = self.deliveries.enter(event, number)?;
        let repeat = manner.twice.then(|| self.deliveries.enter_again(n));
        for n in iter::once(n).chain(repeat.transpose()?) {
            self.events.add_delivery(number, n);
            match manner.hold {
                Some(hold) => self.deliveries.hold(n, hold),
                None => self.deliveries.send(n),
            }
        }
        Ok(n)
    }
}
