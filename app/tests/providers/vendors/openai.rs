//! OpenAI's Responses API.

use serde_json::{Value, json};
use techsapo_app::providers::{ErrorKind, Tokens};

use super::{BrokenStream, Shape, named, with};

pub(super) const SHAPE: Shape = Shape {
    section: "openai",
    key_variable: "OPENAI_API_KEY",
    model: "gpt-5",
    paths: ["/responses", "/responses"],
    key_header: ("authorization", "Bearer "),
    question: "/input",
    answer,
    stream,
    tokens: TOKENS,
    refusals: REFUSALS,
    gone: (404, GONE),
    no_answers,
    broken_streams,
};

const TOKENS: Tokens = Tokens { input: 328, cached_input: 128, cache_write: 0, output: 52, reasoning: 40 };

fn answer(model: &str, text: &str) -> Value {
    json!({
        "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", "object": "response",
        "created_at": 1_741_476_542, "status": "completed", "error": null, "incomplete_details": null,
        "instructions": null, "max_output_tokens": 16000, "model": format!("{model}-2025-08-07"),
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "id": "msg_67ccd2bf17f0819081ff3bb2cf6508e6", "status": "completed",
             "role": "assistant", "content": [{"type": "output_text", "text": text, "annotations": []}]},
        ],
        "parallel_tool_calls": true, "previous_response_id": null, "store": false, "temperature": 1.0,
        "usage": {
            "input_tokens": 328, "input_tokens_details": {"cached_tokens": 128},
            "output_tokens": 52, "output_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 380,
        },
        "user": null, "metadata": {},
    })
}

fn begun(model: &str, text: &str) -> Vec<String> {
    let started = with(&with(&answer(model, ""), "/status", json!("in_progress")), "/usage", Value::Null);
    let mut events = vec![
        named(&json!({"type": "response.created", "sequence_number": 0, "response": started})),
        named(&json!({"type": "response.in_progress", "sequence_number": 1, "response": started})),
        named(&json!({"type": "response.output_item.added", "output_index": 0,
            "item": {"id": "msg_1", "status": "in_progress", "type": "message", "role": "assistant", "content": []}})),
    ];
    let delta = json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
        "content_index": 0, "delta": text});
    events.push(named(&delta));
    events
}

fn stream(model: &str, text: &str) -> Vec<String> {
    let mut events = begun(model, text);
    events.push(named(&json!({"type": "response.completed", "response": answer(model, text)})));
    events
}

fn no_answers() -> Vec<(Value, ErrorKind)> {
    let good = answer("gpt-5", "half an ans");
    let incomplete = |reason: &str| {
        let response = with(&good, "/status", json!("incomplete"));
        with(&response, "/incomplete_details", json!({"reason": reason}))
    };
    let failed = |code: &str| {
        let response = with(&good, "/status", json!("failed"));
        with(&response, "/error", json!({"code": code, "message": "The model failed."}))
    };
    let refusal = json!([{"type": "refusal", "refusal": "I cannot help with that."}]);
    vec![
        (incomplete("max_output_tokens"), ErrorKind::Incomplete),
        (incomplete("content_filter"), ErrorKind::Refused),
        (failed("server_error"), ErrorKind::Unavailable),
        (failed("rate_limit_exceeded"), ErrorKind::RateLimited),
        (failed("invalid_prompt"), ErrorKind::Refused),
        (with(&good, "/output/1/content", refusal), ErrorKind::Refused),
        (with(&good, "/output", json!([])), ErrorKind::Empty),
        (with(&good, "/status", json!("queued")), ErrorKind::Malformed),
    ]
}

fn broken_streams() -> Vec<BrokenStream> {
    let ended = |kind: &str, response: Value| {
        let mut events = begun("gpt-5", "half");
        events.push(named(&json!({"type": kind, "response": response})));
        events
    };
    let [incomplete, .., failed] = &no_answers()[..3] else { panic!("three at least") };
    let mut error = begun("gpt-5", "half");
    error.push(named(&json!({"type": "error", "code": "server_error", "message": "Sorry.", "param": null})));
    vec![
        (ended("response.incomplete", incomplete.0.clone()), ErrorKind::Incomplete, TOKENS),
        (ended("response.failed", failed.0.clone()), ErrorKind::Unavailable, TOKENS),
        (error, ErrorKind::Unavailable, Tokens::default()),
        (begun("gpt-5", "half"), ErrorKind::Network, Tokens::default()),
    ]
}

const GONE: &str = r#"{"error": {"message": "The model `gpt-5` does not exist or you do not have access to it.",
    "type": "invalid_request_error", "param": null, "code": "model_not_found"}}"#;

const REFUSALS: &[(u16, &str, ErrorKind)] = &[
    (
        400,
        r#"{"error": {"message": "Unsupported parameter: 'top_k'.", "type": "invalid_request_error",
        "param": "top_k", "code": "unsupported_parameter"}}"#,
        ErrorKind::InvalidRequest,
    ),
    (
        400,
        r#"{"error": {"message": "Your input exceeds the context window of this model.",
        "type": "invalid_request_error", "param": "input", "code": "context_length_exceeded"}}"#,
        ErrorKind::TooLarge,
    ),
    (
        401,
        r#"{"error": {"message": "Incorrect API key provided: sk-secret-0123456789.",
        "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}}"#,
        ErrorKind::Auth,
    ),
    (
        403,
        r#"{"error": {"message": "Country, region, or territory not supported", "type": "request_forbidden",
        "param": null, "code": "unsupported_country_region_territory"}}"#,
        ErrorKind::Auth,
    ),
    (404, GONE, ErrorKind::ModelGone),
    (
        429,
        r#"{"error": {"message": "Rate limit reached for gpt-5 on tokens per min (TPM).", "type": "tokens",
        "param": null, "code": "rate_limit_exceeded"}}"#,
        ErrorKind::RateLimited,
    ),
    (
        429,
        r#"{"error": {"message": "You exceeded your current quota, please check your plan and billing details.",
        "type": "insufficient_quota", "param": null, "code": "insufficient_quota"}}"#,
        ErrorKind::Quota,
    ),
    (
        500,
        r#"{"error": {"message": "The server had an error while processing your request.",
        "type": "server_error", "param": null, "code": null}}"#,
        ErrorKind::Unavailable,
    ),
    (
        503,
        r#"{"error": {"message": "That model is currently overloaded with other requests. Slow down.",
        "type": "slow_down", "param": null, "code": null}}"#,
        ErrorKind::Overloaded,
    ),
    (503, "upstream connect error", ErrorKind::Unavailable),
];
