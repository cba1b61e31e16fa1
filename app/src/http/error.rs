//! The one shape of errors: `{"error": {"code", "message", "details"?}, "request_id"}`.
//!
//! A handler returns an [`ApiError`]; the `request_id` layer, which knows the id, writes it out.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use techsapo_shared::labels::{SanitizationType, TaskType};

use crate::analysis::PlanError;

/// What a caller is told when something went wrong.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Option<Value>,
    /// The request was not read to its end, so that the connection cannot carry another.
    close: bool,
    /// Seconds after which the same request may succeed.
    retry_after_s: Option<u64>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: None, close: false, retry_after_s: None }
    }

    fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
    }

    /// One message for whatever is wrong with a key, so that nothing is learned by trying.
    pub(super) fn unauthorized() -> Self {
        let message = "a valid API key is needed: send it as \"Authorization: Bearer …\" or \"X-API-Key: …\"";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(super) fn forbidden_here() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "this API key does not open this path")
    }

    pub(super) fn host_not_allowed() -> Self {
        let message = "without an API key, this app answers only to the names in http.allowed_hosts \
                       (TECHSAPO_HTTP_ALLOWED_HOSTS) and, where no proxy is between, to localhost and loopback addresses: \
                       ask for it by one of these (Host), or send a key";
        Self::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
    }

    pub(super) fn forbidden_task_type(asked: TaskType, tier: TaskType) -> Self {
        let message = format!("this API key is for tasks up to {tier}, not {asked}");
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
            .with_details(json!({"task_type": asked, "tier": tier}))
    }

    pub(super) fn too_many_wrong_keys(retry_after_s: u64) -> Self {
        let message = "too many wrong API keys came from this address; try again later";
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
        Self { retry_after_s: Some(retry_after_s), ..error }
    }

    pub(super) fn rate_limited(limit: u64, tier: TaskType, retry_after_s: u64) -> Self {
        let message =
            format!("the {tier} plan lets through {limit} requests a minute; try again in {retry_after_s} s");
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        let details = json!({"limit_per_minute": limit, "retry_after_s": retry_after_s});
        Self { retry_after_s: Some(retry_after_s), ..error.with_details(details) }
    }

    pub(super) fn head_too_large(headers: usize, bytes: u64) -> Self {
        let message = format!("the request's head has more than {headers} headers or {bytes} bytes");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", message)
            .with_details(json!({"limit_headers": headers, "limit_bytes": bytes}))
    }

    pub(super) fn input_refused(kind: SanitizationType) -> Self {
        let message = "the text asks for what this service does not do; if it cites such a text, put that in quotation marks";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "input_refused", message)
            .with_details(json!({"type": kind}))
    }

    /// Whether a body or a prompt was too large.
    pub(super) fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE
    }

    /// Whether who asks may not: a key that does not open this, or a name that is not this app's.
    pub(super) fn is_forbidden(&self) -> bool {
        self.status == StatusCode::FORBIDDEN
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not take this method; the header Allow lists those that it takes",
        )
    }

    pub(super) fn invalid_json(error: &serde_json::Error) -> Self {
        let details = json!({"line": error.line(), "column": error.column()});
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not a JSON object: {error}"))
            .with_details(details)
    }

    /// The body is JSON, but some fields are not what they should be: each with what is wrong.
    pub(super) fn invalid_request(problems: &[(&'static str, String)]) -> Self {
        let list: Vec<_> =
            problems.iter().map(|(field, problem)| json!({"field": field, "problem": problem})).collect();
        let message: Vec<_> = problems.iter().map(|(field, problem)| format!("{field} {problem}")).collect();
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message.join("; ")).with_details(json!(list))
    }

    pub(super) fn unreadable_body() -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "unreadable_body", "the body ended before its time");
        Self { close: true, ..error }
    }

    pub(super) fn body_timeout(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {} ms", limit.as_millis());
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message) }
    }

    pub(super) fn body_too_large(limit: u64) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        let error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message);
        Self { close: true, ..error.with_details(json!({"limit_bytes": limit})) }
    }

    pub(super) fn prompt_too_large(bytes: usize, limit: u64) -> Self {
        let message = format!("the prompt has {bytes} bytes, more than {limit}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "prompt_too_large", message)
            .with_details(json!({"limit_bytes": limit}))
    }

    pub(super) fn unsupported_media_type() -> Self {
        let message = "the body must be JSON: send Content-Type: application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    pub(super) fn overloaded() -> Self {
        let message = "too many analyses are running and waiting; try again in a moment";
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message) }
    }

    pub(super) fn not_enough_providers(needed: usize, answered: usize, details: Value) -> Self {
        let message = format!("{answered} of {needed} needed answers came");
        Self::new(StatusCode::BAD_GATEWAY, "not_enough_providers", message).with_details(details)
    }

    /// `why` is what the budget says.
    pub(super) fn budget_exhausted(why: &str, retry_after_s: u64, details: Value) -> Self {
        let message = format!(
            "the budget has no room for the providers that this needs: {why}; try again in {retry_after_s} s, or ask who runs \
             this service to raise budget.daily_usd or budget.monthly_usd"
        );
        // What the owner decided is no failure of the service, so that it is not answered with 5xx, which calls people.
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "budget_exhausted", message);
        Self { retry_after_s: Some(retry_after_s), ..error.with_details(details) }
    }

    pub(super) fn deadline_exceeded(needed: usize, answered: usize, details: Value) -> Self {
        let message =
            format!("the time for an analysis was over when {answered} of {needed} needed answers had come");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", message).with_details(details)
    }

    pub(super) fn documents_off() -> Self {
        let message = "there are no documents: Google Drive is not set up (drive.key_file)";
        // As above: nobody is called for what was not set up.
        Self::new(StatusCode::NOT_FOUND, "documents_off", message)
    }

    pub(super) fn documents_unavailable(problem: Option<&str>) -> Self {
        let reason = problem.unwrap_or("Google Drive is being read for the first time");
        let message = format!("the documents are not there yet: {reason}");
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "documents_unavailable", message);
        Self { retry_after_s: Some(5), ..error }
    }

    pub(super) fn exporter_unavailable(reason: &str) -> Self {
        let message = format!("the exporter, whose metrics stand here, cannot be reached: {reason}");
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::BAD_GATEWAY, "exporter_unavailable", message) }
    }

    pub(super) fn too_many_watchers() -> Self {
        let message = "too many watch the live figures already; try again in a moment";
        Self {
            retry_after_s: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", message)
        }
    }

    pub(super) fn not_a_websocket(reason: &str) -> Self {
        let message = format!(
            "this path speaks WebSocket: {reason}; GET /api/v1/metrics/stream tells the same over HTTP"
        );
        Self::new(StatusCode::UPGRADE_REQUIRED, "websocket_required", message)
    }

    pub(super) fn internal() -> Self {
        let message = "something went wrong here; the log has more under this request's id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The one shape, for the request with this id.
    pub(super) fn shape(&self, request_id: &str) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        json!({"error": error, "request_id": request_id})
    }

    /// The response, to the request with this id.
    pub(super) fn render(&self, request_id: &str) -> Response {
        let mut response = (self.status, Json(self.shape(request_id))).into_response();
        if self.close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<PlanError> for ApiError {
    fn from(error: PlanError) -> Self {
        if let PlanError::TooFewProviders { needed, configured } = error {
            let message = format!("{error}; set keys for more vendors, or allow simulated providers");
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_enough_providers", message)
                .with_details(json!({"needed": needed, "configured": configured}));
        }
        Self::invalid_request(&[("models", format!("cannot be asked: {error}"))])
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
