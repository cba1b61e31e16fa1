//! What one caller may take: a request's head of bounded size, and as many requests a minute as the plan says.
//!
//! Every response to a caller of the API says how the plan stands: `X-RateLimit-Limit` (requests a minute),
//! `X-RateLimit-Remaining`, `X-RateLimit-Reset` (Unix seconds at which room comes back). Beyond it the answer is 429 with
//! `Retry-After`, a `rate_limit_hit` fact, and nothing else happens.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use techsapo_shared::event::{Event, RateLimitHit};

use super::error::ApiError;
use super::{API, App, HEALTH, SOCKET, UNMATCHED};
use crate::clock;
use crate::guard::address::Client;
use crate::guard::caller::Caller;
use crate::guard::limits::window::Decision;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The layer that bounds a request's head. (hyper itself refuses, with an empty 431, what it has no room for.)
pub(super) async fn bound_head(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let limits = &app.settings.limits;
    let (count, bytes) = (request.headers().len(), head_bytes(&request));
    if count > limits.headers || bytes as u64 > limits.header_bytes {
        return ApiError::head_too_large(limits.headers, limits.header_bytes).into_response();
    }
    next.run(request).await
}

fn head_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    target + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}

/// The layer that holds callers of the API to their plans. Those who look after the app are not held up.
pub(super) async fn bound_rate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = route(&request);
    let is_limited = (route.starts_with(API) && *route != *HEALTH) || *route == *SOCKET;
    if !is_limited {
        return next.run(request).await;
    }
    let Some(caller) = request.extensions().get::<Caller>() else { return next.run(request).await };
    let client = caller.client();
    let decision = app.limits.take(&caller.account(), caller.tier()).await;
    let mut response = if decision.allowed {
        next.run(request).await
    } else {
        record_hit(&app, &route, client);
        let (limit, tier) = (decision.limit, caller.tier());
        ApiError::rate_limited(limit, tier, retry_after_s(&decision)).into_response()
    };
    tell(response.headers_mut(), &decision);
    response
}

/// Template of the route that was asked for.
pub(super) fn route(request: &Request) -> Arc<str> {
    Arc::from(request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str))
}

/// States that a limit refused a request.
pub(super) fn record_hit(app: &App, route: &str, client: Client) {
    app.recorder.record(&Event::RateLimitHit(RateLimitHit {
        t: clock::unix_ms(),
        endpoint: Cow::Borrowed(route),
        client_ip: Cow::Owned(client.network()),
    }));
}

/// Whole seconds, so many that the wait is long enough.
pub(super) fn retry_after_s(decision: &Decision) -> u64 {
    decision.reset_in_ms.div_ceil(1_000)
}

fn tell(headers: &mut HeaderMap, decision: &Decision) {
    let reset = clock::unix_ms().saturating_add(decision.reset_in_ms).div_ceil(1_000);
    for (name, value) in [(LIMIT, decision.limit), (REMAINING, decision.remaining), (RESET, reset)] {
        headers.insert(name, HeaderValue::from(value));
    }
}
