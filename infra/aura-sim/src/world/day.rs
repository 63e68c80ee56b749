//! A seeded random day of emergencies: who raises them, and how each continues.
//!
//! Each emergency is a short story, and several are alive at any time. A step of the day begins a
//! new story or does the next part of one that is alive. The day changes the same world as the API,
//! so that the API shows its callouts. The day has its own clock and its own ids, which follow from
//! the seed alone: the same seed makes the same events, byte for byte.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng, seq::IndexedRandom as _};
use serde::{Deserialize, Serialize};

use crate::{
    world::callout::{Cancellation, Controller, Emergency, NewCallout, Remark},
    world::change::{Ids, Moment, Outcome, World},
    world::customer::{NewCustomer, Person, Terms},
    world::event::Event,
    world::location::Position,
    world::refusal::Refusal,
};

/// Start of every day by the day's own clock: 2026-03-01T06:00:00Z.
const MORNING: Timestamp = Timestamp::constant(1_772_344_800, 0);

/// Number of ids that are reserved for a day. An event needs fewer than three.
const IDS_PER_DAY: u64 = 1_000_000;

/// Largest number of events of a day, for which the day's ids are enough.
const MOST_EVENTS: u64 = 100_000;

/// Largest number of emergencies that are alive at one time.
const MOST_ALIVE: usize = 12;

/// A random day of emergencies: the body of `POST /_sim/day`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Day {
    /// The seed of the day. The same seed makes the same events. A seed can be played only once.
    pub seed: u32,
    /// Number of distinct events of the day.
    pub events: u64,
    /// Number of deliveries that are queued each second. Duplicates count too.
    pub per_second: f64,
    /// Number of additional duplicates, as a share of `events`.
    #[serde(default)]
    pub duplicates: f64,
    /// Smallest number of other events of the day between the raising of a callout and its closing.
    #[serde(default)]
    pub closing_after: u64,
}

/// One part of a story, after the callout has been raised.
#[derive(Clone, Copy)]
enum StoryPart {
    Control(Controller),
    Remark,
    Cancel,
}

const ACKNOWLEDGE: StoryPart = StoryPart::Control(Controller::Acknowledge);
const ARRIVE: StoryPart = StoryPart::Control(Controller::Arrive);
const CLOSE: StoryPart = StoryPart::Control(Controller::Close);
const COMPLETE: StoryPart = StoryPart::Control(Controller::Complete);
const DISPATCH: StoryPart = StoryPart::Control(Controller::Dispatch);
const OWN: StoryPart = StoryPart::Control(Controller::Own);

/// The possible courses of an emergency: one responder; a dispatch by hand; two responders; a
/// handover in the control room; a cancellation while a responder is on the way; a false alarm.
const STORIES: [&[StoryPart]; 6] = [
    &[ACKNOWLEDGE, ARRIVE, COMPLETE, CLOSE],
    &[OWN, DISPATCH, ARRIVE, COMPLETE, CLOSE],
    &[
        ACKNOWLEDGE,
        OWN,
        DISPATCH,
        ARRIVE,
        ARRIVE,
        COMPLETE,
        COMPLETE,
        CLOSE,
    ],
    &[OWN, ACKNOWLEDGE, ARRIVE, OWN, COMPLETE, CLOSE],
    &[ACKNOWLEDGE, StoryPart::Cancel, CLOSE],
    &[StoryPart::Cancel, CLOSE],
];

/// An emergency under way, and the parts that are still to come.
struct Story {
    stage: Stage,
    to_come: VecDeque<StoryPart>,
    /// Number of events of the day that must happen before the story may end.
    may_end_at: u64,
}

enum Stage {
    /// The customer has not raised the callout yet.
    Customer(u64),
    Callout(u64),
}

/// A day under way.
pub(crate) struct DayRun {
    rng: ChaCha8Rng,
    ids: Ids,
    now: Timestamp,
    /// External reference of the day's own predefined location.
    location: String,
    alive: Vec<Story>,
    /// Stories whose next part is their end, but that may not end yet. They don't count as alive,
    /// so that the day goes on with others.
    waiting: Vec<Story>,
    closing_after: u64,
    /// Number of events that have happened so far.
    happened: u64,
}

impl Day {
    /// Refuses a day that is not possible.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let problem = if !(1..=MOST_EVENTS).contains(&self.events) {
            format!("events must be between 1 and {MOST_EVENTS}")
        } else if !(0.01..=10_000.0).contains(&self.per_second) {
            "perSecond must be between 0.01 and 10000".to_owned()
        } else if !(0.0..=1.0).contains(&self.duplicates) {
            "duplicates must be between 0 and 1".to_owned()
        } else {
            return Ok(());
        };
        Err(Refusal::Malformed(problem))
    }
}

impl Story {
    /// Whether the next part is the story's end, and the story may not end yet.
    fn is_early(&self, happened: u64) -> bool {
        let end_is_next = matches!(
            self.to_come.front(),
            Some(StoryPart::Control(Controller::Close))
        );
        end_is_next && happened < self.may_end_at
    }
}

impl DayRun {
    /// Begins a day.
    pub(crate) fn begin(order: &Day, world: &mut World) -> Self {
        let seed = order.seed;
        let mut day = Self {
            rng: ChaCha8Rng::seed_from_u64(seed.into()),
            // Every seed has its own range of ids, far above those that the API gives out.
            ids: Ids::starting_at((u64::from(seed) + 1) * IDS_PER_DAY),
            now: MORNING,
            location: format!("day-{seed}"),
            alive: Vec::new(),
            waiting: Vec::new(),
            closing_after: order.closing_after,
            happened: 0,
        };
        let position = day.somewhere();
        world.put_location(day.location.clone(), position, &mut day.ids);
        day
    }

    /// Does the next step, which makes one event, or two if there is `room` for them.
    pub(crate) fn step(&mut self, world: &mut World, room: u64) -> Result<Vec<Event>, Refusal> {
        self.now += SignedDuration::from_secs(self.rng.random_range(5..90));
        self.let_end();
        let crowded = self.alive.len() >= MOST_ALIVE;
        let events = if self.alive.is_empty() || (!crowded && self.rng.random_bool(0.3)) {
            self.begin_story(world, room)
        } else {
            self.go_on(world)
        }?;
        self.happened += events.len() as u64;
        Ok(events)
    }

    /// Makes those waiting stories alive again that may end now.
    fn let_end(&mut self) {
        let happened = self.happened;
        let ready = |story: &mut Story| story.may_end_at <= happened;
        self.alive.extend(self.waiting.extract_if(.., ready));
    }

    /// Begins an emergency: with a new customer or, one time in five, at the predefined location.
    fn begin_story(&mut self, world: &mut World, room: u64) -> Result<Vec<Event>, Refusal> {
        let (stage, events) = if self.rng.random_bool(0.2) {
            self.raise_at_location(world)?
        } else {
            self.create_customer(world, room > 1)?
        };
        let story = Story {
            to_come: self.plot(),
            may_end_at: self.first_end(),
            stage,
        };
        self.alive.push(story);
        Ok(events)
    }

    /// Does the next part of a story that is alive. The story is over after its last part.
    fn go_on(&mut self, world: &mut World) -> Result<Vec<Event>, Refusal> {
        let index = self.rng.random_range(0..self.alive.len());
        let mut story = self.alive.swap_remove(index);
        let events = match story.stage {
            Stage::Customer(id) => {
                let (stage, events) = self.raise_for_customer(world, id)?;
                story.stage = stage;
                story.may_end_at = self.first_end();
                events
            }
            Stage::Callout(id) => match story.to_come.pop_front() {
                Some(act) => self.act(world, id, act)?,
                None => Vec::new(),
            },
        };
        if story.is_early(self.happened) {
            self.waiting.push(story);
        } else if !story.to_come.is_empty() {
            self.alive.push(story);
        }
        Ok(events)
    }

    /// Number of events after which a callout that is raised now may be closed.
    fn first_end(&self) -> u64 {
        self.happened + 1 + self.closing_after
    }

    /// Creates a customer. The day's last event may be a customer without a subscription, who
    /// raises no callout.
    fn create_customer(&mut self, world: &mut World, subscribed: bool) -> Outcome<Stage> {
        // The mobile number is made from an id. So it is unique on all days, and not a real number.
        let number = self.ids.take();
        let new = NewCustomer {
            customer: Person {
                name: "Customer".to_owned(),
                surname: format!("Number {number}"),
                mobile: format!("+000{number}"),
            },
            subscription: subscribed.then_some(Terms {
                subscription_type_id: 1,
                valid_from: Some(self.now),
                valid_to: None,
            }),
        };
        let (created, events) = world.create_customer(new, &mut self.moment())?;
        Ok((Stage::Customer(created.customer.id), events))
    }

    fn raise_for_customer(&mut self, world: &mut World, customer_id: u64) -> Outcome<Stage> {
        let new = NewCallout {
            location: self.somewhere(),
            emergency: self.emergency(),
        };
        let (callout, events) = world.raise_callout(customer_id, &new, &mut self.moment())?;
        Ok((Stage::Callout(callout.id()), events))
    }

    fn raise_at_location(&mut self, world: &mut World) -> Outcome<Stage> {
        let emergency = self.emergency();
        let mut moment = Moment {
            now: self.now,
            ids: &mut self.ids,
        };
        let (callout, events) =
            world.raise_callout_at_location(&self.location, emergency, &mut moment)?;
        Ok((Stage::Callout(callout.id()), events))
    }

    fn act(&mut self, world: &mut World, id: u64, act: StoryPart) -> Result<Vec<Event>, Refusal> {
        let moment = &mut self.moment();
        let events = match act {
            StoryPart::Control(act) => world.control(id, act, moment)?.1,
            StoryPart::Cancel => world.cancel(id, &Cancellation { safe_code: None })?.1,
            StoryPart::Remark => {
                let message = "Customer reports they are safe.".to_owned();
                world.remark(id, Remark { message }, moment)?.1
            }
        };
        Ok(events)
    }

    /// Picks one of the stories, and adds up to two remarks before its end.
    fn plot(&mut self) -> VecDeque<StoryPart> {
        let story = STORIES.choose(&mut self.rng).copied().unwrap_or_default();
        let mut acts: VecDeque<_> = story.iter().copied().collect();
        for _ in 0..self.rng.random_range(0..=2) {
            let position = self.rng.random_range(0..acts.len());
            acts.insert(position, StoryPart::Remark);
        }
        acts
    }

    /// Picks the kind of an emergency. One in twenty is a test.
    fn emergency(&mut self) -> Emergency {
        Emergency {
            response_type_id: self.rng.random_range(1..=3),
            callout_classification_id: if self.rng.random_bool(0.05) {
                Emergency::TEST
            } else {
                1
            },
        }
    }

    fn somewhere(&mut self) -> Position {
        Position {
            latitude: f64::from(self.rng.random_range(-342_000..-338_000)) / 10_000.0,
            longitude: f64::from(self.rng.random_range(184_000..188_000)) / 10_000.0,
        }
    }

    fn moment(&mut self) -> Moment<'_> {
        Moment {
            now: self.now,
            ids: &mut self.ids,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::world::event::EventName;

    fn order(seed: u32, events: u64, closing_after: u64) -> Day {
        Day {
            seed,
            events,
            per_second: 50.0,
            duplicates: 0.2,
            closing_after,
        }
    }

    /// Plays a day, and returns its events.
    fn events(order: &Day) -> Vec<Event> {
        let mut world = World::new();
        let mut day = DayRun::begin(order, &mut world);
        let mut told = Vec::new();
        let mut room = order.events;
        while room > 0 {
            let step = day.step(&mut world, room).unwrap();
            room -= u64::try_from(step.len()).unwrap();
            told.extend(step);
        }
        told
    }

    /// Plays a day, and returns the bodies of its events without the signals.
    fn bodies(seed: u32, number: u64) -> Vec<String> {
        events(&order(seed, number, 0))
            .iter()
            .filter(|event| event.message != EventName::CalloutEventsChanged)
            .map(|event| serde_json::to_string(event).unwrap())
            .collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_day() {
        assert_eq!(bodies(7, 300), bodies(7, 300));
        assert_ne!(bodies(7, 300), bodies(8, 300));
    }

    /// A person who has noted a seed expects the same day from it in later versions. The ids and
    /// times of a day's last event depend on all events before.
    #[test]
    fn a_seed_makes_the_same_day_in_every_version() {
        let bodies = bodies(7, 300);
        assert_eq!(bodies.len(), 266);
        assert_eq!(
            bodies.last().unwrap(),
            concat!(
                r#"{"message":"RESPONDER_ARRIVED_ON_SCENE","callout":{"id":8000167,"#,
                r#""incidentInformation":[{"typeOfEmergency":{"description":"Panic"},"#,
                r#""responseType":{"value":"SECURITY"},"calloutCurrentLocation":"#,
                r#"{"latitude":"-33.9214","longitude":"18.6752","#,
                r#""formattedAddress":"-33.9214, 18.6752"},"incidentcategory":"CRIME","#,
                r#""owner":{"id":8000203},"responder":{"id":8000210},"#,
                r#""supplier":{"name":"Northern Response"},"#,
                r#""dispatchedAt":"2026-03-01T09:06:01Z","#,
                r#""arrivedAt":"2026-03-01T09:29:02Z"}],"#,
                r#""calloutClassification":{"value":"TEST"}}}"#
            )
        );
    }

    /// Counts the events between the raising and the closing of each closed callout.
    fn spans(events: &[Event]) -> Vec<usize> {
        let place = |message, of: &Event| {
            let is_it = |event: &Event| event.message == message && event.entity() == of.entity();
            events.iter().position(is_it).unwrap()
        };
        events
            .iter()
            .filter(|event| event.message == EventName::CalloutClosed)
            .map(|closing| {
                let closed = place(EventName::CalloutClosed, closing);
                closed - place(EventName::NewCallout, closing) - 1
            })
            .collect()
    }

    #[test]
    fn no_callout_is_closed_before_closing_after_events_and_the_day_goes_on() {
        for (seed, closing_after) in [(1, 0), (2, 1), (3, 50), (4, 300)] {
            let events = events(&order(seed, 2_000, closing_after));
            let spans = spans(&events);
            let shortest = *spans.iter().min().unwrap() as u64;
            assert!(shortest >= closing_after, "{shortest} < {closing_after}");
            assert!(spans.len() > 100, "{} of seed {seed}", spans.len());
            let raised = |event: &&Event| event.message == EventName::NewCallout;
            assert!(events.iter().filter(raised).count() > 200);
        }
    }

    #[test]
    fn a_day_with_closing_after_follows_from_the_seed_too() {
        let day = |closing_after| {
            let events = events(&order(7, 500, closing_after));
            serde_json::to_string(&events).unwrap()
        };
        assert_eq!(day(40), day(40));
        assert_ne!(day(40), day(0));
    }

    #[test]
    fn no_two_events_are_alike_on_any_day() {
        let all: Vec<_> = (0..5).flat_map(|seed| bodies(seed, 2_000)).collect();
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn a_day_can_be_as_short_as_one_event() {
        for seed in 0..20 {
            assert_eq!(bodies(seed, 1).len(), 1);
        }
    }

    #[test]
    fn an_impossible_day_is_refused() {
        let order = |events, per_second, duplicates| Day {
            seed: 1,
            events,
            per_second,
            duplicates,
            closing_after: 0,
        };
        assert!(order(500, 50.0, 0.2).check().is_ok());
        assert!(order(0, 50.0, 0.2).check().is_err());
        assert!(order(500, 0.0, 0.2).check().is_err());
        assert!(order(500, f64::NAN, 0.2).check().is_err());
        assert!(order(500, 50.0, -0.1).check().is_err());
    }
}
