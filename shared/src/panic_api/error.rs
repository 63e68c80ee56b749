//! Why AURA didn't do a call, and what to do about it.

use std::time::Duration;

use reqwest::StatusCode;

/// A call that AURA didn't grant.
#[derive(Debug, thiserror::Error)]
pub enum PanicApiError {
    /// 4xx, and AURA's own 285: the request must be mended first.
    #[error("AURA refused {call} with {}: {message}", status.as_str())]
    Refused {
        /// Which call.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
        /// AURA's own words.
        message: String,
    },
    /// 401, on the token call or on a call with a fresh token.
    #[error(
        "AURA refused the credentials ({}) on {call}; check clientId and clientSecret in the AURA \
         credentials secret",
        status.as_str()
    )]
    CredentialsRefused {
        /// Which call.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
    },
    /// 403 about one callout: these credentials may not see it. It says nothing of any other.
    #[error("AURA does not let these credentials see the callout (403) on {call}")]
    Forbidden {
        /// Which call.
        call: &'static str,
    },
    /// 3xx. It is not followed: what a request carries is meant for one host.
    #[error(
        "AURA redirected {call} with {} to {location}, which is not followed; check that \
         AuraBaseUrl is the host that answers itself",
        status.as_str()
    )]
    Redirected {
        /// Which call.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
        /// Where to, without credentials, query and fragment.
        location: String,
    },
    /// 5xx, 408, 429, or another status that isn't documented: try again later.
    #[error(
        "AURA failed at {call} with {}{}; try again later",
        status.as_str(),
        waiting(*retry_after)
    )]
    Failed {
        /// Which call.
        call: &'static str,
        /// AURA's status.
        status: StatusCode,
        /// How long AURA asks to wait.
        retry_after: Option<Duration>,
    },
    /// No answer: try again later.
    #[error("AURA could not be reached for {call}; try again later")]
    Unreachable {
        /// Which call.
        call: &'static str,
        /// Why, without the URL.
        source: reqwest::Error,
    },
    /// A 2xx without its whole body: it was done, and what came of it is worth another try.
    #[error("AURA broke off its answer to {call}; try again later")]
    BrokenOff {
        /// Which call.
        call: &'static str,
        /// Why, without the URL.
        source: reqwest::Error,
    },
    /// The request can't be sent at all, whenever.
    #[error("the request for {call} can't be sent; check that AuraBaseUrl is an https URL")]
    Unsendable {
        /// Which call.
        call: &'static str,
        /// Why, without the URL.
        source: reqwest::Error,
    },
    /// An answer that isn't what AURA documents.
    #[error("AURA's answer to {call} is not what it documents")]
    Malformed {
        /// Which call.
        call: &'static str,
    },
}

impl PanicApiError {
    /// The same without AURA's own words: about a callout, they may name a person or a place.
    pub(super) fn without_words(self) -> Self {
        match self {
            Self::Refused { call, status, .. } => Self::Refused {
                call,
                status,
                message: "AURA's words are not shown".to_owned(),
            },
            error => error,
        }
    }

    /// The status with which AURA refused this very call, and not the token that it takes.
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

    /// How long to wait before the same call is made again: as long as its caller would, and no
    /// shorter than AURA has asked for.
    #[must_use]
    pub fn pause(&self, own: Duration) -> Duration {
        match self {
            Self::Failed { retry_after, .. } => own.max(retry_after.unwrap_or_default()),
            _ => own,
        }
    }

    /// Whether AURA may have done what it was asked for. 429 says that it didn't even begin.
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

/// What is said of a wait that AURA asks for.
fn waiting(asked: Option<Duration>) -> String {
    asked.map_or_else(String::new, |asked| {
        format!(" and asks to wait for {} s", asked.as_secs())
    })
}
