//! The exporter on a real Redis, fed by producers that know nothing but the public contract.

use techsapo_tests::{Exporter, Exposition, Producer, RedisServer};

mod counting;
mod failures;
mod pages;
mod start;

/// A Redis, an exporter that is ready, and a producer.
fn stage() -> (RedisServer, Exporter, Producer) {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let producer = Producer::new(&redis);
    (redis, exporter, producer)
}

/// Events that were counted.
fn counted(page: &Exposition) -> f64 {
    page.counter("techsapo_telemetry_events_total").total()
}
