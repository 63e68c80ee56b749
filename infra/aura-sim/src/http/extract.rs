//! Reads and checks the parts of a request for its handler: the body, the path, and the bearer
//! token. A refusal has AURA's form: JSON with a `message`.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, State},
    http::{header::AUTHORIZATION, request::Parts},
    middleware::Next,
    response::Response,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::{sim::Sim, world::refusal::Refusal};

/// A JSON object in the body. An absent body counts as `{}`, for calls whose fields are all
/// optional.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| Refusal::Malformed(error.body_text()))?;
        let json: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // Without this check, serde would read a list as the fields of a struct in order.
        if json.trim_ascii_start().first() == Some(&b'[') {
            return Err(Refusal::Malformed("the body is not an object".to_owned()));
        }
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|error| malformed(&error))
    }
}

/// Makes the refusal that says where a body is wrong. It doesn't use the parser's message, which
/// may repeat secret values from the body.
fn malformed(error: &serde_json::Error) -> Refusal {
    let what = if error.is_data() {
        "a field is missing or has the wrong type"
    } else {
        "this is not JSON"
    };
    let (line, column) = (error.line(), error.column());
    Refusal::Malformed(format!(
        "malformed body, line {line} column {column}: {what}"
    ))
}

/// The values in a path. A value that can't be read, such as an id that is not a number, counts as
/// unknown.
pub(crate) struct Segments<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Path::from_request_parts(parts, state)
            .await
            .map(|Path(segments)| Self(segments))
            .map_err(|_| Refusal::Unknown("nothing has this id or name".to_owned()))
    }
}

/// The time whose world an answer shows: the latest, unless the plan decides an earlier one.
#[derive(Clone, Copy)]
pub(crate) struct AsOf(pub(crate) Timestamp);

impl<S: Send + Sync> FromRequestParts<S> for AsOf {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let earlier = parts.extensions.get().copied();
        Ok(earlier.unwrap_or(Self(Timestamp::MAX)))
    }
}

/// Lets only requests with a valid token through.
pub(crate) async fn require_bearer(
    State(sim): State<Arc<Sim>>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let token = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(Refusal::Unauthorized("a bearer token is required"))?;
    if !sim.state().tokens.accept(token, Timestamp::now()) {
        return Err(Refusal::Unauthorized("the bearer token is not valid"));
    }
    Ok(next.run(request).await)
}
