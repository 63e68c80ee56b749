//! Has the registrar prove this endpoint, and point AURA at it.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Serialize;
use shared::reregister::{ReregisterAnswer, ReregisterRequest};
use uuid::Uuid;

use crate::consent::{self, Change, Consent};
use crate::registrar;
use crate::stack::Stack;

/// How long to wait for the registrar. Lambda ends it after two minutes.
const PATIENCE: Duration = Duration::from_secs(130);

/// A registration that AURA has accepted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The URL that AURA delivers to now.
    pub url: String,
    /// The steps of the registration, and their times.
    pub steps: String,
}

/// Registers the endpoint.
///
/// # Errors
///
/// Nobody agreed, the registrar can't be called, or the registration failed. The error says at
/// which step.
pub async fn register(stack: &Stack, consent: Consent) -> Result<Registered> {
    let url = stack.output("WebhookUrl")?;
    let request_id = Uuid::now_v7();
    let change = Change {
        action: "register",
        sentence: format!(
            "Prove {url} with a canary, and then point AURA at it. AURA delivers nowhere else from \
             then on."
        ),
        subjects: vec![request_id.to_string()],
    };
    let work = async {
        let request = ReregisterRequest::Reregister { request_id };
        let registered: Result<ReregisterAnswer> =
            registrar::invoke(stack, &request, PATIENCE).await;
        let registered = registered.map_err(|error| {
            let runbook = stack.parameter("RunbookBaseUrl");
            anyhow!("the registration failed: {error:#}. What to do: {runbook}#registrarfailsalarm")
        });
        (usize::from(registered.is_ok()), registered)
    };
    let ReregisterAnswer { steps } = Box::pin(consent::make(stack, change, consent, work)).await?;
    Ok(Registered {
        url: url.to_owned(),
        steps: steps.join("; "),
    })
}

impl Display for Registered {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { url, steps } = self;
        write!(f, "AURA delivers to {url}, and nowhere else.\n{steps}")
    }
}
