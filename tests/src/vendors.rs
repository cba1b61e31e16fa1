//! A server that speaks as the four vendors do, told apart by path; quick, so that it can stand behind a measurement too. By HTTPS,
//! as the real ones, or in clear, which is less work where the connection does not matter.
//!
//! Every answer uses [`INPUT_TOKENS`] and [`OUTPUT_TOKENS`], and at the prices of [`Vendors::providers_toml`] costs
//! [`COST_NANOUSD`], whoever gives it. The shapes are those that the vendors document, cut down to what matters here; how every
//! documented shape is read is tested beside the app's providers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::authority::Identity;

/// Input tokens of every answer.
pub const INPUT_TOKENS: u64 = 100;
/// Output tokens of every answer.
pub const OUTPUT_TOKENS: u64 = 20;
/// What every answer costs: 100 tokens at 1.25 and 20 at 10 USD a million.
pub const COST_NANOUSD: u64 = 325_000;
/// Longest that a silent vendor holds on to a caller.
const HANG: Duration = Duration::from_secs(60);

/// One of the vendors.
#[derive(Debug, Clone, Copy)]
pub struct Vendor {
    /// Its section of `providers.toml`, and the first part of its path here.
    pub section: &'static str,
    /// The environment variable of its key.
    pub key_variable: &'static str,
    /// What metrics call the provider.
    pub provider: &'static str,
    /// What metrics call who sends the bill.
    pub biller: &'static str,
    /// The model that is asked.
    pub model: &'static str,
    answer: fn(&str) -> Value,
}

/// All vendors, in the order in which the app asks them.
pub const VENDORS: [Vendor; 4] = [
    Vendor {
        section: "gemini",
        key_variable: "GEMINI_API_KEY",
        provider: "Gemini",
        biller: "google",
        model: "gemini-2.5-pro",
        answer: |text| {
            json!({
                "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}],
                "usageMetadata": {"promptTokenCount": INPUT_TOKENS, "candidatesTokenCount": OUTPUT_TOKENS},
                "modelVersion": "gemini-2.5-pro",
            })
        },
    },
    Vendor {
        section: "openai",
        key_variable: "OPENAI_API_KEY",
        provider: "OpenAI",
        biller: "openai",
        model: "gpt-5",
        answer: |text| {
            json!({
                "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5-2025-08-07",
                "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}],
                "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
            })
        },
    },
    Vendor {
        section: "anthropic",
        key_variable: "ANTHROPIC_API_KEY",
        provider: "Claude",
        biller: "anthropic",
        model: "claude-sonnet-4-20250514",
        answer: |text| {
            json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-20250514",
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
                "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
            })
        },
    },
    Vendor {
        section: "openrouter",
        key_variable: "OPENROUTER_API_KEY",
        provider: "OpenRouter",
        biller: "openrouter",
        model: "mistralai/mistral-large",
        answer: |text| {
            json!({
                "id": "gen-1", "object": "chat.completion", "created": 1_758_000_000, "model": "mistralai/mistral-large",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {
                    "prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS,
                    "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS, "cost": COST_NANOUSD as f64 / 1e9,
                },
            })
        },
    },
];

/// What a vendor does when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// Says this.
    Says(String),
    /// Refuses with this status.
    Refuses(u16),
    /// Says nothing.
    Hangs,
}

/// The running server.
pub struct Vendors {
    scheme: &'static str,
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// How long an answer takes.
    delay: Duration,
    /// What each vendor sends; nothing: it hangs.
    replies: Mutex<[Option<Arc<[u8]>>; 4]>,
    /// How many came.
    requests: AtomicUsize,
}

impl Vendors {
    /// Four vendors that answer the same, this long after they were asked.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(text: &str, delay: Duration) -> Self {
        Self::listen(text, delay, None)
    }

    /// The same by HTTPS (HTTP/1.1, TLS 1.3) with this certificate.
    ///
    /// # Panics
    /// When it cannot listen, or the certificate is none.
    pub fn start_with_tls(text: &str, delay: Duration, identity: &Identity) -> Self {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&identity.cert).unwrap().collect();
        let key = PrivateKeyDer::from_pem_file(&identity.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Self::listen(text, delay, Some(Arc::new(config.with_single_cert(chain.unwrap(), key).unwrap())))
    }

    fn listen(text: &str, delay: Duration, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let replies = VENDORS.map(|vendor| Some(whole(200, &(vendor.answer)(text))));
        let shared = Arc::new(Shared { delay, replies: Mutex::new(replies), requests: AtomicUsize::new(0) });
        let of_thread = Arc::clone(&shared);
        let scheme = if tls.is_some() { "https" } else { "http" };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&of_thread), tls.clone());
                // Who goes away is not missed.
                thread::spawn(move || {
                    stream.set_nodelay(true)?;
                    match tls {
                        None => shared.serve(stream),
                        Some(config) => {
                            let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
                            shared.serve(StreamOwned::new(connection, stream))
                        }
                    }
                });
            }
        });
        Self { scheme, port, shared }
    }

    /// From now on `vendor` does this.
    ///
    /// # Panics
    /// When there is no such vendor.
    pub fn set(&self, vendor: Vendor, manner: &Manner) {
        let reply = match manner {
            Manner::Says(text) => Some(whole(200, &(vendor.answer)(text))),
            Manner::Refuses(status) => Some(whole(*status, &json!({"error": {"message": "no"}}))),
            Manner::Hangs => None,
        };
        let index = VENDORS.iter().position(|known| known.section == vendor.section).unwrap();
        self.shared.replies.lock().unwrap()[index] = reply;
    }

    /// Requests that came, whatever became of them.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Its address, `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where `vendor` serves.
    pub fn url(&self, vendor: Vendor) -> String {
        format!("{}://{}/{}", self.scheme, self.address(), vendor.section)
    }

    /// A `providers.toml` of these vendors, each with one attempt and `further` lines.
    pub fn providers_toml(&self, vendors: &[Vendor], further: &str) -> String {
        let section = |vendor: &Vendor| {
            let Vendor { section, model, .. } = vendor;
            format!(
                "[{section}]\nmodels = [\"{model}\"]\nbase_url = \"{}\"\nattempts = 1\n{further}\n\
                 [[{section}.prices]]\nmodel = \"{model}\"\nfrom = 2020-01-01\ninput = 1.25\noutput = 10\n",
                self.url(*vendor)
            )
        };
        vendors.iter().map(section).collect()
    }
}

impl Shared {
    /// Serves a connection until the other side ends it.
    fn serve(&self, stream: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            // `/openai/…`; whoever speaks plain Chat Completions need not say to whom.
            let path = line.split(' ').nth(1).unwrap_or_default();
            let named =
                VENDORS.iter().position(|vendor| path.trim_start_matches('/').starts_with(vendor.section));
            let index = named.unwrap_or(VENDORS.len() - 1);
            let mut length = 0;
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                match line.split_once(':') {
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    None => break,
                    Some(_) => {}
                }
            }
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
            let reply = self.replies.lock().unwrap()[index].clone();
            let Some(reply) = reply else {
                thread::sleep(HANG);
                return Ok(());
            };
            thread::sleep(self.delay);
            reader.get_mut().write_all(&reply)?;
            reader.get_mut().flush()?;
        }
    }
}

/// A response, ready to be sent.
fn whole(status: u16, body: &Value) -> Arc<[u8]> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}",
        body.len()
    );
    format!("{head}\r\n\r\n{body}").into_bytes().into()
}
