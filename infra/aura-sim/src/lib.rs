//! A stand-in for AURA: its Panic API, its webhooks, and its control room.
//!
//! AURA cannot be run on one machine, and its staging sends almost no webhooks. This crate plays
//! its part for the local stack and the tests. It is driven over HTTP alone, so that a stand-in
//! inside a test and the binary of the same name behave alike:
//!
//! - `/panic-api/v2` is AURA's own API, with its rules: tokens, the webhook registration,
//!   customers, callouts.
//! - `/_sim` is what partners don't see: the control room that dispatches, owns and closes, and
//!   the reports of what was registered, sent and answered. Faults are ordered there too.
//!
//! Every change sends its events once, in the background, to the webhook that is registered:
//! one attempt, no retry. What AURA's documentation doesn't say is chosen plainly, and the place
//! where it is chosen says so.
//!
//! # Faults
//!
//! `POST /_sim/faults` orders what goes wrong with the next calls of one kind, in the order of the
//! orders; `DELETE` forgets what has not happened yet:
//!
//! ```json
//! {"call": "POST /notifiers/webhooks", "times": 2, "done": true, "answer": "hangUp"}
//! ```
//!
//! - `call` is the method and the path below `/panic-api/v2`, as the routes write it:
//!   `POST /oauth/token`, `GET /callouts/{id}`.
//! - `times` is how many calls; 1 if it isn't said.
//! - `done` says whether the call is done although its answer is another: with `hangUp` that is a
//!   lost answer. A call that isn't done isn't even asked for its token.
//! - `answer` is one of these:
//!
//! | answer | the caller gets |
//! | --- | --- |
//! | `{"reply": {"status": 500, "headers": {}, "body": {}}}` | this; a `body` that is a string goes as it is, so it need not be JSON |
//! | `{"patch": {"expires_in": null}}` | the stand-in's own answer to the call, which is done, changed by a JSON merge patch (RFC 7396) |
//! | `"breakOff"` | half of the stand-in's own answer to the call, which is done |
//! | `"hang"` | nothing, until it gives up |
//! | `"hangUp"` | nothing: the connection is closed |
//!
//! A `reply` of 429 with the header `retry-after` is AURA when it is called too often.
//!
//! `DELETE /_sim/tokens` ends every token that was given out, as an hour would. `GET /_sim/calls`
//! tells every call that came, and the status that was answered. `PUT /_sim/registration` registers
//! a webhook as it was possible before an event name was deprecated: such registrations still work,
//! but a new one that asks for that name is refused.
//!
//! # Plans
//!
//! `POST /_sim/plan` makes AURA unreliable for as long as nobody ends it; a second plan replaces
//! the first. What isn't said never happens, and only the `seed` must be said:
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
//! - `deliveries`: the share of the events that are never sent (`drop`), and of the others those
//!   that are sent twice (`duplicate`), that go out only behind a later delivery of their entity
//!   or after `mostMs` (`reorder`), that go out late (`delay`), and those status events (any event
//!   of a callout but `NEW_CALLOUT`) that carry only `message` and the callout's `id` (`bare`).
//!   A repeat goes with its original. What AURA answers when it is asked about a callout stays whole.
//! - `dark`: in these windows, measured from the plan's start, nothing is sent. What happens in one
//!   never is; what waited when it began goes out when it ends.
//! - `loseRegistrationAfterSeconds`: then the registration in force is replaced, by one of the same
//!   events to a place where nobody listens. Without one, nothing is lost.
//! - `polls`: the share of the calls that read callouts which is answered 429, 500, 502 or 503
//!   (`fail`), and of the others the share that is told what was so up to `mostMs` earlier (`stale`),
//!   when a callout may not have been there yet. Faults that were ordered come first.
//!
//! Each decision is drawn from the seed and the number of what it is about: of the event, or of the
//! call in the log of calls. So the timing of one changes nothing for another.
//!
//! `DELETE /_sim/plan` ends the plan, and what it held back goes out at once. `POST /_sim/resend`
//! and a day's duplicates are nobody's plan: they only wait for the end of the dark.
//!
//! What came of it: `GET /_sim/events` tells every event, also those that nobody was told, with its
//! `fate` (`sent`, `dropped`, `dark`, `unregistered`: there was no webhook, `unlisted`: it didn't
//! ask for this one) and the numbers of its deliveries. What is sent to somebody else's registration
//! is `sent`; its delivery names the URL. `GET /_sim/callouts` tells every callout as it is.
//! `POST /_sim/crowd` with `{"callouts": 10000}` raises so many without an event: they stand for
//! those that were there before.
//!
//! # Inside
//!
//! Each room uses only those below it:
//!
//! | room | has |
//! | --- | --- |
//! | [`client`] | the typed client that tests and tools drive a stand-in with, over HTTP |
//! | `http` | AURA's API (`api`) and the control room's (`control`); `pages` keeps web pages out, and `calls` lets calls go wrong |
//! | `play` | a day, sent at its pace |
//! | `sim`, `state` | the running stand-in: its state behind a lock, and the way from a change to its deliveries |
//! | `faults` | what goes wrong: `ordered`, and by the `plan` that is `in_force` |
//! | `deliveries` | the logs of events and of deliveries, what is `held` back, and the `sender` |
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

/// How long a shutdown waits for requests that are being answered. Connections on which no
/// request ever came would keep it waiting for ever.
const FAREWELL: Duration = Duration::from_secs(2);

/// A running stand-in, on 127.0.0.1 only. Dropping it ends it too, without waiting.
pub struct AuraSim {
    address: SocketAddr,
    sim: Arc<Sim>,
    stop: DropGuard,
    server: JoinHandle<()>,
    sender: JoinHandle<Option<()>>,
}

impl AuraSim {
    /// Starts a stand-in; it listens when this returns.
    ///
    /// # Errors
    ///
    /// When the port cannot be had: the error names it.
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

    /// Where the stand-in listens: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes calls by this address, too: that of a bridge, by which containers come. A second one
    /// changes nothing.
    pub fn also_on(&self, address: Ipv4Addr) {
        self.sim.also_on.get_or_init(|| address);
    }

    /// Ends the stand-in: requests that are being answered are finished, a day breaks off, and
    /// deliveries that have not been sent are dropped.
    pub async fn shutdown(self) {
        drop(self.stop);
        // A task that panicked has ended too, which is all that is asked here.
        let _ = timeout(FAREWELL, self.server).await;
        let _ = self.sender.await;
    }
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("Failed to listen on 127.0.0.1:{port}"))
}

async fn serve(listener: TcpListener, sim: Arc<Sim>) {
    let stop = sim.stop.clone();
    let served = axum::serve(listener, router(sim))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    // `axum::serve` never fails once it listens; its type only says that it might.
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
