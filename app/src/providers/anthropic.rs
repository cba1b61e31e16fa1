//! Anthropic's Messages API: `POST /messages`.
//!
//! Input tokens do *not* include what was written to or read from the cache: those are counted beside, and billed at
//! prices of their own. Output includes what the model reasoned. In a stream, `message_start` states the input and
//! `message_delta` the output so far, cumulatively.

use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{Dialect, Draft, Ending, kind_of, parse, refused};
use super::error::code;
use super::key::Key;
use super::sse::Event;
use super::{ErrorKind, ProviderError, Tokens};

/// The format.
pub(super) struct Messages;

/// The version of the API whose shapes are read here.
const VERSION: &str = "2023-06-01";

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    #[serde(default)]
    content: Vec<Block>,
    stop_reason: Option<String>,
    usage: Usage,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    #[serde(other)]
    Other,
}

/// Usage; in a stream's later events only what has changed.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(default)]
struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct Failure {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Failure {
    fn kind(&self, otherwise: ErrorKind) -> ErrorKind {
        match self.kind.as_str() {
            "authentication_error" | "permission_error" => ErrorKind::Auth,
            "billing_error" => ErrorKind::Quota,
            // An empty account is told as an invalid request; only its words say so.
            "invalid_request_error" if self.message.contains("credit balance") => ErrorKind::Quota,
            "invalid_request_error" if self.message.contains("prompt is too long") => ErrorKind::TooLarge,
            "invalid_request_error" => ErrorKind::InvalidRequest,
            "not_found_error" => ErrorKind::ModelGone,
            "request_too_large" => ErrorKind::TooLarge,
            "rate_limit_error" => ErrorKind::RateLimited,
            "overloaded_error" => ErrorKind::Overloaded,
            "api_error" | "timeout_error" => ErrorKind::Unavailable,
            _ => otherwise,
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told {
    MessageStart {
        message: Message,
    },
    ContentBlockDelta {
        delta: BlockDelta,
    },
    MessageStop {},
    MessageDelta {
        delta: MessageDelta,
        #[serde(default)]
        usage: Usage,
    },
    Error {
        error: Failure,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockDelta {
    TextDelta {
        text: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct MessageDelta {
    stop_reason: Option<String>,
}

impl Dialect for Messages {
    fn path(&self, _model: &str, _streamed: bool) -> String {
        "/messages".to_owned()
    }

    fn headers(&self, key: &Key) -> Vec<(HeaderName, HeaderValue)> {
        vec![
            (HeaderName::from_static("x-api-key"), key.header("")),
            (HeaderName::from_static("anthropic-version"), HeaderValue::from_static(VERSION)),
        ]
    }

    fn body(&self, question: &str, model: &str, max_output_tokens: u64, streamed: bool) -> Value {
        json!({
            "model": model,
            "max_tokens": max_output_tokens,
            "messages": [{"role": "user", "content": question}],
            "stream": streamed,
        })
    }

    fn read(&self, body: &[u8], draft: &mut Draft) -> Result<(), ProviderError> {
        take(parse(body)?, draft);
        if draft.ending.is_none() {
            return Err(ProviderError::new(ErrorKind::Malformed, "no stop_reason"));
        }
        Ok(())
    }

    fn read_event(&self, event: &Event, draft: &mut Draft) -> Result<bool, ProviderError> {
        match parse(event.data.as_bytes())? {
            Told::MessageStart { message } => take(message, draft),
            Told::ContentBlockDelta { delta: BlockDelta::TextDelta { text } } => draft.text.push_str(&text),
            Told::MessageDelta { delta, usage } => {
                count(usage, draft);
                draft.ending = delta.stop_reason.as_deref().map(ending).or(draft.ending.take());
            }
            Told::Error { error } => {
                return Err(ProviderError::new(error.kind(ErrorKind::Unavailable), code(&error.kind)));
            }
            Told::MessageStop {} => return Ok(true),
            Told::ContentBlockDelta { delta: BlockDelta::Other } | Told::Other => {}
        }
        Ok(false)
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ProviderError {
        #[derive(Deserialize)]
        struct Body {
            error: Failure,
        }
        let failure = parse::<Body>(body).map(|body| body.error).unwrap_or_default();
        refused(failure.kind(kind_of(status)), status, &failure.kind)
    }
}

/// Takes in a message, whole or only begun.
fn take(message: Message, draft: &mut Draft) {
    draft.model = message.model;
    for block in message.content {
        if let Block::Text { text } = block {
            draft.text.push_str(&text);
        }
    }
    count(message.usage, draft);
    draft.ending = message.stop_reason.as_deref().map(ending);
}

/// Takes in usage; what it does not state stays as it was.
fn count(usage: Usage, draft: &mut Draft) {
    let before = draft.tokens;
    let fresh = before.input - before.cached_input - before.cache_write;
    let cached_input = usage.cache_read_input_tokens.unwrap_or(before.cached_input);
    let cache_write = usage.cache_creation_input_tokens.unwrap_or(before.cache_write);
    draft.set_tokens(Tokens {
        input: usage.input_tokens.unwrap_or(fresh).saturating_add(cached_input).saturating_add(cache_write),
        cached_input,
        cache_write,
        output: usage.output_tokens.unwrap_or(before.output),
        reasoning: 0,
    });
}

fn ending(reason: &str) -> Ending {
    match reason {
        "end_turn" | "stop_sequence" => Ending::Complete,
        "max_tokens" | "model_context_window_exceeded" => Ending::Failed(ErrorKind::Incomplete, code(reason)),
        "refusal" => Ending::Failed(ErrorKind::Refused, code(reason)),
        other => Ending::Failed(ErrorKind::Malformed, format!("stop_reason {}", code(other))),
    }
}
