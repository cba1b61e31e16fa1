//! OpenRouter's Chat Completions API: `POST /chat/completions`.
//!
//! Prompt tokens include what was read from the cache, completion tokens what the model reasoned. It states what it
//! charges (`usage.cost`, in USD). Once a model has begun, the status is 200 whatever happens: an error then stands in the
//! body, in a choice, or in an event of the stream, and the last event bears the usage.

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use techsapo_shared::event::MAX_COST_NANOUSD;

use super::dialect::{Dialect, Draft, Ending, kind_of, parse, refused};
use super::error::code;
use super::key::Key;
use super::sse::Event;
use super::{ErrorKind, ProviderError, Tokens};

/// The format.
pub(super) struct ChatCompletions;

/// Says which program asks, as OpenRouter wishes.
const TITLE: &str = "TechSapo";

#[derive(Deserialize)]
struct Response {
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Choice {
    /// The message, or in a stream its next piece.
    #[serde(alias = "delta")]
    message: Option<Piece>,
    finish_reason: Option<String>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Piece {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    cost: Option<f64>,
    #[serde(default)]
    is_byok: Option<bool>,
    cost_details: Option<CostDetails>,
}

#[derive(Deserialize, Default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CostDetails {
    upstream_inference_cost: Option<f64>,
}

impl Usage {
    /// What is charged. With a key of the user's own behind it, the model's vendor sends a bill too.
    fn charged_nanousd(&self) -> Option<u64> {
        let upstream = self.cost_details.as_ref().and_then(|details| details.upstream_inference_cost);
        let theirs = if self.is_byok == Some(true) { upstream.unwrap_or(0.0) } else { 0.0 };
        let usd = self.cost? + theirs;
        // A double holds nano-dollars exactly up to nine million dollars.
        let valid = usd.is_finite() && usd >= 0.0 && usd * 1e9 <= MAX_COST_NANOUSD as f64;
        valid.then(|| (usd * 1e9).round() as u64)
    }
}

#[derive(Deserialize, Default)]
struct Failure {
    /// A status, or in a stream sometimes a word.
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: String,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    /// Why moderation flagged the question.
    reasons: Option<Vec<String>>,
    error_type: Option<String>,
}

impl Failure {
    fn error(&self, status: StatusCode) -> ProviderError {
        let stated = self.code.as_u64().or_else(|| self.code.as_str()?.parse().ok());
        let status = stated
            .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
            .filter(|status| status.as_u16() >= 400)
            .unwrap_or(status);
        let moderated = self.metadata.as_ref().is_some_and(|metadata| metadata.reasons.is_some());
        let no_such_model =
            self.message.contains("not a valid model ID") || self.message.contains("No endpoints found for");
        let kind = match status.as_u16() {
            403 if moderated => ErrorKind::Refused,
            400 | 404 if no_such_model => ErrorKind::ModelGone,
            200 => ErrorKind::Unavailable,
            _ => kind_of(status),
        };
        let word = self.code.as_str().filter(|word| word.parse::<u16>().is_err());
        let kind_told = self.metadata.as_ref().and_then(|metadata| metadata.error_type.as_deref());
        refused(kind, status, word.or(kind_told).unwrap_or_default())
    }
}

impl Dialect for ChatCompletions {
    fn path(&self, _model: &str, _streamed: bool) -> String {
        "/chat/completions".to_owned()
    }

    fn headers(&self, key: &Key) -> Vec<(HeaderName, HeaderValue)> {
        vec![
            (AUTHORIZATION, key.header("Bearer ")),
            (HeaderName::from_static("x-title"), HeaderValue::from_static(TITLE)),
        ]
    }

    fn body(&self, question: &str, model: &str, max_output_tokens: u64, streamed: bool) -> Value {
        json!({
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_output_tokens,
            "stream": streamed,
        })
    }

    fn read(&self, body: &[u8], draft: &mut Draft) -> Result<(), ProviderError> {
        take(parse(body)?, draft)?;
        if draft.ending.is_none() {
            return Err(ProviderError::new(ErrorKind::Malformed, "no choice with a finish_reason"));
        }
        Ok(())
    }

    fn read_event(&self, event: &Event, draft: &mut Draft) -> Result<bool, ProviderError> {
        if event.data == "[DONE]" {
            return Ok(true);
        }
        take(parse(event.data.as_bytes())?, draft).map(|()| false)
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ProviderError {
        #[derive(Deserialize)]
        struct Body {
            error: Failure,
        }
        parse::<Body>(body).map(|body| body.error).unwrap_or_default().error(status)
    }
}

/// Takes in a response, or the next piece of one.
fn take(response: Response, draft: &mut Draft) -> Result<(), ProviderError> {
    draft.model = response.model.or(draft.model.take());
    if let Some(usage) = response.usage {
        draft.charged_nanousd = usage.charged_nanousd();
        let (prompt, completion) = (
            usage.prompt_tokens_details.unwrap_or_default(),
            usage.completion_tokens_details.unwrap_or_default(),
        );
        draft.set_tokens(Tokens {
            input: usage.prompt_tokens,
            cached_input: prompt.cached_tokens.unwrap_or(0),
            cache_write: prompt.cache_write_tokens.unwrap_or(0),
            output: usage.completion_tokens,
            reasoning: completion.reasoning_tokens.unwrap_or(0),
        });
    }
    let choice = response.choices.into_iter().next();
    let failure = response.error.as_ref().or(choice.as_ref().and_then(|choice| choice.error.as_ref()));
    if let Some(failure) = failure {
        return Err(failure.error(StatusCode::OK));
    }
    let Some(choice) = choice else { return Ok(()) };
    let mut declined = false;
    if let Some(piece) = choice.message {
        draft.text.push_str(piece.content.as_deref().unwrap_or_default());
        declined = piece.refusal.is_some_and(|words| !words.is_empty());
    }
    if declined {
        draft.ending = Some(Ending::Failed(ErrorKind::Refused, "refusal".to_owned()));
    } else if let (Some(reason), None) = (choice.finish_reason, &draft.ending) {
        draft.ending = Some(match reason.as_str() {
            "stop" => Ending::Complete,
            "length" => Ending::Failed(ErrorKind::Incomplete, code(&reason)),
            "content_filter" => Ending::Failed(ErrorKind::Refused, code(&reason)),
            "error" => Ending::Failed(ErrorKind::Unavailable, code(&reason)),
            other => Ending::Failed(ErrorKind::Malformed, format!("finish_reason {}", code(other))),
        });
    }
    Ok(())
}
