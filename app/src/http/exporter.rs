//! The exporter as the app sees it: `GET /metrics` passes its page through, and health asks whether it is there.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use techsapo_tls::ClientTls;

use super::App;
use super::error::ApiError;
use super::neighbour::Neighbour;

/// Headers of a scrape that decide how the page is written.
const ASKED: [HeaderName; 2] = [header::ACCEPT, header::ACCEPT_ENCODING];
/// Headers of the page that say how it is written.
const TOLD: [HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
/// Largest page that is passed through.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// Asks the exporter.
#[derive(Debug, Clone)]
pub struct ExporterClient(Neighbour);

impl ExporterClient {
    /// For the exporter at `url`, which does not end in a slash.
    ///
    /// # Errors
    /// Says why no client can be made.
    pub fn new(url: &str, tls: &ClientTls) -> Result<Self, reqwest::Error> {
        Neighbour::new(url, tls).map(Self)
    }

    /// Whether it says that it is healthy.
    pub(super) async fn check(&self) -> Result<(), String> {
        self.0.check("/-/healthy").await
    }

    /// Its page of metrics, whole: half a page would read as a fall of every figure in its other half.
    async fn page(&self, asked: &HeaderMap) -> Result<(HeaderMap, Bytes), String> {
        self.0.whole("/metrics", some_of(&ASKED, asked), MAX_PAGE_BYTES).await
    }

    /// Its key figures.
    pub(super) async fn key_figures(&self) -> Result<Value, String> {
        self.0.json("/live").await.map_err(|error| format!("its key figures cannot be read: {error}"))
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
