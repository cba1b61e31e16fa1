//! One attempt: sends a question over HTTP and reads what comes, whole or in events, within bounds.
//!
//! What must hold: a body is never held beyond [`MAX_BODY_BYTES`]; no redirection is followed; the caller bounds the whole
//! in time, and a draft holds what was billed even when the attempt is given up.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, Url};

use super::dialect::{Dialect, Draft};
use super::key::Key;
use super::sse::Parser;
use super::{ErrorKind, ProviderError};
use crate::{clients, retry};

/// Largest response that is read.
const MAX_BODY_BYTES: usize = 8 << 20;
/// How long the end of a stream is waited for after its last event, so that the connection can be used again.
const LINGER: Duration = Duration::from_millis(100);
/// How long an idle connection is kept.
const KEEP_IDLE: Duration = Duration::from_secs(60);

/// Where a vendor serves, and how its connections are made.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    base_url: String,
    idle_timeout: Duration,
    /// The address of each path that was asked for, read once; there are no more than models.
    addresses: Mutex<HashMap<String, Url>>,
}

/// One question in a dialect.
pub(super) struct Exchange<'a> {
    pub(super) dialect: &'a dyn Dialect,
    pub(super) key: &'a Key,
    pub(super) model: &'a str,
    pub(super) question: &'a str,
    pub(super) max_output_tokens: u64,
    pub(super) streamed: bool,
}

impl Transport {
    /// To the server at `base_url`, which ends in no slash. Connections must be made within `connect_timeout`; a stream
    /// may fall silent for `idle_timeout`.
    pub(super) fn new(
        base_url: &str,
        connect_timeout: Duration,
        idle_timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        let builder = clients::builder().connect_timeout(connect_timeout).pool_idle_timeout(KEEP_IDLE);
        // What runs on this machine is not reached through the proxy to the world outside.
        let local = base_url.starts_with("http://");
        let builder = if local { builder.no_proxy() } else { builder.https_only(true) };
        Ok(Self {
            client: builder.build()?,
            base_url: base_url.to_owned(),
            idle_timeout,
            addresses: Mutex::default(),
        })
    }

    fn address(&self, path: String) -> Result<Url, ProviderError> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = addresses.get(&path) {
            return Ok(known.clone());
        }
        let address = Url::parse(&format!("{}{path}", self.base_url))
            .map_err(|error| ProviderError::new(ErrorKind::InvalidRequest, error.to_string()))?;
        addresses.insert(path, address.clone());
        Ok(address)
    }

    /// Sends the question and reads the answer into `draft`.
    pub(super) async fn exchange(
        &self,
        exchange: Exchange<'_>,
        draft: &mut Draft,
    ) -> Result<(), ProviderError> {
        let Exchange { dialect, key, model, question, max_output_tokens, streamed } = exchange;
        let url = self.address(dialect.path(model, streamed))?;
        let body = dialect.body(question, model, max_output_tokens, streamed).to_string();
        let mut request = self.client.post(url).body(body);
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in dialect.headers(key) {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| network(&error))?;
        let status = response.status();
        if !status.is_success() {
            let wait = retry::retry_after(response.headers(), SystemTime::now());
            // A refusal whose explanation does not arrive is a refusal all the same.
            let body = read(response).await.unwrap_or_default();
            return Err(dialect.refusal(status, &body).or_after(wait));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if streamed && kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            self.read_events(response, dialect, draft).await?;
        } else {
            // Also where a stream was asked for: an error may come as plain JSON.
            dialect.read(&read(response).await?, draft)?;
        }
        draft.conclude()
    }

    async fn read_events(
        &self,
        mut response: Response,
        dialect: &dyn Dialect,
        draft: &mut Draft,
    ) -> Result<(), ProviderError> {
        let (mut parser, mut bytes) = (Parser::default(), 0);
        loop {
            // No failure of the connection: the model may be at work, and to ask again would be to pay twice.
            let silence = format!("the stream fell silent for {} ms", self.idle_timeout.as_millis());
            let chunk = tokio::time::timeout(self.idle_timeout, response.chunk())
                .await
                .map_err(|_| ProviderError::new(ErrorKind::Timeout, silence))?
                .map_err(|error| network(&error))?;
            let Some(chunk) = chunk else { return Ok(()) };
            bytes += chunk.len();
            if bytes > MAX_BODY_BYTES {
                return Err(too_large());
            }
            for event in parser.push(&chunk) {
                if dialect.read_event(&event, draft)? {
                    let _ = tokio::time::timeout(LINGER, response.chunk()).await;
                    return Ok(());
                }
            }
        }
    }
}

/// A whole body.
async fn read(mut response: Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| network(&error))? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn too_large() -> ProviderError {
    ProviderError::new(ErrorKind::TooLarge, format!("the response exceeds {MAX_BODY_BYTES} bytes"))
}

fn network(error: &reqwest::Error) -> ProviderError {
    ProviderError::new(ErrorKind::Network, clients::cause(error))
}
