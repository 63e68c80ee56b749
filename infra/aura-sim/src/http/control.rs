//! The API that partners don't see: the acts of AURA's control room, and the reports for tests and
//! tools. All of it is under `/_sim`, and needs no token, because the stand-in listens only on
//! loopback.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    deliveries::log::DeliveryReport,
    faults::ordered::Fault,
    faults::plan::Plan,
    http::api::CalloutContent,
    http::extract::{JsonBody, Segments},
    play::{self, DayReport},
    sim::Sim,
    world::callout::{CalloutState, Controller},
    world::crowd::CrowdOrder,
    world::day::Day,
    world::location::{Position, PredefinedLocation},
    world::refusal::Refusal,
    world::registration::{Registration, RegistrationReport, RegistrationRequest},
};

/// The hint for a plan that can't be read.
const PLAN_SHAPE: &str = r#"a plan is {"seed": 1, "deliveries": {"drop": 0.1, "duplicate": 0.1, "reorder": 0.1, "delay": {"share": 0.1, "mostMs": 3000}, "bare": 0.5}, "dark": {"everySeconds": 600, "forSeconds": 120, "firstAfterSeconds": 60}, "loseRegistrationAfterSeconds": 90, "polls": {"fail": 0.1, "stale": {"share": 0.1, "mostMs": 2000}}}, where only the seed is required"#;

#[derive(Serialize, Deserialize)]
pub(crate) struct ForgottenFaults {
    pub(crate) forgotten: usize,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ExpiredTokens {
    pub(crate) expired: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartedPlan {
    pub(crate) started_at: Timestamp,
}

/// The answer to the end of a plan: the number of deliveries that it held back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndedPlan {
    pub(crate) held_back: usize,
}

/// Makes the routes of the control room's API.
pub(crate) fn routes() -> Router<Arc<Sim>> {
    let routes = Router::new()
        .route("/callouts", get(callouts))
        .route("/callouts/{id}/{act}", post(control))
        .route("/events", get(events))
        .route("/registration", get(registration).put(put_old_registration))
        .route("/deliveries", get(deliveries))
        .route("/resend/{n}", post(resend))
        .route("/tokens", get(tokens).delete(expire_tokens))
        .route("/faults", post(order_fault).delete(forget_faults))
        .route("/calls", get(calls))
        .route("/locations", get(locations))
        .route("/locations/{ref}", put(put_location))
        .route("/day", post(play_day))
        .route("/crowd", post(raise_crowd))
        .route("/plan", post(begin_plan).delete(end_plan));
    Router::new().nest("/_sim", routes)
}

async fn control(
    State(sim): State<Arc<Sim>>,
    Segments((id, act)): Segments<(u64, Controller)>,
) -> Result<Json<CalloutContent>, Refusal> {
    let callout = sim.change(|world, moment| world.control(id, act, moment))?;
    Ok(Json(CalloutContent { callout }))
}

/// Lists every callout in its true state, also if a plan changes the answers to partners.
async fn callouts(State(sim): State<Arc<Sim>>) -> Json<Vec<CalloutState>> {
    let state = sim.state();
    let callouts = state.world.callouts.values();
    Json(callouts.map(CalloutState::of).collect())
}

/// Lists every event so far, also those without a delivery.
async fn events(State(sim): State<Arc<Sim>>) -> Response {
    Json(sim.state().events.all()).into_response()
}

async fn begin_plan(
    State(sim): State<Arc<Sim>>,
    JsonBody(order): JsonBody<Value>,
) -> Result<Json<StartedPlan>, Refusal> {
    let plan: Plan = serde_json::from_value(order)
        .map_err(|error| Refusal::Malformed(format!("{error}: {PLAN_SHAPE}")))?;
    plan.check()
        .map_err(|error| Refusal::Malformed(error.to_string()))?;
    let started_at = sim.begin_plan(plan);
    Ok(Json(StartedPlan { started_at }))
}

async fn end_plan(State(sim): State<Arc<Sim>>) -> Json<EndedPlan> {
    let held_back = sim.end_plan();
    Json(EndedPlan { held_back })
}

async fn raise_crowd(
    State(sim): State<Arc<Sim>>,
    JsonBody(order): JsonBody<CrowdOrder>,
) -> Result<Json<Value>, Refusal> {
    order.check()?;
    let raised = sim.state().crowd(order.callouts, Timestamp::now())?;
    Ok(Json(json!({ "raised": raised })))
}

/// Lists the issued tokens, for a test that searches places where they must not be.
async fn tokens(State(sim): State<Arc<Sim>>) -> Response {
    Json(sim.state().tokens.all().collect::<Vec<_>>()).into_response()
}

/// Ends every valid token.
async fn expire_tokens(State(sim): State<Arc<Sim>>) -> Json<ExpiredTokens> {
    let expired = sim.state().tokens.expire(Timestamp::now());
    Json(ExpiredTokens { expired })
}

async fn order_fault(
    State(sim): State<Arc<Sim>>,
    JsonBody(order): JsonBody<Value>,
) -> Result<Json<Value>, Refusal> {
    let fault = Fault::read(order)?;
    let mut state = sim.state();
    state.faults.add(fault);
    let waiting = state.faults.count();
    Ok(Json(json!({ "waiting": waiting })))
}

async fn forget_faults(State(sim): State<Arc<Sim>>) -> Json<ForgottenFaults> {
    let forgotten = sim.state().faults.clear();
    Json(ForgottenFaults { forgotten })
}

/// Lists every call of AURA's API so far, without headers and bodies.
async fn calls(State(sim): State<Arc<Sim>>) -> Response {
    Json(sim.state().calls.all()).into_response()
}

async fn registration(State(sim): State<Arc<Sim>>) -> Response {
    let state = sim.state();
    Json(RegistrationReport {
        current: state.registrations.current(),
        history: state.registrations.history().iter().collect(),
    })
    .into_response()
}

/// Registers a webhook by the rules from before an event name was deprecated.
async fn put_old_registration(
    State(sim): State<Arc<Sim>>,
    JsonBody(request): JsonBody<RegistrationRequest>,
) -> Result<Response, Refusal> {
    let allow_http_loopback = sim.options.allow_http_loopback;
    let old = Registration::check_old(request, allow_http_loopback, Timestamp::now())?;
    sim.state().registrations.replace(old);
    Ok(registration(State(sim)).await)
}

async fn deliveries(State(sim): State<Arc<Sim>>) -> Response {
    let state = sim.state();
    Json(DeliveryReport {
        pending: state.deliveries.pending(),
        deliveries: state.deliveries.all().collect(),
    })
    .into_response()
}

async fn resend(
    State(sim): State<Arc<Sim>>,
    Segments(n): Segments<u64>,
) -> Result<Json<Value>, Refusal> {
    let n = sim.tell_again(n)?;
    Ok(Json(json!({ "n": n })))
}

async fn locations(State(sim): State<Arc<Sim>>) -> Json<BTreeMap<String, PredefinedLocation>> {
    Json(sim.state().world.locations.clone())
}

async fn put_location(
    State(sim): State<Arc<Sim>>,
    Segments(reference): Segments<String>,
    JsonBody(position): JsonBody<Position>,
) -> Result<Json<PredefinedLocation>, Refusal> {
    let location = sim.change(|world, moment| {
        let location = world.put_location(reference, position, moment.ids);
        Ok((location, Vec::new()))
    })?;
    Ok(Json(location))
}

/// Plays a day to its end. It ends early if the caller closes the connection or the stand-in shuts
/// down.
async fn play_day(
    State(sim): State<Arc<Sim>>,
    JsonBody(order): JsonBody<Day>,
) -> Result<Json<DayReport>, Refusal> {
    sim.stop
        .run_until_cancelled(play::play(&sim, &order))
        .await
        .unwrap_or(Err(Refusal::ShuttingDown))
        .map(Json)
}
