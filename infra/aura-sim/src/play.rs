//! Plays a day to the receiver, at a given rate and with duplicates.

use std::time::{Duration, Instant};

use rand::{SeedableRng as _, rngs::ChaCha8Rng, seq::IndexedRandom as _};
use serde::Serialize;
use tokio::time::{Interval, interval};

use crate::{
    sim::Sim,
    state::SimState,
    world::day::{Day, DayRun},
    world::event::{Event, EventName},
    world::refusal::Refusal,
};

/// The result of a day. `accepted` and `failed` count deliveries, and duplicates count too.
#[derive(Serialize)]
pub(crate) struct DayReport {
    events: u64,
    duplicates: u64,
    accepted: u64,
    failed: u64,
    seconds: f64,
}

/// Decides which deliveries are duplicated, and when.
struct Repeats {
    rng: ChaCha8Rng,
    share: f64,
    /// Number of duplicates that are due. Half a duplicate counts as one, so that the duplicates of
    /// a whole day are the rounded share of its events.
    due: f64,
    /// The numbers of the deliveries that may be duplicated.
    originals: Vec<u64>,
}

/// A day that is being sent.
struct Broadcast<'a> {
    sim: &'a Sim,
    pace: Interval,
    repeats: Repeats,
    /// The numbers of all the day's deliveries.
    sent: Vec<u64>,
    events: u64,
    duplicates: u64,
}

/// Plays the whole day and waits until all of its deliveries have been answered.
///
/// The report doesn't count events that have no delivery, because the registration doesn't list
/// them or the plan prevents it. It doesn't count the plan's repeats either.
pub(crate) async fn play(sim: &Sim, order: &Day) -> Result<DayReport, Refusal> {
    order.check()?;
    let day = open(&mut sim.state(), order)?;
    let started = Instant::now();
    let mut broadcast = Broadcast::new(sim, order);
    broadcast.send(day, order.events).await?;
    let accepted = broadcast.count_accepted().await;
    Ok(DayReport {
        events: broadcast.events,
        duplicates: broadcast.duplicates,
        accepted,
        failed: broadcast.events + broadcast.duplicates - accepted,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Begins a day. A day can be played only once, because a second time it would have the same
/// events.
fn open(state: &mut SimState, order: &Day) -> Result<DayRun, Refusal> {
    if state.registrations.current().is_none() {
        return Err(Refusal::Conflict("no webhook is registered".to_owned()));
    }
    if !state.days.insert(order.seed) {
        let message = format!("the day with seed {} was played already", order.seed);
        return Err(Refusal::Conflict(message));
    }
    Ok(DayRun::begin(order, &mut state.world))
}

impl<'a> Broadcast<'a> {
    fn new(sim: &'a Sim, order: &Day) -> Self {
        Self {
            sim,
            pace: interval(Duration::from_secs_f64(order.per_second.recip())),
            repeats: Repeats::new(order),
            sent: Vec::new(),
            events: 0,
            duplicates: 0,
        }
    }

    async fn send(&mut self, mut day: DayRun, events: u64) -> Result<(), Refusal> {
        let mut room = events;
        while room > 0 {
            let step = day.step(&mut self.sim.state().world, room)?;
            for event in step {
                room -= 1;
                self.tell(event).await?;
                self.repeat().await?;
            }
        }
        Ok(())
    }

    async fn tell(&mut self, event: Event) -> Result<(), Refusal> {
        self.pace.tick().await;
        let message = event.message;
        if let Some(n) = self.sim.tell(event)? {
            self.events += 1;
            self.sent.push(n);
            self.repeats.add(n, message);
        }
        Ok(())
    }

    async fn repeat(&mut self) -> Result<(), Refusal> {
        while let Some(original) = self.repeats.next_due() {
            self.pace.tick().await;
            let n = self.sim.tell_again(original)?;
            self.duplicates += 1;
            self.sent.push(n);
        }
        Ok(())
    }

    async fn count_accepted(&self) -> u64 {
        let mut accepted = 0;
        for &n in &self.sent {
            accepted += u64::from(self.sim.until_answered(n).await);
        }
        accepted
    }
}

impl Repeats {
    fn new(order: &Day) -> Self {
        // This is another random stream than the day's own, so that the share of duplicates doesn't
        // change the events.
        let mut rng = ChaCha8Rng::seed_from_u64(order.seed.into());
        rng.set_stream(1);
        Self {
            rng,
            share: order.duplicates,
            due: 0.0,
            originals: Vec::new(),
        }
    }

    /// Counts an event. `CALLOUT_EVENTS_CHANGED` is never duplicated, because a duplicate looks
    /// like a second signal.
    fn add(&mut self, n: u64, message: EventName) {
        self.due += self.share;
        if message != EventName::CalloutEventsChanged {
            self.originals.push(n);
        }
    }

    /// Picks the delivery to send again now. It may be any earlier one, because AURA documents no
    /// limit.
    fn next_due(&mut self) -> Option<u64> {
        if self.due < 0.5 {
            return None;
        }
        let original = self.originals.choose(&mut self.rng).copied()?;
        self.due -= 1.0;
        Some(original)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_the_share_of_the_events_and_never_a_signal() {
        for (events, duplicates, expected) in [(500, 0.2, 100), (100, 0.1, 10), (7, 0.0, 0)] {
            let order = Day {
                seed: 1,
                events,
                per_second: 1.0,
                duplicates,
                closing_after: 0,
            };
            let mut repeats = Repeats::new(&order);
            let mut repeated = Vec::new();
            for n in 1..=events {
                let message = if n % 2 == 0 {
                    EventName::CalloutEventsChanged
                } else {
                    EventName::CalloutOwned
                };
                repeats.add(n, message);
                repeated.extend(std::iter::from_fn(|| repeats.next_due()));
            }
            assert_eq!(repeated.len(), expected);
            assert!(repeated.iter().all(|n| n % 2 == 1));
        }
    }
}
