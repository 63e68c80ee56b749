//! A relay that lets containers reach what listens on 127.0.0.1.
//!
//! The local AWS and AURA's stand-in listen on 127.0.0.1, which inside a container is the container
//! itself. Containers call this machine `host.docker.internal`. Docker Desktop forwards such calls
//! to 127.0.0.1. On Linux the name is the address of Docker's bridge, where nothing listens. So, if
//! the user asks for it, a relay listens on that address and no other.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

/// How long to wait before the next try if this machine can't accept a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Forwards connections until it is dropped; then all of them end.
#[derive(Debug)]
pub struct Relay {
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Also opens the ports of `urls`, which are on 127.0.0.1, on `address`.
    ///
    /// # Errors
    ///
    /// This machine doesn't have that address, or a port is in use on it.
    pub async fn start(address: Ipv4Addr, urls: &[&str]) -> Result<Self> {
        let mut tasks = JoinSet::new();
        for url in urls {
            let port = Url::parse(url)
                .with_context(|| format!("{url} is not a URL"))?
                .port_or_known_default()
                .with_context(|| format!("{url} has no port"))?;
            let listener = TcpListener::bind((address, port)).await;
            let listener =
                listener.with_context(|| format!("cannot listen on {address}:{port}"))?;
            tasks.spawn(serve(
                listener,
                SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            ));
        }
        Ok(Self { _tasks: tasks })
    }
}

async fn serve(listener: TcpListener, target: SocketAddrV4) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((caller, _)) = listener.accept() => {
                connections.spawn(forward(caller, target));
            }
            Some(_ended) = connections.join_next() => {}
            // This machine can accept no connection, and no open connection is left whose end could
            // change that.
            else => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Forwards bytes both ways. If one side breaks off, the other side's connection ends too.
async fn forward(mut caller: TcpStream, target: SocketAddrV4) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    caller.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut caller, &mut server).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

    #[tokio::test]
    async fn a_request_to_the_other_address_arrives_and_its_answer_goes_back() {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = here.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let relay = Relay::start(ELSEWHERE, &[&url]).await.unwrap();

        let mut caller = TcpStream::connect((ELSEWHERE, port)).await.unwrap();
        caller.write_all(b"ping").await.unwrap();
        let (mut server, _) = here.accept().await.unwrap();
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
        server.write_all(b"pong").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        caller.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"pong");

        drop(relay);
        while TcpStream::connect((ELSEWHERE, port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused() {
        let other = Ipv4Addr::new(192, 0, 2, 1);
        Relay::start(other, &["http://127.0.0.1:4566"])
            .await
            .unwrap_err();
    }
}
