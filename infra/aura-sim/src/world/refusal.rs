//! Reasons to refuse a request.

use axum::http::StatusCode;

/// Why a request was not done. The text is the `message` of AURA's error answer. It names the thing
/// that is wrong, and never repeats a secret or personal data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    Unauthorized(&'static str),
    #[error("{0}")]
    NotPermitted(&'static str),
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    Conflict(String),
    #[error(
        "requests of web pages and for names of other machines are refused: see `pages` in \
         infra/aura-sim"
    )]
    Foreign,
    #[error("this method is not allowed here")]
    MethodNotAllowed,
    /// A server error that the plan has decided.
    #[error("AURA fails because of a plan")]
    OutOfOrder(StatusCode),
    #[error("the stand-in is shutting down")]
    ShuttingDown,
    #[error("the stand-in could not write its own answer")]
    Unwritable(#[from] serde_json::Error),
}

impl Refusal {
    /// Makes the refusal for a callout that does not exist.
    pub(crate) fn unknown_callout(id: u64) -> Self {
        Self::Unknown(format!("callout {id} is unknown"))
    }
}
