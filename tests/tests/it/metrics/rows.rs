//! The table: for every family the events that move it and exactly what it then holds.

use serde_json::{Value, json};
use techsapo_tests::{Exposition, Producer, facts};

use super::table::{Row, row};

/// A part of the table.
pub(super) type Rows = fn() -> Vec<Row>;

pub(super) const ALL: &[Rows] =
    &[business, application, system, security_and_changes, derived, the_pipeline_about_itself];

pub(super) fn business() -> Vec<Row> {
    vec![
        row("techsapo_wallbounce_requests_total")
            .event("analysis", &json!({"task_type": "premium", "provider": "ensemble"}))
            .event("analysis", &json!({"task_type": "premium", "provider": "ensemble", "cached": true}))
            .event("analysis", &json!({"provider": "Claude"}))
            .event("analysis", &json!({"provider": "none", "status": "timeout"}))
            .event("analysis", &json!({"provider": "none", "status": "rejected"}))
            .has(&[("task_type", "premium"), ("provider", "ensemble"), ("status", "success")], 2)
            .has(&[("task_type", "basic"), ("provider", "Claude"), ("status", "success")], 1)
            .has(&[("task_type", "basic"), ("provider", "none"), ("status", "timeout")], 1)
            .has(&[("task_type", "basic"), ("provider", "none"), ("status", "rejected")], 1),
        row("techsapo_wallbounce_consensus_confidence")
            .event("analysis", &json!({"confidence_ppm": 0}))
            .event("analysis", &json!({"confidence_ppm": 850_000}))
            .event("analysis", &json!({"confidence_ppm": 850_001}))
            .event("analysis", &json!({"confidence_ppm": 1_000_000}))
            // Of one answer alone, and of a cached one, there is nothing to observe.
            .event("analysis", &json!({}))
            .event("analysis", &json!({"confidence_ppm": 500_000, "cached": true}))
            .spread(
                &[],
                &[
                    ("0.1", 1),
                    ("0.3", 1),
                    ("0.5", 1),
                    ("0.7", 1),
                    ("0.8", 1),
                    ("0.85", 2),
                    ("0.9", 3),
                    ("0.95", 3),
                    ("1", 4),
                    ("+Inf", 4),
                ],
                2.700_001,
            ),
        row("techsapo_wallbounce_processing_duration_seconds")
            .event("analysis", &json!({"duration_us": 500_000}))
            .event("analysis", &json!({"duration_us": 500_001}))
            .event("analysis", &json!({"duration_us": 45_000_000, "status": "error"}))
            .event("analysis", &json!({"duration_us": 700_000_000, "status": "timeout"}))
            .event("analysis", &json!({"duration_us": 7_000_000, "status": "rejected"}))
            .spread(
                &[("task_type", "basic")],
                &[
                    ("0.5", 1),
                    ("1", 2),
                    ("2", 2),
                    ("5", 2),
                    ("10", 2),
                    ("30", 2),
                    ("60", 3),
                    ("120", 3),
                    ("300", 3),
                    ("600", 3),
                    ("+Inf", 4),
                ],
                746.000_001,
            ),
        row("techsapo_wallbounce_cost_usd")
            .event("llm_request", &json!({"cost_nanousd": 1}))
            .event("llm_request", &json!({"cost_nanousd": 9_640_000}))
            .event("llm_request", &json!({"provider": "Simulated-Claude", "task_type": "critical", "cost_nanousd": 2_500_000_000u64}))
            .has(&[("provider", "Gemini"), ("task_type", "basic")], 0.009_640_001)
            .has(&[("provider", "Simulated-Claude"), ("task_type", "critical")], 2.5),
        row("techsapo_llm_requests_total")
            .event("llm_request", &json!({}))
            .event("llm_request", &json!({}))
            .event("llm_request", &json!({"status": "rejected"}))
            .event("llm_request", &json!({"provider": "OpenAI", "model": "gpt-5", "status": "timeout", "task_type": "critical"}))
            .has(&[("provider", "Gemini"), ("model", "gemini-2.5-pro"), ("status", "success"), ("task_type", "basic")], 2)
            .has(&[("provider", "Gemini"), ("model", "gemini-2.5-pro"), ("status", "rejected"), ("task_type", "basic")], 1)
            .has(&[("provider", "OpenAI"), ("model", "gpt-5"), ("status", "timeout"), ("task_type", "critical")], 1),
        row("techsapo_llm_response_time_seconds")
            .event("llm_request", &json!({"duration_us": 100_000}))
            .event("llm_request", &json!({"duration_us": 1_234_567}))
            .event("llm_request", &json!({"duration_us": 601_000_000, "status": "timeout"}))
            .event("llm_request", &json!({"duration_us": 9_000, "status": "rejected"}))
            .spread(
                &[("provider", "Gemini"), ("model", "gemini-2.5-pro")],
                &[
                    ("0.1", 1),
                    ("0.5", 1),
                    ("1", 1),
                    ("2", 2),
                    ("5", 2),
                    ("10", 2),
                    ("30", 2),
                    ("60", 2),
                    ("120", 2),
                    ("300", 2),
                    ("600", 2),
                    ("+Inf", 3),
                ],
                602.334_567,
            ),
        row("techsapo_llm_token_usage_total")
            .event("llm_request", &json!({"input_tokens": 512, "output_tokens": 900}))
            .event("llm_request", &json!({"input_tokens": 1, "output_tokens": 0}))
            .has(&[("provider", "Gemini"), ("type", "input"), ("model", "gemini-2.5-pro")], 513)
            .has(&[("provider", "Gemini"), ("type", "output"), ("model", "gemini-2.5-pro")], 900),
        row("techsapo_llm_agreement_score")
            .event("analysis", &json!({"agreements": [{"a": "Gemini", "b": "Claude", "score_ppm": 0}]}))
            .event("analysis", &json!({"agreements": [{"a": "Claude", "b": "Gemini", "score_ppm": 750_000}]}))
            .event("analysis", &json!({"agreements": [{"a": "Claude", "b": "Gemini", "score_ppm": 1}], "cached": true}))
            .spread(
                &[("provider_pair", "Claude:Gemini")],
                &[
                    ("0", 1),
                    ("0.1", 1),
                    ("0.3", 1),
                    ("0.5", 1),
                    ("0.7", 1),
                    ("0.8", 2),
                    ("0.9", 2),
                    ("1", 2),
                    ("+Inf", 2),
                ],
                0.75,
            ),
    ]
}

pub(super) fn application() -> Vec<Row> {
    let breaker = |service, state| json!({"app_instance": "app-1", "service": service, "state": state});
    vec![
        row("techsapo_http_requests_total")
            .event("http_request", &json!({}))
            .event("http_request", &json!({"status_code": 503}))
            .event(
                "http_request",
                &json!({"method": "GET", "route": "unmatched", "route_kind": "page", "status_code": 404}),
            )
            .event(
                "http_request",
                &json!({"method": "GET", "route": "/ws/metrics", "route_kind": "stream", "status_code": 101}),
            )
            .has(&[("method", "POST"), ("route", "/api/v1/generate"), ("status_code", "200")], 1)
            .has(&[("method", "POST"), ("route", "/api/v1/generate"), ("status_code", "503")], 1)
            .has(&[("method", "GET"), ("route", "unmatched"), ("status_code", "404")], 1)
            .has(&[("method", "GET"), ("route", "/ws/metrics"), ("status_code", "101")], 1),
        row("techsapo_http_request_duration_seconds")
            .event("http_request", &json!({"duration_us": 5_000}))
            .event("http_request", &json!({"duration_us": 2_000_000}))
            .event("http_request", &json!({"duration_us": 61_000_000}))
            .event("http_request", &json!({"duration_us": 900_000_000, "route_kind": "stream"}))
            .spread(
                &[("method", "POST"), ("route", "/api/v1/generate")],
                &[
                    ("0.005", 1),
                    ("0.01", 1),
                    ("0.025", 1),
                    ("0.05", 1),
                    ("0.1", 1),
                    ("0.25", 1),
                    ("0.5", 1),
                    ("1", 1),
                    ("2.5", 2),
                    ("5", 2),
                    ("10", 2),
                    ("30", 2),
                    ("60", 2),
                    ("+Inf", 3),
                ],
                63.005,
            ),
        row("techsapo_http_request_size_bytes")
            .event("http_request", &json!({"request_bytes": 0}))
            .event("http_request", &json!({"request_bytes": 1_000_001}))
            .spread(
                &[],
                &[("100", 1), ("1000", 1), ("10000", 1), ("100000", 1), ("1000000", 1), ("+Inf", 2)],
                1_000_001.0,
            ),
        row("techsapo_http_response_size_bytes")
            .event("http_request", &json!({"response_bytes": 100}))
            .event("http_request", &json!({"response_bytes": 5_000}))
            .spread(
                &[],
                &[("100", 1), ("1000", 1), ("10000", 2), ("100000", 2), ("1000000", 2), ("+Inf", 2)],
                5_100.0,
            ),
        row("techsapo_redis_operations_total")
            .event("redis_operation", &json!({}))
            .event("redis_operation", &json!({"operation": "incrby", "status": "timeout"}))
            .has(&[("operation", "get"), ("status", "success")], 1)
            .has(&[("operation", "incrby"), ("status", "timeout")], 1),
        row("techsapo_redis_connection_pool_size")
            .event("runtime_sample", &json!({"app_instance": "app-1", "redis_pool_connections": 4}))
            .event("runtime_sample", &json!({"app_instance": "app-2", "redis_pool_connections": 3}))
            .event("runtime_sample", &json!({"app_instance": "app-3"}))
            .has(&[], 7),
        row("techsapo_mysql_queries_total")
            .event("mysql_query", &json!({}))
            .event("mysql_query", &json!({"query_type": "select", "status": "error"}))
            .has(&[("query_type", "insert"), ("status", "success")], 1)
            .has(&[("query_type", "select"), ("status", "error")], 1),
        row("techsapo_cache_hit_ratio")
            .event("cache_lookup", &json!({"hit": true}))
            .event("cache_lookup", &json!({"hit": true}))
            .event("cache_lookup", &json!({"hit": true}))
            .event("cache_lookup", &json!({"hit": false}))
            // An hour old: in no window.
            .event("cache_lookup", &json!({"hit": false, "t": facts::now_ms() - 3_600_000}))
            .has(&[("cache_type", "redis")], 0.75),
        row("techsapo_errors_total")
            .event("error", &json!({"error_type": "http_429", "severity": "warning", "service": "Claude"}))
            .event(
                "error",
                &json!({"error_type": "a \"quoted\"\nline\\", "severity": "info", "service": "other"}),
            )
            .has(&[("error_type", "http_429"), ("severity", "warning"), ("service", "Claude")], 1)
            .has(&[("error_type", "a \"quoted\"\nline\\"), ("severity", "info"), ("service", "other")], 1),
        row("techsapo_circuit_breaker_state")
            .event("circuit_breaker", &breaker("Gemini", "open"))
            .event(
                "runtime_sample",
                &json!({"app_instance": "app-2", "breakers": [
                {"service": "Gemini", "state": "closed"}, {"service": "redis", "state": "half_open"}]}),
            )
            .has(&[("service", "Gemini"), ("state", "closed")], 1)
            .has(&[("service", "Gemini"), ("state", "half_open")], 0)
            .has(&[("service", "Gemini"), ("state", "open")], 1)
            .has(&[("service", "redis"), ("state", "closed")], 0)
            .has(&[("service", "redis"), ("state", "half_open")], 1)
            .has(&[("service", "redis"), ("state", "open")], 0),
    ]
}

pub(super) fn system() -> Vec<Row> {
    let sample = |instance: &str, fields: &Value| {
        let mut sample = fields.clone();
        sample["app_instance"] = instance.into();
        sample
    };
    let pause: [&str; 13] = [
        "0.0001", "0.0005", "0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "5", "+Inf",
    ];
    let counts = |counts: [u32; 13]| pause.into_iter().zip(counts).collect::<Vec<_>>();
    vec![
        row("nodejs_heap_size_total_bytes")
            .event("runtime_sample", &sample("app-1", &json!({"heap_total_bytes": 33_554_432})))
            .event("runtime_sample", &sample("node-1", &json!({"heap_total_bytes": 7})))
            .has(&[("app_instance", "app-1")], 33_554_432)
            .has(&[("app_instance", "node-1")], 7),
        row("nodejs_heap_size_used_bytes")
            .event("runtime_sample", &sample("app-1", &json!({"heap_used_bytes": 16_777_216})))
            .has(&[("app_instance", "app-1")], 16_777_216),
        row("nodejs_eventloop_lag_seconds")
            .event("event_loop_lag", &json!({"lag_us": 100}))
            .event("event_loop_lag", &json!({"lag_us": 30_000}))
            .spread(&[("app_instance", "app-1")], &counts([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]), 0.0301),
        row("nodejs_gc_duration_seconds")
            .event("gc_pause", &json!({"duration_us": 2_000}))
            .event("gc_pause", &json!({"duration_us": 6_000_000}))
            .spread(&[("app_instance", "node-1")], &counts([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]), 6.002),
        row("techsapo_memory_usage_bytes")
            .event(
                "runtime_sample",
                &sample("app-1", &json!({"resident_bytes": 1_000, "mysql_memory_bytes": 77})),
            )
            .event("runtime_sample", &sample("app-2", &json!({"resident_bytes": 2_000})))
            .holds(|page| {
                let memory = page.gauge("techsapo_memory_usage_bytes");
                memory.clone().with("component", "app").is(3_000);
                memory.clone().with("component", "mysql").is(77);
                for measured in ["exporter", "redis", "host"] {
                    let bytes = memory.clone().with("component", measured).one().value;
                    assert!(bytes > 500_000.0, "{measured} uses {bytes} bytes");
                }
            }),
        row("techsapo_active_connections")
            .event(
                "runtime_sample",
                &sample(
                    "app-1",
                    &json!({"connections": [
                {"connection_type": "http", "open": 12}, {"connection_type": "sse", "open": 0}]}),
                ),
            )
            .event(
                "runtime_sample",
                &sample("app-2", &json!({"connections": [{"connection_type": "http", "open": 5}]})),
            )
            .has(&[("connection_type", "http")], 17)
            .has(&[("connection_type", "sse")], 0),
        row("techsapo_queue_size")
            .event(
                "runtime_sample",
                &sample("app-1", &json!({"queues": [{"queue_name": "journal", "length": 9}]})),
            )
            .event(
                "runtime_sample",
                &sample("app-2", &json!({"queues": [{"queue_name": "journal", "length": 1}]})),
            )
            .has(&[("queue_name", "journal")], 10),
    ]
}

pub(super) fn security_and_changes() -> Vec<Row> {
    let configured = |providers: &[&str]| {
        let entry = |provider: &&str| json!({"provider": provider, "models": ["m"]});
        json!({"providers": providers.iter().map(entry).collect::<Vec<_>>()})
    };
    vec![
        row("techsapo_auth_attempts_total")
            .event("auth_attempt", &json!({}))
            .event("auth_attempt", &json!({"status": "failure", "method": "none", "reason": "missing"}))
            .has(&[("status", "success"), ("method", "api_key")], 1)
            .has(&[("status", "failure"), ("method", "none")], 1),
        row("techsapo_auth_failures_total")
            .event("auth_attempt", &json!({}))
            .event("auth_attempt", &json!({"status": "failure", "reason": "expired"}))
            .event("auth_attempt", &json!({"status": "failure", "reason": "expired"}))
            .has(&[("reason", "expired")], 2),
        row("techsapo_rate_limit_hits_total")
            .event("rate_limit_hit", &json!({}))
            .event("rate_limit_hit", &json!({"client_ip": "2001:db8:1::/48"}))
            .has(&[("endpoint", "/api/v1/generate"), ("client_ip", "203.0.113.0/24")], 1)
            .has(&[("endpoint", "/api/v1/generate"), ("client_ip", "2001:db8:1::/48")], 1),
        row("techsapo_input_sanitization_total")
            .event("input_sanitization", &json!({}))
            .event("input_sanitization", &json!({"type": "sql_injection", "blocked": true}))
            .has(&[("type", "html"), ("blocked", "false")], 1)
            .has(&[("type", "sql_injection"), ("blocked", "true")], 1),
        row("techsapo_anomaly_requests_total")
            .event("anomaly", &json!({}))
            .event("anomaly", &json!({"type": "api_key_misuse"}))
            .has(&[("type", "traffic_spike")], 1)
            .has(&[("type", "api_key_misuse")], 1),
        row("techsapo_config_changes_total")
            .event("config_changed", &json!({"component": "budget"}))
            .has(&[("component", "budget")], 1),
        row("techsapo_llm_provider_changes_total")
            // The first statement is a beginning, the second says the same, the third is a change.
            .event("providers_configured", &configured(&["Gemini", "OpenAI"]))
            .event("providers_configured", &configured(&["OpenAI", "Gemini"]))
            .event("providers_configured", &configured(&["Gemini", "Claude"]))
            .has(&[("provider", "Claude"), ("change", "added")], 1)
            .has(&[("provider", "OpenAI"), ("change", "removed")], 1),
        row("techsapo_redis_consecutive_failures")
            .event("runtime_sample", &json!({"app_instance": "app-1", "redis_consecutive_failures": 3}))
            .event("runtime_sample", &json!({"app_instance": "app-2", "redis_consecutive_failures": 7}))
            .has(&[], 7),
    ]
}

pub(super) fn derived() -> Vec<Row> {
    let mut p95 = row("techsapo_http_p95_response_time");
    for millis in 1..=100u64 {
        p95 = p95.event("http_request", &json!({"duration_us": millis * 1_000}));
    }
    vec![
        row("techsapo_wallbounce_success_rate")
            .event("analysis", &json!({}))
            .event("analysis", &json!({}))
            .event("analysis", &json!({}))
            .event("analysis", &json!({"status": "error"}))
            .event("analysis", &json!({"status": "rejected"}))
            .has(&[], 0.75),
        row("techsapo_wallbounce_avg_confidence_5m")
            .event("analysis", &json!({"confidence_ppm": 750_000}))
            .event("analysis", &json!({"confidence_ppm": 250_000}))
            .event("analysis", &json!({"confidence_ppm": 0, "cached": true}))
            .has(&[], 0.5),
        row("techsapo_wallbounce_consensus_score")
            .event("analysis", &json!({"consensus_ppm": 1_000_000}))
            .event("analysis", &json!({"consensus_ppm": 500_000}))
            .event("analysis", &json!({}))
            .has(&[], 0.75),
        row("techsapo_llm_success_rate_by_provider")
            .event("llm_request", &json!({}))
            .event("llm_request", &json!({"status": "timeout"}))
            .event("llm_request", &json!({"status": "rejected"}))
            .event("llm_request", &json!({"provider": "Claude"}))
            .has(&[("provider", "Gemini")], 0.5)
            .has(&[("provider", "Claude")], 1),
        // Probes and streams are not the API.
        p95.event("http_request", &json!({"route_kind": "probe", "duration_us": 50_000_000}))
            .event("http_request", &json!({"route_kind": "stream", "duration_us": 50_000_000}))
            .holds(|page| {
                let seconds = page.gauge("techsapo_http_p95_response_time").one().value;
                assert!((0.094_05..=0.095_95).contains(&seconds), "p95 of 1 ms … 100 ms is {seconds}");
            }),
        row("techsapo_memory_usage_percent").holds(|page| percentage(page, "techsapo_memory_usage_percent")),
        row("techsapo_cpu_usage_percent").holds(|page| percentage(page, "techsapo_cpu_usage_percent")),
        row("techsapo_provider_cost_usd")
            .event("llm_request", &json!({"cost_nanousd": 1_500_000}))
            .event("llm_request", &json!({"provider": "Claude", "cost_nanousd": 2_000_000}))
            .event("llm_request", &json!({"provider": "Simulated-Gemini", "cost_nanousd": 3}))
            .event("llm_request", &json!({"provider": "Simulated-OpenAI", "cost_nanousd": 4}))
            .has(&[("provider", "google")], 0.0015)
            .has(&[("provider", "anthropic")], 0.002)
            .has(&[("provider", "simulated")], 0.000_000_007),
        row("techsapo_budget_utilization_percent")
            .event("budget_limits", &json!({"time_zone": where_it_is_noon()}))
            .event("llm_request", &json!({"cost_nanousd": 500_000_000}))
            .has(&[("period", "daily")], 25)
            .has(&[("period", "monthly")], 1),
    ]
}

pub(super) fn the_pipeline_about_itself() -> Vec<Row> {
    let mut rows = vec![
        row("techsapo_telemetry_events_total")
            .event("cache_lookup", &json!({}))
            .event("cache_lookup", &json!({}))
            .event("config_changed", &json!({}))
            .has(&[("type", "cache_lookup")], 2)
            .has(&[("type", "config_changed")], 1),
        row("techsapo_telemetry_unnumbered_events_total")
            .event("cache_lookup", &json!({}))
            .written(|producer| producer.send_unnumbered(&facts::many(3)))
            .has(&[], 3),
        row("techsapo_telemetry_duplicate_events_total")
            .written(|producer| {
                producer.send(&facts::many(4));
                producer.send_range(1..=4);
                producer.note(&facts::many(2));
                producer.send_range(3..=6);
            })
            .has(&[], 6),
        row("techsapo_telemetry_rejected_events_total")
            .written(|producer| {
                let llm = |field: &str, value: Value| {
                    facts::event("llm_request", &json!({field: value})).to_string()
                };
                producer.note_lines(["not JSON".to_owned(), json!({"llm_answer": {"t": 1}}).to_string()]);
                producer.note_lines([llm("provider", json!("gemini")), llm("status", json!(3))]);
                producer.note_lines([llm("model", json!("")), llm("cost_nanousd", json!(u64::MAX))]);
                producer.note_lines([llm("t", json!(u64::MAX))]);
                producer.send_range(1..=7);
            })
            .has(&[("reason", "syntax")], 1)
            .has(&[("reason", "unknown_type")], 1)
            .has(&[("reason", "schema")], 2)
            .has(&[("reason", "out_of_bounds")], 3),
        row("techsapo_telemetry_rejected_batches_total")
            .written(|producer| {
                let line = facts::many(1)[0].to_string();
                producer.add(&[("v", "2"), ("n", "1"), ("d", &line)]);
                producer.add(&[("v", "1"), ("p", "p"), ("n", "1"), ("d", &line)]);
                producer.add(&[("v", "1"), ("n", "one"), ("d", &line)]);
                producer.add(&[("v", "1"), ("n", "2"), ("d", &line)]);
                producer.add(&[("v", "1"), ("p", "p"), ("s", "1"), ("h", "2"), ("n", "1"), ("d", &line)]);
            })
            .has(&[("reason", "version")], 1)
            .has(&[("reason", "missing_field")], 1)
            .has(&[("reason", "malformed_field")], 1)
            .has(&[("reason", "nonsense")], 2),
        row("techsapo_telemetry_gaps_total")
            .written(|producer| {
                producer.note(&facts::many(3));
                producer.send_range(2..=3);
            })
            .has(&[], 1),
        row("techsapo_telemetry_lost_events_total")
            .written(|producer| {
                let line = facts::many(1)[0].to_string();
                producer.send_lines([line.as_str(), "null", &line]);
                producer.note(&facts::many(5));
                producer.forgets_before(7);
                producer.send_range(7..=8);
            })
            .has(&[], 4),
        row("techsapo_telemetry_dropped_total")
            .written(|producer| {
                producer.says_dropped(5);
                producer.send(&facts::many(1));
                producer.says_dropped(7);
                producer.send(&facts::many(1));
            })
            .has(&[], 7),
        row("techsapo_telemetry_series_overflow_total").written(a_thousand_and_ten_kinds_of_error).holds(
            |page| {
                let overflow = page.counter("techsapo_telemetry_series_overflow_total");
                assert!(overflow.with("family", "techsapo_errors_total").one().value >= 10.0);
                let errors = page.counter("techsapo_errors_total");
                assert_eq!(errors.total(), 1_010.0);
                assert!(errors.with("error_type", "other").one().value >= 10.0);
            },
        ),
        row("techsapo_telemetry_journal_used_bytes")
            .event(
                "runtime_sample",
                &json!({"journal": {"used_bytes": 8_192, "capacity_bytes": 65_536, "dropped": 0}}),
            )
            .event("runtime_sample", &json!({"app_instance": "node-1"}))
            .has(&[("app_instance", "app-1")], 8_192),
        row("techsapo_telemetry_journal_capacity_bytes")
            .event(
                "runtime_sample",
                &json!({"journal": {"used_bytes": 8_192, "capacity_bytes": 65_536, "dropped": 0}}),
            )
            .has(&[("app_instance", "app-1")], 65_536),
    ];
    rows.extend(the_exporter_about_itself());
    rows
}

/// Figures of the process: none can be foretold to the digit.
fn the_exporter_about_itself() -> Vec<Row> {
    vec![
        row("techsapo_exporter_build_info").holds(|page| {
            let info = page.gauge("techsapo_exporter_build_info");
            info.is(1);
            assert!(info.one().labels["version"].starts_with(|c: char| c.is_ascii_digit()));
        }),
        row("techsapo_exporter_leader").holds(|page| page.gauge("techsapo_exporter_leader").is(1)),
        row("techsapo_exporter_ready").holds(|page| page.gauge("techsapo_exporter_ready").is(1)),
        row("techsapo_exporter_checkpoint_age_seconds").holds(|page| {
            let age = page.gauge("techsapo_exporter_checkpoint_age_seconds").one().value;
            assert!((0.0..60.0).contains(&age), "{age}");
        }),
        row("techsapo_exporter_checkpoint_size_bytes")
            .holds(|page| assert!(page.gauge("techsapo_exporter_checkpoint_size_bytes").one().value > 100.0)),
        row("techsapo_exporter_checkpoints_total")
            .event("cache_lookup", &json!({}))
            .holds(|page| assert!(page.counter("techsapo_exporter_checkpoints_total").one().value >= 1.0)),
        row("techsapo_exporter_checkpoint_failures_total")
            .holds(|page| page.counter("techsapo_exporter_checkpoint_failures_total").is(0)),
        row("techsapo_exporter_lag_seconds").holds(|page| page.gauge("techsapo_exporter_lag_seconds").is(0)),
        row("techsapo_exporter_lag_entries").holds(|page| page.gauge("techsapo_exporter_lag_entries").is(0)),
        row("techsapo_exporter_redis_up").holds(|page| {
            page.gauge("techsapo_exporter_redis_up").with("stream", "test:techsapo_exporter_redis_up").is(1);
        }),
        row("techsapo_exporter_redis_connections_total")
            .holds(|page| page.counter("techsapo_exporter_redis_connections_total").is(1)),
        row("techsapo_exporter_app_up").holds(|page| page.gauge("techsapo_exporter_app_up").absent()),
        row("techsapo_exporter_series")
            .holds(|page| assert!(page.gauge("techsapo_exporter_series").one().value > 10.0)),
        row("techsapo_exporter_scrapes_total")
            .holds(|page| assert!(page.counter("techsapo_exporter_scrapes_total").one().value < 10.0)),
        // Served in clear: what they hold by TLS, the tests of TLS say.
        row("techsapo_exporter_tls_handshake_failures_total")
            .holds(|page| page.counter("techsapo_exporter_tls_handshake_failures_total").is(0)),
        row("techsapo_exporter_tls_reload_successful")
            .holds(|page| page.gauge("techsapo_exporter_tls_reload_successful").absent()),
        row("techsapo_exporter_tls_certificate_not_after_timestamp_seconds").holds(|page| {
            page.gauge("techsapo_exporter_tls_certificate_not_after_timestamp_seconds").absent();
        }),
    ]
}

fn percentage(page: &Exposition, name: &str) {
    let percent = page.gauge(name).one().value;
    assert!((0.0..=100.0).contains(&percent), "{name} is {percent}");
}

fn a_thousand_and_ten_kinds_of_error(producer: &mut Producer) {
    let kinds = (0..1_010).map(|kind| facts::event("error", &json!({"error_type": format!("kind_{kind}")})));
    producer.send(&kinds.collect::<Vec<_>>());
}

/// A time zone in which neither day nor month ends while a test runs.
fn where_it_is_noon() -> String {
    let utc_hour = (facts::now_ms() / 3_600_000 % 24) as i64;
    // In these names the sign is turned round: Etc/GMT-9 is nine hours ahead of UTC.
    match 12 - utc_hour {
        0 => "Etc/GMT".to_owned(),
        ahead if ahead > 0 => format!("Etc/GMT-{ahead}"),
        behind => format!("Etc/GMT+{}", -behind),
    }
}
