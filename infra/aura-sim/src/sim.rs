//! The running stand-in: its memory behind a lock, and who waits for what becomes of it.

use std::{
    future::pending,
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Options,
    deliveries::log::Answer,
    faults::in_force::Underway,
    faults::plan::Plan,
    state::{Memory, Outgoing},
    world::change::{Moment, Outcome, World},
    world::event::Event,
    world::refusal::Refusal,
};

/// What the HTTP handlers, the sender and a day share.
pub(crate) struct Sim {
    pub(crate) options: Options,
    /// Cancelled when the stand-in shuts down.
    pub(crate) stop: CancellationToken,
    /// An address of this machine by which containers come, if they are to.
    pub(crate) also_on: OnceLock<Ipv4Addr>,
    memory: Mutex<Memory>,
    queued: Notify,
    answered: Notify,
}

impl Sim {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            stop: CancellationToken::new(),
            also_on: OnceLock::new(),
            memory: Mutex::new(Memory::new()),
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
            memory.tell(event, now)?;
        }
        drop(memory);
        self.queued.notify_one();
        Ok(answer)
    }

    /// Queues one event of a day; see [`Memory::tell`].
    pub(crate) fn tell(&self, event: Event) -> Result<Option<u64>, Refusal> {
        let told = self.memory().tell(event, Timestamp::now());
        self.queued.notify_one();
        told
    }

    /// Queues delivery `n` again, and answers the number of the duplicate.
    pub(crate) fn tell_again(&self, n: u64) -> Result<u64, Refusal> {
        let told = self.memory().tell_again(n);
        self.queued.notify_one();
        told
    }

    /// Puts a plan in force, in place of the one before, and answers when it began.
    pub(crate) fn begin_plan(&self, plan: Plan) -> Timestamp {
        let now = Timestamp::now();
        self.memory().plan = Some(Underway::begin(plan, now));
        self.queued.notify_one();
        now
    }

    /// Ends the plan, if there is one: what was held back goes, and its number is answered.
    pub(crate) fn end_plan(&self) -> usize {
        let held_back = self.memory().end_plan();
        self.queued.notify_one();
        held_back
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

    /// Waits until something that waits for its time may go.
    pub(crate) async fn until_due(&self) {
        let now = Timestamp::now();
        let due = self.memory().next_due(now);
        match due {
            Some(due) => {
                // A time that is over is no duration of the standard library's.
                let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
                sleep(wait).await;
            }
            None => pending().await,
        }
    }

    /// Waits until something has been queued or the plan has changed since the last wait.
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
