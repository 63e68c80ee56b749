//! Which hosts are this machine.

use url::{Host, Url};

/// Whether a URL's host can only be this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => matches!(name, "localhost" | "localhost."),
        None => false,
    }
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
        assert!(loopback("http://localhost./"));
    }

    #[test]
    fn nothing_else_is_loopback() {
        assert!(!loopback("http://example.com/"));
        assert!(!loopback("http://notlocalhost/"));
        assert!(!loopback("http://localhost.example.com/"));
        assert!(!loopback("http://api.localhost/"));
        assert!(!loopback("http://10.0.0.1/"));
        assert!(!loopback("http://[::2]/"));
    }
}
