//! The exporter as the app sees it: `GET /metrics` passes its page through, and health asks whether it is there.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};

use super::App;
use super::error::ApiError;

/// Headers of a scrape that decide how the page is written.
const ASKED: [HeaderName; 2] = [header::ACCEPT, header::ACCEPT_ENCODING];
/// Headers of the page that say how it is written.
const TOLD: [HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
/// Largest page that is passed through.
const MAX_PAGE_BYTES: usize = 64 << 20;
/// How long the exporter may take for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to say that it is there.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks the exporter, over connections that are kept.
#[derive(Debug, Clone)]
pub struct ExporterClient {
    http: reqwest::Client,
    url: String,
}

impl ExporterClient {
    /// For the exporter at `url`, which does not end in a slash.
    ///
    /// # Errors
    /// Says why no client can be made.
    pub fn new(url: &str) -> Result<Self, reqwest::Error> {
        // Straight to the exporter: a proxy of the environment is for the world outside.
        let http = crate::clients::builder().no_proxy().connect_timeout(HEALTH_TIMEOUT).build()?;
        Ok(Self { http, url: url.to_owned() })
    }

    /// Whether it says that it is healthy.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.get("/-/healthy", HEALTH_TIMEOUT, &HeaderMap::new()).await.map(drop)
    }

    /// Its page of metrics, whole: half a page would read as a fall of every figure in its other half.
    async fn page(&self, asked: &HeaderMap) -> Result<(HeaderMap, Bytes), String> {
        self.whole("/metrics", asked).await
    }

    /// The body of one of its pages, plainly written.
    pub(super) async fn body(&self, path: &str) -> Result<Bytes, String> {
        self.whole(path, &HeaderMap::new()).await.map(|(_, body)| body)
    }

    async fn whole(&self, path: &str, asked: &HeaderMap) -> Result<(HeaderMap, Bytes), String> {
        let response =
            axum::http::Response::<reqwest::Body>::from(self.get(path, PAGE_TIMEOUT, asked).await?);
        let (parts, body) = response.into_parts();
        let page = Limited::new(body, MAX_PAGE_BYTES).collect().await.map_err(|error| error.to_string())?;
        Ok((parts.headers, page.to_bytes()))
    }

    async fn get(
        &self,
        path: &str,
        timeout: Duration,
        asked: &HeaderMap,
    ) -> Result<reqwest::Response, String> {
        let url = format!("{}{path}", self.url);
        let request = self.http.get(&url).timeout(timeout).headers(some_of(&ASKED, asked));
        let response = request.send().await.map_err(|error| innermost(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(format!("{url} answered {status}")),
        }
    }
}

/// The handler of `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    match app.exporter.page(request.headers()).await {
        Ok((told, page)) => Ok((some_of(&TOLD, &told), Body::from(page)).into_response()),
        Err(reason) => Err(ApiError::exporter_unavailable(&reason)),
    }
}

fn some_of(names: &[HeaderName], headers: &HeaderMap) -> HeaderMap {
    names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
}

/// The cause at the bottom of an error, such as "Connection refused"; what stands above only repeats the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
