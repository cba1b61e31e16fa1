//! Google's Gemini API.

use serde_json::{Value, json};
use techsapo_app::providers::{ErrorKind, Tokens};

use super::{BrokenStream, Shape, data, with};

pub(super) const SHAPE: Shape = Shape {
    section: "gemini",
    key_variable: "GEMINI_API_KEY",
    model: "gemini-2.5-pro",
    paths: ["/models/gemini-2.5-pro:generateContent", "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"],
    key_header: ("x-goog-api-key", ""),
    question: "/contents/0/parts/0/text",
    answer,
    stream,
    tokens: TOKENS,
    refusals: REFUSALS,
    gone: (404, GONE),
    no_answers,
    broken_streams,
};

/// Candidates' 30 and thoughts' 100 are billed as output; the prompt's 400 hold the cache's 300.
const TOKENS: Tokens = Tokens { input: 400, cached_input: 300, cache_write: 0, output: 130, reasoning: 100 };

fn usage(candidates: u64, thoughts: u64) -> Value {
    json!({"promptTokenCount": 400, "cachedContentTokenCount": 300, "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts, "totalTokenCount": 400 + candidates + thoughts,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 400}]})
}

fn answer(model: &str, text: &str) -> Value {
    json!({
        "candidates": [{
            "content": {"role": "model", "parts": [{"text": "I thought about it.", "thought": true}, {"text": text}]},
            "finishReason": "STOP", "index": 0,
        }],
        "usageMetadata": usage(30, 100), "modelVersion": model, "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
    })
}

fn begun(model: &str, text: &str) -> Vec<String> {
    let piece = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}],
        "usageMetadata": usage(4, 100), "modelVersion": model});
    vec![data(&piece)]
}

fn stream(model: &str, text: &str) -> Vec<String> {
    let (first, rest) = text.split_at(text.len() / 2);
    let mut events = begun(model, first);
    let last = with(&answer(model, rest), "/usageMetadata", usage(30, 100));
    events.push(data(&last));
    events
}

fn no_answers() -> Vec<(Value, ErrorKind)> {
    let good = answer("gemini-2.5-pro", "half an ans");
    let finished = |reason: &str| with(&good, "/candidates/0/finishReason", json!(reason));
    let mut blocked = with(&good, "/candidates", json!([]));
    blocked["promptFeedback"] = json!({"blockReason": "PROHIBITED_CONTENT"});
    vec![
        (finished("MAX_TOKENS"), ErrorKind::Incomplete),
        (finished("SAFETY"), ErrorKind::Refused),
        (finished("RECITATION"), ErrorKind::Refused),
        (finished("MALFORMED_FUNCTION_CALL"), ErrorKind::Malformed),
        (blocked, ErrorKind::Refused),
        (with(&good, "/candidates/0/content", json!({"role": "model"})), ErrorKind::Empty),
        (with(&good, "/candidates", json!([])), ErrorKind::Malformed),
    ]
}

fn broken_streams() -> Vec<BrokenStream> {
    let known = Tokens { output: 104, ..TOKENS };
    let ended = |value: Value| {
        let mut events = begun("gemini-2.5-pro", "half");
        events.push(data(&value));
        events
    };
    let error =
        json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
    let cut_short = with(&answer("gemini-2.5-pro", ""), "/candidates/0/finishReason", json!("MAX_TOKENS"));
    vec![
        (ended(error), ErrorKind::Overloaded, known),
        (ended(cut_short), ErrorKind::Incomplete, TOKENS),
        (begun("gemini-2.5-pro", "half"), ErrorKind::Network, known),
    ]
}

const GONE: &str = r#"{"error": {"code": 404, "message": "models/gemini-2.5-pro is not found for API version v1beta.",
    "status": "NOT_FOUND"}}"#;

const REFUSALS: &[(u16, &str, ErrorKind)] = &[
    (
        400,
        r#"{"error": {"code": 400, "message": "Invalid JSON payload received.", "status": "INVALID_ARGUMENT"}}"#,
        ErrorKind::InvalidRequest,
    ),
    (
        400,
        r#"{"error": {"code": 400, "message": "API key not valid: sk-secret-0123456789.",
        "status": "INVALID_ARGUMENT", "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]}}"#,
        ErrorKind::Auth,
    ),
    (
        403,
        r#"{"error": {"code": 403, "message": "Method doesn't allow unregistered callers.",
        "status": "PERMISSION_DENIED"}}"#,
        ErrorKind::Auth,
    ),
    (404, GONE, ErrorKind::ModelGone),
    (
        429,
        r#"{"error": {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED",
        "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_input_token_count",
            "quotaId": "GenerateContentPaidTierInputTokensPerModelPerMinute", "quotaValue": "10000"}]},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "Quotas", "url": "https://x.test"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.5s"}]}}"#,
        ErrorKind::RateLimited,
    ),
    (
        429,
        r#"{"error": {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED",
        "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]}}"#,
        ErrorKind::Quota,
    ),
    (
        500,
        r#"{"error": {"code": 500, "message": "An internal error has occurred.", "status": "INTERNAL"}}"#,
        ErrorKind::Unavailable,
    ),
    (
        503,
        r#"{"error": {"code": 503, "message": "The model is overloaded. Please try again later.",
        "status": "UNAVAILABLE"}}"#,
        ErrorKind::Overloaded,
    ),
    (
        504,
        r#"{"error": {"code": 504, "message": "The request timed out.", "status": "DEADLINE_EXCEEDED"}}"#,
        ErrorKind::Unavailable,
    ),
];
