//! Which events of a batch count: each once, whatever is sent again, out of order, missing or wrong.

use redis::streams::StreamRangeReply;
use serde_json::{Value, json};
use techsapo_tests::{Producer, facts};

use super::{counted, stage};

#[test]
fn duplicates_and_overlaps_count_once() {
    let (_redis, exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    producer.send_range(1..=10);
    producer.send_range(4..=8);
    producer.note(&facts::many(5));
    producer.send_range(8..=15);
    producer.send_range(11..=15);
    let page = exporter.scrape_after(&mut producer);
    page.counter("techsapo_telemetry_events_total").with("type", "cache_lookup").is(15);
    page.counter("techsapo_telemetry_duplicate_events_total").is(10 + 5 + 3 + 5);
    page.counter("techsapo_telemetry_gaps_total").is(0);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn two_producers_do_not_mix() {
    let (redis, exporter, mut one) = stage();
    let mut other = Producer::new(&redis);
    for _ in 0..3 {
        one.send(&facts::many(2));
        other.send(&facts::many(5));
    }
    other.wait_acknowledged();
    assert_eq!(counted(&exporter.scrape_after(&mut one)), 21.0);
    assert_eq!((one.acknowledged(), other.acknowledged()), (6, 15));
}

#[test]
fn a_gap_waits_until_the_producer_comes_back() {
    let (_redis, exporter, mut producer) = stage();
    producer.send(&facts::many(5));
    producer.note(&facts::many(5));
    producer.send(&facts::many(5));
    let page = exporter.scrape_until("the gap is seen", |page| {
        page.counter("techsapo_telemetry_gaps_total").one().value > 0.0
    });
    assert_eq!(counted(&page), 5.0, "what lies behind the gap must wait");
    assert_eq!(producer.acknowledged(), 5);
    producer.rewind(4);
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 15.0);
    page.counter("techsapo_telemetry_gaps_total").is(1);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    page.counter("techsapo_telemetry_duplicate_events_total").is(0);
}

#[test]
fn what_the_producer_can_no_longer_send_is_counted_as_lost() {
    let (_redis, exporter, mut producer) = stage();
    producer.send(&facts::many(5));
    producer.note(&facts::many(5));
    producer.forgets_before(9);
    producer.send_range(9..=10);
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 7.0);
    page.counter("techsapo_telemetry_lost_events_total").is(3);
    exporter.wait_log("lost");
}

#[test]
fn a_record_that_went_bad_is_lost_and_its_neighbours_are_not() {
    let (_redis, exporter, mut producer) = stage();
    let line = facts::many(1)[0].to_string();
    producer.send_lines([&line, "null", "null", &line]);
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 2.0);
    page.counter("techsapo_telemetry_lost_events_total").is(2);
}

#[test]
fn events_without_numbers_count_as_such() {
    let (_redis, exporter, mut producer) = stage();
    producer.send_unnumbered(&facts::many(4));
    producer.send_unnumbered(&facts::many(4));
    producer.send(&facts::many(1));
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 9.0);
    page.counter("techsapo_telemetry_unnumbered_events_total").is(8);
}

#[test]
fn what_producers_dropped_is_summed_over_them() {
    let (redis, exporter, mut one) = stage();
    let mut other = Producer::new(&redis);
    one.says_dropped(3);
    one.send(&facts::many(1));
    one.send_range(1..=1);
    other.says_dropped(10);
    other.send(&facts::many(1));
    one.says_dropped(4);
    one.send(&facts::many(1));
    exporter.scrape_after(&mut one).counter("techsapo_telemetry_dropped_total").is(14);
}

/// A line that is no event, why it is refused, and what the quarantine says of it.
fn poison() -> Vec<(String, &'static str, &'static str)> {
    let llm = |field: &str, value: Value| facts::event("llm_request", &json!({field: value})).to_string();
    vec![
        ("{\"cache_lookup\":".to_owned(), "syntax", "not JSON"),
        (json!({"llm_answer": {"t": 1}}).to_string(), "unknown_type", "unknown event type"),
        (llm("task_type", json!("luxury")), "schema", "no known label value"),
        (llm("duration_us", json!(-1)), "schema", "of a wrong kind"),
        (llm("cost_nanousd", json!(u64::MAX)), "out_of_bounds", "cost_nanousd is outside its bounds"),
        (llm("model", json!("m".repeat(201))), "out_of_bounds", "model is outside its bounds"),
    ]
}

#[test]
fn poison_is_counted_quarantined_and_passed_over() {
    let (redis, exporter, mut producer) = stage();
    let good = facts::many(1)[0].to_string();
    let poison = poison();
    let lines = poison.iter().flat_map(|(line, ..)| [good.as_str(), line]).chain([good.as_str()]);
    producer.send_lines(lines);
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 7.0, "the good lines around the bad ones count");
    let rejected = page.counter("techsapo_telemetry_rejected_events_total");
    for (_, reason, _) in &poison {
        let count = poison.iter().filter(|(_, other, _)| other == reason).count();
        rejected.clone().with("reason", reason).is(count as f64);
    }
    assert_eq!(rejected.total(), poison.len() as f64);

    let quarantine: StreamRangeReply = redis.cli(&["XRANGE", "techsapo:quarantine", "-", "+"]);
    assert_eq!(quarantine.ids.len(), poison.len());
    for (entry, (line, _, words)) in quarantine.ids.iter().zip(poison) {
        let field = |name: &str| entry.get::<String>(name).unwrap();
        assert_eq!((field("d"), field("p")), (line, producer.id().to_owned()));
        assert!(field("reason").contains(words), "{}", field("reason"));
    }
}

#[test]
fn bytes_that_are_no_text_are_poison_like_any_other() {
    let (redis, exporter, mut producer) = stage();
    let good = facts::many(1)[0].to_string().into_bytes();
    let bad: &[u8] = b"{\"error\":{\"t\":1,\"error_type\":\"\xff\xfe\0\"}}";
    let data = [&good[..], bad, &good[..]].join(&b'\n');
    let mut command = redis::cmd("XADD");
    command.arg("techsapo:events").arg("*").arg("v").arg("1").arg("d").arg(&data);
    command.exec(&mut redis.connection()).unwrap();
    producer.send(&facts::many(1));
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 3.0);
    page.counter("techsapo_telemetry_rejected_events_total").with("reason", "syntax").is(1);
    let quarantine: StreamRangeReply = redis.cli(&["XRANGE", "techsapo:quarantine", "-", "+"]);
    assert_eq!(quarantine.ids[0].get::<Vec<u8>>("d").unwrap(), bad);
}

#[test]
fn numbers_at_the_end_of_their_range_do_no_harm() {
    let (_redis, exporter, mut producer) = stage();
    let line = facts::many(1)[0].to_string();
    let last = (u64::MAX - 1).to_string();
    let most = u64::MAX.to_string();
    for id in ["hostile-1", "hostile-2"] {
        producer.add(&[
            ("v", "1"),
            ("p", id),
            ("s", &last),
            ("h", &last),
            ("x", &most),
            ("n", "1"),
            ("d", &line),
        ]);
        producer.add(&[("v", "1"), ("p", id), ("s", "1"), ("h", "1"), ("x", "0"), ("n", "1"), ("d", &line)]);
    }
    producer.send(&facts::many(3));
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 5.0);
    page.counter("techsapo_telemetry_duplicate_events_total").is(2);
}

#[test]
fn an_event_whose_sum_would_exceed_64_bits_is_refused_as_a_whole() {
    let (_redis, exporter, mut producer) = stage();
    const MOST: u64 = 1_000_000_000_000_000;
    let dearest = facts::event("llm_request", &json!({"cost_nanousd": MOST}));
    let fitting = u64::MAX / MOST;
    for _ in 0..10 {
        producer.send(&vec![dearest.clone(); fitting as usize / 10 + 1]);
    }
    let sent = producer.last_seq();
    assert!(sent > fitting);
    let page = exporter.scrape_after(&mut producer);
    page.counter("techsapo_telemetry_events_total").with("type", "llm_request").is(fitting as f64);
    let refused = page.counter("techsapo_telemetry_rejected_events_total").with("reason", "overflow");
    refused.is((sent - fitting) as f64);
    assert_eq!(page.counter("techsapo_provider_cost_usd").total_units(9), fitting * MOST);
    // What is refused has moved nothing at all.
    assert_eq!(page.counter("techsapo_llm_requests_total").total(), fitting as f64);
    assert_eq!(page.observations("techsapo_llm_response_time_seconds").total(), fitting as f64);
}

#[test]
fn batches_that_make_no_sense_are_counted_quarantined_and_passed_over() {
    let (redis, exporter, mut producer) = stage();
    let line = facts::many(1)[0].to_string();
    let numbered = |s: &'static str, h: &'static str, n: &'static str| {
        vec![("v", "1"), ("p", "p"), ("s", s), ("h", h), ("n", n), ("d", line.as_str())]
    };
    let bad = [
        ("nonsense", numbered("1", "1", "0")),
        ("nonsense", numbered("1", "2", "1")),
        ("nonsense", numbered("1", "1", "2")),
        ("nonsense", numbered("18446744073709551615", "1", "1")),
        ("malformed_field", numbered("-1", "1", "1")),
        ("malformed_field", numbered("1", "1", "one")),
        ("version", vec![("v", "2"), ("n", "1"), ("d", &line)]),
        ("version", vec![("hello", "world")]),
        ("missing_field", vec![("v", "1"), ("p", "p"), ("n", "1"), ("d", &line)]),
    ];
    for (_, fields) in &bad {
        producer.add(fields);
    }
    producer.send(&facts::many(2));
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 2.0);
    for (reason, count) in [("nonsense", 4), ("malformed_field", 2), ("version", 2), ("missing_field", 1)] {
        page.counter("techsapo_telemetry_rejected_batches_total").with("reason", reason).is(count);
    }
    assert_eq!(redis.cli::<usize>(&["XLEN", "techsapo:quarantine"]), bad.len());
    assert_eq!(redis.cli::<usize>(&["HLEN", "techsapo:acks"]), 1, "a refused batch acknowledges nobody");
}

#[test]
fn what_is_durable_is_trimmed_and_acknowledged() {
    let (redis, exporter, mut producer) = stage();
    for _ in 0..20 {
        producer.send(&facts::many(50));
    }
    assert_eq!(counted(&exporter.scrape_after(&mut producer)), 1_000.0);
    assert_eq!(redis.cli::<usize>(&["XLEN", "techsapo:events"]), 0);
    let info: redis::streams::StreamInfoStreamReply = redis.cli(&["XINFO", "STREAM", "techsapo:events"]);
    assert_eq!(redis.cli::<String>(&["HGET", "techsapo:cursors", "techsapo:events"]), info.last_generated_id);
    assert!((1..=30_000).contains(&redis.cli::<i64>(&["PTTL", "techsapo:owner"])));
}
