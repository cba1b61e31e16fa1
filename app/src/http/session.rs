//! `/api/v1/session`: changes a key for a short-lived cookie, for the pages where a browser cannot send a header.
//!
//! The cookie cannot be read by scripts, goes to this site alone, and opens nothing but what is read by streams.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use jiff::Timestamp;
use serde_json::json;

use super::App;
use super::access::COOKIE;
use super::error::ApiError;
use crate::config::TlsListen;
use crate::guard::caller::Caller;
use crate::guard::keys::session;

/// Says whether the caller's side of a proxy speaks TLS.
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The handler of `POST`: tells who asks, and gives a browser its cookie. Who needs no key needs no cookie.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut view = json!({"name": caller.name(), "tier": caller.tier()});
    let Some(key) = caller.key() else { return Ok(Json(view).into_response()) };
    let lifetime = app.settings.keys.session;
    let latest = Timestamp::try_from(SystemTime::now() + lifetime).map_err(|_| ApiError::internal())?;
    let expires = key.expires.map_or(latest, |end| end.min(latest));
    view["expires"] = json!(expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let cookie = cookie(&session::issue(key, expires), lifetime.as_secs(), is_by_tls(&app, &headers));
    Ok(([(header::SET_COOKIE, cookie)], Json(view)).into_response())
}

/// The handler of `DELETE`: takes the cookie away.
pub(super) async fn end(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let cookie = cookie("", 0, is_by_tls(&app, &headers));
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

/// Whether the browser speaks TLS, with us or with a proxy. Whoever claims the latter wrongly only keeps the cookie from being
/// sent back.
fn is_by_tls(app: &App, headers: &HeaderMap) -> bool {
    app.settings.tls.listen != TlsListen::Off
        || headers.get(X_FORWARDED_PROTO).is_some_and(|proto| proto == "https")
}

fn cookie(value: &str, seconds: u64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // Digits, dots and these words: a header can hold them.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}
