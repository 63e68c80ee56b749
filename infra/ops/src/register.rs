//! Has the registrar prove this endpoint, and point AURA at it.

use std::fmt::{self, Display, Formatter};

use anyhow::Result;
use serde::Serialize;

use crate::consent::Consent;
use crate::stack::Stack;

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
/// Nobody agreed, the registrar can't be called, or the registration failed. The error says at which step.
pub async fn register(_stack: &Stack, _consent: Consent) -> Result<Registered> {
    todo!()
}

impl Display for Registered {
    fn fmt(&self, _f: &mut Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
