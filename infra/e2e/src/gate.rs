//! A gate in front of one AWS service: closed, it takes connections and lets nothing through;
//! open, it is a plain TCP proxy. A test closes it to catch a function in the middle of a call.
//!
//! What came while it was closed never gets through, also later: a request of a process that was
//! killed in the meantime would otherwise be done in a dead man's name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// A gate, closed at first. Dropped, it breaks every connection.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    open: watch::Sender<bool>,
    arrivals: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Gate {
    /// Puts a gate in front of what listens at `endpoint` (`http://host:port`).
    ///
    /// # Errors
    ///
    /// `endpoint` is none, or no port is free.
    pub async fn before(endpoint: &str) -> Result<Self> {
        let target: SocketAddr = endpoint
            .strip_prefix("http://")
            .context("the endpoint is not plain HTTP")?
            .parse()
            .context("the endpoint is no address")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(false);
        let arrivals = Arc::new(Semaphore::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, is_open, Arc::clone(&arrivals)));
        Ok(Self {
            address,
            open,
            arrivals,
            _tasks: tasks,
        })
    }

    /// What a client is given instead of the endpoint behind the gate.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until somebody stands before the gate.
    ///
    /// # Errors
    ///
    /// The gate is gone.
    pub async fn arrival(&self) -> Result<()> {
        self.arrivals.acquire().await?.forget();
        Ok(())
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    is_open: watch::Receiver<bool>,
    arrivals: Arc<Semaphore>,
) {
    let mut held = Vec::new();
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        arrivals.add_permits(1);
        if *is_open.borrow() {
            connections.spawn(pass(client, target));
        } else {
            held.push(client);
        }
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(target).await {
        // A connection that breaks is the client's to deal with, here as on any network.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
