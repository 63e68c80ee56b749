//! The side that partners don't see: what AURA's control room does, and what a test or a tool
//! wants to know of the stand-in. All under `/_sim`, without a token: the stand-in listens on
//! loopback alone.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    api::CalloutContent,
    callout::ControllerAct,
    day::DayOrder,
    deliveries::Delivery,
    extract::{Body, Segments},
    faults::Fault,
    play::{self, DayReport},
    refusal::Refusal,
    registration::Registration,
    sim::Sim,
    world::{Position, PredefinedLocation},
};

/// The registration in force, and every one so far with it, oldest first.
#[derive(Serialize)]
struct RegistrationReport<'a> {
    current: Option<&'a Registration>,
    history: &'a [Registration],
}

#[derive(Serialize)]
struct DeliveryReport<'a> {
    pending: usize,
    deliveries: Vec<&'a Delivery>,
}

#[derive(Serialize)]
struct Resent {
    n: u64,
}

/// How many faults wait.
#[derive(Serialize)]
struct WaitingFaults {
    waiting: usize,
}

#[derive(Serialize)]
struct ForgottenFaults {
    forgotten: usize,
}

#[derive(Serialize)]
struct ExpiredTokens {
    expired: usize,
}

/// The routes.
pub(crate) fn routes() -> Router<Arc<Sim>> {
    let routes = Router::new()
        .route("/callouts/{id}/{act}", post(control))
        .route("/registration", get(registration))
        .route("/deliveries", get(deliveries))
        .route("/resend/{n}", post(resend))
        .route("/tokens", get(tokens).delete(expire_tokens))
        .route("/faults", post(order_fault).delete(forget_faults))
        .route("/calls", get(calls))
        .route("/locations", get(locations))
        .route("/locations/{ref}", put(put_location))
        .route("/day", post(play_day));
    Router::new().nest("/_sim", routes)
}

async fn control(
    State(sim): State<Arc<Sim>>,
    Segments((id, act)): Segments<(u64, ControllerAct)>,
) -> Result<Json<CalloutContent>, Refusal> {
    let callout = sim.change(|world, moment| world.control(id, act, moment))?;
    Ok(Json(CalloutContent { callout }))
}

/// The tokens that were given out, for a test that looks where they must not be.
async fn tokens(State(sim): State<Arc<Sim>>) -> Response {
    Json(sim.memory().tokens.all().collect::<Vec<_>>()).into_response()
}

/// Ends every token's life now.
async fn expire_tokens(State(sim): State<Arc<Sim>>) -> Json<ExpiredTokens> {
    let expired = sim.memory().tokens.expire(Timestamp::now());
    Json(ExpiredTokens { expired })
}

async fn order_fault(
    State(sim): State<Arc<Sim>>,
    Body(order): Body<Value>,
) -> Result<Json<WaitingFaults>, Refusal> {
    let fault = Fault::check(order)?;
    let mut memory = sim.memory();
    memory.faults.add(fault);
    let waiting = memory.faults.count();
    Ok(Json(WaitingFaults { waiting }))
}

async fn forget_faults(State(sim): State<Arc<Sim>>) -> Json<ForgottenFaults> {
    let forgotten = sim.memory().faults.clear();
    Json(ForgottenFaults { forgotten })
}

/// Every call of AURA's API so far, without its headers and its body.
async fn calls(State(sim): State<Arc<Sim>>) -> Response {
    Json(sim.memory().calls.all()).into_response()
}

async fn registration(State(sim): State<Arc<Sim>>) -> Response {
    let memory = sim.memory();
    Json(RegistrationReport {
        current: memory.registrations.current(),
        history: memory.registrations.history(),
    })
    .into_response()
}

async fn deliveries(State(sim): State<Arc<Sim>>) -> Response {
    let memory = sim.memory();
    Json(DeliveryReport {
        pending: memory.deliveries.pending(),
        deliveries: memory.deliveries.all().collect(),
    })
    .into_response()
}

async fn resend(
    State(sim): State<Arc<Sim>>,
    Segments(n): Segments<u64>,
) -> Result<Json<Resent>, Refusal> {
    let n = sim.tell_again(n)?;
    Ok(Json(Resent { n }))
}

async fn locations(State(sim): State<Arc<Sim>>) -> Json<BTreeMap<String, PredefinedLocation>> {
    Json(sim.memory().world.locations.clone())
}

async fn put_location(
    State(sim): State<Arc<Sim>>,
    Segments(reference): Segments<String>,
    Body(position): Body<Position>,
) -> Result<Json<PredefinedLocation>, Refusal> {
    let location = sim.change(|world, moment| {
        let location = world.put_location(reference, position, moment.ids);
        Ok((location, Vec::new()))
    })?;
    Ok(Json(location))
}

/// Plays a day to its end. Hanging up ends it early, and so does a shutdown.
async fn play_day(
    State(sim): State<Arc<Sim>>,
    Body(order): Body<DayOrder>,
) -> Result<Json<DayReport>, Refusal> {
    sim.stop
        .run_until_cancelled(play::play(&sim, &order))
        .await
        .unwrap_or(Err(Refusal::ShuttingDown))
        .map(Json)
}
