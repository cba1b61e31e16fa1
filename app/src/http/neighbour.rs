//! A server of the same stack that the app asks for what it shows: the exporter, Alertmanager.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use techsapo_tls::ClientTls;

/// How long it may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to connect, or to say that it is there.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest answer that is read as JSON.
const MAX_JSON_BYTES: usize = 16 << 20;

/// Asks one server, over connections that are kept.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    http: reqwest::Client,
    url: String,
}

impl Neighbour {
    /// For the server at `url`, which does not end in a slash; one at https:// is known by the certificates of `tls`.
    pub(super) fn new(url: &str, tls: &ClientTls) -> Result<Self, reqwest::Error> {
        let http = crate::clients::neighbourly(tls).connect_timeout(HEALTH_TIMEOUT).build()?;
        Ok(Self { http, url: url.to_owned() })
    }

    /// Whether it answers a look at `path`.
    pub(super) async fn check(&self, path: &str) -> Result<(), String> {
        self.get(path, HEALTH_TIMEOUT, HeaderMap::new()).await.map(drop)
    }

    /// Head and body of an answer, as a whole.
    pub(super) async fn whole(
        &self,
        path: &str,
        headers: HeaderMap,
        max_bytes: usize,
    ) -> Result<(HeaderMap, Bytes), String> {
        let response =
            axum::http::Response::<reqwest::Body>::from(self.get(path, ANSWER_TIMEOUT, headers).await?);
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, max_bytes).collect().await.map_err(|error| error.to_string())?;
        Ok((parts.headers, body.to_bytes()))
    }

    /// What an answer says in JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let (_, body) = self.whole(path, HeaderMap::new(), MAX_JSON_BYTES).await?;
        serde_json::from_slice(&body)
            .map_err(|error| format!("{}{path} answered no such JSON: {error}", self.url))
    }

    async fn get(
        &self,
        path: &str,
        timeout: Duration,
        headers: HeaderMap,
    ) -> Result<reqwest::Response, String> {
        let url = format!("{}{path}", self.url);
        let request = self.http.get(&url).timeout(timeout).headers(headers);
        let response = request.send().await.map_err(|error| innermost(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(format!("{url} answered {status}")),
        }
    }
}

/// The cause at the bottom of an error, such as "Connection refused"; what stands above only repeats the address.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
