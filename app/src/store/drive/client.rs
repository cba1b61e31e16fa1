//! Google Drive, version 3, as far as it is needed: lists of files, and the text of one.
//!
//! What must hold: each request is bounded in time, with all its attempts, and in size; nothing is sent while the circuit
//! breaker is open; a token that is refused is renewed once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::AUTHORIZATION;
use reqwest::{Client as HttpClient, Url};
use tokio::time::timeout_at;

use super::error::{DriveError, Kind, Step};
use super::exchange::{self, Body};
use super::file::{File, Page};
use super::token::Tokens;
use crate::config::DriveSettings;
use crate::guard::breaker::{Breaker, Permit};
use crate::{clients, retry};

/// Attempts at one request.
const ATTEMPTS: u32 = 3;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest page of a list.
const MOST_LIST_BYTES: usize = 4 << 20;
/// Files on a page of a list.
const PAGE_FILES: &str = "200";
/// What is asked of each file.
const FIELDS: &str = "nextPageToken,files(id,name,mimeType,modifiedTime,webViewLink)";

/// Asks Drive.
pub(super) struct Client {
    http: HttpClient,
    tokens: Tokens,
    breaker: Arc<Breaker>,
    base_url: String,
    timeout: Duration,
    document_bytes: usize,
}

impl Client {
    pub(super) fn new(
        settings: &DriveSettings,
        key_file: &std::path::Path,
        breaker: Arc<Breaker>,
    ) -> Result<Self, reqwest::Error> {
        let builder = clients::builder().connect_timeout(CONNECT_TIMEOUT);
        // What runs on this machine is not reached through the proxy to the world outside.
        let is_local = settings.base_url.starts_with("http://");
        let builder = if is_local { builder.no_proxy() } else { builder.https_only(true) };
        Ok(Self {
            http: builder.build()?,
            tokens: Tokens::new(key_file),
            breaker,
            base_url: settings.base_url.clone(),
            timeout: settings.timeout,
            document_bytes: usize::try_from(settings.document_bytes).unwrap_or(usize::MAX),
        })
    }

    /// One page of the files that a query finds.
    pub(super) async fn list(&self, query: &str, page: Option<&str>) -> Result<Page, DriveError> {
        let mut url = self.url(Step::List, &[])?;
        url.query_pairs_mut()
            .append_pair("q", query)
            .append_pair("pageSize", PAGE_FILES)
            .append_pair("fields", FIELDS)
            .append_pair("supportsAllDrives", "true")
            .append_pair("includeItemsFromAllDrives", "true");
        if let Some(token) = page {
            url.query_pairs_mut().append_pair("pageToken", token);
        }
        let body = self.get(Step::List, &url, MOST_LIST_BYTES).await?;
        exchange::parse(Step::List, &body.bytes)
    }

    /// The text of a file, as far as it is taken in.
    pub(super) async fn text(&self, file: &File) -> Result<Body, DriveError> {
        let mut url = if file.is_google_doc() {
            self.url(Step::Read, &[&file.id, "export"])?
        } else {
            self.url(Step::Read, &[&file.id])?
        };
        if file.is_google_doc() {
            url.query_pairs_mut().append_pair("mimeType", "text/plain");
        } else {
            url.query_pairs_mut().append_pair("alt", "media").append_pair("supportsAllDrives", "true");
        }
        self.get(Step::Read, &url, self.document_bytes).await
    }

    fn url(&self, step: Step, path: &[&str]) -> Result<Url, DriveError> {
        let refused = |detail: &str| DriveError::new(step, Kind::Refused, detail);
        let mut url =
            Url::parse(&format!("{}/drive/v3/files", self.base_url)).map_err(|_| refused("no address"))?;
        url.path_segments_mut().map_err(|()| refused("no path"))?.extend(path);
        Ok(url)
    }

    async fn get(&self, step: Step, url: &Url, most: usize) -> Result<Body, DriveError> {
        let permit = self.breaker.admit().map_err(|refused| {
            let wait = (!refused.retry_in.is_zero()).then_some(refused.retry_in);
            DriveError { retry_after: wait, ..DriveError::new(step, Kind::CircuitOpen, "") }
        })?;
        let result = self.attempts(step, url, most).await;
        settle(permit, result.as_ref().err().map(|error| error.kind));
        result
    }

    async fn attempts(&self, step: Step, url: &Url, most: usize) -> Result<Body, DriveError> {
        let deadline = Instant::now() + self.timeout;
        let (mut attempt, mut renewed) = (0, false);
        loop {
            let result = timeout_at(deadline.into(), self.attempt(step, url, most)).await;
            let error = match result.unwrap_or_else(|_| Err(DriveError::new(step, Kind::Timeout, ""))) {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            if error.kind == Kind::TokenRefused && !renewed {
                renewed = true;
                continue;
            }
            attempt += 1;
            let left = deadline.saturating_duration_since(Instant::now());
            let again = error.kind.retryable();
            let pause = again
                .then(|| retry::pause(error.retry_after, attempt, ATTEMPTS, left, retry::chance()))
                .flatten();
            let Some(pause) = pause else { return Err(error) };
            tracing::debug!(attempt, pause_ms = pause.as_millis(), reason = %error, "Google Drive failed; another attempt follows");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, step: Step, url: &Url, most: usize) -> Result<Body, DriveError> {
        let token = self.tokens.header(&self.http).await?;
        let request = self.http.get(url.clone()).header(AUTHORIZATION, token.clone());
        let response = match exchange::send(step, request).await {
            Ok(response) => response,
            Err(error) => {
                if error.kind == Kind::TokenRefused {
                    self.tokens.forget(&token).await;
                }
                return Err(error);
            }
        };
        exchange::read(step, response, most).await
    }
}

/// Tells the breaker how a request ended: with a failure of this kind, or well.
fn settle(permit: Permit, failure: Option<Kind>) {
    match failure {
        Some(
            Kind::KeyFile
            | Kind::Auth
            | Kind::TokenRefused
            | Kind::Quota
            | Kind::RateLimited
            | Kind::Unavailable
            | Kind::Timeout
            | Kind::Malformed
            | Kind::Network,
        ) => permit.failure(),
        // It was not asked, so that nothing is known.
        Some(Kind::CircuitOpen) => drop(permit),
        None | Some(Kind::Gone | Kind::Unreadable | Kind::Refused) => permit.success(),
    }
}
