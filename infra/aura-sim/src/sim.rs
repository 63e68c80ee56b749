//! The running stand-in: its state behind a lock, and the tasks that wait for changes of the state.

use std::{
    future::pending,
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use jiff::Timestamp;
use reqwest::Client;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    deliveries::log::Attempt,
    deliveries::sender::{self, Outgoing},
    faults::in_force::PlanInForce,
    faults::plan::Plan,
    state::SimState,
    world::change::{Moment, Outcome, World},
    world::event::Event,
    world::refusal::Refusal,
};

/// The client id of [`Options::default`].
pub const CLIENT_ID: &str = "local-client";
/// The client secret of [`Options::default`].
pub const CLIENT_SECRET: &str = "local-secret";

/// Options of a stand-in.
pub struct Options {
    /// The port to listen on; 0 picks a free one.
    pub port: u16,
    /// The client id that the token call accepts.
    pub client_id: String,
    /// The client secret that the token call accepts.
    pub client_secret: String,
    /// Whether a webhook may be registered with an `http` URL when its host is this machine:
    /// `127.0.0.0/8`, `::1` or `localhost`. AURA itself never allows it.
    pub allow_http_loopback: bool,
}

impl Default for Options {
    /// Picks a free port, the credentials of [`client::Aura`](crate::client::Aura), and plain HTTP
    /// for webhooks on this machine.
    fn default() -> Self {
        Self {
            port: 0,
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            allow_http_loopback: true,
        }
    }
}

/// The state that the HTTP handlers, the sender and a day share.
pub(crate) struct Sim {
    pub(crate) options: Options,
    /// Cancelled when the stand-in shuts down.
    pub(crate) stop: CancellationToken,
    /// An address of this machine through which containers call, if any.
    pub(crate) also_on: OnceLock<Ipv4Addr>,
    state: Mutex<SimState>,
    queued: Notify,
    answered: Notify,
}

impl Sim {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            stop: CancellationToken::new(),
            also_on: OnceLock::new(),
            state: Mutex::new(SimState::new()),
            queued: Notify::new(),
            answered: Notify::new(),
        }
    }

    /// Locks the state. After a panic of a handler that held the lock, the others continue with the
    /// state that it left.
    pub(crate) fn state(&self) -> MutexGuard<'_, SimState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change to the world and queues its events. They are sent in the background, so no
    /// caller waits for a delivery.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut World, &mut Moment<'_>) -> Outcome<T>,
    ) -> Result<T, Refusal> {
        let mut state = self.state();
        let SimState { world, ids, .. } = &mut *state;
        let now = Timestamp::now();
        let (answer, events) = change(world, &mut Moment { now, ids })?;
        for event in events {
            state.tell(event, now)?;
        }
        drop(state);
        self.queued.notify_one();
        Ok(answer)
    }

    /// Queues one event of a day; see [`SimState::tell`].
    pub(crate) fn tell(&self, event: Event) -> Result<Option<u64>, Refusal> {
        let told = self.state().tell(event, Timestamp::now());
        self.queued.notify_one();
        told
    }

    /// Queues delivery `n` again, and returns the number of the duplicate.
    pub(crate) fn tell_again(&self, n: u64) -> Result<u64, Refusal> {
        let told = self.state().tell_again(n);
        self.queued.notify_one();
        told
    }

    /// Puts a plan in force in place of the one before, and returns the time of its start.
    pub(crate) fn begin_plan(&self, plan: Plan) -> Timestamp {
        let now = Timestamp::now();
        self.state().plan = Some(PlanInForce::begin(plan, now));
        self.queued.notify_one();
        now
    }

    /// Ends the plan, if there is one. The deliveries that were held back go out. Returns their
    /// number.
    pub(crate) fn end_plan(&self) -> usize {
        let held_back = self.state().end_plan();
        self.queued.notify_one();
        held_back
    }

    /// Sends the queued deliveries forever. The log decides their order and how many are under way
    /// at once.
    pub(crate) async fn send_all(&self, client: Client) {
        let mut under_way = FuturesUnordered::new();
        loop {
            while let Some(outgoing) = self.start_next() {
                under_way.push(sender::send(&client, outgoing));
            }
            tokio::select! {
                () = self.queued.notified() => {}
                () = self.until_due() => {}
                Some((n, answer)) = under_way.next() => self.finish(n, answer),
            }
        }
    }

    /// Takes the next delivery that may go out.
    fn start_next(&self) -> Option<Outgoing> {
        self.state().start_next(Timestamp::now())
    }

    /// Records the result of delivery `n`.
    fn finish(&self, n: u64, answer: Attempt) {
        let now = Timestamp::now();
        self.state().deliveries.finish(n, answer, now);
        self.answered.notify_waiters();
    }

    /// Waits until the clock lets a waiting delivery go out.
    async fn until_due(&self) {
        let now = Timestamp::now();
        let due = self.state().next_due(now);
        match due {
            Some(due) => {
                // A time in the past gives a negative duration, which is an error here.
                let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
                sleep(wait).await;
            }
            None => pending().await,
        }
    }

    /// Waits until delivery `n` has been answered. Returns whether the receiver accepted it.
    pub(crate) async fn until_answered(&self, n: u64) -> bool {
        loop {
            // This future is made before the log is read, so that no answer in between is missed.
            let answered = self.answered.notified();
            if let Some(accepted) = self.taken(n) {
                return accepted;
            }
            answered.await;
        }
    }

    /// Whether the receiver accepted delivery `n`; `None` until it has been answered.
    fn taken(&self, n: u64) -> Option<bool> {
        let state = self.state();
        let delivery = state.deliveries.get(n)?;
        delivery.is_answered().then(|| delivery.is_accepted())
    }
}
