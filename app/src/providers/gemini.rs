//! Google's Gemini API: `POST /models/{model}:generateContent`, streamed `:streamGenerateContent?alt=sse`.
//!
//! The prompt's tokens include what was read from the cache; what is billed as output are the candidates' tokens and the
//! thoughts'. In a stream every event has the shape of a response; usage is cumulative, the last is the sum.

use std::time::Duration;

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
pub(super) struct GenerateContent;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    candidates: Vec<Candidate>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<Usage>,
    model_version: Option<String>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
    /// A summary of what the model thought, which is no part of the answer.
    #[serde(default)]
    thought: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Usage {
    prompt_token_count: u64,
    cached_content_token_count: u64,
    tool_use_prompt_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    code: u16,
    status: String,
    details: Vec<Detail>,
}

/// One of several forms of details; which fields there are depends on its `@type`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    reason: Option<String>,
    retry_delay: Option<String>,
    violations: Vec<Violation>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Violation {
    quota_id: String,
}

impl Failure {
    fn error(&self, status: StatusCode) -> ProviderError {
        let reason = self.details.iter().find_map(|detail| detail.reason.as_deref());
        let mut quotas =
            self.details.iter().flat_map(|detail| &detail.violations).map(|one| one.quota_id.as_str());
        // A day's quota comes back tomorrow, whatever delay is named beside it.
        let for_the_day = quotas.any(|quota| quota.contains("PerDay"));
        let kind = match (self.status.as_str(), reason) {
            (_, Some("API_KEY_INVALID" | "API_KEY_SERVICE_BLOCKED" | "API_KEY_EXPIRED")) => ErrorKind::Auth,
            (_, Some("BILLING_DISABLED")) => ErrorKind::Quota,
            ("RESOURCE_EXHAUSTED", _) if for_the_day => ErrorKind::Quota,
            ("RESOURCE_EXHAUSTED", _) => ErrorKind::RateLimited,
            ("UNAUTHENTICATED" | "PERMISSION_DENIED", _) => ErrorKind::Auth,
            ("NOT_FOUND", _) => ErrorKind::ModelGone,
            ("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE", _) => ErrorKind::InvalidRequest,
            ("UNAVAILABLE", _) => ErrorKind::Overloaded,
            ("INTERNAL" | "DEADLINE_EXCEEDED" | "ABORTED" | "UNKNOWN", _) => ErrorKind::Unavailable,
            _ => kind_of(status),
        };
        let delay = self.details.iter().find_map(|detail| seconds(detail.retry_delay.as_deref()?));
        refused(kind, status, reason.unwrap_or(&self.status)).or_after(delay)
    }
}

/// A duration as Google writes it: `34.07s`.
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

impl Dialect for GenerateContent {
    fn path(&self, model: &str, streamed: bool) -> String {
        let method = if streamed { "streamGenerateContent?alt=sse" } else { "generateContent" };
        format!("/models/{model}:{method}")
    }

    fn headers(&self, key: &Key) -> Vec<(HeaderName, HeaderValue)> {
        vec![(HeaderName::from_static("x-goog-api-key"), key.header(""))]
    }

    fn body(&self, question: &str, _model: &str, max_output_tokens: u64, _streamed: bool) -> Value {
        json!({
            "contents": [{"role": "user", "parts": [{"text": question}]}],
            "generationConfig": {"maxOutputTokens": max_output_tokens},
        })
    }

    fn read(&self, body: &[u8], draft: &mut Draft) -> Result<(), ProviderError> {
        take(parse(body)?, draft)?;
        if draft.ending.is_none() {
            return Err(ProviderError::new(ErrorKind::Malformed, "no candidate with a finishReason"));
        }
        Ok(())
    }

    fn read_event(&self, event: &Event, draft: &mut Draft) -> Result<bool, ProviderError> {
        // The last bears a finishReason, but so may one before it: the end of the stream alone is sure.
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
    if let Some(failure) = response.error {
        let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Err(failure.error(status));
    }
    draft.model = response.model_version.or(draft.model.take());
    if let Some(usage) = response.usage_metadata {
        draft.set_tokens(Tokens {
            input: usage.prompt_token_count.saturating_add(usage.tool_use_prompt_token_count),
            cached_input: usage.cached_content_token_count,
            cache_write: 0,
            output: usage.candidates_token_count.saturating_add(usage.thoughts_token_count),
            reasoning: usage.thoughts_token_count,
        });
    }
    if let Some(reason) = response.prompt_feedback.and_then(|feedback| feedback.block_reason) {
        draft.ending = Some(Ending::Failed(ErrorKind::Refused, code(&reason)));
    }
    let Some(candidate) = response.candidates.into_iter().next() else { return Ok(()) };
    for part in candidate.content.into_iter().flat_map(|content| content.parts) {
        if !part.thought {
            draft.text.push_str(&part.text);
        }
    }
    if let Some(reason) = candidate.finish_reason {
        draft.ending = Some(match reason.as_str() {
            "STOP" => Ending::Complete,
            "MAX_TOKENS" => Ending::Failed(ErrorKind::Incomplete, code(&reason)),
            "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => {
                Ending::Failed(ErrorKind::Refused, code(&reason))
            }
            _ => Ending::Failed(ErrorKind::Malformed, format!("finishReason {}", code(&reason))),
        });
    }
    Ok(())
}
