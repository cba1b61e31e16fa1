//! Tokens: a signed statement is changed for one, which then opens Drive for about an hour.
//!
//! The key file is read anew each time, so that a new key is used as soon as the old one opens nothing any more.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::account::Account;
use super::error::{DriveError, Kind, Step};
use super::exchange;
use crate::clock;

/// How long before its end a token is no longer used.
const MARGIN: Duration = Duration::from_secs(60);
/// Longest that a token is believed to hold.
const LONGEST: Duration = Duration::from_secs(86_400);
/// Largest response with a token.
const MOST_BYTES: usize = 64 << 10;

/// Gives out tokens.
pub(super) struct Tokens {
    key_file: PathBuf,
    /// Locked while a new one is fetched, so that one is enough for all who wait.
    current: Mutex<Option<Token>>,
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    pub(super) fn new(key_file: &Path) -> Self {
        Self { key_file: key_file.to_owned(), current: Mutex::default() }
    }

    /// The value of a header with a token that still holds.
    pub(super) async fn header(&self, client: &Client) -> Result<HeaderValue, DriveError> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref().filter(|token| token.until > Instant::now()) {
            return Ok(token.header.clone());
        }
        let token = self.fetch(client).await?;
        Ok(current.insert(token).header.clone())
    }

    /// Takes it that this token opens nothing any more.
    pub(super) async fn forget(&self, refused: &HeaderValue) {
        let mut current = self.current.lock().await;
        // Another may have been fetched meanwhile.
        current.take_if(|token| token.header == *refused);
    }

    async fn fetch(&self, client: &Client) -> Result<Token, DriveError> {
        let failed = |kind, detail: String| DriveError::new(Step::Token, kind, detail);
        let path = self.key_file.clone();
        let signed = tokio::task::spawn_blocking(move || {
            let account = Account::load(&path).map_err(|error| error.to_string())?;
            let statement = account.statement(clock::unix_ms() / 1_000)?;
            Ok::<_, String>((account.token_url, statement))
        });
        let signed = signed.await.map_err(|error| failed(Kind::KeyFile, error.to_string()))?;
        let (url, statement) = signed.map_err(|reason| failed(Kind::KeyFile, reason))?;
        let url = Url::parse(&url).map_err(|error| failed(Kind::KeyFile, error.to_string()))?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", &statement)
            .finish();
        let request = client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .body(form);
        let asked = Instant::now();
        let response: Response = exchange::send(Step::Token, request).await?;
        let body = exchange::read(Step::Token, response, MOST_BYTES).await?.bytes;
        let granted: Granted = exchange::parse(Step::Token, &body)?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", granted.access_token))
            .map_err(|_| failed(Kind::Malformed, "the token fits in no header".to_owned()))?;
        header.set_sensitive(true);
        let lifetime = Duration::from_secs(granted.expires_in).min(LONGEST);
        Ok(Token { header, until: asked + lifetime.saturating_sub(MARGIN) })
    }
}
