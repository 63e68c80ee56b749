//! Refuses what doesn't come from this page, and sets the headers that keep others out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use super::Site;

/// The headers of each answer.
///
/// `Referrer-Policy` is `same-origin`: it tells no other site the address and its token. With
/// `no-referrer`, browsers would send `Origin: null` with this page's own forms, and nothing could
/// tell them from others'.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It names another host.
    Host,
    /// Its address lacks the token.
    Token,
    /// It wants to change something, and another page sent it.
    Origin,
}

/// Lets a request through, or answers it here.
pub(super) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&site, &request) {
        None => next.run(request).await,
        Some(Refusal::Token) => StatusCode::NOT_FOUND.into_response(),
        Some(Refusal::Host) => {
            let text = "This server answers only to 127.0.0.1 and localhost.\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Some(Refusal::Origin) => {
            let text = "Nothing was changed: another page sent this form.\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
    };
    response.headers_mut().extend(HEADERS);
    response
}

fn refusal(site: &Site, request: &Request) -> Option<Refusal> {
    let names = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", site.port));
    let headers = request.headers();
    let Some(host) = only(headers, &header::HOST).filter(|host| names.iter().any(|n| n == host))
    else {
        return Some(Refusal::Host);
    };
    let token = request.uri().path().split('/').nth(1).unwrap_or_default();
    if !same(token, &site.token) {
        return Some(Refusal::Token);
    }
    let looks = [Method::GET, Method::HEAD].contains(request.method());
    (!looks && !is_from_here(headers, host)).then_some(Refusal::Origin)
}

/// Whether this page sent the request. Browsers of the last years send both headers with a form.
fn is_from_here(headers: &HeaderMap, host: &str) -> bool {
    let origin = only(headers, &header::ORIGIN);
    let site = headers.get(HeaderName::from_static("sec-fetch-site"));
    origin.is_some_and(|origin| origin == format!("http://{host}"))
        && site.is_none_or(|site| site == "same-origin")
}

/// The value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether two secrets are equal. The time that it takes doesn't tell where they differ.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::console::samples;

    fn request(method: Method, headers: &[(&str, &str)], path: &str) -> Request {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_this_servers_names_and_its_token_lead_in() {
        let site = samples::site(true);
        let path = format!("/{}/", site.token);
        let look = |headers: &[_], path| refusal(&site, &request(Method::GET, headers, path));
        assert_eq!(look(&[("host", "127.0.0.1:4000")], &path), None);
        assert_eq!(look(&[("host", "localhost:4000")], &path), None);
        let hosts = ["127.0.0.1", "127.0.0.1:4001", "evil.example:4000", ""];
        for host in hosts {
            assert_eq!(look(&[("host", host)], &path), Some(Refusal::Host));
        }
        assert_eq!(look(&[], &path), Some(Refusal::Host));
        for path in ["/", "/x/", "//", &path[..path.len() - 2]] {
            let refused = look(&[("host", "127.0.0.1:4000")], path);
            assert_eq!(refused, Some(Refusal::Token), "{path}");
        }
    }

    #[test]
    fn only_this_page_may_send_a_form() {
        let site = samples::site(true);
        let path = format!("/{}/act", site.token);
        let send = |origin: &[(&str, &str)]| {
            let headers = [&[("host", "127.0.0.1:4000")], origin].concat();
            refusal(&site, &request(Method::POST, &headers, &path))
        };
        let mine = ("origin", "http://127.0.0.1:4000");
        assert_eq!(send(&[mine]), None);
        assert_eq!(send(&[mine, ("sec-fetch-site", "same-origin")]), None);
        let foreign: [&[_]; 6] = [
            &[],
            &[("origin", "null")],
            &[("origin", "http://localhost:4000")],
            &[("origin", "https://127.0.0.1:4000")],
            &[("origin", "http://127.0.0.1:4001")],
            &[mine, ("sec-fetch-site", "cross-site")],
        ];
        for origin in foreign {
            assert_eq!(send(origin), Some(Refusal::Origin), "{origin:?}");
        }
    }
}
