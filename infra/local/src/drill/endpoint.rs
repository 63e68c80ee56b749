//! The drill in which AURA can't reach the endpoint.

use anyhow::Result;
use futures::FutureExt as _;
use serde_json::{Value, json};
use stack::boto;
use stack::stack::Stack;

use super::Drill;
use super::count::Count;
use super::runbook::Page;
use super::scene::Scene;

pub(super) const DRILLS: &[Drill] = &[Drill {
    name: "route-gone",
    alarm: "CanaryFailsAlarm",
    breaks: "somebody removes the endpoint's routes",
    mends: "a person makes the route again",
    parameters: &[("CanaryMinutes", "1")],
    changes: &[],
    reconciles: None,
    breaking: |scene| remove_routes(&scene.system.stack).boxed(),
    mending: |scene| make_route(scene).boxed(),
    expects: Count::is_each_once_but_refused,
}];

/// Removes every route to the endpoint, as somebody might by hand.
///
/// # Errors
///
/// The stack has no such route.
pub async fn remove_routes(stack: &Stack) -> Result<()> {
    let api = stack.resource("HttpApi").await?;
    for route in ["DeliveryRoute", "OtherMethodsRoute"] {
        let route = json!({"ApiId": api, "RouteId": stack.resource(route).await?});
        let _: Value = boto::call(stack.account(), "apigatewayv2", "delete_route", route).await?;
    }
    Ok(())
}

async fn make_route(scene: &mut Scene) -> Result<()> {
    let (heading, command) = ("CanaryFailsAlarm", "aws apigatewayv2 create-route");
    scene.type_inline(Page::Operate, heading, command).await?;
    Ok(())
}
