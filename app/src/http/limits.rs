//! What one caller may take: a request's head of bounded size, and as many requests a minute as the plan says.
//!
//! Every response to a caller of the API says how the plan stands: `X-RateLimit-Limit` (requests a minute),
//! `X-RateLimit-Remaining`, `X-RateLimit-Reset` (Unix seconds at which room comes back). Beyond it the answer is 429 with
//! `Retry-After`, a `rate_limit_hit` fact, and nobody is asked anything.
//!
//! Redis decides. Where its answer will most likely be yes, `generate` first reads and checks what was asked, and then asks Redis for leave
//! and for a cached answer together. No provider is asked, no document is searched and nobody is answered before the [`Allowance`] is
//! granted; and the request is counted whatever becomes of its caller.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::future::{BoxFuture, FutureExt, Shared};
use techsapo_shared::event::{Event, RateLimitHit};
use techsapo_shared::labels::TaskType;
use tokio::runtime::Handle;

use super::error::ApiError;
use super::{ALERTS, API, App, GENERATE, HEALTH, SOCKET, UNMATCHED};
use crate::clock;
use crate::guard::address::Client;
use crate::guard::caller::{Account, Caller};
use crate::guard::limits::window::Decision;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The layer that bounds a request's head. (hyper itself refuses, with an empty 431, what it has no room for.)
pub(super) async fn bound_head(
    app: &App,
    request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let limits = &app.settings.limits;
    let (count, bytes) = (request.headers().len(), head_bytes(&request));
    if count > limits.headers || bytes as u64 > limits.header_bytes {
        return ApiError::head_too_large(limits.headers, limits.header_bytes).into_response();
    }
    next(request).await
}

fn head_bytes(request: &Request) -> usize {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    target + request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}

/// The layer that holds callers of the API to their plans. Those who look after the app are not held up.
pub(super) async fn bound_rate(
    app: &Arc<App>,
    mut request: Request,
    next: impl AsyncFnOnce(Request) -> Response,
) -> Response {
    let route = route(&request);
    let is_limited = (route.starts_with(API) && *route != *HEALTH && *route != *ALERTS) || *route == *SOCKET;
    if !is_limited {
        return next(request).await;
    }
    let Some(caller) = request.extensions().get::<Caller>() else { return next(request).await };
    let (client, account, tier) = (caller.client(), caller.account(), caller.tier());
    let is_hasty = *route == *GENERATE && app.limits.hasten(&account, tier);
    let allowance = Allowance::of(app, account, tier, is_hasty);
    let _decided = Decided(&allowance);
    request.extensions_mut().insert(allowance.clone());
    let may_begin = is_hasty || allowance.decision().await.allowed;
    let response = if may_begin { Some(next(request).await) } else { None };
    let decision = allowance.decision().await;
    let mut response = match response {
        Some(response) if decision.allowed => response,
        // What a handler said meanwhile to somebody who may not ask is not said.
        _ => {
            record_hit(app, &route, client);
            refusal(&decision, tier).into_response()
        }
    };
    tell(response.headers_mut(), &decision);
    response
}

/// Leave to ask, which may still be under way.
#[derive(Clone)]
pub(super) struct Allowance {
    decision: Shared<BoxFuture<'static, Decision>>,
    tier: TaskType,
}

impl Allowance {
    fn of(app: &Arc<App>, account: Account, tier: TaskType, is_hasty: bool) -> Self {
        let app = Arc::clone(app);
        let decision = async move { app.limits.take(&account, tier, is_hasty).await };
        Self { decision: decision.boxed().shared(), tier }
    }

    async fn decision(&self) -> Decision {
        self.decision.clone().await
    }

    /// Waits until it is granted.
    ///
    /// # Errors
    /// When it is not.
    pub(super) async fn granted(&self) -> Result<(), ApiError> {
        let decision = self.decision().await;
        if decision.allowed { Ok(()) } else { Err(refusal(&decision, self.tier)) }
    }
}

/// Lets a decision be made to its end, also when the caller goes away before.
struct Decided<'a>(&'a Allowance);

impl Drop for Decided<'_> {
    fn drop(&mut self) {
        if self.0.decision.peek().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(self.0.decision.clone());
        }
    }
}

fn refusal(decision: &Decision, tier: TaskType) -> ApiError {
    ApiError::rate_limited(decision.limit, tier, retry_after_s(decision))
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

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_decision_is_made_to_its_end_also_when_nobody_waits_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (made, is_made) = oneshot::channel();
            let decision = async {
                made.send(()).unwrap();
                Decision::new(true, 1, 1, 0, 0)
            };
            let allowance = Allowance { decision: decision.boxed().shared(), tier: TaskType::Basic };
            drop(Decided(&allowance));
            drop(allowance);
            // Were it forgotten, its sender would be gone.
            assert_eq!(is_made.await, Ok(()));
        });
    }
}
