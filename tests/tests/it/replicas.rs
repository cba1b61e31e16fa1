//! Several exporters for one state: one holds it, the others stand by. Whatever happens to the holder, to Redis or to
//! the store, at most one serves, no counter goes down, and at rest every event counts exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use techsapo_tests::{Exporter, Exposition, Producer, RedisServer, facts, wait};

mod failover;
mod lease;
mod prometheus;
mod promoted;
mod row;
mod store;

const EVENTS: &str = "techsapo_telemetry_events_total";

/// Events that were counted.
fn counted(page: &Exposition) -> f64 {
    page.counter(EVENTS).total()
}

/// The page of an exporter, if it serves what the events say: the state is its own.
fn served(exporter: &Exporter) -> Option<Exposition> {
    let answer = exporter.get("/metrics").ok()?;
    let page = Exposition::parse(&answer.text());
    let serves = page.family(EVENTS).is_some_and(|family| !family.samples.is_empty());
    serves.then_some(page)
}

/// Waits until the exporter serves, and says how long that took since `since`.
fn wait_served(what: &str, exporter: &Exporter, since: Instant) -> Exposition {
    let page = wait::until(what, || served(exporter));
    eprintln!("{what}: after {:.2} s", since.elapsed().as_secs_f64());
    page
}

/// Waits until the exporter serves nothing of the state, and says so everywhere.
fn wait_standing_by(what: &str, exporter: &Exporter) {
    wait::until_true(what, || served(exporter).is_none());
    exporter.scrape().gauge("techsapo_exporter_leader").is(0);
    assert_eq!(exporter.get("/-/ready").unwrap().status, 503, "{what}");
}

/// All pages that exporters of one state serve, each held against the one before: what Prometheus would see.
#[derive(Default)]
struct Watch {
    last: Option<Exposition>,
    seen: usize,
}

impl Watch {
    /// Scrapes all of them once.
    fn look(&mut self, exporters: &[&Exporter]) {
        for page in exporters.iter().filter_map(|exporter| served(exporter)) {
            page.gauge("techsapo_exporter_leader").is(1);
            if let Some(last) = &self.last {
                page.never_decreased_since(last);
            }
            self.last = Some(page);
            self.seen += 1;
        }
    }

    /// Scrapes all of them for this long.
    fn look_for(&mut self, time: Duration, exporters: &[&Exporter]) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look(exporters);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Scrapes all of them until this one serves.
    fn look_until_served(&mut self, what: &str, exporter: &Exporter, others: &[&Exporter]) {
        let since = Instant::now();
        wait::until_true(what, || {
            self.look(others);
            self.look(&[exporter]);
            served(exporter).is_some()
        });
        eprintln!("{what}: after {:.2} s", since.elapsed().as_secs_f64());
    }
}

/// A producer that sends ten small events a hundred times a second, until it is told to end.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Producer>,
}

impl Load {
    fn on(redis: &RedisServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut producer, stopped) = (Producer::new(redis), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                producer.send(&facts::many(10));
                std::thread::sleep(Duration::from_millis(10));
            }
            producer
        });
        Self { stop, thread }
    }

    fn end(self) -> Producer {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
