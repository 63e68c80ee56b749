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
//! `DELETE /_sim/tokens` ends every token that was given out, as an hour would. `GET /_sim/calls`
//! tells every call that came, and the status that was answered.
//!
//! # Inside
//!
//! The rules are pure: `world`, `customer` and `callout` turn a request into a change and
//! its events, `registration` judges a registration, `deliveries` says what may be sent next, and
//! `faults` what goes wrong. `sim` holds them behind one lock, between the HTTP side (`api`,
//! `control`, and `calls` in front of them) and the `sender`.

mod api;
mod callout;
mod calls;
mod control;
mod customer;
mod day;
mod deliveries;
mod event;
mod extract;
mod faults;
mod payload;
pub mod plan;
mod play;
mod refusal;
mod registration;
mod sender;
mod sim;
mod token;
mod world;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, middleware};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::DropGuard;

use crate::{refusal::Refusal, sim::Sim};

/// How long a shutdown waits for requests that are being answered. Connections on which no
/// request ever came would keep it waiting for ever.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a stand-in is set up.
pub struct Options {
    /// The port to listen on; 0 is any free one.
    pub port: u16,
    /// The client id that the token call knows.
    pub client_id: String,
    /// The secret that goes with it.
    pub client_secret: String,
    /// Whether a webhook may be registered with an `http` URL when its host is this machine:
    /// `127.0.0.0/8`, `::1`, `localhost` or a name under `localhost`. AURA itself never allows it.
    pub allow_http_loopback: bool,
}

/// A running stand-in, on 127.0.0.1 only. Dropping it ends it too, without waiting.
pub struct AuraSim {
    address: SocketAddr,
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
            server: tokio::spawn(serve(listener, Arc::clone(&sim))),
            sender: tokio::spawn({
                let stop = stop.clone();
                async move { stop.run_until_cancelled(sender::run(sim, client)).await }
            }),
            stop: stop.drop_guard(),
        })
    }

    /// Where the stand-in listens: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
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
        .with_state(sim)
}
