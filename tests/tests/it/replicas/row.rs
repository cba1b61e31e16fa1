//! What an exporter finds, or does not find, in the database: each case has one clear outcome, and none tells the
//! password.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use techsapo_tests::{Exporter, MariaDb, Producer, RedisServer, facts, wait};

use super::counted;

/// Waits until the exporter says that it is not ready because of `reason`, and that without the password.
fn wait_not_ready(exporter: &mut Exporter, database: &MariaDb, reason: &str) {
    let said = wait::until(&format!("it is not ready: {reason}"), || {
        exporter.process.assert_alive();
        let answer = exporter.get("/-/ready").ok()?;
        (answer.status == 503 && answer.text().contains(reason)).then(|| answer.text())
    });
    exporter.wait_log(reason);
    for text in [said, exporter.process.log()] {
        assert!(!text.contains(database.password()) && !text.contains("wrong-sesame"), "{text}");
    }
    assert_eq!(exporter.get("/-/healthy").unwrap().status, 200);
    exporter.scrape().gauge("techsapo_exporter_leader").is(0);
}

#[test]
fn a_damaged_state_is_begun_anew_behind_what_was_acknowledged() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let mut exporter = Exporter::of(&redis).database(&database).start();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    exporter.sigterm();
    database.sql("UPDATE exporter_checkpoints SET state = LEFT(state, LENGTH(state) - 9)");
    producer.send(&facts::many(4));
    exporter.restart();
    let page = exporter.scrape();
    assert_eq!(counted(&page), 4.0, "a reset that Prometheus understands, and nothing twice");
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    exporter.wait_log("a checkpoint is damaged");
    exporter.wait_log("begins anew, all counters from zero");
}

#[test]
fn a_state_of_a_later_build_is_left_to_the_later_build() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let mut exporter = Exporter::of(&redis).database(&database).start();
    exporter.sigterm();
    let mut later = GzEncoder::new(Vec::new(), Compression::fast());
    later.write_all(b"\xffwhatever a later build writes").unwrap();
    let hex: String = later.finish().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    database.sql(&format!("UPDATE exporter_checkpoints SET state = X'{hex}'"));
    exporter.spawn_again();
    wait_not_ready(&mut exporter, &database, "a later build wrote the checkpoint");
    exporter.kill_9();
    assert_eq!(database.sql("SELECT LOWER(HEX(state)) FROM exporter_checkpoints"), hex, "it is as it was");
}

#[test]
fn a_wrong_password_is_said_without_it() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let url = database.url().replace(database.password(), "wrong-sesame");
    let mut exporter = Exporter::of(&redis).database_url(&url).spawn();
    wait_not_ready(&mut exporter, &database, "Access denied");
}

#[test]
fn a_database_away_at_the_start_is_waited_for() {
    let (redis, mut database) = (RedisServer::start(), MariaDb::start());
    database.kill_9();
    let mut exporter = Exporter::of(&redis).database(&database).spawn();
    wait_not_ready(&mut exporter, &database, "refused");
    database.start_again();
    exporter.wait_ready();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(3));
    assert_eq!(counted(&exporter.scrape_after(&mut producer)), 3.0);
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    let redis = RedisServer::start();
    for url in ["http://127.0.0.1/db", "mysql://user:open-sesame@127.0.0.1", "nonsense", ""] {
        let mut exporter = Exporter::of(&redis).database_url(url).spawn();
        assert_eq!(exporter.process.wait_exit().code(), Some(2), "{url:?}");
        let log = exporter.process.log();
        assert!(log.contains("--checkpoint.url") && log.contains("mysql://user:password@"), "{url:?}: {log}");
        assert!(!log.contains("open-sesame"), "{log}");
    }
}
