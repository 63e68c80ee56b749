//! Why a call to AURA failed, and what to do about it.

use std::time::Duration;

use reqwest::StatusCode;

/// A call to AURA that failed.
#[derive(Debug, thiserror::Error)]
pub enum PanicApiError {
    /// AURA answered 4xx, or its own 285. The request must be corrected first.
    #[error("AURA refused {call} with {}: {message}", status.as_str())]
    Refused {
        /// The call's name.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
        /// AURA's own message.
        message: String,
    },
    /// AURA answered 401, to the token call or to a call with a new token.
    #[error(
        "AURA refused the credentials ({}) on {call}; check clientId and clientSecret in the AURA \
         credentials secret",
        status.as_str()
    )]
    CredentialsRefused {
        /// The call's name.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
    },
    /// AURA answered 403 about one callout. These credentials may not see it. This says nothing
    /// about other callouts.
    #[error("AURA does not let these credentials see the callout (403) on {call}")]
    Forbidden {
        /// The call's name.
        call: &'static str,
    },
    /// AURA answered 3xx. The redirect is not followed, because a request is meant for one host.
    #[error(
        "AURA redirected {call} with {} to {host}, which is not followed; check that \
         AuraBaseUrl is the host that answers itself",
        status.as_str()
    )]
    Redirected {
        /// The call's name.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
        /// The scheme, host and port that the redirect leads to.
        host: String,
    },
    /// AURA answered 5xx, 408, 429, or another status that isn't documented. Try again later.
    #[error(
        "AURA failed at {call} with {}{}; try again later",
        status.as_str(),
        waiting(*retry_after)
    )]
    Failed {
        /// The call's name.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
        /// How long AURA asks to wait.
        retry_after: Option<Duration>,
    },
    /// There was no answer. Try again later.
    #[error("AURA could not be reached for {call}; try again later")]
    Unreachable {
        /// The call's name.
        call: &'static str,
        /// The cause, without the URL.
        source: reqwest::Error,
    },
    /// AURA answered 2xx, but the body broke off. The call was done. Another try may return the
    /// body.
    #[error("AURA broke off its answer to {call}; try again later")]
    BrokenOff {
        /// The call's name.
        call: &'static str,
        /// The cause, without the URL.
        source: reqwest::Error,
    },
    /// The request can never be sent.
    #[error("the request for {call} can't be sent; check that AuraBaseUrl is an https URL")]
    Unsendable {
        /// The call's name.
        call: &'static str,
        /// The cause, without the URL.
        source: reqwest::Error,
    },
    /// The answer isn't what AURA documents.
    #[error("AURA's answer to {call} is not what it documents")]
    Malformed {
        /// The call's name.
        call: &'static str,
    },
}

impl PanicApiError {
    /// The same error without AURA's own message. About a callout, the message may name a person or
    /// a place.
    pub(super) fn without_words(self) -> Self {
        match self {
            Self::Refused { call, status, .. } => Self::Refused {
                call,
                status,
                message: "AURA's message is not shown".to_owned(),
            },
            error => error,
        }
    }

    /// The status with which AURA refused this call itself, and not the call for its token.
    pub(super) fn refused(&self, call: &str) -> Option<u16> {
        match self {
            Self::Refused {
                call: refused,
                status,
                ..
            } if *refused == call => Some(status.as_u16()),
            _ => None,
        }
    }

    /// How long to wait before the same call is made again: the caller's own pause, or longer if
    /// AURA asks for it.
    #[must_use]
    pub fn pause(&self, own: Duration) -> Duration {
        match self {
            Self::Failed { retry_after, .. } => own.max(retry_after.unwrap_or_default()),
            _ => own,
        }
    }

    /// Whether AURA may have done the call. 429 says that it didn't begin.
    #[must_use]
    pub fn may_have_been_done(&self) -> bool {
        self.is_transient() && !matches!(self, Self::Failed { status, .. } if *status == 429)
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. } | Self::Unreachable { .. } | Self::BrokenOff { .. }
        )
    }
}

/// The part of an error about the wait that AURA asks for.
fn waiting(asked: Option<Duration>) -> String {
    asked.map_or_else(String::new, |asked| {
        format!(" and asks to wait for {} s", asked.as_secs())
    })
}
