//! Keeps out web pages that are open in a browser on this machine.
//!
//! A browser lets any page send requests to 127.0.0.1, and only hides the answers from the page. If
//! the page's domain name is changed to 127.0.0.1 after the page was loaded (DNS rebinding), the
//! page also gets the answers. So the stand-in accepts a request only if both of these hold:
//!
//! - The request names this machine by a host name that nobody else can own.
//! - No browser header says that the request comes from another site. Other programs send no such
//!   header, so they are accepted.
//!
//! The local AWS has the same rules, in `infra/stack/ministack/patches/web_pages.py`.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{HOST, ORIGIN},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use shared::loopback::is_loopback;
use url::{Host, Url};

use crate::{sim::Sim, world::refusal::Refusal};

/// Header in which a browser gives the relation between the page's site and this server.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Name by which containers call the machine that they run on.
const FROM_CONTAINERS: &str = "host.docker.internal";

/// Refuses requests of foreign pages and for other host names.
pub(crate) async fn keep_out(
    State(sim): State<Arc<Sim>>,
    request: Request,
    next: Next,
) -> Response {
    if is_foreign(request.headers(), sim.also_on.get().copied()) {
        return Refusal::Foreign.into_response();
    }
    next.run(request).await
}

/// Whether a request comes from a foreign page, or names another machine than this one. `also_on`
/// is the address of a bridge through which containers call.
fn is_foreign(headers: &HeaderMap, also_on: Option<Ipv4Addr>) -> bool {
    let mut hosts = headers.get_all(HOST).iter().peekable();
    let has_host = hosts.peek().is_some();
    let mut origins = headers.get_all(ORIGIN).iter();
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    !has_host
        || !hosts.all(|host| is_own_host(host, also_on))
        || !origins.all(is_own_origin)
        || sites.any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"))
}

fn is_own_host(host: &HeaderValue, also_on: Option<Ipv4Addr>) -> bool {
    let host = host.to_str().unwrap_or_default();
    let Some(url) = url_of(&format!("http://{host}")) else {
        return false;
    };
    is_loopback(&url)
        || match url.host() {
            Some(Host::Ipv4(address)) => also_on == Some(address),
            Some(Host::Domain(name)) => name == FROM_CONTAINERS,
            _ => false,
        }
}

/// Whether an origin is this machine, as for a page under development. An origin of `null` hides
/// where the page comes from, so it counts as foreign.
fn is_own_origin(origin: &HeaderValue) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    url_of(origin).is_some_and(|url| is_loopback(&url))
}

/// Parses a URL that has only a scheme, a host and maybe a port.
fn url_of(text: &str) -> Option<Url> {
    let (_, host) = text.split_once("://")?;
    let is_plain = !host.contains(['/', '\\', '@', '?', '#']);
    Url::parse(text).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

    fn foreign(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value);
        }
        is_foreign(&all, Some(BRIDGE))
    }

    #[test]
    fn only_host_names_that_nobody_else_can_own_are_accepted() {
        for own in [
            "127.0.0.1:4566",
            "127.8.9.10",
            "localhost",
            "LOCALHOST:80",
            "localhost.:80",
            "[::1]:4566",
            "host.docker.internal:4566",
            "172.17.0.1:4566",
        ] {
            assert!(!foreign(&[("host", own)]), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example:4566",
            "abc.localhost:4566",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "172.17.0.2",
            "192.168.0.1",
            "[::2]",
            "0.0.0.0:4566",
            "localhost@evil.example",
            "evil.example/@localhost",
            "evil.example#localhost",
        ] {
            assert!(foreign(&[("host", other)]), "{other}");
        }
        assert!(foreign(&[]));
        assert!(foreign(&[("host", "localhost"), ("host", "evil.example")]));
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("172.17.0.1"))]);
        assert!(is_foreign(&headers, None));
    }

    #[test]
    fn of_web_pages_only_those_of_this_machine_are_accepted() {
        let from = |name, value| foreign(&[("host", "localhost:4566"), (name, value)]);
        for own in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:8443",
        ] {
            assert!(!from("origin", own), "{own}");
        }
        for other in [
            "null",
            "",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://localhost@evil.example",
            "http://172.17.0.1:4566",
            "http://host.docker.internal",
            "file://",
        ] {
            assert!(from("origin", other), "{other}");
        }
        for own in ["same-origin", "same-site", "none"] {
            assert!(!from("sec-fetch-site", own), "{own}");
        }
        assert!(from("sec-fetch-site", "cross-site"));
        assert!(from("sec-fetch-site", "Cross-Site"));
    }
}
