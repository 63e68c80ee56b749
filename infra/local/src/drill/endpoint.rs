//! The drill in which AURA can't reach the endpoint.

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use stack::boto;
use stack::stack::Stack;

use super::count::Count;
use super::runbook::Page;
use super::scene::Scene;
use super::{BASE, Drill};

/// The endpoint's path, with which the keys of its routes end.
const PATH: &str = " /aura/events";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Routes {
    items: Vec<Route>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Route {
    route_id: String,
    route_key: String,
}

pub(super) const DRILLS: &[Drill] = &[Drill {
    name: "route-gone",
    alarm: "CanaryFailsAlarm",
    breaks: "somebody removes the endpoint's routes",
    mends: "a person makes the routes again",
    parameters: &[("CanaryMinutes", "1")],
    breaking: |scene| remove_routes(&scene.system.stack).boxed(),
    mending: |scene| make_routes(scene).boxed(),
    expects: Count::is_each_once_but_refused,
    ..BASE
}];

/// Removes every route to the endpoint, as somebody might by hand.
///
/// # Errors
///
/// The API doesn't have the endpoint's two routes.
pub async fn remove_routes(stack: &Stack) -> Result<()> {
    let (account, service) = (stack.account(), "apigatewayv2");
    let api = stack.resource("HttpApi").await?;
    let routes: Routes = boto::call(account, service, "get_routes", json!({"ApiId": api})).await?;
    let its = routes.items.into_iter();
    let its: Vec<_> = its.filter(|it| it.route_key.ends_with(PATH)).collect();
    ensure!(its.len() == 2, "the endpoint has {} routes", its.len());
    for Route { route_id, .. } in its {
        let route = json!({"ApiId": api, "RouteId": route_id});
        let _: Value = boto::call(account, service, "delete_route", route).await?;
    }
    Ok(())
}

async fn make_routes(scene: &mut Scene) -> Result<()> {
    for command in ["for key in ANY POST", "aura-ops canary"] {
        scene
            .type_inline(Page::Operate, "CanaryFailsAlarm", command)
            .await?;
    }
    Ok(())
}
