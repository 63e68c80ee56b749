//! Has the registrar prove this endpoint, and point AURA at it.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Serialize;
use shared::reregister::{ReregisterAnswer, ReregisterRequest};
use uuid::Uuid;

use crate::audit::Change;
use crate::consent::{self, Consent};
use crate::registrar;
use crate::stack::Stack;

/// How long to wait for the registrar. Lambda ends it after two minutes.
const PATIENCE: Duration = Duration::from_secs(130);
/// What is left to do after a standby was registered.
const TAKEN_OVER: &str = "This stack is a standby: deploy it with Register=true now. Until then its \
    reconciler is off, so nothing finds what AURA did not deliver, and a changed header or address \
    would not be registered.";

/// A registration that AURA has accepted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Registered {
    /// The URL that AURA delivers to now.
    pub url: String,
    /// The steps of the registration, and their times.
    pub steps: String,
    /// What is left to do, if the stack is a standby.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'static str>,
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
        next: stack.is_standby().then_some(TAKEN_OVER),
    })
}

impl Display for Registered {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { url, steps, next } = self;
        write!(f, "AURA delivers to {url}, and nowhere else.\n{steps}")?;
        next.map_or(Ok(()), |next| write!(f, "\n{next}"))
    }
}
