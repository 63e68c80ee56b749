//! The running stand-in's memory, and the way from a change to its deliveries.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::http::HeaderMap;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Options,
    calls::Calls,
    deliveries::{Answer, Deliveries},
    event::Event,
    faults::Faults,
    refusal::Refusal,
    registration::Registrations,
    token::Tokens,
    world::{Ids, Moment, Outcome, World},
};

/// The first id that the API gives out. The ids of a seeded day start far above.
const FIRST_ID: u64 = 5001;

/// All that the stand-in remembers.
pub(crate) struct Memory {
    pub(crate) world: World,
    pub(crate) ids: Ids,
    pub(crate) tokens: Tokens,
    pub(crate) registrations: Registrations,
    pub(crate) deliveries: Deliveries,
    pub(crate) calls: Calls,
    pub(crate) faults: Faults,
    /// The seeds of the days that were played.
    pub(crate) days: BTreeSet<u32>,
}

/// What the HTTP handlers, the sender and a day share.
pub(crate) struct Sim {
    pub(crate) options: Options,
    /// Cancelled when the stand-in shuts down.
    pub(crate) stop: CancellationToken,
    memory: Mutex<Memory>,
    queued: Notify,
    answered: Notify,
}

/// A delivery on its way out.
pub(crate) struct Outgoing {
    pub(crate) n: u64,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Memory {
    /// Queues an event if the registration in force lists it, and answers the number of its
    /// delivery. An event that nobody asked for is never sent, so it is never a delivery.
    pub(crate) fn tell(&mut self, mut event: Event) -> Result<Option<u64>, Refusal> {
        let registration = self.registrations.current();
        let Some(name) = registration.and_then(|current| current.name_for(event.message)) else {
            return Ok(None);
        };
        event.message = name;
        self.deliveries.queue(&event).map(Some)
    }

    /// The next delivery that may go. It goes to the registration in force now, not to the one
    /// that was when the event happened: registering replaces at once.
    fn start_next(&mut self, now: Timestamp) -> Option<Outgoing> {
        let target = self.registrations.current()?;
        let (n, body) = self.deliveries.start(target.url(), now)?;
        Some(Outgoing {
            n,
            url: target.url().to_owned(),
            headers: target.headers().clone(),
            body,
        })
    }
}

impl Sim {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            stop: CancellationToken::new(),
            memory: Mutex::new(Memory {
                world: World::new(),
                ids: Ids::starting_at(FIRST_ID),
                tokens: Tokens::default(),
                registrations: Registrations::default(),
                deliveries: Deliveries::default(),
                calls: Calls::default(),
                faults: Faults::default(),
                days: BTreeSet::new(),
            }),
            queued: Notify::new(),
            answered: Notify::new(),
        }
    }

    /// The memory, for as long as the guard is held. A handler that panicked with it has failed
    /// alone: the others go on with what it left.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change to the world and queues its events. They are sent in the background:
    /// no caller waits for a delivery.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut World, &mut Moment<'_>) -> Outcome<T>,
    ) -> Result<T, Refusal> {
        let mut memory = self.memory();
        let Memory { world, ids, .. } = &mut *memory;
        let now = Timestamp::now();
        let (answer, events) = change(world, &mut Moment { now, ids })?;
        for event in events {
            memory.tell(event)?;
        }
        drop(memory);
        self.queued.notify_one();
        Ok(answer)
    }

    /// Queues one event of a day; see [`Memory::tell`].
    pub(crate) fn tell(&self, event: Event) -> Result<Option<u64>, Refusal> {
        let told = self.memory().tell(event);
        self.queued.notify_one();
        told
    }

    /// Queues delivery `n` again, and answers the number of the duplicate.
    pub(crate) fn tell_again(&self, n: u64) -> Result<u64, Refusal> {
        let told = self.memory().deliveries.queue_again(n);
        self.queued.notify_one();
        told
    }

    /// The next delivery that may go.
    pub(crate) fn start_next(&self) -> Option<Outgoing> {
        self.memory().start_next(Timestamp::now())
    }

    /// Writes down what came of delivery `n`.
    pub(crate) fn finish(&self, n: u64, answer: Answer) {
        let now = Timestamp::now();
        self.memory().deliveries.finish(n, answer, now);
        self.answered.notify_waiters();
    }

    /// Waits until something has been queued since the last wait.
    pub(crate) async fn until_queued(&self) {
        self.queued.notified().await;
    }

    /// Waits until delivery `n` has been answered, and says whether the receiver took it.
    pub(crate) async fn until_answered(&self, n: u64) -> bool {
        loop {
            // Made before the look at the log, so that an answer in between is not missed.
            let answered = self.answered.notified();
            if let Some(accepted) = self.taken(n) {
                return accepted;
            }
            answered.await;
        }
    }

    /// Whether the receiver took delivery `n`; `None` while it has not been answered.
    fn taken(&self, n: u64) -> Option<bool> {
        let memory = self.memory();
        let delivery = memory.deliveries.get(n)?;
        delivery.is_answered().then(|| delivery.is_accepted())
    }
}
