//! The answers to requests. A refusal is `application/problem+json` (RFC 9457) and says what to do. It
//! never says why a secret was wrong.

use lambda_http::http::header::{ALLOW, CONTENT_TYPE};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde_json::json;
use uuid::Uuid;

/// Every answer that `ingest` gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The delivery is on its way to the processor.
    Accepted(Uuid),
    /// The delivery is stored, though it can't be read.
    Quarantined(Uuid),
    /// The function runs. Nothing else was checked.
    Healthy,
    /// Nothing is stored.
    Refused(Refusal),
}

/// Why a request is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The source address isn't allowed.
    Forbidden,
    /// The path is not the webhook's.
    NotFound,
    /// The path doesn't allow this method.
    MethodNotAllowed {
        /// The methods that the path allows, separated by commas.
        allowed: &'static str,
    },
    /// The secret is missing or wrong.
    Unauthorized,
    /// The secret can't be read, and the value that was sent matches no known value.
    SecretUnavailable,
    /// The body has more bytes than a queue message holds.
    TooLarge,
    /// Neither the queue nor the spill confirmed the delivery.
    StoreUnavailable,
}

impl Answer {
    /// A short name for logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Quarantined(_) => "quarantined",
            Self::Healthy => "ok",
            Self::Refused(refusal) => refusal.name(),
        }
    }

    /// The HTTP response.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        match self {
            Self::Accepted(id) | Self::Quarantined(id) => {
                let body = json!({"deliveryId": id, "status": self.name()});
                response(StatusCode::ACCEPTED, "application/json", &body)
            }
            Self::Healthy => {
                let body = json!({"status": self.name(), "version": env!("CARGO_PKG_VERSION")});
                response(StatusCode::OK, "application/json", &body)
            }
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}

impl Refusal {
    fn name(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed { .. } => "method-not-allowed",
            Self::Unauthorized => "unauthorized",
            Self::SecretUnavailable => "secret-unavailable",
            Self::TooLarge => "too-large",
            Self::StoreUnavailable => "store-unavailable",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SecretUnavailable | Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Forbidden => "Requests from this address are not accepted.",
            Self::NotFound => "Send deliveries to /aura/events.",
            Self::MethodNotAllowed { .. } => "Use a method that the Allow header lists.",
            Self::Unauthorized => "Send the header that was registered with this webhook.",
            Self::SecretUnavailable => "The secret could not be checked. Send the delivery again.",
            Self::TooLarge => "The body is larger than this endpoint can store.",
            Self::StoreUnavailable => "The delivery could not be stored. Send it again.",
        }
    }

    fn into_response(self) -> Response<Body> {
        let status = self.status();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": self.detail(),
        });
        let mut response = response(status, "application/problem+json", &body);
        if let Self::MethodNotAllowed { allowed } = self {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}

fn response(
    status: StatusCode,
    content_type: &'static str,
    body: &serde_json::Value,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_delivery_is_a_202_with_its_id() {
        let id = Uuid::from_u128(7);
        let response = Answer::Accepted(id).into_response();
        assert_eq!(response.status(), 202);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body, json!({"deliveryId": id, "status": "accepted"}));
    }

    #[test]
    fn a_refusal_is_a_problem_document() {
        let response =
            Answer::Refused(Refusal::MethodNotAllowed { allowed: "POST" }).into_response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[ALLOW], "POST");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["status"], 405);
        assert_eq!(body["title"], "Method Not Allowed");
    }
}
