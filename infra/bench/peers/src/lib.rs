//! The functions that `ingest` is measured against: `bench-empty` does what any function on
//! `lambda_http` does, and `bench-sdk-call` one `SendMessage` on top of it, as `ingest` sends it.
//! What `ingest` needs beyond the second is its own.
//!
//! A package of its own: they are built with the release profile, and the harness, with all the
//! SDKs of the local stack behind it, need not be.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};

/// An answer without a body.
#[must_use]
pub fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
