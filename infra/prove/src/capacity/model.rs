//! The simulation: takes every delivery through API Gateway, `ingest`, the ingest queue, the processor
//! and the bus, event by event. Time is in microseconds.
//!
//! What a service refuses is tried again as the functions do it: a call three times, 100 ms apart; a
//! delivery then goes to the spill, and a record comes back after [`processor::timing::pause`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use jiff::Timestamp;
use processor::outcome::RecordOutcome;
use processor::timing::{MOST_RECEIVES, pause};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::capacity::bucket::{Bucket, float, seconds};
use crate::capacity::load::{Delivery, SECOND};
use crate::capacity::quotas::{Limits, PARTITION, Quota, Times};

/// Records of a batch: `BatchSize` of the template.
const BATCH: usize = 10;
/// Attempts of a call.
const ATTEMPTS: u8 = 3;
/// Pause between two attempts.
const RETRY: u64 = SECOND / 10;
/// Pause until Lambda calls the processor again after it had no concurrency for it (assumed).
const LAMBDA_RETRY: u64 = SECOND / 2;
/// How often the number of pollers is looked at while it grows.
const TICK: u64 = SECOND / 5;
/// A wait from which on a quota counts as met.
const LONG: u64 = SECOND;
/// Time between two runs of the reconciler, and how long one works: the template's defaults.
const RUNS: u64 = 60 * SECOND;
const RUN: u64 = 50 * SECOND;
/// How long the reconciler takes to put back one delivery of each shard of the spill (assumed).
const REDRIVE: u64 = SECOND / 50;
/// Shards of the spill.
const SHARDS: usize = shared::ledger::SHARDS as usize;

/// What happens to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// When it was stored; `None` if it was lost.
    pub stored: Option<u64>,
    /// Whether it went to the spill first.
    pub spilled: bool,
    /// When it was on the bus.
    pub published: Option<u64>,
    /// When EventBridge had called its target.
    pub delivered: Option<u64>,
}

/// When and how often a quota was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Met {
    /// When it was met first.
    pub first: u64,
    /// How often.
    pub times: u64,
    /// How many deliveries were lost for it.
    pub lost: u64,
}

/// What the simulation has found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The fate of each delivery, in order of arrival.
    pub fates: Vec<Fate>,
    /// The quotas that were met.
    pub met: BTreeMap<Quota, Met>,
    /// Events that went to the dead letters.
    pub dead: usize,
    /// The order in which the bus took the events, by delivery.
    pub order: Vec<usize>,
    /// The most batches at once.
    pub most_batches: usize,
    /// The most invocations at once, of all functions.
    pub most_invocations: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send(usize, u8),
    Spill(usize, u8),
    Invoke(usize),
    Claim(usize, u8),
    Publish(usize, u8),
    Published(usize),
    WaveEnds(usize),
    Back(usize),
    Tick,
    Redrive(u64),
}

#[derive(Debug, Clone, Copy)]
struct Message {
    delivery: usize,
    receives: u32,
    sequence: u64,
}

#[derive(Debug, Default)]
struct Group {
    waiting: VecDeque<Message>,
    locked: bool,
    has_failed: bool,
    available_since: u64,
}

#[derive(Debug, Default)]
struct Batch {
    /// The records of each group that aren't done.
    groups: Vec<(usize, VecDeque<Message>)>,
    /// The wave under way: records to claim, then those that are claimed.
    heads: Vec<(usize, Message)>,
    claimed: Vec<(usize, Message)>,
}

struct Model<'a> {
    limits: &'a Limits,
    times: &'a Times,
    writes: f64,
    deliveries: &'a [Delivery],
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    random: ChaCha8Rng,
    api: Bucket,
    lambda_requests: Bucket,
    ingest_scaling: Bucket,
    processor_scaling: Bucket,
    queue: Bucket,
    by_group: Vec<Bucket>,
    partitions: Vec<Bucket>,
    bus: Bucket,
    target_free: u64,
    ingest: Instances,
    processor: Instances,
    groups: Vec<Group>,
    available: BTreeSet<(u64, usize)>,
    sequence: u64,
    batches: Vec<Batch>,
    busy: usize,
    ramp: Option<u64>,
    ticking: bool,
    spill: VecDeque<usize>,
    redriving: bool,
    outcome: Outcome,
}

/// The instances of a function.
#[derive(Debug, Default)]
struct Instances {
    idle: usize,
    busy: usize,
}

/// Simulates the deliveries, which must be in order of time.
#[must_use]
pub fn simulate(
    deliveries: &[Delivery],
    limits: &Limits,
    times: &Times,
    writes_per_event: f64,
) -> Outcome {
    let entities = deliveries.iter().map(|delivery| delivery.entity + 1);
    let entities = entities.max().unwrap_or(0);
    let partitions = whole(limits.ledger_writes / PARTITION).clamp(1, 1000);
    let scaling = || Bucket::new(limits.lambda_scaling / 10.0, limits.lambda_scaling);
    let share = limits.ledger_writes / float(partitions);
    let mut model = Model {
        limits,
        times,
        writes: writes_per_event,
        deliveries,
        events: BinaryHeap::new(),
        scheduled: 0,
        random: ChaCha8Rng::seed_from_u64(0),
        api: Bucket::new(limits.api_requests, limits.api_burst),
        lambda_requests: Bucket::of_a_second(10.0 * limits.lambda_concurrency),
        ingest_scaling: scaling(),
        processor_scaling: scaling(),
        queue: Bucket::of_a_second(limits.queue_calls),
        by_group: vec![Bucket::of_a_second(limits.group_calls); entities],
        partitions: vec![Bucket::of_a_second(share); partitions],
        bus: Bucket::of_a_second(limits.put_events),
        target_free: 0,
        ingest: Instances::default(),
        processor: Instances::default(),
        groups: (0..entities).map(|_| Group::default()).collect(),
        available: BTreeSet::new(),
        sequence: 0,
        batches: Vec::new(),
        busy: 0,
        ramp: None,
        ticking: false,
        spill: VecDeque::new(),
        redriving: false,
        outcome: Outcome {
            fates: vec![Fate::default(); deliveries.len()],
            ..Outcome::default()
        },
    };
    for (n, delivery) in deliveries.iter().enumerate() {
        model.happen_until(delivery.at);
        model.arrive(delivery.at, n);
    }
    model.happen_until(u64::MAX);
    model.outcome
}

impl Model<'_> {
    fn at(&mut self, time: u64, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((time, self.scheduled, event)));
    }

    fn happen_until(&mut self, time: u64) {
        let is_due = |next: &Reverse<(u64, u64, Event)>| next.0.0 < time;
        while self.events.peek().is_some_and(is_due)
            && let Some(Reverse((now, _, event))) = self.events.pop()
        {
            self.happen(now, event);
        }
    }

    fn happen(&mut self, now: u64, event: Event) {
        match event {
            Event::Send(n, attempt) => self.send(now, n, attempt),
            Event::Spill(n, attempt) => self.spill(now, n, attempt),
            Event::Invoke(batch) => self.invoke(now, batch),
            Event::Claim(batch, attempt) => self.claim(now, batch, attempt),
            Event::Publish(batch, attempt) => self.publish(now, batch, attempt),
            Event::Published(batch) => self.published(now, batch),
            Event::WaveEnds(batch) => self.next_wave(now, batch),
            Event::Back(group) => self.unlock(now, group),
            Event::Tick => {
                self.ticking = false;
                self.dispatch(now);
            }
            Event::Redrive(until) => self.redrive(now, until),
        }
    }

    fn meet(&mut self, now: u64, quota: Quota) -> &mut Met {
        let first = Met {
            first: now,
            ..Met::default()
        };
        let met = self.outcome.met.entry(quota).or_insert(first);
        met.times += 1;
        met
    }

    fn lose(&mut self, now: u64, quota: Quota) {
        self.meet(now, quota).lost += 1;
    }

    fn fate(&mut self, n: usize) -> Option<&mut Fate> {
        self.outcome.fates.get_mut(n)
    }

    /// API Gateway takes a request, and Lambda finds an instance for it.
    fn arrive(&mut self, now: u64, n: usize) {
        if !self.api.take(now, 1.0) {
            return self.lose(now, Quota::ApiRequests);
        }
        match self.start_ingest(now) {
            Ok(start) => self.at(now + start + micros(self.times.ingest), Event::Send(n, 1)),
            Err(quota) => self.lose(now, quota),
        }
    }

    fn start_ingest(&mut self, now: u64) -> Result<u64, Quota> {
        let reserved = self.limits.ingest_concurrency;
        if reserved > 0.0 {
            if self.ingest.busy >= whole(reserved) {
                return Err(Quota::IngestConcurrency);
            }
        } else if self.invocations() >= whole(self.limits.lambda_concurrency) {
            return Err(Quota::LambdaConcurrency);
        }
        if !self.lambda_requests.take(now, 1.0) {
            return Err(Quota::LambdaRequests);
        }
        let start = self.ingest.take(now, &mut self.ingest_scaling)?;
        self.note_invocations();
        Ok(if start {
            micros(self.times.ingest_start)
        } else {
            0
        })
    }

    /// Invocations under way that use the account's unreserved concurrency, and the reserved ones.
    fn invocations(&self) -> usize {
        self.ingest.busy + self.processor.busy
    }

    fn note_invocations(&mut self) {
        self.outcome.most_invocations = self.outcome.most_invocations.max(self.invocations());
    }

    /// `ingest` sends a delivery to the queue, or to the spill after the last attempt.
    fn send(&mut self, now: u64, n: usize, attempt: u8) {
        match self.queue_takes(now, n) {
            Ok(()) => {
                self.ingest.give_back();
                if let Some(fate) = self.fate(n) {
                    fate.stored = Some(now);
                }
                self.enqueue(now, n);
            }
            Err(_) if attempt < ATTEMPTS => self.at(now + RETRY, Event::Send(n, attempt + 1)),
            Err(quota) => {
                self.meet(now, quota);
                self.spill(now, n, 1);
            }
        }
    }

    fn queue_takes(&mut self, now: u64, n: usize) -> Result<(), Quota> {
        let entity = self.entity(n);
        let group = self.by_group.get_mut(entity);
        if group.is_some_and(|group| !group.take(now, 1.0)) {
            return Err(Quota::GroupCalls);
        }
        if !self.queue.take(now, 1.0) {
            return Err(Quota::QueueCalls);
        }
        Ok(())
    }

    fn entity(&self, n: usize) -> usize {
        self.deliveries.get(n).map_or(0, |delivery| delivery.entity)
    }

    fn spill(&mut self, now: u64, n: usize, attempt: u8) {
        if self.ledger_takes(now, n, 1.0) {
            self.ingest.give_back();
            if let Some(fate) = self.fate(n) {
                fate.stored = Some(now);
                fate.spilled = true;
            }
            self.spill.push_back(n);
            if !self.redriving {
                self.redriving = true;
                self.next_run(now);
            }
        } else if attempt < ATTEMPTS {
            self.at(now + RETRY, Event::Spill(n, attempt + 1));
        } else {
            self.ingest.give_back();
            self.lose(now, Quota::LedgerWrites);
        }
    }

    fn next_run(&mut self, now: u64) {
        let run = (now / RUNS + 1) * RUNS;
        self.at(run, Event::Redrive(run + RUN));
    }

    /// The reconciler puts back one delivery of each shard. What the queue refuses waits for the next
    /// run.
    fn redrive(&mut self, now: u64, until: u64) {
        let mut refused = false;
        for _ in 0..SHARDS.min(self.spill.len()) {
            let Some(n) = self.spill.pop_front() else {
                break;
            };
            if self.queue_takes(now, n).is_ok() {
                self.enqueue(now, n);
            } else {
                refused = true;
                self.spill.push_back(n);
            }
        }
        if self.spill.is_empty() {
            self.redriving = false;
        } else if refused || now + REDRIVE > until {
            self.next_run(now);
        } else {
            self.at(now + REDRIVE, Event::Redrive(until));
        }
    }

    fn enqueue(&mut self, now: u64, n: usize) {
        let entity = self.entity(n);
        self.sequence += 1;
        let message = Message {
            delivery: n,
            receives: 0,
            sequence: self.sequence,
        };
        if let Some(group) = self.groups.get_mut(entity) {
            group.waiting.push_back(message);
            if !group.locked && group.waiting.len() == 1 {
                group.available_since = now;
                self.available.insert((message.sequence, entity));
            }
        }
        self.dispatch(now);
    }

    /// The batches that Lambda may process at once.
    fn allowed(&self, now: u64) -> f64 {
        let grown = self
            .ramp
            .map_or(0.0, |since| seconds(now.saturating_sub(since)));
        let pollers = self.limits.pollers * (1.0 + grown);
        pollers.min(self.limits.processor_concurrency)
    }

    /// Makes batches while messages and pollers are free.
    fn dispatch(&mut self, now: u64) {
        while !self.available.is_empty() {
            let allowed = self.allowed(now);
            if self.busy < whole(allowed) {
                self.take_batch(now, allowed);
                continue;
            }
            if allowed < self.limits.processor_concurrency {
                self.ramp.get_or_insert(now);
                if !self.ticking {
                    self.ticking = true;
                    self.at(now + TICK, Event::Tick);
                }
            }
            return;
        }
    }

    /// Takes up to ten messages, oldest group first, as many of each group as there are.
    fn take_batch(&mut self, now: u64, allowed: f64) {
        let mut batch = Batch::default();
        let mut room = BATCH;
        while room > 0
            && let Some((_, n)) = self.available.pop_first()
            && let Some(group) = self.groups.get_mut(n)
        {
            group.locked = true;
            let since = group.available_since;
            let count = room.min(group.waiting.len());
            let mut records: VecDeque<_> = group.waiting.drain(..count).collect();
            for record in &mut records {
                record.receives += 1;
            }
            room -= count;
            let head = records.front().map_or(0, |head| head.delivery);
            let stored = self.outcome.fates.get(head).and_then(|fate| fate.stored);
            let own = !group.has_failed && stored.is_some_and(|at| since.saturating_sub(at) > LONG);
            batch.groups.push((n, records));
            if now.saturating_sub(since) > LONG {
                self.meet(now, self.too_few(allowed));
            } else if own {
                self.meet(now, Quota::EntityOrder);
            }
        }
        self.busy += 1;
        self.outcome.most_batches = self.outcome.most_batches.max(self.busy);
        self.batches.push(batch);
        let number = self.batches.len() - 1;
        self.at(now + micros(self.times.poll), Event::Invoke(number));
    }

    fn too_few(&self, allowed: f64) -> Quota {
        if allowed < self.limits.processor_concurrency {
            Quota::Pollers
        } else {
            Quota::ProcessorConcurrency
        }
    }

    fn invoke(&mut self, now: u64, batch: usize) {
        match self.start_processor(now) {
            Ok(start) => self.at(
                now + start + micros(self.times.batch),
                Event::WaveEnds(batch),
            ),
            Err(quota) => {
                self.meet(now, quota);
                self.at(now + LAMBDA_RETRY, Event::Invoke(batch));
            }
        }
    }

    fn start_processor(&mut self, now: u64) -> Result<u64, Quota> {
        let reserved = self.limits.ingest_concurrency;
        let (used, free) = if reserved > 0.0 {
            (
                self.processor.busy,
                self.limits.lambda_concurrency - reserved,
            )
        } else {
            (self.invocations(), self.limits.lambda_concurrency)
        };
        if used >= whole(free) {
            return Err(Quota::LambdaConcurrency);
        }
        if !self.lambda_requests.take(now, 1.0) {
            return Err(Quota::LambdaRequests);
        }
        let start = self.processor.take(now, &mut self.processor_scaling)?;
        self.note_invocations();
        Ok(if start {
            micros(self.times.processor_start)
        } else {
            0
        })
    }

    /// Begins a wave with the first open record of each group, or ends the batch.
    fn next_wave(&mut self, now: u64, number: usize) {
        let Some(batch) = self.batches.get_mut(number) else {
            return;
        };
        let heads = batch.groups.iter_mut();
        let heads = heads.filter_map(|(group, open)| Some((*group, open.pop_front()?)));
        batch.heads = heads.collect();
        if batch.heads.is_empty() {
            return self.end_batch(now, number);
        }
        let time = self.wave_time(number) * self.times.until_claimed;
        self.at(now + micros(time), Event::Claim(number, 1));
    }

    /// The time of the wave under way, in milliseconds.
    fn wave_time(&self, number: usize) -> f64 {
        let batch = self.batches.get(number);
        let count = batch.map_or(0, |batch| batch.heads.len() + batch.claimed.len());
        self.times.wave + self.times.record * float(count.saturating_sub(1))
    }

    /// Claims the records of the wave. The mark's write is taken together with the claim's.
    fn claim(&mut self, now: u64, number: usize, attempt: u8) {
        let heads = self.take_heads(number);
        let mut refused = Vec::new();
        let mut claimed = Vec::new();
        for (group, message) in heads {
            if self.ledger_takes(now, message.delivery, self.writes) {
                claimed.push((group, message));
            } else {
                refused.push((group, message));
            }
        }
        let again = !refused.is_empty() && attempt < ATTEMPTS;
        if !again {
            for (group, message) in refused.drain(..) {
                self.meet(now, Quota::LedgerWrites);
                self.fail(now, number, group, message);
            }
        }
        if let Some(batch) = self.batches.get_mut(number) {
            batch.claimed.extend(claimed);
            batch.heads = refused;
        }
        if again {
            self.at(now + RETRY, Event::Claim(number, attempt + 1));
        } else {
            self.publish(now, number, 1);
        }
    }

    fn take_heads(&mut self, number: usize) -> Vec<(usize, Message)> {
        let batch = self.batches.get_mut(number);
        batch
            .map(|batch| std::mem::take(&mut batch.heads))
            .unwrap_or_default()
    }

    fn take_claimed(&mut self, number: usize) -> Vec<(usize, Message)> {
        let batch = self.batches.get_mut(number);
        batch
            .map(|batch| std::mem::take(&mut batch.claimed))
            .unwrap_or_default()
    }

    fn ledger_takes(&mut self, now: u64, n: usize, writes: f64) -> bool {
        let partitions = self.partitions.len().max(1);
        let partition = spread(self.entity(n)) % partitions;
        let partition = self.partitions.get_mut(partition);
        partition.is_none_or(|bucket| bucket.take(now, writes))
    }

    fn publish(&mut self, now: u64, number: usize, attempt: u8) {
        let is_empty = |batch: &Batch| batch.claimed.is_empty();
        if self.batches.get(number).is_none_or(is_empty) {
            return self.next_wave(now, number);
        }
        if self.bus.take(now, 1.0) {
            let share = self.times.until_published - self.times.until_claimed;
            let time = self.wave_time(number) * share;
            return self.at(now + micros(time), Event::Published(number));
        }
        if attempt < ATTEMPTS {
            return self.at(now + RETRY, Event::Publish(number, attempt + 1));
        }
        self.meet(now, Quota::PutEvents);
        for (group, message) in self.take_claimed(number) {
            self.fail(now, number, group, message);
        }
        self.next_wave(now, number);
    }

    fn published(&mut self, now: u64, number: usize) {
        let rest = self.wave_time(number) * (1.0 - self.times.until_published);
        for (_, message) in self.take_claimed(number) {
            let delivered = self.call_target(now);
            self.outcome.order.push(message.delivery);
            if let Some(fate) = self.fate(message.delivery) {
                fate.published = Some(now);
                fate.delivered = Some(delivered);
            }
        }
        self.at(now + micros(rest), Event::WaveEnds(number));
    }

    /// EventBridge calls the target of an event: one rule of the template matches each.
    fn call_target(&mut self, now: u64) -> u64 {
        let called = self.target_free.max(now);
        self.target_free = called + micros(1000.0 / self.limits.target_calls);
        if called - now > LONG {
            self.meet(now, Quota::TargetCalls);
        }
        called
    }

    /// A record and all later ones of its group go back to the queue, and are hidden for a while.
    fn fail(&mut self, now: u64, number: usize, n: usize, message: Message) {
        let dead = message.receives >= MOST_RECEIVES;
        let random = self.random.random();
        let back = pause(
            RecordOutcome::Failed,
            message.receives,
            Timestamp::UNIX_EPOCH,
            random,
        );
        let back = now + u64::try_from(back.as_micros()).unwrap_or(u64::MAX / 2);
        let mut records = VecDeque::from([message]);
        if let Some(batch) = self.batches.get_mut(number) {
            let place = batch.groups.iter().position(|(group, _)| *group == n);
            if let Some(place) = place {
                records.extend(batch.groups.swap_remove(place).1);
            }
        }
        if dead {
            self.outcome.dead += 1;
            records.pop_front();
        }
        if let Some(group) = self.groups.get_mut(n) {
            group.has_failed = true;
            for record in records.into_iter().rev() {
                group.waiting.push_front(record);
            }
        }
        self.at(back, Event::Back(n));
    }

    fn end_batch(&mut self, now: u64, number: usize) {
        self.processor.give_back();
        self.busy -= 1;
        let batch = self.batches.get_mut(number);
        let groups = batch.map(|batch| std::mem::take(&mut batch.groups));
        for (group, _) in groups.unwrap_or_default() {
            self.unlock(now, group);
        }
        self.dispatch(now);
    }

    fn unlock(&mut self, now: u64, n: usize) {
        if let Some(group) = self.groups.get_mut(n) {
            group.locked = false;
            if let Some(head) = group.waiting.front() {
                group.available_since = now;
                self.available.insert((head.sequence, n));
            }
        }
        self.dispatch(now);
    }
}

impl Instances {
    /// Takes an instance. Returns whether it has to start first.
    fn take(&mut self, now: u64, scaling: &mut Bucket) -> Result<bool, Quota> {
        let start = self.idle == 0;
        if start {
            if !scaling.take(now, 1.0) {
                return Err(Quota::LambdaScaling);
            }
        } else {
            self.idle -= 1;
        }
        self.busy += 1;
        Ok(start)
    }

    fn give_back(&mut self) {
        self.busy -= 1;
        self.idle += 1;
    }
}

/// Milliseconds as microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are positive and short"
)]
fn micros(milliseconds: f64) -> u64 {
    (milliseconds * 1000.0).round() as u64
}

/// A limit as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits are positive, and more than fits is no limit"
)]
fn whole(limit: f64) -> usize {
    limit as usize
}

/// Spreads entities over partitions as a hash does.
fn spread(entity: usize) -> usize {
    entity.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

#[cfg(test)]
mod tests;
