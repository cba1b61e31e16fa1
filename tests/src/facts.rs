//! Events for tests: each a complete one of its type, with the fields that a test cares about put over it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// The present, Unix milliseconds.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// An event of type `kind` that happens now, with `fields` put over a plain example.
///
/// # Panics
/// When there is no such type.
pub fn event(kind: &str, fields: &Value) -> Value {
    let mut event = plain(kind);
    event["t"] = now_ms().into();
    for (name, value) in fields.as_object().into_iter().flatten() {
        event[name] = value.clone();
    }
    json!({ kind: event })
}

fn plain(kind: &str) -> Value {
    match kind {
        "analysis" => {
            json!({"task_type": "basic", "provider": "Gemini", "status": "success", "duration_us": 1_500_000})
        }
        "llm_request" => json!({
            "provider": "Gemini", "model": "gemini-2.5-pro", "task_type": "basic", "status": "success",
            "duration_us": 1_000_000, "input_tokens": 10, "output_tokens": 20, "cost_nanousd": 1_000,
        }),
        "http_request" => json!({
            "method": "POST", "route": "/api/v1/generate", "route_kind": "api", "status_code": 200,
            "duration_us": 20_000, "request_bytes": 500, "response_bytes": 5_000,
        }),
        "redis_operation" => json!({"operation": "get", "status": "success"}),
        "mysql_query" => json!({"query_type": "insert", "status": "success"}),
        "cache_lookup" => json!({"cache_type": "redis", "hit": true}),
        "error" => json!({"error_type": "connect", "severity": "error", "service": "redis"}),
        "circuit_breaker" => json!({"app_instance": "app-1", "service": "Gemini", "state": "closed"}),
        "auth_attempt" => json!({"status": "success", "method": "api_key"}),
        "rate_limit_hit" => json!({"endpoint": "/api/v1/generate", "client_ip": "203.0.113.0/24"}),
        "input_sanitization" => json!({"type": "html", "blocked": false}),
        "anomaly" => json!({"type": "traffic_spike"}),
        "runtime_sample" => json!({"app_instance": "app-1", "resident_bytes": 1_000}),
        "event_loop_lag" => json!({"app_instance": "app-1", "lag_us": 300}),
        "gc_pause" => json!({"app_instance": "node-1", "duration_us": 2_000}),
        "config_changed" => json!({"component": "app"}),
        "providers_configured" => json!({
            "app_instance": "app-1", "providers": [{"provider": "Gemini", "models": ["gemini-2.5-pro"]}],
        }),
        "budget_limits" => {
            json!({"daily_nanousd": 2_000_000_000u64, "monthly_nanousd": 50_000_000_000u64, "time_zone": "UTC"})
        }
        _ => panic!("{kind} is no event type"),
    }
}

/// `count` cache look-ups, the smallest of events: what a test sends when only their number matters.
pub fn many(count: usize) -> Vec<Value> {
    vec![event("cache_lookup", &json!({})); count]
}
