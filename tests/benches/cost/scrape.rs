//! A scrape of 10 000 series while the exporter is busy counting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::json;
use techsapo_tests::{Exporter, Producer, RedisServer, facts, http};

use crate::report::Figure;
use crate::{cpu, load};

const SERIES: usize = 10_000;
/// Addresses at each route; an exporter remembers 20 000 values of a label at most.
const ADDRESSES: usize = 15_000;
const SCRAPES: usize = 60;
/// Events that are put into the stream at a time, as fast as Redis takes them.
const LOAD: usize = 64 * 500;

/// An exporter whose page has `SERIES` lines.
pub(crate) fn exporter_with_series(redis: &RedisServer) -> Exporter {
    exporter_with(redis, SERIES)
}

/// Fills an exporter with series: masked addresses at routes, one event each, until the page has so many lines.
pub(crate) fn exporter_with(redis: &RedisServer, series: usize) -> Exporter {
    let limit = u32::try_from(2 * series).unwrap().min(100_000);
    let exporter = Exporter::of(redis).series_limit(limit).start();
    let mut producer = Producer::new(redis);
    let mut lines = samples(&exporter);
    let mut number = 0;
    while lines < series {
        let hits: Vec<_> = (lines..series)
            .map(|_| {
                number += 1;
                let (route, address) = (number / ADDRESSES, number % ADDRESSES);
                let endpoint = format!("/api/v1/{route}");
                let client_ip = format!("10.{}.{}.0/24", address / 256, address % 256);
                facts::event("rate_limit_hit", &json!({ "endpoint": endpoint, "client_ip": client_ip }))
            })
            .collect();
        hits.chunks(64).for_each(|batch| {
            producer.send(batch);
        });
        producer.wait_acknowledged();
        producer.wait_next_publication();
        lines = samples(&exporter);
    }
    exporter
}

/// Lines with a value on the page.
fn samples(exporter: &Exporter) -> usize {
    exporter.get("/metrics").unwrap().text().lines().filter(|line| !line.starts_with('#')).count()
}

/// CPU seconds of a scrape while nothing else is to be done.
pub(crate) fn cpu_at_rest(exporter: &Exporter) -> f64 {
    let before = cpu::seconds_of(exporter.process.id());
    (0..SCRAPES).for_each(|_| assert_eq!(exporter.get("/metrics").unwrap().status, 200));
    (cpu::seconds_of(exporter.process.id()) - before) / SCRAPES as f64
}

/// Median time of a scrape by the clock, under full load; and its CPU time at rest.
pub(crate) fn run() -> Vec<Figure> {
    let redis = RedisServer::start();
    let exporter = exporter_with_series(&redis);
    let address = format!("{}/metrics", exporter.url());

    let at_rest = cpu_at_rest(&exporter);

    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                load::fill(&redis, sent, LOAD, 64);
                sent += LOAD;
            }
        });
        for _ in 0..SCRAPES {
            let begin = Instant::now();
            assert_eq!(http::get(&address).unwrap().status, 200);
            times.push(begin.elapsed().as_secs_f64() * 1e3);
            thread::sleep(std::time::Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    times.sort_by(f64::total_cmp);
    vec![
        Figure {
            name: "scrape_10000_series_median_under_load",
            value: times[times.len() / 2],
            unit: "ms",
            asked: "≤ 10 ms",
        },
        Figure {
            name: "scrape_10000_series_cpu",
            value: at_rest * 1e3,
            unit: "ms",
            asked: "as little as can be",
        },
    ]
}
