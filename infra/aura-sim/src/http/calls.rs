//! Writes the log of API calls, and applies the faults of calls, ordered or by the plan.
//!
//! Every request except those to `/_sim` passes through [`attend`], also without a route or a
//! token. So a test can prove that AURA was never called.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header::CONTENT_LENGTH},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::yield_now;

use crate::{
    faults::in_force::PollFate,
    faults::ordered::{Fault, FaultyAnswer},
    http::api::PREFIX,
    http::extract::AsOf,
    sim::Sim,
    state::Trouble,
    world::refusal::Refusal,
};

/// Records an API call, and applies its fault if one was ordered or the plan decides one.
pub(crate) async fn attend(State(sim): State<Arc<Sim>>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/_sim/") {
        return next.run(request).await;
    }
    let (n, trouble) = sim.state().begin_call(name(&request), Timestamp::now());
    let answer = match trouble {
        Some(Trouble::Ordered(fault)) => go_wrong(&sim, fault, request, next).await,
        Some(Trouble::Planned(fate)) => Some(meet(fate, request, next).await),
        None => Some(next.run(request).await),
    };
    let Some(answer) = answer else {
        return hang_up();
    };
    sim.state().calls.finish(n, answer.status());
    answer
}

/// Applies the plan's fault to a call.
async fn meet(fate: PollFate, mut request: Request, next: Next) -> Response {
    match fate {
        PollFate::Fails(status) => Refusal::OutOfOrder(status).into_response(),
        PollFate::Stale(moment) => {
            request.extensions_mut().insert(AsOf(moment));
            next.run(request).await
        }
    }
}

/// Name of a call in faults and in the log.
fn name(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.map_or(request.uri().path(), MatchedPath::as_str);
    let below = path.strip_prefix(PREFIX).unwrap_or(path);
    format!("{} {below}", request.method())
}

/// Applies an ordered fault to a call. Does the call if the fault allows it. Returns the fault's
/// answer, or `None` for no answer.
async fn go_wrong(sim: &Sim, fault: Fault, request: Request, next: Next) -> Option<Response> {
    let own = if fault.is_done() {
        Some(next.run(request).await)
    } else {
        None
    };
    match fault.answer {
        FaultyAnswer::Reply(reply) => Some(reply.response().into_response()),
        FaultyAnswer::Patch(patch) => Some(patched(own?, &patch).await.into_response()),
        FaultyAnswer::BreakOff => Some(broken_off(own?).await),
        FaultyAnswer::Hang => {
            // This ends early when the caller closes the connection.
            sim.stop.cancelled().await;
            None
        }
        FaultyAnswer::HangUp => None,
    }
}

async fn patched(own: Response, patch: &Value) -> Result<Response, Refusal> {
    let status = own.status();
    let mut body: Value = serde_json::from_slice(&bytes_of(own.into_body()).await)?;
    json_patch::merge(&mut body, patch);
    Ok((status, Json(body)).into_response())
}

async fn broken_off(own: Response) -> Response {
    let (mut parts, body) = own.into_parts();
    let mut half = bytes_of(body).await;
    let whole = HeaderValue::from(half.len());
    parts.headers.insert(CONTENT_LENGTH, whole);
    half.truncate(half.len() / 2);
    let end = async {
        // During this wait, the server sends the first half.
        yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    };
    let body = stream::once(async { Ok(half) }).chain(stream::once(end));
    Response::from_parts(parts, Body::from_stream(body))
}

/// Reads the body of the stand-in's own answer. It is in memory, so reading never fails and needs
/// no size limit.
async fn bytes_of(body: Body) -> Bytes {
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}

/// Closes the connection without an answer: the server drops an answer whose body fails at once.
fn hang_up() -> Response {
    let error = io::Error::from(io::ErrorKind::ConnectionAborted);
    let body = stream::once(async { Err::<Bytes, _>(error) });
    Response::new(Body::from_stream(body))
}
