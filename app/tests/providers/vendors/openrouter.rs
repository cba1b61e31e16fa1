//! OpenRouter's Chat Completions API.

use serde_json::{Value, json};
use techsapo_app::providers::{ErrorKind, Tokens};

use super::{BrokenStream, Shape, data, with};

pub(super) const SHAPE: Shape = Shape {
    section: "openrouter",
    key_variable: "OPENROUTER_API_KEY",
    model: "mistralai/mistral-large",
    paths: ["/chat/completions", "/chat/completions"],
    key_header: ("authorization", "Bearer "),
    question: "/messages/0/content",
    answer,
    stream,
    tokens: TOKENS,
    refusals: REFUSALS,
    gone: (400, GONE),
    no_answers,
    broken_streams,
};

const TOKENS: Tokens = Tokens { input: 194, cached_input: 64, cache_write: 100, output: 32, reasoning: 20 };

/// With what is charged: 0.000123457 USD.
fn usage() -> Value {
    json!({"prompt_tokens": 194, "completion_tokens": 32, "total_tokens": 226, "cost": 0.000_123_457,
        "is_byok": false, "cost_details": {"upstream_inference_cost": null},
        "prompt_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 100, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 20}})
}

fn answer(model: &str, text: &str) -> Value {
    json!({
        "id": "gen-1758000000-AbCdEf", "provider": "Mistral", "model": model, "object": "chat.completion",
        "created": 1_758_000_000,
        "choices": [{"index": 0, "finish_reason": "stop", "native_finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": text, "refusal": null, "reasoning": null}}],
        "usage": usage(),
    })
}

fn piece(model: &str, text: &str, finish: Option<&str>) -> Value {
    json!({"id": "gen-1758000000-AbCdEf", "provider": "Mistral", "model": model, "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": finish}]})
}

fn begun(model: &str, text: &str) -> Vec<String> {
    let comment = ": OPENROUTER PROCESSING\n\n".to_owned();
    vec![comment.clone(), data(&piece(model, text, None)), comment]
}

fn stream(model: &str, text: &str) -> Vec<String> {
    let (first, rest) = text.split_at(text.len() / 2);
    let mut events = begun(model, first);
    let mut last = with(&piece(model, "", None), "/choices", json!([]));
    last["usage"] = usage();
    events.extend([data(&piece(model, rest, Some("stop"))), data(&last), "data: [DONE]\n\n".to_owned()]);
    events
}

fn no_answers() -> Vec<(Value, ErrorKind)> {
    let good = answer("mistralai/mistral-large", "half an ans");
    let finished = |reason: &str| with(&good, "/choices/0/finish_reason", json!(reason));
    let error = |code: u16| json!({"code": code, "message": "Provider returned error", "metadata": {"provider_name": "Mistral", "raw": "x"}});
    let mut whole = with(&good, "/choices", json!([]));
    whole["error"] = error(502);
    let mut limited = whole.clone();
    limited["error"] = error(429);
    let mut choice = finished("error");
    choice["choices"][0]["error"] = error(503);
    let refusal = json!({"role": "assistant", "content": null, "refusal": "I cannot help with that."});
    vec![
        (whole, ErrorKind::Unavailable),
        (limited, ErrorKind::RateLimited),
        (choice, ErrorKind::Unavailable),
        (finished("length"), ErrorKind::Incomplete),
        (finished("content_filter"), ErrorKind::Refused),
        (finished("error"), ErrorKind::Unavailable),
        (with(&good, "/choices/0/message", refusal), ErrorKind::Refused),
        (with(&good, "/choices/0/message/content", Value::Null), ErrorKind::Empty),
        (with(&good, "/choices", json!([])), ErrorKind::Malformed),
    ]
}

fn broken_streams() -> Vec<BrokenStream> {
    let model = "mistralai/mistral-large";
    let mut failed = begun(model, "half");
    let mut last = piece(model, "", Some("error"));
    last["error"] = json!({"code": "server_error", "message": "Provider disconnected unexpectedly"});
    last["usage"] = usage();
    failed.push(data(&last));
    vec![
        (failed, ErrorKind::Unavailable, TOKENS),
        (begun(model, "half"), ErrorKind::Network, Tokens::default()),
    ]
}

const GONE: &str = r#"{"error": {"message": "mistralai/mistral-large is not a valid model ID", "code": 400},
    "user_id": "user_1"}"#;

const REFUSALS: &[(u16, &str, ErrorKind)] = &[
    (
        400,
        r#"{"error": {"code": 400, "message": "Input required: specify messages"}}"#,
        ErrorKind::InvalidRequest,
    ),
    (400, GONE, ErrorKind::ModelGone),
    (
        401,
        r#"{"error": {"code": 401, "message": "No auth credentials found: sk-secret-0123456789"}}"#,
        ErrorKind::Auth,
    ),
    (402, r#"{"error": {"code": 402, "message": "Insufficient credits"}}"#, ErrorKind::Quota),
    (
        403,
        r#"{"error": {"code": 403, "message": "Flagged", "metadata": {"reasons": ["violence"],
        "flagged_input": "…", "provider_name": "OpenAI", "model_slug": "m"}}}"#,
        ErrorKind::Refused,
    ),
    (
        404,
        r#"{"error": {"code": 404, "message": "No endpoints found for mistralai/mistral-large."}}"#,
        ErrorKind::ModelGone,
    ),
    (408, r#"{"error": {"code": 408, "message": "Your request timed out"}}"#, ErrorKind::Unavailable),
    (413, r#"{"error": {"code": 413, "message": "Payload too large"}}"#, ErrorKind::TooLarge),
    (429, r#"{"error": {"code": 429, "message": "Rate limit exceeded"}}"#, ErrorKind::RateLimited),
    (
        502,
        r#"{"error": {"code": 502, "message": "Provider returned error", "metadata": {"provider_name": "x",
        "raw": {}}}}"#,
        ErrorKind::Unavailable,
    ),
    (503, r#"{"error": {"code": 503, "message": "No available model provider"}}"#, ErrorKind::Unavailable),
];
