//! The model's steps: what can happen next, and the state that follows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use processor::outcome::{Publication, RecordOutcome};
use processor::timing;
use shared::ledger::{self as rules, Claim};
use stateright::{Model, Property};

use crate::ledger::bounds::{Bounds, LAST_HOUR, LATEST_ARRIVAL, QUEUE_RETENTION, Trouble};
use crate::ledger::design::Design;
use crate::ledger::item::{self, Answer, Applied, Call, ClaimCall, Ledger, MOST_OCCURRENCES};
use crate::ledger::parties::{Delivery, PerDelivery, Worker};
use crate::ledger::state::{Message, Place, State, Step, UnderWay, Work, by_clock};

/// Time goes on by this much at once while a worker is busy.
const TICK: SignedDuration = SignedDuration::from_secs(1);

/// Time between two calls in the same tick.
const INSTANT: SignedDuration = SignedDuration::from_millis(1);

/// The longest time that a visible message waits while a worker has nothing to do.
const PATIENCE: SignedDuration = TICK;

/// The workers, two deliveries of one event, and everything that may go wrong with them.
#[derive(Debug)]
pub struct LedgerModel {
    /// Bounds of what the model can do.
    pub bounds: Bounds,
    design: Design,
    ledger: Ledger,
    /// Key of each occurrence, as the number of the first occurrence that has that key.
    keys: [u32; MOST_OCCURRENCES],
    /// Properties that must hold within the bounds.
    properties: fn(&Bounds) -> Vec<Property<Self>>,
}

/// One step of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A worker receives a message.
    Receive(Worker, Delivery),
    /// A worker takes its next step. A call that belongs to the step is answered at once; a call
    /// that the worker waits for is sent again and answered.
    Take(Worker),
    /// A worker takes its next step, but its call isn't answered.
    TakeUnanswered(Worker),
    /// A worker stops waiting for an answer.
    GiveUp(Worker),
    /// A worker dies.
    Crash(Worker),
    /// A worker falls asleep for longer than its time.
    Stall(Worker),
    /// A call under way takes effect.
    Arrive(UnderWay),
    /// Time goes on until this time.
    Wait(Timestamp),
    /// A message is visible again before it should be.
    ShowEarly(Delivery),
    /// A message was received too often and goes to the dead letters.
    Bury(Delivery),
    /// A dead letter goes back to the queue.
    Redrive(Delivery),
    /// A dead letter goes back to the queue in the last hour of its retention.
    RedriveLate(Delivery),
    /// A dead letter's retention is over.
    Decay(Delivery),
    /// Nobody works until the last hour of a message's retention.
    Outage(Delivery),
    /// The second delivery arrives only days later.
    ArriveLate,
    /// DynamoDB removes the item by its TTL.
    Expire,
}

impl LedgerModel {
    /// Makes the model of a design within bounds, with the properties that must hold.
    #[must_use]
    pub fn new(
        bounds: Bounds,
        design: Design,
        properties: fn(&Bounds) -> Vec<Property<Self>>,
    ) -> Self {
        Self {
            bounds,
            ledger: Ledger::new(design.clone(), bounds.repeat_window),
            keys: keys(&design),
            design,
            properties,
        }
    }

    /// The time of a worker's clock.
    fn clock(&self, state: &State, worker: Worker) -> Timestamp {
        by_clock(state.now, self.bounds.clocks[worker])
    }

    /// Whether a worker has enough time left for what its next step would send.
    fn has_time(&self, work: &Work, now: Timestamp) -> bool {
        let time = (self.design.publishing_time)(work.left(now));
        match work.step {
            Step::Received => time >= timing::LEAST_TIME,
            Step::Claiming(_) | Step::Refused(_) | Step::Claimed(_) | Step::Publishing(_) => {
                !time.is_zero()
            }
            _ => true,
        }
    }

    fn actions_of_worker(&self, state: &State, worker: Worker, actions: &mut Vec<Action>) {
        let Some(work) = &state.workers[worker] else {
            if self.is_next_idle(state, worker) {
                let deliveries = Delivery::ALL.into_iter();
                let received = deliveries.filter(|delivery| self.is_receivable(state, *delivery));
                actions.extend(received.map(|delivery| Action::Receive(worker, delivery)));
            }
            return;
        };
        actions.push(Action::Take(worker));
        let may_be_lost = match work.step {
            Step::Claimed(_) | Step::Publishing(_) => state.left.allow(Trouble::LostPublish),
            Step::Done(_) => false,
            _ => state.left.allow(Trouble::LostCall),
        };
        if may_be_lost && self.has_time(work, state.now) {
            actions.push(Action::TakeUnanswered(worker));
        }
        if work.is_waiting() {
            actions.push(Action::GiveUp(worker));
        }
        if state.left.allow(Trouble::Crash) || work.stalled {
            actions.push(Action::Crash(worker));
        }
        let can_stall = state.left.allow(Trouble::Stall) && !work.stalled;
        if can_stall && !self.can_wait(work, state.now, next_tick(state.now)) {
            actions.push(Action::Stall(worker));
        }
    }

    /// Whether the worker is the first of the idle workers with the same clock: it doesn't matter
    /// which of them receives.
    fn is_next_idle(&self, state: &State, worker: Worker) -> bool {
        let clock = |worker| self.bounds.clocks[worker];
        let mut idle = Worker::ALL
            .into_iter()
            .filter(|other| state.workers[*other].is_none() && clock(*other) == clock(worker));
        idle.next() == Some(worker)
    }

    fn is_receivable(&self, state: &State, delivery: Delivery) -> bool {
        let message = &state.messages[delivery];
        // Of two deliveries that arrive at once, the first is received first: the other order
        // differs only in names.
        let has_arrived = if self.bounds.repeat_window.is_none() {
            delivery == Delivery::First || state.messages[Delivery::First].was_received()
        } else {
            self.arrival(delivery) <= state.now
        };
        has_arrived && message.is_visible(state.now) && message.receives < self.bounds.receives
    }

    fn arrival(&self, delivery: Delivery) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.bounds.arrivals[delivery]
    }

    fn actions_of_message(&self, state: &State, delivery: Delivery, actions: &mut Vec<Action>) {
        let message = &state.messages[delivery];
        let nobody_works = state.at_work().next().is_none();
        // A message that stays until its retention is over is lost, and no design can prevent that.
        let can_jump = |to: Timestamp| {
            let mut ends = state
                .messages
                .0
                .iter()
                .filter_map(Message::end_of_retention);
            nobody_works && to > state.now && ends.all(|end| to < end)
        };
        // The second delivery comes within days of the first; a later one is another matter.
        let has_second = state.messages[Delivery::Second].place != Place::Awaited;
        let can_jump_far = |since: Timestamp| has_second && can_jump(last_hour(since));
        // Without an outage, a message doesn't stay in the queue for days.
        let is_empty = !state.messages.0.iter().any(Message::is_queued);
        // The ledger remembers an event for longer than one time in the queue plus one among the
        // dead letters.
        let is_new = |message: &Message| !message.is_queued() || message.redrives == 0;
        match message.place {
            Place::Queued { visible, since } => {
                if visible > state.now && state.left.allow(Trouble::EarlyReceive) {
                    actions.push(Action::ShowEarly(delivery));
                }
                if visible <= state.now && message.receives >= self.bounds.receives {
                    actions.push(Action::Bury(delivery));
                }
                let all_are_new = state.messages.0.iter().all(is_new);
                if state.left.outages > 0 && all_are_new && can_jump_far(since) {
                    actions.push(Action::Outage(delivery));
                }
            }
            Place::Dead { .. } if state.left.redrives == 0 => actions.push(Action::Decay(delivery)),
            Place::Dead { since } => {
                actions.push(Action::Redrive(delivery));
                if is_empty && message.redrives == 0 && can_jump_far(since) {
                    actions.push(Action::RedriveLate(delivery));
                }
            }
            Place::Awaited => {
                let arrival = state.now + LATEST_ARRIVAL;
                if is_empty && state.left.late_arrivals > 0 && can_jump(arrival) {
                    actions.push(Action::ArriveLate);
                }
            }
            Place::Forgotten { .. } => {}
        }
    }

    /// The time until which time may go on. Time stops where going on would be a failure: a worker
    /// would run out of time without being stalled, or a visible message would stay unreceived.
    fn wait(&self, state: &State) -> Option<Timestamp> {
        let until = if state.at_work().next().is_some() {
            next_tick(state.now)
        } else {
            let hidden = state.messages.0.iter().filter_map(hidden_until);
            let arrivals = Delivery::ALL.map(|delivery| self.arrival(delivery));
            hidden
                .chain(arrivals)
                .filter(|until| *until > state.now)
                .min()?
        };
        let mut workers = state.at_work();
        let workers_can = workers.all(|(_, work)| self.can_wait(work, state.now, until));
        let messages_can = state.messages.0.iter().all(|message| {
            let is_urgent = matches!(message.place, Place::Queued { visible, .. }
                if message.receives > 0 && visible + PATIENCE <= state.now);
            let somebody_can = message.receives >= self.bounds.receives
                || state.workers.0.iter().any(Option::is_none);
            !(is_urgent && somebody_can)
        });
        (workers_can && messages_can).then_some(until)
    }

    fn can_wait(&self, work: &Work, now: Timestamp, until: Timestamp) -> bool {
        let in_time = until < work.deadline && self.has_time(work, until);
        // A worker whose time is over already needn't hurry.
        let is_over = now >= work.deadline || !self.has_time(work, now);
        let is_done = matches!(work.step, Step::Done(_));
        work.stalled || (!is_done && (in_time || (is_over && until < work.deadline)))
    }

    fn next(&self, state: &mut State, action: Action) {
        match action {
            Action::Receive(worker, delivery) => self.receive(state, worker, delivery),
            Action::Take(worker) => self.take(state, worker, true),
            Action::TakeUnanswered(worker) => self.take(state, worker, false),
            Action::GiveUp(worker) => set_step(state, worker, Step::after_giving_up),
            Action::Crash(worker) => {
                let work = state.workers[worker].take();
                if work.is_some_and(|work| !work.stalled) {
                    state.left.spend(Trouble::Crash);
                }
            }
            Action::Stall(worker) => {
                state.left.spend(Trouble::Stall);
                if let Some(work) = &mut state.workers[worker] {
                    work.stalled = true;
                }
            }
            Action::Arrive(request) => self.arrive(state, request),
            Action::Wait(until) => self.pass(state, until),
            Action::ShowEarly(delivery) => {
                state.left.spend(Trouble::EarlyReceive);
                state.messages[delivery].show(state.now);
            }
            Action::Bury(delivery) => state.messages[delivery].bury(state.now),
            Action::Redrive(delivery) => redrive(state, delivery),
            Action::RedriveLate(delivery) => {
                if let Place::Dead { since } = state.messages[delivery].place {
                    self.pass(state, last_hour(since));
                }
                redrive(state, delivery);
            }
            Action::Decay(delivery) => state.messages[delivery].forget(false),
            Action::Outage(delivery) => {
                state.left.outages -= 1;
                if let Place::Queued { since, .. } = state.messages[delivery].place {
                    self.pass(state, last_hour(since));
                }
            }
            Action::ArriveLate => {
                state.left.late_arrivals -= 1;
                self.pass(state, state.now + LATEST_ARRIVAL);
                state.messages[Delivery::Second].enqueue(state.now);
            }
            Action::Expire => {
                state.item = None;
                state.keys = PerDelivery([None; 2]);
            }
        }
    }

    fn receive(&self, state: &mut State, worker: Worker, delivery: Delivery) {
        let now = state.now;
        let timeout = self.bounds.timeout;
        let message = &mut state.messages[delivery];
        if message.place == Place::Awaited {
            message.enqueue(now);
        }
        message.receives += 1;
        // The processor hides a message anew if it came before.
        let hidden = match message.receives {
            1 => timeout.saturating_mul(timing::QUEUE_HIDES),
            _ => timing::hidden_for(timeout),
        };
        message.hide(now, hidden);
        state.workers[worker] = Some(Work {
            delivery,
            receipt: message.receives,
            redrives: message.redrives,
            deadline: now + timeout,
            stalled: false,
            step: Step::Received,
        });
    }

    /// Moves time on to `until`. A publish that hasn't taken effect by its limit never will, and
    /// the platform has ended workers whose time has long been over.
    fn pass(&self, state: &mut State, until: Timestamp) {
        state.now = state.now.max(until);
        let now = state.now;
        state.under_way.retain(|request| match request {
            UnderWay::Publish { before, .. } => now < *before,
            UnderWay::Call(_) => true,
        });
        for work in &mut state.workers.0 {
            let overrun = self.bounds.overrun;
            work.take_if(|work| now >= work.deadline + overrun);
        }
    }

    fn take(&self, state: &mut State, worker: Worker, answered: bool) {
        let Some(work) = state.workers[worker] else {
            return;
        };
        let step = match work.step {
            Step::Received if !self.has_time(&work, state.now) => {
                Step::Done(RecordOutcome::Postponed)
            }
            Step::Received => {
                let call = self.claim_call(state, worker, &work);
                self.claim(state, call, answered)
            }
            Step::Claiming(call) | Step::Refused(call) => self.claim(state, call, answered),
            Step::Claimed(claim) | Step::Publishing(claim) => {
                if self.has_time(&work, state.now) {
                    self.note_key(state, work.delivery, claim);
                    publish(state, worker, &work, claim, answered)
                } else {
                    Step::GivingBack(claim)
                }
            }
            Step::Published(claim) | Step::Marking(claim) => {
                match self.call(state, Call::Complete(claim), answered) {
                    Some(answer) => published(answer == Answer::Marked),
                    None => Step::Marking(claim),
                }
            }
            Step::GivingBack(claim) => {
                state.now += INSTANT;
                let now = self.clock(state, worker);
                self.release(state, claim, now, answered)
            }
            Step::Releasing(claim, now) => self.release(state, claim, now, answered),
            Step::Done(outcome) => return self.report(state, worker, &work, outcome),
        };
        set_step(state, worker, |_| step);
    }

    fn claim_call(&self, state: &mut State, worker: Worker, work: &Work) -> ClaimCall {
        let owner = state.fresh_owner();
        let clock = self.bounds.clocks[worker];
        let now = by_clock(state.now, clock);
        ClaimCall {
            owner,
            occurrence: 1,
            received_at: (self.design.arrival)(self.arrival(work.delivery), now),
            delivery: work.delivery,
            digest: self.bounds.digests[work.delivery],
            now,
            lease_until: (self.design.lease_until)(by_clock(work.deadline, clock)),
        }
    }

    fn claim(&self, state: &mut State, call: ClaimCall, answered: bool) -> Step {
        match self.call(state, Call::Claim(call), answered) {
            Some(Answer::Granted(claim)) => Step::Claimed(claim),
            Some(Answer::Refused(outcome)) => Step::Done(outcome),
            Some(Answer::Other(occurrence)) => Step::Refused(ClaimCall { occurrence, ..call }),
            Some(Answer::Marked | Answer::Over) => Step::Done(RecordOutcome::Failed),
            None => Step::Claiming(call),
        }
    }

    fn release(&self, state: &mut State, claim: Claim, now: Timestamp, answered: bool) -> Step {
        match self.call(state, Call::Release(claim, now), answered) {
            Some(_) => Step::Done(RecordOutcome::Failed),
            None => Step::Releasing(claim, now),
        }
    }

    /// Makes a call to the ledger and returns its answer, or `None` if the answer doesn't come.
    fn call(&self, state: &mut State, call: Call, answered: bool) -> Option<Answer> {
        if answered {
            return Some(self.apply(state, call));
        }
        state.left.spend(Trouble::LostCall);
        state.send(UnderWay::Call(call));
        None
    }

    fn arrive(&self, state: &mut State, request: UnderWay) {
        let same = state.under_way.iter().position(|other| *other == request);
        same.map(|index| state.under_way.remove(index));
        match request {
            UnderWay::Call(call) => {
                self.apply(state, call);
            }
            UnderWay::Publish { delivery, .. } => state.copies[delivery] += 1,
        }
    }

    /// Applies a call to the item by the rules, and notes each breach.
    fn apply(&self, state: &mut State, call: Call) -> Answer {
        let before = state.item;
        let Applied { changed, answer } = self.ledger.apply(before, call);
        let Some(after) = changed else {
            return answer;
        };
        state.item = Some(after);
        let breaches = &mut state.breaches;
        let occurrence = call.occurrence();
        let claim_before = before.and_then(|item| item.claim(occurrence));
        breaches.published_changed |= before.is_some_and(|item| item.is_published(occurrence));
        match call {
            Call::Claim(call) => {
                let expected = claim_before.map_or(0, |claim| claim.attempt) + 1;
                let attempt = after.claim(occurrence).map(|claim| claim.attempt);
                breaches.miscounted |= attempt != Some(expected);
                breaches.granted_twice |= state.granted.contains(&call.owner);
                state.granted.push(call.owner);
            }
            Call::Complete(claim) | Call::Release(claim, _) => {
                breaches.stale_changed |= claim_before != Some(claim);
                if let Some(was_marked) = of_occurrence(&mut state.was_marked, occurrence) {
                    *was_marked |= after.is_published(occurrence);
                }
            }
        }
        answer
    }

    /// Notes a breach of the keys: all copies of one occurrence have one key, and two occurrences
    /// have different keys.
    fn note_key(&self, state: &mut State, delivery: Delivery, claim: Claim) {
        if self.bounds.repeat_window.is_none() {
            return;
        }
        let key = of_occurrence(&mut self.keys.clone(), claim.occurrence).copied();
        let is_of_it = |other: &Delivery| *other == delivery || self.bounds.are_copies();
        for other in Delivery::ALL {
            let is_equal = key == state.keys[other];
            let is_known = state.keys[other].is_some();
            state.breaches.key_confused |= is_known && is_equal != is_of_it(&other);
        }
        state.keys[delivery] = key;
    }

    /// Ends the worker's record. A record that isn't settled comes back when the processor says.
    fn report(&self, state: &mut State, worker: Worker, work: &Work, outcome: RecordOutcome) {
        state.workers[worker] = None;
        let now = self.clock(state, worker);
        let message = &mut state.messages[work.delivery];
        if !message.is_queued() || message.redrives != work.redrives {
            return;
        }
        if (self.design.is_settled)(outcome) {
            message.forget(outcome == RecordOutcome::Conflict);
        } else if message.receives == work.receipt {
            // Takes the shortest pause that the processor may choose: a worker may receive the
            // message later.
            let pause = timing::pause(outcome, message.receives, now, 1.0);
            message.hide(state.now, pause);
        }
    }
}

impl Model for LedgerModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start(&self.bounds)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for worker in Worker::ALL {
            self.actions_of_worker(state, worker, actions);
        }
        let mut last = None;
        for request in &state.under_way {
            if last != Some(request) {
                actions.push(Action::Arrive(*request));
            }
            last = Some(request);
        }
        for delivery in Delivery::ALL {
            self.actions_of_message(state, delivery, actions);
        }
        actions.extend(self.wait(state).map(Action::Wait));
        if state
            .item
            .is_some_and(|item| self.ledger.has_expired(item, state.now))
        {
            actions.push(Action::Expire);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        self.next(&mut state, action);
        state.forget_granted();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        (self.properties)(&self.bounds)
    }
}

/// Sends an event to the bus.
fn publish(state: &mut State, worker: Worker, work: &Work, claim: Claim, answered: bool) -> Step {
    let its = state.item.and_then(|item| item.state(claim.occurrence));
    let holds = matches!(its, Some(rules::State::Claimed { claim: its, .. }) if its == claim);
    let now = state.now;
    let is_beside = state.at_work().any(|(other, work)| {
        let its = work
            .holds()
            .filter(|_| work.is_between() && now < work.deadline);
        other != worker && its.is_some_and(|its| its.occurrence == claim.occurrence)
    });
    let was_marked = of_occurrence(&mut state.was_marked, claim.occurrence).copied();
    state.breaches.published_unclaimed |= !holds;
    state.breaches.published_after_mark |= was_marked == Some(true);
    state.breaches.published_beside |= is_beside;
    let delivery = work.delivery;
    if answered {
        state.copies[delivery] += 1;
        return Step::Published(claim);
    }
    state.left.spend(Trouble::LostPublish);
    state.send(UnderWay::Publish {
        delivery,
        claim,
        before: work.deadline,
    });
    Step::Publishing(claim)
}

/// Key of each occurrence, as the number of the first occurrence that has that key.
fn keys(design: &Design) -> [u32; MOST_OCCURRENCES] {
    let event = item::key();
    let key = |occurrence| (design.key)(&event, occurrence).to_string();
    std::array::from_fn(|index| {
        let last = u32::try_from(index).unwrap_or(u32::MAX) + 1;
        (1..last)
            .find(|other| key(*other) == key(last))
            .unwrap_or(last)
    })
}

/// The element that belongs to an occurrence, by its number.
fn of_occurrence<T>(all: &mut [T; MOST_OCCURRENCES], occurrence: u32) -> Option<&mut T> {
    all.get_mut(usize::try_from(occurrence).ok()?.checked_sub(1)?)
}

fn redrive(state: &mut State, delivery: Delivery) {
    state.left.redrives -= 1;
    let message = &mut state.messages[delivery];
    message.redrives += 1;
    message.receives = 0;
    message.enqueue(state.now);
}

fn set_step(state: &mut State, worker: Worker, step: impl FnOnce(Step) -> Step) {
    if let Some(work) = &mut state.workers[worker] {
        work.step = step(work.step);
    }
}

fn published(marked: bool) -> Step {
    Step::Done(RecordOutcome::Published(Publication {
        latency: Duration::ZERO,
        payload_omitted: false,
        marked,
    }))
}

fn hidden_until(message: &Message) -> Option<Timestamp> {
    match message.place {
        Place::Queued { visible, .. } => Some(visible),
        _ => None,
    }
}

/// The beginning of the hour: retentions needn't be counted by the second.
fn hour_of(now: Timestamp) -> Timestamp {
    let into_the_hour = now.as_millisecond().rem_euclid(LAST_HOUR.as_secs() * 1000);
    now - SignedDuration::from_millis(into_the_hour)
}

/// The time when the last hour of a retention begins.
fn last_hour(since: Timestamp) -> Timestamp {
    since + QUEUE_RETENTION - LAST_HOUR
}

/// The beginning of the next tick.
fn next_tick(now: Timestamp) -> Timestamp {
    let into_the_tick = now.duration_since(Timestamp::UNIX_EPOCH).as_millis() % TICK.as_millis();
    let into_the_tick = i64::try_from(into_the_tick).unwrap_or_default();
    now + TICK - SignedDuration::from_millis(into_the_tick)
}

impl Work {
    fn is_waiting(&self) -> bool {
        matches!(
            self.step,
            Step::Claiming(_) | Step::Publishing(_) | Step::Marking(_) | Step::Releasing(..)
        )
    }
}

impl Step {
    fn after_giving_up(self) -> Self {
        match self {
            Self::Claiming(_) | Self::Releasing(..) => Self::Done(RecordOutcome::Failed),
            Self::Publishing(claim) => Self::GivingBack(claim),
            Self::Marking(_) => published(false),
            other => other,
        }
    }
}

impl Message {
    fn enqueue(&mut self, now: Timestamp) {
        self.place = Place::Queued {
            since: hour_of(now),
            visible: now,
        };
    }

    fn end_of_retention(&self) -> Option<Timestamp> {
        match self.place {
            Place::Queued { since, .. } | Place::Dead { since } => Some(since + QUEUE_RETENTION),
            Place::Awaited | Place::Forgotten { .. } => None,
        }
    }

    fn is_queued(&self) -> bool {
        matches!(self.place, Place::Queued { .. })
    }

    fn was_received(&self) -> bool {
        self.receives > 0 || self.redrives > 0
    }

    fn show(&mut self, now: Timestamp) {
        if let Place::Queued { visible, .. } = &mut self.place {
            *visible = now;
        }
    }

    /// Hides the message for this time; SQS takes whole seconds, and the processor rounds up.
    fn hide(&mut self, now: Timestamp, time: Duration) {
        if let Place::Queued { visible, .. } = &mut self.place {
            let up = u64::from(time.subsec_nanos() > 0);
            let begin_of_tick = next_tick(now) - TICK;
            *visible = begin_of_tick + Duration::from_secs(time.as_secs() + up);
        }
    }

    fn bury(&mut self, now: Timestamp) {
        self.place = Place::Dead {
            since: hour_of(now),
        };
    }

    fn forget(&mut self, quarantined: bool) {
        self.place = Place::Forgotten { quarantined };
    }
}
