//! What a real Prometheus, configured as this repository's, makes of a failover.

use std::collections::BTreeSet;
use std::time::Instant;

use techsapo_tests::{Exporter, ExporterSetup, MariaDb, Producer, Prometheus, RedisServer, facts};

use super::wait_served;

fn a_failover_is_invisible(redis: &RedisServer, setups: [ExporterSetup; 2]) {
    let [first, second] = setups;
    let (mut holder, mut standby) = (first.start(), second.spawn());
    standby.wait_log("standby");
    let prometheus = Prometheus::of_exporters(&[&holder.address(), &standby.address()]);
    let mut producer = Producer::new(redis);
    producer.send(&facts::many(100));
    let lookups = r#"techsapo_telemetry_events_total{type="cache_lookup"}"#;
    prometheus.wait_value(lookups, 100.0);
    prometheus.wait_value("count(up == 1)", 2.0);
    prometheus.wait_value("sum(techsapo_exporter_leader)", 1.0);

    holder.kill_9();
    producer.send(&facts::many(50));
    wait_served("the standby serves", &standby, Instant::now());
    standby.wait_ready();
    producer.send(&facts::many(30));
    // One element, the same series before and after: it grew by what was sent.
    prometheus.wait_value(lookups, 180.0);
    holder.spawn_again();
    prometheus.wait_value("count(up == 1)", 2.0);

    let value = |query: &str| prometheus.value(query).unwrap_or_else(|| panic!("{query} has no value"));
    let sums: BTreeSet<_> = standby
        .scrape()
        .families
        .into_iter()
        .filter(|family| family.kind != "gauge" && !family.name.starts_with("techsapo_exporter_"))
        .flat_map(|family| family.samples.into_iter().map(|sample| sample.name))
        .collect();
    assert!(sums.len() > 20, "{sums:?}");
    for sum in sums {
        assert_eq!(value(&format!("sum(resets({sum}[10m]))")), 0.0, "{sum}");
        assert_eq!(value(&format!("count(count by (instance) ({sum}))")), 1.0, "{sum}");
    }
    for of_its_own in
        ["up", "techsapo_exporter_leader", "techsapo_exporter_scrapes_total", "scrape_duration_seconds"]
    {
        assert_eq!(value(&format!("count(count by (instance) ({of_its_own}))")), 2.0, "{of_its_own}");
    }
}

#[test]
fn a_failover_with_the_state_in_a_folder_is_invisible() {
    let redis = RedisServer::start();
    let folder = redis.folder().join("checkpoints");
    a_failover_is_invisible(&redis, [0, 1].map(|_| Exporter::of(&redis).checkpoints(&folder)));
}

#[test]
fn a_failover_with_the_state_in_a_database_is_invisible() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    a_failover_is_invisible(&redis, [0, 1].map(|_| Exporter::of(&redis).database(&database)));
}
