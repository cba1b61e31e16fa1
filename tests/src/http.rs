//! HTTP requests, by TLS where a client is made for it, to the servers under test. Every request opens its own connection: servers are killed here.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder};

use crate::{Authority, Identity};

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The value of a header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A client to be; every test's client begins here.
pub fn builder() -> reqwest::blocking::ClientBuilder {
    // Only the first of several choices counts, and all are the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().pool_max_idle_per_host(0)
}

/// A client for servers that `authority` is trusted for, as whoever `identity` is.
///
/// # Panics
/// When the files are no certificates.
pub fn tls_client(authority: &Authority, identity: Option<&Identity>) -> Client {
    let trusted = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = builder().timeout(Duration::from_secs(30)).tls_certs_only([trusted]);
    let shown = identity.map(|identity| reqwest::Identity::from_pem(&identity.pem()).unwrap());
    match shown {
        Some(shown) => client.identity(shown).build().unwrap(),
        None => client.build().unwrap(),
    }
}

/// The client behind [`get`], for requests that need more.
pub fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| builder().timeout(Duration::from_secs(30)).build().unwrap())
}

/// Sends a request.
///
/// # Errors
/// Says why there was no whole answer.
pub fn send(request: RequestBuilder) -> Result<Answer, String> {
    let response = request.send().map_err(|error| format!("{error:?}"))?;
    let status = response.status().as_u16();
    let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let bytes = response.bytes().map_err(|error| format!("{error:?}"))?.to_vec();
    Ok(Answer { status, headers, bytes })
}

/// Gets a URL.
///
/// # Errors
/// Says why there was no whole answer.
pub fn get(url: &str) -> Result<Answer, String> {
    send(client().get(url))
}
