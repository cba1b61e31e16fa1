//! How many events the exporter counts per second of its CPU time: from a real Redis, with checkpoints on.
//!
//! Beside it stands what the same machine can do at the same time at most with the same lines: serde decodes them, and nothing
//! else is done. A shared machine's speed changes from minute to minute, and both figures with it.

use std::hint::black_box;

use techsapo_shared::event::Event;
use techsapo_tests::{Exporter, RedisServer};

use crate::report::{Figure, median};
use crate::{cpu, load};

/// Runs of each kind, in turns; the median counts.
const ROUNDS: usize = 3;
/// Different lines that are decoded alone, and how often each.
const DIFFERENT: usize = 4_096;
const REPEATS: usize = 100;

/// Events of a run in batches.
pub(crate) const BATCHED: usize = 3_000_000;
const SINGLE: usize = 400_000;
const BACKLOG: usize = 1_000_000;

/// Batches of 64, and one event to an entry.
pub(crate) fn run() -> Vec<Figure> {
    let lines = load::calls(DIFFERENT);
    let (mut batched, mut single, mut decoded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        decoded.push(decoded_per_cpu_second(&lines));
        batched.push(BATCHED as f64 / cpu_to_count(BATCHED, 64));
        single.push(SINGLE as f64 / cpu_to_count(SINGLE, 1));
    }
    let figure = |name, values, asked| Figure { name, value: median(values), unit: "events/s", asked };
    vec![
        figure("pipeline_events_per_exporter_cpu_second", batched, "≥ 2 000 000"),
        figure("pipeline_single_events_per_exporter_cpu_second", single, "≥ 250 000"),
        figure("pipeline_ceiling_serde_alone", decoded, "the machine's: 3 700 000 when 2 000 000 was asked"),
    ]
}

/// Events that serde alone decodes per second of this thread's CPU time.
fn decoded_per_cpu_second(lines: &[String]) -> f64 {
    let before = cpu::seconds_of_this_thread();
    for _ in 0..REPEATS {
        for line in lines {
            assert!(black_box(serde_json::from_str::<Event<'_>>(black_box(line))).is_ok());
        }
    }
    (lines.len() * REPEATS) as f64 / (cpu::seconds_of_this_thread() - before)
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
