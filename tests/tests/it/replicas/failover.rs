//! The holder killed under load: the standby goes on where the last durable checkpoint was.

use std::time::Duration;

use techsapo_tests::{Exporter, ExporterSetup, MariaDb, RedisServer};

use super::{Load, Watch, counted, wait_standing_by};

/// Kills the holder `rounds` times; each time the other takes over, and the killed one becomes its standby.
fn killed_under_load(redis: &RedisServer, setups: [ExporterSetup; 2], rounds: usize) {
    let [first, second] = setups;
    let (mut holder, mut standby) = (first.start(), second.spawn());
    standby.wait_log("standby: another exporter holds");
    wait_standing_by("the second one stands by", &standby);
    let load = Load::on(redis);
    let mut watch = Watch::default();
    for _ in 0..rounds {
        watch.look_for(Duration::from_millis(1_500), &[&holder, &standby]);
        holder.kill_9();
        watch.look_until_served("the standby serves", &standby, &[&holder]);
        holder.spawn_again();
        std::mem::swap(&mut holder, &mut standby);
    }
    watch.look_for(Duration::from_millis(1_500), &[&holder, &standby]);
    let mut producer = load.end();
    holder.wait_ready();
    let page = holder.scrape_after(&mut producer);
    page.never_decreased_since(watch.last.as_ref().unwrap());
    assert_eq!(counted(&page), producer.last_seq() as f64);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    page.counter("techsapo_telemetry_gaps_total").is(0);
    wait_standing_by("the one that was killed stands by", &standby);
    assert!(watch.seen > 20, "only {} pages were compared", watch.seen);
}

#[test]
fn killed_under_load_with_the_state_in_a_folder() {
    let redis = RedisServer::start();
    let first = Exporter::of(&redis);
    let folder = redis.folder().join("checkpoints");
    let setups = [first, Exporter::of(&redis)].map(|setup| setup.checkpoints(&folder));
    killed_under_load(&redis, setups, 4);
}

#[test]
fn killed_under_load_with_the_state_in_a_database() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let setups = [0, 1].map(|_| Exporter::of(&redis).database(&database));
    killed_under_load(&redis, setups, 2);
}

#[test]
fn asked_to_end_the_holder_hands_over_at_once() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let mut holder = Exporter::of(&redis).database(&database).start();
    let standby = Exporter::of(&redis).database(&database).spawn();
    standby.wait_log("standby");
    let load = Load::on(&redis);
    let mut watch = Watch::default();
    watch.look_for(Duration::from_millis(1_500), &[&holder, &standby]);
    assert!(holder.sigterm().success());
    let free = "SELECT holder IS NULL OR term > 1 FROM exporter_checkpoints";
    assert_eq!(database.sql(free), "1", "it gave its lease back");
    watch.look_until_served("the standby serves", &standby, &[]);
    let mut producer = load.end();
    assert_eq!(counted(&standby.scrape_after(&mut producer)), producer.last_seq() as f64);
}
