//! Sends deliveries as AURA does: one attempt each, no retry, no redirect followed.

use std::time::Duration;

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use reqwest::Client;
use shared::http_client;

use crate::deliveries::log::Attempt;

/// How long a receiver may take to answer. AURA's own patience isn't documented.
const PATIENCE: Duration = Duration::from_secs(10);

/// The client for deliveries: they go straight to what was registered.
pub(crate) fn client() -> anyhow::Result<Client> {
    http_client::builder()
        .timeout(PATIENCE)
        .build()
        .context("Failed to build the HTTP client for deliveries")
}

/// A delivery on its way out.
pub(crate) struct Outgoing {
    pub(crate) n: u64,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Sends a delivery, and answers its number and what came of it.
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

/// The error with all its causes: "connection refused" stands only in the last of them.
fn describe(error: reqwest::Error) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
