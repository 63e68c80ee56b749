//! Sends deliveries as AURA does: with one attempt each. It doesn't retry or follow redirects.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use reqwest::Client;
use shared::http_client;

use crate::deliveries::log::Attempt;

/// Time limit of an answer. AURA doesn't document its own limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the HTTP client for deliveries.
pub(crate) fn client() -> anyhow::Result<Client> {
    http_client::builder()
        .timeout(PATIENCE)
        .build()
        .context("cannot build the HTTP client for deliveries")
}

/// A delivery that is being sent.
pub(crate) struct Outgoing {
    pub(crate) n: u64,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Sends a delivery, and returns its number and the result.
pub(crate) async fn send(client: &Client, outgoing: Outgoing) -> (u64, Attempt) {
    let mut headers = outgoing.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = client
        .post(outgoing.url)
        .headers(headers)
        .body(outgoing.body);
    let answer = match request.send().await {
        Ok(response) => read(response).await,
        Err(error) => Attempt {
            status: None,
            body: None,
            error: Some(describe(error)),
        },
    };
    (outgoing.n, answer)
}

async fn read(response: reqwest::Response) -> Attempt {
    let status = Some(response.status().as_u16());
    let (body, error) = match response.text().await {
        Ok(body) => (Some(body), None),
        Err(error) => (None, Some(describe(error))),
    };
    Attempt {
        status,
        body,
        error,
    }
}

/// Describes an error with all its causes, because only the last one says "connection refused".
fn describe(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
