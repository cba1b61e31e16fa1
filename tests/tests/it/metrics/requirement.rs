//! What the documents ask for, by hand: names, types, labels and buckets. It knows nothing of the exporter's catalogue,
//! so that an error there cannot hide here.

use techsapo_tests::{Exporter, RedisServer, check_metrics};

use super::table::everything;

const SPANS: &str = "0.1 0.5 1 2 5 10 30 60 120 300 600";

/// name, type, labels, buckets that must be there.
type Required = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
pub(super) const REQUIRED: &[Required] = &[
    // Business
    ("techsapo_wallbounce_requests_total", "counter", "task_type provider status", ""),
    ("techsapo_wallbounce_consensus_confidence", "histogram", "", "0.1 0.3 0.5 0.7 0.8 0.85 0.9 0.95 1"),
    ("techsapo_wallbounce_processing_duration_seconds", "histogram", "task_type", "0.5 1 2 5 10 30 60 120 300 600"),
    ("techsapo_wallbounce_cost_usd", "counter", "provider task_type", ""),
    ("techsapo_llm_requests_total", "counter", "provider model status task_type", ""),
    ("techsapo_llm_response_time_seconds", "histogram", "provider model", SPANS),
    ("techsapo_llm_token_usage_total", "counter", "provider type model", ""),
    ("techsapo_llm_agreement_score", "histogram", "provider_pair", "0 0.1 0.3 0.5 0.7 0.8 0.9 1"),
    // Application
    ("techsapo_http_requests_total", "counter", "method route status_code", ""),
    ("techsapo_http_request_duration_seconds", "histogram", "method route", "0.005 60"),
    ("techsapo_http_request_size_bytes", "histogram", "", "100 1000000"),
    ("techsapo_http_response_size_bytes", "histogram", "", "100 1000000"),
    ("techsapo_redis_operations_total", "counter", "operation status", ""),
    ("techsapo_redis_connection_pool_size", "gauge", "", ""),
    ("techsapo_mysql_queries_total", "counter", "query_type status", ""),
    ("techsapo_cache_hit_ratio", "gauge", "cache_type", ""),
    ("techsapo_errors_total", "counter", "error_type severity service", ""),
    ("techsapo_circuit_breaker_state", "gauge", "service state", ""),
    // System
    ("nodejs_heap_size_total_bytes", "gauge", "app_instance", ""),
    ("nodejs_heap_size_used_bytes", "gauge", "app_instance", ""),
    ("nodejs_eventloop_lag_seconds", "histogram", "app_instance", ""),
    ("nodejs_gc_duration_seconds", "histogram", "app_instance", ""),
    ("techsapo_memory_usage_bytes", "gauge", "component", ""),
    ("techsapo_active_connections", "gauge", "connection_type", ""),
    ("techsapo_queue_size", "gauge", "queue_name", ""),
    // Security
    ("techsapo_auth_attempts_total", "counter", "status method", ""),
    ("techsapo_auth_failures_total", "counter", "reason", ""),
    ("techsapo_rate_limit_hits_total", "counter", "endpoint client_ip", ""),
    ("techsapo_input_sanitization_total", "counter", "type blocked", ""),
    ("techsapo_anomaly_requests_total", "counter", "type", ""),
    // Derived
    ("techsapo_wallbounce_success_rate", "gauge", "", ""),
    ("techsapo_wallbounce_avg_confidence_5m", "gauge", "", ""),
    ("techsapo_wallbounce_consensus_score", "gauge", "", ""),
    ("techsapo_llm_success_rate_by_provider", "gauge", "provider", ""),
    ("techsapo_http_p95_response_time", "gauge", "", ""),
    ("techsapo_memory_usage_percent", "gauge", "", ""),
    ("techsapo_cpu_usage_percent", "gauge", "", ""),
    ("techsapo_provider_cost_usd", "counter", "provider", ""),
    ("techsapo_budget_utilization_percent", "gauge", "period", ""),
    // Added, because alerts need them
    ("techsapo_config_changes_total", "counter", "component", ""),
    ("techsapo_llm_provider_changes_total", "counter", "provider change", ""),
    ("techsapo_redis_consecutive_failures", "gauge", "", ""),
];

/// What promtool may say: names that the documents fix.
const ALLOWED_FINDINGS: &[&str] = &[
    "techsapo_provider_cost_usd counter metrics should have \"_total\" suffix",
    "techsapo_wallbounce_cost_usd counter metrics should have \"_total\" suffix",
];

#[test]
fn every_documented_family_stands_on_an_empty_page_with_help_and_type() {
    let redis = RedisServer::start();
    let page = Exporter::of(&redis).start().scrape();
    for (name, kind, ..) in REQUIRED {
        let family = page.family(name).unwrap_or_else(|| panic!("{name} is not on the page"));
        assert_eq!(family.kind, *kind, "{name}");
        assert!(family.help.len() > 10, "the help of {name} says {:?}", family.help);
    }
}

#[test]
fn every_documented_family_has_its_labels_and_buckets() {
    let redis = RedisServer::start();
    let page = everything(&redis).scrape();
    for (name, kind, labels, buckets) in REQUIRED {
        let family = page.family(name).unwrap();
        let mut wanted: Vec<&str> = labels.split_whitespace().collect();
        wanted.sort_unstable();
        let sample = family.samples.first().unwrap_or_else(|| panic!("{name} has no series"));
        let found: Vec<&str> =
            sample.labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
        assert_eq!(found, wanted, "labels of {name}");
        if *kind == "histogram" {
            let bounds: Vec<f64> =
                family.samples.iter().filter_map(|sample| sample.labels.get("le")?.parse().ok()).collect();
            for bound in buckets.split_whitespace() {
                assert!(bounds.contains(&bound.parse().unwrap()), "{name} has no bucket {bound}: {bounds:?}");
            }
        }
    }
}

#[test]
fn promtool_finds_nothing_but_the_names_that_the_documents_fix() {
    let redis = RedisServer::start();
    let exporter = everything(&redis);
    let findings = check_metrics(&exporter.get("/metrics").unwrap().text());
    let new: Vec<_> =
        findings.iter().filter(|finding| !ALLOWED_FINDINGS.contains(&finding.as_str())).collect();
    assert!(new.is_empty(), "{new:#?}");
    let gone: Vec<_> =
        ALLOWED_FINDINGS.iter().filter(|finding| !findings.iter().any(|found| found == *finding)).collect();
    assert!(gone.is_empty(), "no longer found, so take them off the list: {gone:#?}");
}
