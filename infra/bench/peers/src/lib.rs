//! Functions to compare `ingest` and `processor` with. `bench-empty` does what every function on
//! `lambda_http` does. `bench-sdk-call` also makes one `SendMessage` call, as `ingest` does.
//! `bench-processor-calls` makes the calls that `processor` makes ([`plan`]). Everything that
//! `ingest` and `processor` need beyond these calls is their own cost.
//!
//! The peers are a package of their own, because they are built with the release profile. The
//! harness, which has all the SDKs of the local stack, isn't.

pub mod plan;

use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};

/// An answer without a body.
#[must_use]
pub fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
