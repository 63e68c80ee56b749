//! Reads AURA's answer into a body or an error. No error repeats a secret of the request.

use bytes::Bytes;
use http::header::LOCATION;
use jiff::Timestamp;
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::PanicApiError;
use super::retry_after::retry_after;

/// How many characters of AURA's own message an error repeats.
const LONGEST_MESSAGE: usize = 500;

/// Sends a request, and returns the body of a 2xx. `secrets` are the parts of the request that AURA
/// might repeat and that no error may show.
pub(super) async fn send(
    call: &'static str,
    request: RequestBuilder,
    secrets: &[&str],
) -> Result<Bytes, PanicApiError> {
    let response = request.send().await.map_err(|e| unsent(call, e))?;
    let status = response.status();
    match status.as_u16() {
        401 => Err(PanicApiError::CredentialsRefused { call, status }),
        // These two statuses mean "not now". They say nothing against the request.
        408 | 429 => Err(failed(call, &response)),
        // AURA's own 285 refuses, although it looks like success.
        285 | 400..=499 => Err(PanicApiError::Refused {
            call,
            status,
            message: message_of(response, secrets).await,
        }),
        200..=299 => response.bytes().await.map_err(|e| {
            let source = e.without_url();
            PanicApiError::BrokenOff { call, source }
        }),
        300..=399 => Err(PanicApiError::Redirected {
            call,
            status,
            host: hide(&host_of(&response), secrets),
        }),
        _ => Err(failed(call, &response)),
    }
}

/// The error of an answer after which the same call may succeed.
fn failed(call: &'static str, response: &Response) -> PanicApiError {
    PanicApiError::Failed {
        call,
        status: response.status(),
        retry_after: retry_after(response.headers(), Timestamp::now()),
    }
}

/// The error of a request that got no answer.
fn unsent(call: &'static str, error: reqwest::Error) -> PanicApiError {
    let source = error.without_url();
    if source.is_builder() {
        PanicApiError::Unsendable { call, source }
    } else {
        PanicApiError::Unreachable { call, source }
    }
}

/// The host that a redirect leads to. The path may hold a callout's id, and the rest credentials.
fn host_of(response: &Response) -> String {
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let url = location.and_then(|location| response.url().join(location).ok());
    match url.filter(Url::has_host) {
        Some(url) => url.origin().ascii_serialization(),
        None => "a host that it doesn't name".to_owned(),
    }
}

/// AURA's human-readable `message`, as far as an error repeats it. An answer that breaks off is
/// still a refusal, because its status says so.
async fn message_of(response: Response, secrets: &[&str]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    let body = response.bytes().await.unwrap_or_default();
    serde_json::from_slice::<Problem>(&body).map_or_else(
        |_| "no message in the answer".to_owned(),
        |problem| {
            let message = hide(&problem.message, secrets);
            message.chars().take(LONGEST_MESSAGE).collect()
        },
    )
}

/// Replaces each secret in a text with `***`.
pub(super) fn hide(text: &str, secrets: &[&str]) -> String {
    let shown = secrets.iter().filter(|secret| !secret.is_empty());
    shown.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

pub(super) fn parse<T: DeserializeOwned>(
    call: &'static str,
    body: &[u8],
) -> Result<T, PanicApiError> {
    serde_json::from_slice(body).map_err(|_| PanicApiError::Malformed { call })
}
