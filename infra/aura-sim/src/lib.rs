//! A stand-in for AURA: its Panic API, its webhooks, and its control room.
//!
//! AURA cannot be run on one machine, and its staging sends almost no webhooks. This crate plays
//! its part for the local stack and the tests. It is driven over HTTP alone, so that a stand-in
//! inside a test and the binary of the same name behave alike:
//!
//! - `/panic-api/v2` is AURA's own API, with its rules: tokens, the webhook registration,
//!   customers, callouts.
//! - `/_sim` is what partners don't see: the control room that dispatches, owns and closes, and
//!   the reports of what was registered, sent and answered.
//!
//! Every change sends its events once, in the background, to the webhook that is registered:
//! one attempt, no retry. What AURA's documentation doesn't say is chosen plainly, and the place
//! where it is chosen says so.
//!
//! Inside, the rules are pure: `world`, `customer` and `callout` turn a request into a change and
//! its events, `registration` judges a registration, `deliveries` says what may be sent next.
//! `sim` holds them behind one lock, between the HTTP side (`api`, `control`) and the `sender`.

mod api;
mod callout;
mod control;
mod customer;
mod day;
mod deliveries;
mod event;
mod extract;
mod payload;
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
use axum::Router;
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
        .with_state(sim)
}
