//! The lease in a database: a holder that slept through it, and a database that is away, stopped or slow.

use std::time::Instant;

use techsapo_tests::{Exporter, MariaDb, Producer, RedisServer, facts, wait};

use super::{Load, Watch, counted, served, wait_served, wait_standing_by};

fn cursor(redis: &RedisServer) -> String {
    redis.cli(&["HGET", "techsapo:cursors", "techsapo:events"])
}

#[test]
fn a_holder_paused_past_its_lease_commits_acknowledges_and_serves_nothing() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let holder = Exporter::of(&redis).database(&database).start();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(10));
    let before = holder.scrape_after(&mut producer);
    let mut standby = Exporter::of(&redis).database(&database).spawn();
    standby.wait_log("standby");

    holder.process.pause();
    // Acknowledged by nobody yet when the standby takes over.
    producer.send(&facts::many(5));
    wait_served("the standby serves", &standby, Instant::now()).never_decreased_since(&before);
    standby.wait_ready();
    let page = standby.scrape_after(&mut producer);
    assert_eq!(counted(&page), 15.0);
    let holds = "SELECT term, holder FROM exporter_checkpoints";
    let (row, read_to) = (database.sql(holds), cursor(&redis));

    holder.process.resume();
    assert!(served(&holder).is_none(), "from its first page on");
    assert_eq!(holder.get("/-/ready").unwrap().status, 503);
    holder.wait_log("another exporter has taken over the state");
    wait_standing_by("it stands by", &holder);
    assert_eq!(database.sql(holds), row);
    assert_eq!(cursor(&redis), read_to);
    producer.send(&facts::many(5));
    let page = standby.scrape_after(&mut producer);
    assert_eq!(counted(&page), 20.0);
    page.counter("techsapo_telemetry_duplicate_events_total").is(0);
    assert_eq!(database.sql(holds), row, "the one that was deposed leaves it alone");
}

#[test]
fn a_database_that_hangs_stops_the_serving_when_the_lease_is_over_and_not_for_good() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let mut holder = Exporter::of(&redis).database(&database).start();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(10));
    let before = holder.scrape_after(&mut producer);
    database.pause();
    producer.send(&facts::many(10));
    holder.wait_log("no answer within");
    if let Some(page) = served(&holder) {
        assert_eq!(counted(&page), 10.0, "what is not durable is not served");
    }
    wait_standing_by("its lease is over", &holder);
    let why = holder.get("/-/ready").unwrap().text();
    assert!(why.contains("lease"), "{why}");
    database.resume();
    holder.wait_ready();
    let page = holder.scrape_after(&mut producer);
    page.never_decreased_since(&before);
    assert_eq!(counted(&page), 20.0);
}

#[test]
fn a_database_that_was_away_under_load_costs_nothing() {
    let (redis, mut database) = (RedisServer::start(), MariaDb::start());
    let exporters = [0, 1].map(|_| Exporter::of(&redis).database(&database).spawn());
    let [first, second] = &exporters;
    let serving = || exporters.iter().find_map(|exporter| served(exporter).map(|page| (exporter, page)));
    wait::until_true("one of them serves", || serving().is_some());
    let load = Load::on(&redis);
    let mut watch = Watch::default();
    for _ in 0..2 {
        watch.look_for(std::time::Duration::from_secs(1), &[first, second]);
        database.kill_9();
        wait::until_true("the lease is over", || {
            watch.look(&[first, second]);
            serving().is_none()
        });
        database.start_again();
        let back = Instant::now();
        wait::until_true("one of them serves again", || serving().is_some());
        eprintln!("served again after the database was back: {:.2} s", back.elapsed().as_secs_f64());
    }
    let mut producer = load.end();
    producer.wait_acknowledged();
    producer.wait_next_publication();
    let (exporter, page) = wait::until("one of them serves", serving);
    page.never_decreased_since(watch.last.as_ref().unwrap());
    assert_eq!(counted(&page), producer.last_seq() as f64);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    let other = if std::ptr::eq(exporter, first) { second } else { first };
    wait_standing_by("the other one stands by", other);
}
