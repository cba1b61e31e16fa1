//! What stands on the page before anything happened, and what leaves it when nobody speaks of it any longer.

use serde_json::json;
use techsapo_tests::{Exporter, Producer, RedisServer, facts};

#[test]
fn closed_label_sets_stand_at_zero_on_an_empty_page() {
    let redis = RedisServer::start();
    let page = Exporter::of(&redis).start().scrape();
    for (family, series) in [
        ("techsapo_auth_attempts_total", 2 * 4),
        ("techsapo_auth_failures_total", 6),
        ("techsapo_anomaly_requests_total", 5),
        ("techsapo_input_sanitization_total", 10 * 2),
        ("techsapo_redis_operations_total", 16 * 3),
        ("techsapo_mysql_queries_total", 7 * 3),
        ("techsapo_config_changes_total", 7),
        ("techsapo_llm_provider_changes_total", 8 * 2),
        ("techsapo_telemetry_events_total", 18),
        ("techsapo_telemetry_lost_events_total", 1),
    ] {
        let counter = page.counter(family);
        assert_eq!(counter.samples().len(), series, "{family}");
        assert_eq!(counter.total(), 0.0, "{family}");
    }
    page.observations("techsapo_wallbounce_consensus_confidence").is(0);
    page.observations("techsapo_wallbounce_processing_duration_seconds").with("task_type", "critical").is(0);
}

#[test]
fn whatever_the_configured_providers_allow_stands_at_zero() {
    let redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    producer.send(&[facts::event(
        "providers_configured",
        &json!({"providers": [
            {"provider": "Gemini", "models": ["gemini-2.5-pro", "gemini-2.5-flash"]},
            {"provider": "Simulated-Claude", "models": ["sonnet"]},
        ]}),
    )]);
    let page = Exporter::of(&redis).start().scrape();

    let requests = page.counter("techsapo_llm_requests_total");
    // Models × statuses × task types.
    assert_eq!(requests.samples().len(), 3 * 4 * 3);
    for status in ["success", "error", "timeout", "rejected"] {
        for task in ["basic", "premium", "critical"] {
            let series = requests.clone().with("provider", "Gemini").with("model", "gemini-2.5-flash");
            series.with("status", status).with("task_type", task).is(0);
        }
    }
    for provider in ["Gemini", "Simulated-Claude", "ensemble", "none"] {
        let analyses = page.counter("techsapo_wallbounce_requests_total").with("provider", provider);
        assert_eq!(analyses.samples().len(), 3 * 4, "{provider}");
    }
    page.counter("techsapo_provider_cost_usd").with("provider", "google").is(0);
    page.counter("techsapo_provider_cost_usd").with("provider", "simulated").is(0);
    page.counter("techsapo_provider_cost_usd").with("provider", "openai").absent();
    page.counter("techsapo_wallbounce_cost_usd")
        .with("provider", "Gemini")
        .with("task_type", "premium")
        .is(0);
    page.counter("techsapo_llm_token_usage_total").with("model", "sonnet").with("type", "output").is(0);
    page.observations("techsapo_llm_response_time_seconds").with("model", "sonnet").is(0);
    page.observations("techsapo_llm_agreement_score").with("provider_pair", "Gemini:Simulated-Claude").is(0);
}

#[test]
fn a_gauge_without_anything_in_its_window_is_absent() {
    let redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    // All too old for any window, and counted all the same.
    let t = facts::now_ms() - 3_600_000;
    let scores = json!({"t": t, "confidence_ppm": 900_000, "consensus_ppm": 900_000});
    producer.send(&[
        facts::event("analysis", &scores),
        facts::event("llm_request", &json!({"t": t})),
        facts::event("http_request", &json!({"t": t})),
        facts::event("cache_lookup", &json!({"t": t})),
    ]);
    let page = Exporter::of(&redis).start().scrape();
    for gauge in [
        "techsapo_wallbounce_success_rate",
        "techsapo_wallbounce_avg_confidence_5m",
        "techsapo_wallbounce_consensus_score",
        "techsapo_llm_success_rate_by_provider",
        "techsapo_http_p95_response_time",
        "techsapo_cache_hit_ratio",
        "techsapo_budget_utilization_percent",
        "techsapo_circuit_breaker_state",
        "techsapo_redis_connection_pool_size",
    ] {
        page.gauge(gauge).absent();
    }
    assert_eq!(page.counter("techsapo_wallbounce_requests_total").total(), 1.0);
    page.observations("techsapo_wallbounce_consensus_confidence").is(1);
}

#[test]
fn a_silent_instance_leaves_the_page() {
    let redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    let sample = |instance: &str, silent_ms: u64| {
        let fields = json!({
            "app_instance": instance, "t": facts::now_ms() - silent_ms, "resident_bytes": 1_000,
            "heap_used_bytes": 10, "redis_pool_connections": 2,
            "breakers": [{"service": "Gemini", "state": if silent_ms == 0 { "closed" } else { "open" }}],
        });
        facts::event("runtime_sample", &fields)
    };
    producer.send(&[sample("silent", 31_000), sample("live", 0)]);
    let exporter = Exporter::of(&redis).start();
    let page = exporter.scrape();
    let heap = page.gauge("nodejs_heap_size_used_bytes");
    heap.clone().with("app_instance", "silent").absent();
    heap.with("app_instance", "live").is(10);
    page.gauge("techsapo_redis_connection_pool_size").is(2);
    page.gauge("techsapo_memory_usage_bytes").with("component", "app").is(1_000);
    page.gauge("techsapo_circuit_breaker_state").with("service", "Gemini").with("state", "open").is(0);
    // It leaves by itself, while nothing comes in.
    exporter.scrape_until("the instance is silent", |page| {
        page.gauge("nodejs_heap_size_used_bytes").samples().is_empty()
            && page.gauge("techsapo_circuit_breaker_state").samples().is_empty()
    });
}
