//! What the number of series costs: memory, a scrape, and a second in which facts come, for the whole state is written down then.
//!
//! The series are counters with one open label (a masked address), as an installation with many callers has them.

use std::thread;
use std::time::Duration;

use serde_json::json;
use techsapo_tests::{Producer, RedisServer, facts};

use crate::report::Figure;
use crate::{cpu, scrape};

/// Series on the page, and what its figures are called.
const STEPS: [(usize, [&str; 3]); 3] = [
    (1_000, ["series_1000_peak_resident", "series_1000_scrape_cpu", "series_1000_second_cpu"]),
    (10_000, ["series_10000_peak_resident", "series_10000_scrape_cpu", "series_10000_second_cpu"]),
    (100_000, ["series_100000_peak_resident", "series_100000_scrape_cpu", "series_100000_second_cpu"]),
];
/// Seconds that are measured, with a fact in each.
const SECONDS: u32 = 20;
/// Until the threads that answered scrapes have ended for want of work: their time must not vanish from what is measured.
const REST: Duration = Duration::from_secs(15);

/// Three figures for each number of series.
pub(crate) fn run() -> Vec<Figure> {
    STEPS.into_iter().flat_map(|(series, names)| measure(series, names)).collect()
}

fn measure(series: usize, [memory, scrape, second]: [&'static str; 3]) -> [Figure; 3] {
    let redis = RedisServer::start();
    let exporter = scrape::exporter_with(&redis, series);
    let id = exporter.process.id();
    let scrape_seconds = scrape::cpu_at_rest(&exporter);
    thread::sleep(REST);
    let mut producer = Producer::new(&redis);
    let before = cpu::seconds_of(id);
    for _ in 0..SECONDS {
        producer.send(&[facts::event("rate_limit_hit", &json!({ "client_ip": "10.0.1.0/24" }))]);
        thread::sleep(Duration::from_secs(1));
    }
    let second_seconds = (cpu::seconds_of(id) - before) / f64::from(SECONDS);
    let asked = "as little as can be";
    [
        Figure { name: memory, value: cpu::peak_resident_bytes(id) as f64 / 1e6, unit: "MB", asked },
        Figure { name: scrape, value: scrape_seconds * 1e3, unit: "ms", asked },
        Figure { name: second, value: second_seconds * 1e3, unit: "ms", asked },
    ]
}
