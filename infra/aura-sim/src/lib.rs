//! A stand-in for AURA: its Panic API, its webhooks, and its control room.
//!
//! AURA can't run on a developer's machine, and its staging system sends almost no webhooks. This
//! crate takes its place for the local stack and the tests. All control goes over HTTP, so that a
//! stand-in inside a test and the binary of the same name behave alike:
//!
//! - `/panic-api/v2` is AURA's own API, with its rules for tokens, the webhook registration,
//!   customers and callouts.
//! - `/_sim` is the part that partners don't see. The control room dispatches, owns and closes
//!   here. Reports show what was registered, sent and answered. Tests order faults here too.
//!
//! Every change sends its events once, in the background, to the registered webhook: one attempt,
//! no retry. Where AURA's documentation says nothing, the stand-in makes a simple choice, and the
//! code comments say so.
//!
//! # Faults
//!
//! `POST /_sim/faults` orders a fault for the next calls of one kind. Faults of one call happen in
//! the order in which they were ordered. `DELETE` removes all faults that have not happened yet:
//!
//! ```json
//! {"call": "POST /notifiers/webhooks", "times": 2, "done": true, "answer": "hangUp"}
//! ```
//!
//! - `call` is the method and the path below `/panic-api/v2`, as the routes write it:
//!   `POST /oauth/token`, `GET /callouts/{id}`.
//! - `times` is the number of calls; 1 if it is absent.
//! - `done` says whether the stand-in still does the call. With `hangUp`, that is a lost answer.
//!   For a call that is not done, the stand-in doesn't check the token either.
//! - `answer` is one of these:
//!
//! | answer | the caller gets |
//! | --- | --- |
//! | `{"reply": {"status": 500, "headers": {}, "body": {}}}` | this reply. A `body` that is a string is sent as plain text, so it need not be JSON |
//! | `{"patch": {"expires_in": null}}` | the stand-in's own answer, changed by a JSON merge patch (RFC 7396). The call is done |
//! | `"breakOff"` | half of the stand-in's own answer. The call is done |
//! | `"hang"` | nothing, until the caller gives up |
//! | `"hangUp"` | nothing: the stand-in closes the connection |
//!
//! A `reply` of 429 with the header `retry-after` plays an AURA that is called too often.
//!
//! `DELETE /_sim/tokens` ends every issued token, as the end of its hour does. `GET /_sim/calls`
//! lists every received call with the status of its answer. `PUT /_sim/registration` registers a
//! webhook by the rules from before an event name was deprecated. Such registrations still work,
//! but AURA refuses a new one with that name.
//!
//! # Plans
//!
//! `POST /_sim/plan` makes AURA unreliable until the plan ends. A second plan replaces the first. A
//! fault that the plan doesn't name never happens. Only the `seed` is required:
//!
//! ```json
//! {
//!   "seed": 1,
//!   "deliveries": {"drop": 0.2, "duplicate": 0.1, "reorder": 0.1,
//!                  "delay": {"share": 0.1, "mostMs": 3000}, "bare": 0.5},
//!   "dark": {"everySeconds": 600, "forSeconds": 120, "firstAfterSeconds": 60},
//!   "loseRegistrationAfterSeconds": 90,
//!   "polls": {"fail": 0.1, "stale": {"share": 0.1, "mostMs": 2000}}
//! }
//! ```
//!
//! - `deliveries` has shares of the events. `drop` is the share that is never sent. The others are
//!   shares of the events that are not dropped:
//!   - - `duplicate`: the event is sent twice. The repeat goes out together with its original.
//!   - - `reorder`: the event goes out only behind a later delivery of its entity, or after
//!       `mostMs`.
//!   - - `delay`: the event goes out late.
//!   - - `bare`: a status event (any callout event except `NEW_CALLOUT`) carries only `message` and
//!       the callout's `id`. AURA's answers about a callout stay whole.
//! - `dark` has windows, measured from the plan's start, in which AURA sends nothing. An event that
//!   happens in a window is never sent. A delivery that waits when a window begins goes out when it
//!   ends.
//! - `loseRegistrationAfterSeconds` is the time after which another registration replaces the one
//!   in force. It has the same events, and a URL where nothing listens. If there is no
//!   registration, nothing happens.
//! - `polls` has shares of the calls that read callouts. `fail` is the share that is answered 429,
//!   500, 502 or 503. `stale` is the share of the other calls that get an answer from up to
//!   `mostMs` earlier, when a callout may not have existed yet. Ordered faults come before the
//!   plan.
//!
//! Each decision follows from the seed and a number: the number of the event, or of the call in the
//! log of calls. So the timing of one event or call doesn't change the decision about another.
//!
//! `DELETE /_sim/plan` ends the plan, and the deliveries that it held back go out at once. The plan
//! doesn't change a delivery of `POST /_sim/resend` or a day's duplicate. They only wait for the
//! end of a dark window.
//!
//! These calls show the result:
//!
//! - `GET /_sim/events` lists every event, also those without a delivery, with the numbers of its
//!   deliveries and its `fate`: `sent`, `dropped`, `dark`, `unregistered` (there was no webhook) or
//!   `unlisted` (the registration doesn't list this event). An event that goes to another's
//!   registration is `sent`, and its delivery has the URL.
//! - `GET /_sim/callouts` lists every callout in its true state.
//! - `POST /_sim/crowd` with `{"callouts": 10000}` raises this number of callouts without an event.
//!   They play callouts that are older than the stand-in.
//!
//! # Inside
//!
//! Each module uses only those below it:
//!
//! | module | has |
//! | --- | --- |
//! | [`client`] | the typed client with which tests and tools drive a stand-in over HTTP |
//! | `http` | AURA's API (`api`) and the control room's (`control`). `pages` keeps web pages out, and `calls` applies faults to calls |
//! | `play` | a day, sent at its pace |
//! | `sim`, `state` | the running stand-in: its state behind a lock, and the path from a change to its deliveries |
//! | `faults` | the faults: those that were `ordered`, and those by the `plan` that is `in_force` |
//! | `deliveries` | the logs of events and of deliveries, the deliveries that are `held` back, and the `sender` |
//! | `world` | the rules: pure functions from a request to a change and its events |

pub mod client;
mod deliveries;
mod faults;
mod http;
mod play;
mod sim;
mod state;
mod world;

pub use faults::plan;
pub use sim::{CLIENT_ID, CLIENT_SECRET, Options};

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, middleware};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::DropGuard;

use crate::{
    deliveries::sender,
    http::{api, calls, control, pages},
    sim::Sim,
    world::refusal::Refusal,
};

/// Longest time that a shutdown waits for requests that are being answered. Without a limit, a
/// connection without a request would make it wait forever.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running stand-in that listens only on 127.0.0.1. A drop ends it without waiting.
pub struct AuraSim {
    address: SocketAddr,
    sim: Arc<Sim>,
    stop: DropGuard,
    server: JoinHandle<()>,
    sender: JoinHandle<Option<()>>,
}

impl AuraSim {
    /// Starts a stand-in. It listens when this returns.
    ///
    /// # Errors
    ///
    /// The stand-in can't listen on the port. The error names the port.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listener = listen(options.port).await?;
        let address = listener.local_addr()?;
        let client = sender::client()?;
        let sim = Arc::new(Sim::new(options));
        let stop = sim.stop.clone();
        Ok(Self {
            address,
            sim: Arc::clone(&sim),
            server: tokio::spawn(serve(listener, Arc::clone(&sim))),
            sender: tokio::spawn({
                let stop = stop.clone();
                async move { stop.run_until_cancelled(sim.send_all(client)).await }
            }),
            stop: stop.drop_guard(),
        })
    }

    /// URL on which the stand-in listens: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Accepts calls to this address too: the address of a bridge through which containers call.
    /// Only the first address counts.
    pub fn also_on(&self, address: Ipv4Addr) {
        self.sim.also_on.get_or_init(|| address);
    }

    /// Ends the stand-in. It still answers the requests that have begun, breaks off a day, and
    /// drops the deliveries that have not been sent.
    pub async fn shutdown(self) {
        drop(self.stop);
        // A task that panicked has ended too, so its error doesn't matter here.
        let _ = timeout(FAREWELL, self.server).await;
        let _ = self.sender.await;
    }
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("cannot listen on 127.0.0.1:{port}; choose a free port"))
}

async fn serve(listener: TcpListener, sim: Arc<Sim>) {
    let stop = sim.stop.clone();
    let served = axum::serve(listener, router(sim))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    // `axum::serve` never fails after it listens. Its result type is only a formality.
    drop(served);
}

fn router(sim: Arc<Sim>) -> Router {
    api::routes(&sim)
        .merge(control::routes())
        .fallback(async || Refusal::Unknown("there is nothing at this path".to_owned()))
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&sim),
            calls::attend,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&sim),
            pages::keep_out,
        ))
        .with_state(sim)
}
