//! How an exporter begins and ends: with what it left, with what is damaged, with what it must not touch.

use std::path::{Path, PathBuf};

use techsapo_tests::{Exporter, Producer, RedisServer, facts, wait};

use super::{counted, stage};

/// Files that hold the state: whatever is in the folder and is not empty.
fn slots(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut slots: Vec<_> =
        entries.filter(|entry| entry.metadata().unwrap().len() > 0).map(|entry| entry.path()).collect();
    slots.sort();
    assert_eq!(slots.len(), 2, "two copies of the state: {slots:?}");
    slots
}

fn flip_a_bit(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_restart_continues_where_it_was() {
    let (_redis, mut exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    let before = exporter.scrape_after(&mut producer);
    exporter.kill_9();
    producer.send(&facts::many(7));
    exporter.restart();
    let page = exporter.scrape();
    page.never_decreased_since(&before);
    assert_eq!(counted(&page), 17.0, "ready means that what waited in the stream is served");
}

/// A journal may come back after months. What it sends again is known, and that Redis does not know it any more confuses nobody.
#[test]
fn a_producer_that_comes_back_after_long_silence_is_counted_on() {
    let (redis, mut exporter, mut speaking) = stage();
    let mut silent = Producer::new(&redis);
    let sent = silent.note(&facts::many(3));
    silent.send_range_at(facts::now_ms() - 31 * 24 * 3_600_000, sent);
    silent.wait_acknowledged();
    speaking.send(&facts::many(2));
    wait::until_true("the silent one's acknowledgement leaves Redis", || silent.acknowledged() == 0);
    speaking.wait_acknowledged();

    // As if Redis had lost that: a checkpoint that knows the producer is not taken for an older one.
    let _: u64 = redis.cli(&["HSET", "techsapo:acks", silent.id(), "3"]);
    exporter.kill_9();
    exporter.restart();
    assert_eq!(counted(&exporter.scrape()), 5.0);
    wait::until_true("it leaves Redis again", || silent.acknowledged() == 0);

    silent.note(&facts::many(4));
    silent.forgets_before(2);
    silent.send_range(2..=7);
    silent.wait_acknowledged();
    let page = exporter.scrape_after(&mut silent);
    assert_eq!(counted(&page), 9.0);
    page.counter("techsapo_telemetry_duplicate_events_total").is(2);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn asked_to_end_it_writes_a_last_checkpoint() {
    let (redis, mut exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    // Seen on the page or not: what it has read is made durable before it ends.
    let status = exporter.sigterm();
    assert!(status.success(), "{status}");
    let acknowledged = producer.acknowledged();
    producer.send(&facts::many(5));
    exporter.restart();
    let page = exporter.scrape();
    assert_eq!(counted(&page), 15.0);
    page.counter("techsapo_telemetry_duplicate_events_total").is(0);
    assert!(acknowledged == 0 || acknowledged == 10, "{acknowledged}");
    assert_eq!(redis.cli::<usize>(&["HLEN", "techsapo:acks"]), 1);
}

#[test]
fn one_damaged_copy_of_the_state_is_replaced_by_the_other() {
    for place in [0, 1] {
        let (_redis, mut exporter, mut producer) = stage();
        producer.send(&facts::many(10));
        let before = exporter.scrape_after(&mut producer);
        exporter.kill_9();
        flip_a_bit(&slots(exporter.checkpoints())[place]);
        exporter.restart();
        let page = exporter.scrape();
        page.never_decreased_since(&before);
        assert_eq!(counted(&page), 10.0);
        exporter.wait_log("damaged");
    }
}

#[test]
fn with_both_copies_damaged_it_begins_anew_behind_what_was_acknowledged() {
    let (_redis, mut exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    exporter.kill_9();
    slots(exporter.checkpoints()).iter().for_each(|slot| flip_a_bit(slot));
    producer.send(&facts::many(4));
    exporter.restart();
    let page = exporter.scrape();
    assert_eq!(counted(&page), 4.0, "a reset that Prometheus understands, and nothing twice");
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    exporter.wait_log("begins anew, all counters from zero");
    assert_eq!(exporter.scrape_after(&mut producer).counter("techsapo_telemetry_gaps_total").total(), 0.0);
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_waited_for() {
    let (_redis, mut exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    exporter.kill_9();
    // Not even root reads a folder as a file.
    let away = tempfile::tempdir().unwrap();
    let slots = slots(exporter.checkpoints());
    for (number, slot) in slots.iter().enumerate() {
        std::fs::rename(slot, away.path().join(number.to_string())).unwrap();
        std::fs::create_dir(slot).unwrap();
    }
    producer.send(&facts::many(4));
    exporter.spawn_again();
    exporter.wait_log("cannot read the checkpoint");
    for (number, slot) in slots.iter().enumerate() {
        std::fs::remove_dir(slot).unwrap();
        std::fs::copy(away.path().join(number.to_string()), slot).unwrap();
    }
    exporter.wait_ready();
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 14.0);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn a_state_from_an_old_backup_is_not_continued() {
    let (_redis, mut exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    exporter.kill_9();
    let slots = slots(exporter.checkpoints());
    let backup: Vec<_> = slots.iter().map(|slot| std::fs::read(slot).unwrap()).collect();
    exporter.restart();
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    exporter.kill_9();
    slots.iter().zip(backup).for_each(|(slot, bytes)| std::fs::write(slot, bytes).unwrap());
    producer.send(&facts::many(2));
    exporter.restart();
    assert_eq!(counted(&exporter.scrape()), 2.0);
    exporter.wait_log("older copy");
}

#[test]
fn another_state_keeps_its_hands_off_until_the_owner_is_gone() {
    let (redis, mut exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    let owner: String = redis.cli(&["GET", "techsapo:owner"]);
    let mut stray = Exporter::of(&redis).spawn();
    stray.wait_log(&format!("the stream belongs to the state {owner}"));
    let answer = stray.get("/-/ready").unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains(&owner), "{}", answer.text());
    stray.scrape().counter("techsapo_telemetry_events_total").absent();
    producer.send(&facts::many(5));
    assert_eq!(counted(&exporter.scrape_after(&mut producer)), 15.0);
    assert_eq!(redis.cli::<String>(&["GET", "techsapo:owner"]), owner);

    exporter.kill_9();
    producer.send(&facts::many(3));
    stray.wait_ready();
    assert_eq!(counted(&stray.scrape()), 3.0, "it goes on behind what the other one acknowledged");
}

#[test]
fn an_owner_that_was_paused_too_long_finds_that_it_was_replaced() {
    let (redis, exporter, mut producer) = stage();
    producer.send(&facts::many(10));
    let owner: String = redis.cli(&["GET", "techsapo:owner"]);
    producer.wait_acknowledged();
    let mut successor = Exporter::of(&redis).spawn();
    exporter.process.pause();
    producer.send(&facts::many(5));
    successor.wait_ready();
    exporter.process.resume();
    exporter.wait_log("the stream now belongs to the state");
    wait::until_true("it is no longer ready", || exporter.get("/-/ready").unwrap().status == 503);
    exporter.scrape().counter("techsapo_telemetry_events_total").absent();
    producer.send(&facts::many(2));
    assert_eq!(counted(&successor.scrape_after(&mut producer)), 7.0);
    assert_ne!(redis.cli::<String>(&["GET", "techsapo:owner"]), owner);
}

#[test]
fn two_on_one_folder_are_one_holder_and_its_standby() {
    let (_redis, mut holder, mut producer) = stage();
    producer.send(&facts::many(10));
    let before = holder.scrape_after(&mut producer);
    let mut standby = holder.setup().spawn();
    standby.wait_log("standby");
    assert_eq!(standby.get("/-/ready").unwrap().status, 503);
    let page = standby.scrape();
    page.gauge("techsapo_exporter_leader").is(0);
    page.counter("techsapo_telemetry_events_total").absent();
    holder.kill_9();
    producer.send(&facts::many(5));
    standby.wait_ready();
    let page = standby.scrape();
    page.never_decreased_since(&before);
    assert_eq!(counted(&page), 15.0);
    page.gauge("techsapo_exporter_leader").is(1);
}

#[test]
fn a_folder_that_cannot_be_written_is_one_clear_message() {
    let redis = RedisServer::start();
    let folder = redis.folder().join("a-file");
    std::fs::write(&folder, "").unwrap();
    let mut exporter = Exporter::of(&redis).checkpoints(&folder.join("checkpoints")).spawn();
    let status = exporter.process.wait_exit();
    assert!(!status.success());
    let log = exporter.process.log();
    assert!(log.contains(&folder.display().to_string()) && log.contains("--checkpoint.dir"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_redis_url_that_is_none_is_a_usage_error() {
    let redis = RedisServer::start();
    for url in ["http://127.0.0.1:6379", "nonsense", ""] {
        let mut exporter = Exporter::of(&redis).redis_url(url).spawn();
        assert_eq!(exporter.process.wait_exit().code(), Some(2), "{url:?}");
        let log = exporter.process.log();
        assert!(log.contains("--redis.url") && log.contains("redis://"), "{url:?}: {log}");
    }
}

#[test]
fn a_port_that_is_taken_is_one_clear_message() {
    let (redis, exporter, _producer) = stage();
    let mut second = Exporter::of(&redis).listen(&exporter.address()).spawn();
    assert_eq!(second.process.wait_exit().code(), Some(1));
    let log = second.process.log();
    assert!(log.contains(&exporter.address()) && log.contains("--web.listen-address"), "{log}");
}

#[test]
fn two_streams_are_one_state() {
    let redis = RedisServer::start();
    let keys = ["techsapo:events:{0}", "techsapo:events:{1}"];
    let setup = Exporter::of(&redis).stream(keys[0]).stream(keys[1]);
    let mut exporter = setup.start();
    let [mut first, mut second] = keys.map(|key| Producer::on(&redis, key));
    first.send(&facts::many(3));
    second.send(&facts::many(4));
    first.wait_acknowledged();
    assert_eq!(counted(&exporter.scrape_after(&mut second)), 7.0);
    exporter.kill_9();
    first.send(&facts::many(3));
    second.send(&facts::many(4));
    exporter.restart();
    assert_eq!(counted(&exporter.scrape()), 14.0);
    for (key, producer, last) in [("techsapo:acks:{0}", &first, 6), ("techsapo:acks:{1}", &second, 8)] {
        assert_eq!(redis.cli::<u64>(&["HGET", key, producer.id()]), last);
        assert_eq!(redis.cli::<usize>(&["HLEN", key]), 1, "each stream acknowledges its own producers");
    }
}
