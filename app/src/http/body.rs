//! Reads a request's body: JSON, within its size and its time.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;

use super::error::ApiError;
use crate::config::LimitSettings;

/// How much of a body that is too large is read and thrown away, as a multiple of the limit.
const PATIENCE: u64 = 8;

/// The body of a request that must be JSON.
pub(super) async fn read(request: Request, limits: &LimitSettings) -> Result<Vec<u8>, ApiError> {
    let is_json = is_json(request.headers());
    // Read whatever it is: a caller who is still sending when the connection closes would never see the answer.
    let body = within(limits.body_timeout, collect(request, limits.body_bytes)).await?;
    if is_json { Ok(body) } else { Err(ApiError::unsupported_media_type()) }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(ApiError::body_timeout(limit)))
}

async fn collect(request: Request, limit: u64) -> Result<Vec<u8>, ApiError> {
    let mut body = request.into_body();
    let (mut bytes, mut received) = (Vec::new(), 0u64);
    while let Some(frame) = body.frame().await {
        let data: Bytes = frame.map_err(|_| ApiError::unreadable_body())?.into_data().unwrap_or_default();
        received += data.len() as u64;
        if received <= limit {
            bytes.extend_from_slice(&data);
        } else if received > limit.saturating_mul(PATIENCE) {
            break;
        }
    }
    if received > limit { Err(ApiError::body_too_large(limit)) } else { Ok(bytes) }
}

/// Whether the headers announce JSON: `application/json` or `application/…+json`, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_json_is_json() {
        let is = |value: &'static str| {
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]))
        };
        assert!(is("application/json"));
        assert!(is("Application/JSON; charset=utf-8"));
        assert!(is("application/ld+json"));
        assert!(!is("text/plain"));
        assert!(!is("application/jsonp"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
