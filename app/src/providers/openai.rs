//! OpenAI's Responses API: `POST /responses`.
//!
//! Input tokens include what was read from the cache, output tokens what the model reasoned. A streamed response is told
//! in events; the last (`response.completed`, `.incomplete` or `.failed`) holds the whole, with its usage.

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{Dialect, Draft, Ending, kind_of, parse, refused};
use super::error::code;
use super::key::Key;
use super::sse::Event;
use super::{ErrorKind, ProviderError, Tokens};

/// The format.
pub(super) struct Responses;

#[derive(Deserialize)]
struct Response {
    model: Option<String>,
    status: String,
    error: Option<Failure>,
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    output: Vec<Item>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    content: Option<Vec<Part>>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part {
    OutputText {
        text: String,
    },
    Refusal {},
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: u64,
    #[serde(default)]
    input_tokens_details: Option<InputDetails>,
    output_tokens: u64,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize, Default)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: u64,
    #[serde(default)]
    cache_write_tokens: u64,
}

#[derive(Deserialize, Default)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: u64,
}

/// An error, in a body of its own, in a response, or in a stream.
#[derive(Deserialize, Default)]
struct Failure {
    code: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    param: Option<String>,
}

#[derive(Deserialize)]
struct FailureBody {
    error: Failure,
}

impl Failure {
    /// The more telling of its two names.
    fn name(&self) -> &str {
        self.code.as_deref().or(self.kind.as_deref()).unwrap_or_default()
    }

    fn kind(&self, otherwise: ErrorKind) -> ErrorKind {
        let is = |name: &str| self.code.as_deref() == Some(name) || self.kind.as_deref() == Some(name);
        if is("insufficient_quota") || is("billing_hard_limit_reached") || is("billing_not_active") {
            ErrorKind::Quota
        } else if is("rate_limit_exceeded") {
            ErrorKind::RateLimited
        } else if is("model_not_found") || is("model_not_available") {
            ErrorKind::ModelGone
        } else if is("context_length_exceeded") || is("string_above_max_length") {
            ErrorKind::TooLarge
        } else if is("content_policy_violation") || is("invalid_prompt") || is("cyber_policy") {
            ErrorKind::Refused
        } else if is("slow_down") || is("server_overloaded") || is("server_is_overloaded") {
            ErrorKind::Overloaded
        } else if is("server_error") {
            ErrorKind::Unavailable
        } else {
            otherwise
        }
    }
}

impl Dialect for Responses {
    fn path(&self, _model: &str, _streamed: bool) -> String {
        "/responses".to_owned()
    }

    fn headers(&self, key: &Key) -> Vec<(HeaderName, HeaderValue)> {
        vec![(AUTHORIZATION, key.header("Bearer "))]
    }

    fn body(&self, question: &str, model: &str, max_output_tokens: u64, streamed: bool) -> Value {
        json!({
            "model": model,
            "input": question,
            "max_output_tokens": max_output_tokens,
            "store": false,
            "stream": streamed,
        })
    }

    fn read(&self, body: &[u8], draft: &mut Draft) -> Result<(), ProviderError> {
        take(parse(body)?, draft);
        Ok(())
    }

    fn read_event(&self, event: &Event, draft: &mut Draft) -> Result<bool, ProviderError> {
        /// What of an event is of interest; which fields there are depends on its type.
        #[derive(Deserialize)]
        struct Data {
            #[serde(rename = "type")]
            kind: String,
            response: Option<Value>,
            code: Option<String>,
            error: Option<Failure>,
        }
        let data: Data = parse(event.data.as_bytes())?;
        match data.kind.as_str() {
            "response.completed" | "response.incomplete" | "response.failed" => {
                let whole = data.response.unwrap_or_default().to_string();
                take(parse(whole.as_bytes())?, draft);
                Ok(true)
            }
            "error" => {
                let failure = data.error.unwrap_or(Failure { code: data.code, ..Failure::default() });
                Err(ProviderError::new(failure.kind(ErrorKind::Unavailable), code(failure.name())))
            }
            _ => Ok(false),
        }
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ProviderError {
        let failure = parse::<FailureBody>(body).map(|body| body.error).unwrap_or_default();
        let kind = failure.kind(kind_of(status));
        let named = match &failure.param {
            Some(param) if kind == ErrorKind::InvalidRequest => format!("{}.{param}", failure.name()),
            _ => failure.name().to_owned(),
        };
        refused(kind, status, &named)
    }
}

/// Takes in a whole response.
fn take(response: Response, draft: &mut Draft) {
    draft.model = response.model;
    if let Some(usage) = response.usage {
        let (input, output) =
            (usage.input_tokens_details.unwrap_or_default(), usage.output_tokens_details.unwrap_or_default());
        draft.set_tokens(Tokens {
            input: usage.input_tokens,
            cached_input: input.cached_tokens,
            cache_write: input.cache_write_tokens,
            output: usage.output_tokens,
            reasoning: output.reasoning_tokens,
        });
    }
    let mut declined = false;
    for part in response.output.into_iter().filter_map(|item| item.content).flatten() {
        match part {
            Part::OutputText { text } => draft.text.push_str(&text),
            Part::Refusal {} => declined = true,
            Part::Other => {}
        }
    }
    draft.ending = Some(match response.status.as_str() {
        "completed" if declined => Ending::Failed(ErrorKind::Refused, "refusal".to_owned()),
        "completed" => Ending::Complete,
        "incomplete" => {
            let reason = response.incomplete_details.and_then(|details| details.reason).unwrap_or_default();
            let kind = if reason == "content_filter" { ErrorKind::Refused } else { ErrorKind::Incomplete };
            Ending::Failed(kind, code(&reason))
        }
        "failed" => {
            let failure = response.error.unwrap_or_default();
            Ending::Failed(failure.kind(ErrorKind::Unavailable), code(failure.name()))
        }
        other => Ending::Failed(ErrorKind::Malformed, format!("status {}", code(other))),
    });
}
