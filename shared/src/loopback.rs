//! Names and addresses of this machine.
//!
//! RFC 6761 reserves `localhost` and everything under it for loopback, but most systems' resolvers
//! know only the bare name. The local AWS gives an HTTP API a name under it
//! (`abc123.execute-api.localhost`). So a client that sends to such a name has to resolve it by
//! itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Whether a URL's host can only be this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => is_loopback_name(name),
        None => false,
    }
}

fn is_loopback_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// A resolver that resolves loopback names itself, and asks the system for all other names.
#[derive(Debug, Clone, Copy)]
pub struct LoopbackResolver;

impl Resolve for LoopbackResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses: Addrs = if is_loopback_name(name.as_str()) {
                Box::new(loopback_addresses().into_iter())
            } else {
                let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
                Box::new(found.collect::<Vec<_>>().into_iter())
            };
            Ok(addresses)
        })
    }
}

/// The loopback addresses. Port 0 stands for the port in the URL.
fn loopback_addresses() -> [SocketAddr; 2] {
    [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ]
    .map(|address| SocketAddr::new(address, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(url: &str) -> bool {
        is_loopback(&url.parse().unwrap())
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        assert!(loopback("http://127.0.0.1:4566/"));
        assert!(loopback("http://127.8.9.10/"));
        assert!(loopback("http://[::1]:1/"));
        assert!(loopback("http://LOCALHOST/"));
        assert!(loopback(
            "http://abc123.execute-api.localhost:4566/aura/events"
        ));
        assert!(loopback("http://localhost./"));
    }

    #[test]
    fn nothing_else_is_loopback() {
        assert!(!loopback("http://example.com/"));
        assert!(!loopback("http://notlocalhost/"));
        assert!(!loopback("http://localhost.example.com/"));
        assert!(!loopback("http://10.0.0.1/"));
        assert!(!loopback("http://[::2]/"));
    }
}
