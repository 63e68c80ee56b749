//! AURA's own API, as partners call it.
//!
//! Where the documentation doesn't give an answer's shape, the stand-in uses the simplest one that
//! fits the documented ones: status 200, a `message`, and the object under its name.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    middleware,
    routing::{get, post},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    http::extract::{AsOf, JsonBody, Segments, require_bearer},
    sim::Sim,
    world::callout::{Cancellation, Emergency, NewCallout, Remark, StreamEntry},
    world::customer::{CreatedCustomer, NewCustomer},
    world::payload::{FlatCallout, NestedCallout},
    world::refusal::Refusal,
    world::registration::{NotifierConfig, Registration, RegistrationRequest},
    world::tokens,
};

/// Path prefix of every call.
pub(crate) const PREFIX: &str = "/panic-api/v2";

/// The body of the token call.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// The answer of the token call.
#[derive(Serialize, Deserialize)]
pub(crate) struct IssuedToken {
    pub(crate) access_token: String,
    token_type: Cow<'static, str>,
    expires_in: i64,
}

/// The answer of a call: a `message`, and the content.
#[derive(Serialize)]
struct ApiAnswer<T> {
    message: &'static str,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize)]
struct NotifierContent {
    notifier: Notifier,
}

#[derive(Serialize)]
struct Notifier {
    config: [NotifierConfig; 1],
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CalloutContent<C = NestedCallout> {
    pub(crate) callout: C,
}

#[derive(Serialize)]
struct EventContent {
    event: StreamEntry,
}

type ApiResult<T> = Result<Json<ApiAnswer<T>>, Refusal>;

fn answer<T>(message: &'static str, content: T) -> Json<ApiAnswer<T>> {
    Json(ApiAnswer { message, content })
}

/// Makes the routes. The documentation gives the token call without the prefix, in a table that
/// also names the API's prefix. It is not clear whether the prefix applies to the token call, so
/// the stand-in serves that call at both paths.
pub(crate) fn routes(sim: &Arc<Sim>) -> Router<Arc<Sim>> {
    let token = Router::new().route("/oauth/token", post(issue_token));
    let authenticated = Router::new()
        .route("/notifiers/webhooks", post(register))
        .route("/customers", post(create_customer))
        .route("/customers/{id}/callouts", post(raise_callout))
        .route(
            "/predefinedLocations/externalRef/{ref}/callouts",
            post(raise_callout_at_location),
        )
        .route("/callouts/activeCallouts", get(active_callouts))
        .route("/callouts/{id}", get(callout))
        .route("/callouts/{id}/cancel", post(cancel))
        .route("/callouts/{id}/events", get(event_stream).post(remark))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(sim),
            require_bearer,
        ));
    token.clone().nest(PREFIX, token.merge(authenticated))
}

async fn issue_token(
    State(sim): State<Arc<Sim>>,
    JsonBody(given): JsonBody<Credentials>,
) -> Result<Json<IssuedToken>, Refusal> {
    let options = &sim.options;
    if given.client_id != options.client_id || given.client_secret != options.client_secret {
        return Err(Refusal::Unauthorized("the client's credentials are wrong"));
    }
    // The token is random, so that an old token is not valid after a restart.
    let access_token = format!("{:032x}", rand::random::<u128>());
    sim.state()
        .tokens
        .issue(access_token.clone(), Timestamp::now());
    Ok(Json(IssuedToken {
        access_token,
        token_type: "Bearer".into(),
        expires_in: tokens::LIFETIME.as_secs(),
    }))
}

async fn register(
    State(sim): State<Arc<Sim>>,
    JsonBody(request): JsonBody<RegistrationRequest>,
) -> ApiResult<NotifierContent> {
    let allow_http_loopback = sim.options.allow_http_loopback;
    let registration = Registration::check(request, allow_http_loopback, Timestamp::now())?;
    let config = [registration.notifier_config()];
    sim.state().registrations.replace(registration);
    let notifier = Notifier { config };
    Ok(answer("Webhook registered", NotifierContent { notifier }))
}

async fn create_customer(
    State(sim): State<Arc<Sim>>,
    JsonBody(new): JsonBody<NewCustomer>,
) -> ApiResult<CreatedCustomer> {
    let created = sim.change(|world, moment| world.create_customer(new, moment))?;
    Ok(answer("Customer created", created))
}

async fn raise_callout(
    State(sim): State<Arc<Sim>>,
    Segments(customer_id): Segments<u64>,
    JsonBody(new): JsonBody<NewCallout>,
) -> ApiResult<CalloutContent> {
    let callout = sim.change(|world, moment| world.raise_callout(customer_id, &new, moment))?;
    Ok(answer("Callout active", CalloutContent { callout }))
}

async fn raise_callout_at_location(
    State(sim): State<Arc<Sim>>,
    Segments(reference): Segments<String>,
    JsonBody(emergency): JsonBody<Emergency>,
) -> ApiResult<CalloutContent> {
    let callout =
        sim.change(|world, moment| world.raise_callout_at_location(&reference, emergency, moment))?;
    Ok(answer("Callout active", CalloutContent { callout }))
}

async fn cancel(
    State(sim): State<Arc<Sim>>,
    Segments(id): Segments<u64>,
    JsonBody(request): JsonBody<Cancellation>,
) -> ApiResult<CalloutContent> {
    let callout = sim.change(|world, _| world.cancel(id, &request))?;
    Ok(answer("Callout cancelled", CalloutContent { callout }))
}

async fn remark(
    State(sim): State<Arc<Sim>>,
    Segments(id): Segments<u64>,
    JsonBody(remark): JsonBody<Remark>,
) -> ApiResult<EventContent> {
    let event = sim.change(|world, moment| world.remark(id, remark, moment))?;
    Ok(answer("Event added", EventContent { event }))
}

async fn callout(
    State(sim): State<Arc<Sim>>,
    AsOf(moment): AsOf,
    Segments(id): Segments<u64>,
) -> ApiResult<CalloutContent> {
    let callout = sim.state().history.at(moment).callout(id)?;
    Ok(answer("Callout found", CalloutContent { callout }))
}

async fn active_callouts(
    State(sim): State<Arc<Sim>>,
    AsOf(moment): AsOf,
) -> Json<Vec<FlatCallout>> {
    Json(sim.state().history.at(moment).active_callouts())
}

async fn event_stream(
    State(sim): State<Arc<Sim>>,
    AsOf(moment): AsOf,
    Segments(id): Segments<u64>,
) -> Result<Json<Vec<StreamEntry>>, Refusal> {
    sim.state().history.at(moment).event_stream(id).map(Json)
}
