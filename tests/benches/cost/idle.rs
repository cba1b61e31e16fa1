//! The exporter in everyday use: 1 000 events a second, 10 000 series, a scrape every 15 seconds.

use std::thread;
use std::time::{Duration, Instant};

use techsapo_tests::Producer;
use techsapo_tests::{RedisServer, http};

use crate::report::Figure;
use crate::scrape::exporter_with_series;
use crate::{cpu, load};

const SECONDS: u32 = 60;
const EVENTS_PER_SECOND: usize = 1_000;
/// Batches that arrive in a second: more often than an unhurried shipper sends.
const BATCHES_PER_SECOND: usize = 20;

/// Share of one core over a minute, and the largest resident set.
pub(crate) fn run() -> Vec<Figure> {
    let redis = RedisServer::start();
    let exporter = exporter_with_series(&redis);
    let pid = exporter.process.id();
    let mut producer = Producer::new(&redis);
    let calls = load::calls(EVENTS_PER_SECOND);
    let begin = Instant::now();
    let before = cpu::seconds_of(pid);
    for batch in 0..SECONDS * BATCHES_PER_SECOND as u32 {
        let per_batch = EVENTS_PER_SECOND / BATCHES_PER_SECOND;
        let first = batch as usize % BATCHES_PER_SECOND * per_batch;
        producer.send_lines(calls[first..first + per_batch].iter().map(String::as_str));
        if batch % (15 * BATCHES_PER_SECOND as u32) == 0 {
            assert_eq!(http::get(&format!("{}/metrics", exporter.url())).unwrap().status, 200);
        }
        let due = begin + Duration::from_secs(1) / BATCHES_PER_SECOND as u32 * (batch + 1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let share = (cpu::seconds_of(pid) - before) / begin.elapsed().as_secs_f64() * 100.0;
    vec![
        Figure { name: "idle_exporter_cpu", value: share, unit: "% of a core", asked: "< 1 %" },
        Figure {
            name: "idle_exporter_resident",
            value: cpu::peak_resident_bytes(pid) as f64 / 1e6,
            unit: "MB",
            asked: "< 50 MB",
        },
    ]
}
