//! Anthropic's Messages API.

use serde_json::{Value, json};
use techsapo_app::providers::{ErrorKind, Tokens};

use super::{BrokenStream, Shape, named, with};

pub(super) const SHAPE: Shape = Shape {
    section: "anthropic",
    key_variable: "ANTHROPIC_API_KEY",
    model: "claude-sonnet-4-20250514",
    paths: ["/messages", "/messages"],
    key_header: ("x-api-key", ""),
    question: "/messages/0/content",
    answer,
    stream,
    tokens: TOKENS,
    refusals: REFUSALS,
    gone: (404, GONE),
    no_answers,
    broken_streams,
};

/// 25 fresh, 200 written to and 500 read from the cache.
const TOKENS: Tokens = Tokens { input: 725, cached_input: 500, cache_write: 200, output: 15, reasoning: 0 };

fn answer(model: &str, text: &str) -> Value {
    json!({
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message", "role": "assistant", "model": model,
        "content": [
            {"type": "thinking", "thinking": "Let me think.", "signature": "EqQBCgIYAhIM"},
            {"type": "text", "text": text},
        ],
        "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 25, "cache_creation_input_tokens": 200, "cache_read_input_tokens": 500,
            "output_tokens": 15, "service_tier": "standard"},
    })
}

fn begun(model: &str, text: &str) -> Vec<String> {
    let message = with(&with(&answer(model, ""), "/content", json!([])), "/stop_reason", Value::Null);
    let message = with(&message, "/usage/output_tokens", json!(1));
    let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
    vec![
        named(&json!({"type": "message_start", "message": message})),
        named(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        named(&json!({"type": "ping"})),
        named(&delta(json!({"type": "thinking_delta", "thinking": "Hm."}))),
        named(&delta(json!({"type": "text_delta", "text": text}))),
    ]
}

fn stream(model: &str, text: &str) -> Vec<String> {
    let (first, rest) = text.split_at(text.len() / 2);
    let mut events = begun(model, first);
    let ended = |tokens: u64, reason: Value| {
        json!({"type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": tokens}})
    };
    events.extend([
        named(&json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": rest}})),
        named(&json!({"type": "content_block_stop", "index": 0})),
        named(&ended(9, Value::Null)),
        named(&ended(15, json!("end_turn"))),
        named(&json!({"type": "message_stop"})),
    ]);
    events
}

fn no_answers() -> Vec<(Value, ErrorKind)> {
    let good = answer("claude-sonnet-4-20250514", "half an ans");
    let stopped = |reason: &str| with(&good, "/stop_reason", json!(reason));
    vec![
        (stopped("max_tokens"), ErrorKind::Incomplete),
        (stopped("model_context_window_exceeded"), ErrorKind::Incomplete),
        (stopped("refusal"), ErrorKind::Refused),
        (stopped("tool_use"), ErrorKind::Malformed),
        (with(&good, "/content", json!([])), ErrorKind::Empty),
        (with(&good, "/stop_reason", Value::Null), ErrorKind::Malformed),
    ]
}

fn broken_streams() -> Vec<BrokenStream> {
    let model = "claude-sonnet-4-20250514";
    let begun_tokens = Tokens { output: 1, ..TOKENS };
    let mut overloaded = begun(model, "half");
    overloaded.push(named(
        &json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ));
    let mut refused = begun(model, "half");
    refused.push(named(&json!({"type": "message_delta", "delta": {"stop_reason": "refusal"},
        "usage": {"output_tokens": 15}})));
    refused.push(named(&json!({"type": "message_stop"})));
    vec![
        (overloaded, ErrorKind::Overloaded, begun_tokens),
        (refused, ErrorKind::Refused, TOKENS),
        (begun(model, "half"), ErrorKind::Network, begun_tokens),
    ]
}

const GONE: &str = r#"{"type": "error", "error": {"type": "not_found_error",
    "message": "model: claude-sonnet-4-20250514"}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}"#;

const REFUSALS: &[(u16, &str, ErrorKind)] = &[
    (
        400,
        r#"{"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too high"}}"#,
        ErrorKind::InvalidRequest,
    ),
    (
        400,
        r#"{"type": "error", "error": {"type": "invalid_request_error",
        "message": "Your credit balance is too low to access the Anthropic API."}}"#,
        ErrorKind::Quota,
    ),
    (
        401,
        r#"{"type": "error", "error": {"type": "authentication_error",
        "message": "invalid x-api-key sk-secret-0123456789"}}"#,
        ErrorKind::Auth,
    ),
    (
        402,
        r#"{"type": "error", "error": {"type": "billing_error", "message": "Payment needed"}}"#,
        ErrorKind::Quota,
    ),
    (403, r#"{"type": "error", "error": {"type": "permission_error", "message": "No."}}"#, ErrorKind::Auth),
    (404, GONE, ErrorKind::ModelGone),
    (
        413,
        r#"{"type": "error", "error": {"type": "request_too_large", "message": "Too large."}}"#,
        ErrorKind::TooLarge,
    ),
    (
        429,
        r#"{"type": "error", "error": {"type": "rate_limit_error", "message": "Too many tokens a minute."}}"#,
        ErrorKind::RateLimited,
    ),
    (
        500,
        r#"{"type": "error", "error": {"type": "api_error", "message": "Internal server error"}}"#,
        ErrorKind::Unavailable,
    ),
    (
        504,
        r#"{"type": "error", "error": {"type": "timeout_error", "message": "Timed out"}}"#,
        ErrorKind::Unavailable,
    ),
    (
        529,
        r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#,
        ErrorKind::Overloaded,
    ),
    (529, "", ErrorKind::Overloaded),
];
