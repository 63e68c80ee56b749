//! The log of API calls, and what goes wrong with them on order or by the plan.
//!
//! Everything but `/_sim` passes through [`attend`], also what no route or no token is for: so a
//! test can say that AURA was never called.

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

/// Writes an API call down, and lets it go wrong if a fault waits for it or the plan has it so.
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

/// Does the call as the plan has it.
async fn meet(fate: PollFate, mut request: Request, next: Next) -> Response {
    match fate {
        PollFate::Fails(status) => Refusal::OutOfOrder(status).into_response(),
        PollFate::Stale(moment) => {
            request.extensions_mut().insert(AsOf(moment));
            next.run(request).await
        }
    }
}

/// How a call is named in faults and in the log.
fn name(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.map_or(request.uri().path(), MatchedPath::as_str);
    let below = path.strip_prefix(PREFIX).unwrap_or(path);
    format!("{} {below}", request.method())
}

/// Does the call, if the fault lets it be done, and answers as the fault says: `None` is nothing.
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
            // Ends early when the caller hangs up.
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
        // The server sends what it has while it waits.
        yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    };
    let body = stream::once(async { Ok(half) }).chain(stream::once(end));
    Response::from_parts(parts, Body::from_stream(body))
}

/// The stand-in's own answers lie in memory: reading them never fails, and their number of bytes
/// is no matter.
async fn bytes_of(body: Body) -> Bytes {
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}

/// Closes the connection without a byte: the server drops an answer whose body fails at once.
fn hang_up() -> Response {
    let error = io::Error::from(io::ErrorKind::ConnectionAborted);
    let body = stream::once(async { Err::<Bytes, _>(error) });
    Response::new(Body::from_stream(body))
}
