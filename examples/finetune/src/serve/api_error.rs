//! Errors as clients of OpenAI's interface know them.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use programs::printing::message;
use serde_json::{Value, json};

use super::queue::Refused;
use crate::error::Error;

/// Seconds after which a client may try again when the queue was full.
const TRY_AGAIN: u64 = 2;

/// An error reply: `{"error": {"message": …, "type": …, "param": …, "code": …}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub status: StatusCode,
    message: String,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    fn with_code(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    /// 400 that names a field of the body.
    pub fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param: Some(param),
            ..Self::new(StatusCode::BAD_REQUEST, message)
        }
    }

    /// 400 for a body that is not a JSON object with known fields.
    pub fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401.
    pub fn token() -> Self {
        let message =
            "expected the header `Authorization: Bearer TOKEN` with the token of this server";
        Self::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key")
    }

    /// 403 for a page of another host that the browser was led to take for this one.
    pub fn host(found: &str) -> Self {
        let found = programs::printing::short(found);
        let message = format!(
            "the header `Host` is {found}, expected a name of this machine, such as localhost"
        );
        Self::new(StatusCode::FORBIDDEN, message).with_code("wrong_host")
    }

    /// 404 for an address.
    pub fn path(path: &str) -> Self {
        let path = programs::printing::short(path);
        Self::new(StatusCode::NOT_FOUND, format!("there is nothing at {path}"))
            .with_code("not_found")
    }

    /// 404 for a model.
    pub fn model(message: String) -> Self {
        Self {
            param: Some("model"),
            ..Self::new(StatusCode::NOT_FOUND, message).with_code("model_not_found")
        }
    }

    /// 405.
    pub fn method(method: &str, path: &str) -> Self {
        let message = format!(
            "{} does not take {}",
            programs::printing::short(path),
            programs::printing::short(method)
        );
        Self::new(StatusCode::METHOD_NOT_ALLOWED, message).with_code("method_not_allowed")
    }

    /// 408 for a body that does not arrive.
    pub fn slow_body() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time",
        )
        .with_code("timeout")
    }

    /// 413.
    pub fn too_large(most: usize) -> Self {
        let message = format!("the body is too large, expected at most {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("body_too_large")
    }

    /// 415.
    pub fn content_type() -> Self {
        let message = "expected the header `Content-Type: application/json`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).with_code("unsupported_media_type")
    }

    /// 503 for a request that the queue did not take.
    pub fn of_queue(refused: Refused) -> Self {
        match refused {
            Refused::Full => Self::full(),
            Refused::Closed => Self::stopping(),
        }
    }

    /// 503 if as many requests wait as may.
    fn full() -> Self {
        let message = "too many requests are waiting, try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with_code("queue_full")
    }

    /// 503 while the server stops.
    pub fn stopping() -> Self {
        let message = "the server is stopping";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message).with_code("stopping")
    }

    /// 504 for an answer that takes too long.
    pub fn timeout(limit: Duration) -> Self {
        let message = format!("the answer was not complete after {limit:?}");
        Self::new(StatusCode::GATEWAY_TIMEOUT, message).with_code("timeout")
    }

    /// 500.
    pub fn fault(problem: &dyn std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message(problem)).with_code("server_error")
    }

    /// What kept a model from answering; `param` is the field that holds the prompt.
    pub fn of_answer(error: &Error, param: &'static str) -> Self {
        let problem = message(error);
        match error {
            Error::PromptTooLong { .. } => {
                Self::field(param, problem).with_code("context_length_exceeded")
            }
            Error::Config { .. } => Self::field(param, problem),
            // The chat template's own words, or what the tokenizer says.
            Error::Data(_) => Self {
                param: Some(param),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, problem)
            },
            _ => Self::fault(&problem),
        }
    }

    pub fn json(&self) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        };
        json!({"error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code,
        }})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.json().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, TRY_AGAIN.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
