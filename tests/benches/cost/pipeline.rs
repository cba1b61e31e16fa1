//! How many events the exporter counts per second of its CPU time: from a real Redis, with checkpoints on.

use techsapo_tests::{Exporter, RedisServer};

use crate::report::Figure;
use crate::{cpu, load};

/// Events of a run in batches.
pub(crate) const BATCHED: usize = 3_000_000;
const SINGLE: usize = 400_000;
const BACKLOG: usize = 1_000_000;

/// Batches of 64, and one event to an entry.
pub(crate) fn run() -> Vec<Figure> {
    vec![
        Figure {
            name: "pipeline_events_per_exporter_cpu_second",
            value: BATCHED as f64 / cpu_to_count(BATCHED, 64),
            unit: "events/s",
            asked: "≥ 2 000 000",
        },
        Figure {
            name: "pipeline_single_events_per_exporter_cpu_second",
            value: SINGLE as f64 / cpu_to_count(SINGLE, 1),
            unit: "events/s",
            asked: "≥ 250 000",
        },
    ]
}

/// A start with a backlog: CPU time from the start to being ready.
pub(crate) fn recover() -> Vec<Figure> {
    vec![Figure {
        name: "recover_cpu_seconds_for_1000000_events",
        value: cpu_to_count(BACKLOG, 64),
        unit: "s",
        asked: "≤ 2 s",
    }]
}

/// CPU seconds of a fresh exporter until all events are counted, durable and served.
pub(crate) fn cpu_to_count(events: usize, per_entry: usize) -> f64 {
    let redis = RedisServer::start();
    load::fill(&redis, 0, events, per_entry);
    let exporter = Exporter::of(&redis).start();
    let seconds = cpu::seconds_of(exporter.process.id());
    let page = exporter.scrape();
    page.counter("techsapo_telemetry_events_total").with("type", "llm_request").is(events as u32);
    seconds
}
