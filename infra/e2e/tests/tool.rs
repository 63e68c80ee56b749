//! Tests of `aura-ops`, the operators' command: the program as it is built, on deployed stacks.

mod console;
mod ledger;
mod path;
pub mod permissions;
mod queues;

use anyhow::Result;
use stack::ops::Ops;
use stack::workspace::Workspace;
use tokio::sync::OnceCell;

static OPS: OnceCell<Ops> = OnceCell::const_new();

/// The program. The first test that asks for it builds it.
pub async fn ops() -> Result<&'static Ops> {
    OPS.get_or_try_init(async || Ops::build(&Workspace::here()?).await)
        .await
}
