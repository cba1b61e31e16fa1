//! The alerts say what the documents ask: each threshold, how long it must hold, and how soon people respond, written down here once
//! more; and the burn rates of the objectives are those of their formula.

use super::book::{Rule, alerts};

/// Alert, what its expression holds, how long that must hold, priority.
const DOCUMENTED: [(&str, &str, Option<&str>, &str); 20] = [
    ("WallBounceConsensusLow", "mean5m < 0.7 ", Some("5m"), "P0"),
    ("SystemResponseTimeCritical", "techsapo_http_p95_response_time) > 10 ", Some("3m"), "P0"),
    ("HostMemoryCritical", "techsapo_memory_usage_percent) > 90", Some("30s"), "P0"),
    ("LlmProviderDown", "state=\"open\"} == 1", None, "P0"),
    ("LlmErrorRateHigh", "ratio_rate5m > 0.05 ", Some("2m"), "P0"),
    ("HttpErrorRateHigh", "ratio_rate5m > 0.01 ", Some("1m"), "P0"),
    ("AverageResponseTimeSlow", "mean5m > 5 ", Some("5m"), "P1"),
    ("DailyBudgetHigh", "{period=\"daily\"}) > 80", None, "P1"),
    ("BudgetHighSustained", "techsapo_budget_utilization_percent) > 80", Some("1h"), "P1"),
    ("RedisConnectionFailures", "count5m > 10", None, "P1"),
    ("RedisConsecutiveErrors", "techsapo_redis_consecutive_failures) >= 3", None, "P1"),
    (
        "ConsensusConfidenceDeclining",
        "< 0.9 * (techsapo:wallbounce_consensus_confidence:mean1h",
        Some("5m"),
        "P1",
    ),
    ("DailyRequestVolumeHigh", "[7d] offset 1d)) / 7 > 0) > 1.5 ", Some("10m"), "P2"),
    ("LlmProviderSetChanged", "techsapo_llm_provider_changes_total[10m])) > 0", None, "P2"),
    ("ConfigurationChanged", "techsapo_config_changes_total[10m])) > 0", None, "P2"),
    ("CacheHitRateLow", "techsapo_cache_hit_ratio) < 0.8 ", Some("30m"), "P2"),
    ("AuthFailuresHigh", "count1m > 10", None, "P1"),
    ("AbnormalTraffic", "{type=\"traffic_spike\"}[10m])) > 0", None, "P1"),
    ("SensitiveAccessAttempt", "{type=\"sensitive_access\"}[10m])) >= 5", None, "P1"),
    ("ApiKeyMisuse", "{type=\"api_key_misuse\"}[10m])) > 0", None, "P1"),
];

/// An objective's name, the share of bad events that it looks at, and how many it allows.
const OBJECTIVES: [(&str, &str, &str); 3] = [
    ("Availability", "http_requests_failed", "0.001"),
    ("Success", "wallbounce_requests_failed", "0.05"),
    ("Latency", "http_requests_slow", "0.05"),
];

fn found(name: &str) -> Rule {
    alerts().into_iter().find(|alert| alert.name == name).unwrap_or_else(|| panic!("there is no {name}"))
}

#[test]
fn the_alerts_are_those_of_the_documents() {
    for (name, holds, held, priority) in DOCUMENTED {
        let alert = found(name);
        assert!(alert.expr.contains(holds), "{name}: {}", alert.expr);
        assert_eq!((alert.held.as_deref(), alert.labels["priority"].as_str()), (held, priority), "{name}");
    }
}

#[test]
fn the_objectives_burn_as_the_formula_says() {
    for (objective, share, allowed) in OBJECTIVES {
        // A burn rate, over a long window and a short one within it.
        let burns = |rate: &str, long: &str, short: &str| {
            format!(
                "( techsapo:{share}:ratio_rate{long} > {rate} * {allowed} and techsapo:{share}:ratio_rate{short} > {rate} * {allowed} \
                 and techsapo:{share}:increase{long} >= 5 )"
            )
        };
        let fast = [burns("14.4", "1h", "5m"), burns("6", "6h", "30m")].join(" or ");
        let slow = [burns("3", "1d", "2h"), burns("1", "3d", "6h")].join(" or ");
        for (speed, expr, held, priority) in [("Fast", fast, "2m", "P1"), ("Slow", slow, "15m", "P2")] {
            let alert = found(&format!("{objective}SloBurn{speed}"));
            let written = alert.expr.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(written, expr, "{}", alert.name);
            assert_eq!(
                (alert.held.as_deref(), alert.labels["priority"].as_str()),
                (Some(held), priority),
                "{}",
                alert.name
            );
        }
    }
}
