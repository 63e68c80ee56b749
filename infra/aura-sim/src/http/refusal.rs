//! Answers a refusal: with AURA's status, and a `message` for people.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::world::refusal::Refusal;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "message": self.to_string() });
        (status(&self), Json(body)).into_response()
    }
}

fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
        Refusal::Unauthorized(_) => StatusCode::UNAUTHORIZED,
        Refusal::NotPermitted(_) | Refusal::Foreign => StatusCode::FORBIDDEN,
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Refusal::OutOfOrder(status) => *status,
        Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Unwritable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
