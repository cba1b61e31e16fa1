"""States one event of each type and waits until all are counted: `python3 demo.py redis://127.0.0.1:6379 events.db`."""

import logging
import sys

from techsapo_producer import Producer, label

NODE = "node-1"

EVENTS = [
    (
        "analysis",
        {
            "task_type": "premium",
            "provider": "Gemini",
            "status": "success",
            "duration_us": 2_750_000,
            "cached": False,
            "confidence_ppm": 930_000,
            "consensus_ppm": 850_000,
            "agreements": [{"a": "Gemini", "b": "OpenAI", "score_ppm": 850_000}],
        },
    ),
    (
        "llm_request",
        {
            "provider": "Gemini",
            "model": "gemini-2.5-pro",
            "task_type": "premium",
            "status": "success",
            "duration_us": 1_234_567,
            "input_tokens": 512,
            "output_tokens": 900,
            "cost_nanousd": 9_640_000,
        },
    ),
    (
        "http_request",
        {
            "method": "POST",
            "route": "/質問/{番号}",
            "route_kind": "api",
            "status_code": 200,
            "duration_us": 2_800_000,
            "request_bytes": 310,
            "response_bytes": 4_096,
        },
    ),
    ("redis_operation", {"operation": "get", "status": "success"}),
    ("mysql_query", {"query_type": "insert", "status": "success"}),
    ("cache_lookup", {"cache_type": "redis", "hit": True}),
    ("error", {"error_type": "http_429", "severity": "warning", "service": "OpenAI"}),
    ("circuit_breaker", {"app_instance": NODE, "service": "OpenAI", "state": "open"}),
    ("auth_attempt", {"status": "failure", "method": "api_key", "reason": "unknown"}),
    ("rate_limit_hit", {"endpoint": "/質問/{番号}", "client_ip": "203.0.113.0/24"}),
    ("input_sanitization", {"type": "html", "blocked": False}),
    ("anomaly", {"type": "traffic_spike"}),
    (
        "runtime_sample",
        {
            "app_instance": NODE,
            "resident_bytes": 90 << 20,
            "heap_total_bytes": 60 << 20,
            "heap_used_bytes": 40 << 20,
            "connections": [{"connection_type": "http", "open": 12}],
            "breakers": [{"service": "OpenAI", "state": "open"}],
        },
    ),
    ("event_loop_lag", {"app_instance": NODE, "lag_us": 350}),
    ("gc_pause", {"app_instance": NODE, "duration_us": 2_100}),
    ("config_changed", {"component": "app"}),
    (
        "providers_configured",
        {"app_instance": NODE, "providers": [{"provider": "Gemini", "models": [label("gemini-2.5-pro")]}]},
    ),
    (
        "budget_limits",
        {"daily_nanousd": 20 * 10**9, "monthly_nanousd": 400 * 10**9, "time_zone": "Asia/Tokyo"},
    ),
]


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    redis_url, journal_path = sys.argv[1:]
    producer = Producer(redis_url, journal_path)
    accepted = sum(producer.state(event_type, **fields) for event_type, fields in EVENTS)
    print(f"accepted {accepted} of {len(EVENTS)} events", flush=True)
    if producer.close(timeout_s=60):
        print("all are counted")
        return 0
    print("not all are acknowledged; the next run on this journal sends the rest")
    return 1


if __name__ == "__main__":
    sys.exit(main())
