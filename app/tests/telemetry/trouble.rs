//! A Redis that is away, empty or full: what is recorded meanwhile waits, and nothing is lost.

use super::*;

#[test]
fn a_redis_that_comes_back_empty_gets_everything_unacknowledged_again() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    record(&recorder, 1..=60);
    let producer = scene.arrives(&lines(1..=60));
    scene.acknowledge(&producer, 60);
    scene.settled(&recorder);
    record(&recorder, 61..=100);
    scene.arrives(&lines(1..=100));

    scene.redis.kill();
    record(&recorder, 101..=200);
    assert!(recorder.pending_lines().ends_with(&lines(101..=200)), "recording goes on");
    scene.redis.start_again();
    scene.exporter = scene.redis.connection();

    let entries = eventually("all that is not acknowledged arrives", || {
        let entries = scene.entries();
        entries.last().is_some_and(|entry| entry.first + entry.count == 201).then_some(entries)
    });
    assert_eq!(entries[0].first, 61);
    for pair in entries.windows(2) {
        assert_eq!(pair[0].first + pair[0].count, pair[1].first, "in order");
    }
    scene.acknowledge(&producer, 200);
    scene.settled(&recorder);
    telemetry.shutdown(SOON);
    assert_eq!(scene.journal_files(), 0);
}

#[test]
fn a_start_without_redis_succeeds_and_ships_later() {
    let mut scene = Scene::new();
    scene.redis.kill();
    let telemetry = scene.start();
    record(&telemetry.recorder(), 1..=10);
    scene.redis.start_again();
    scene.exporter = scene.redis.connection();
    scene.arrives(&lines(1..=10));
    end(telemetry);
}

#[test]
fn a_flushed_redis_gets_everything_unacknowledged_again() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    record(&recorder, 1..=100);
    let producer = scene.arrives(&lines(1..=100));
    redis::cmd("FLUSHALL").exec(&mut scene.exporter).unwrap();
    // No error, no reconnect: only the missing entry tells.
    scene.arrives(&lines(1..=100));
    scene.acknowledge(&producer, 100);
    scene.settled(&recorder);
}

#[test]
fn a_redis_out_of_memory_delays_and_loses_nothing() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    record(&recorder, 1..=10);
    let producer = scene.arrives(&lines(1..=10));
    let config = |scene: &mut Scene, bytes: &str| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).exec(&mut scene.exporter).unwrap();
    };
    config(&mut scene, "1");
    record(&recorder, 11..=3000);
    eventually("Redis refuses", || {
        let stats: String = redis::cmd("INFO").arg("errorstats").query(&mut scene.exporter).unwrap();
        stats.contains("errorstat_OOM").then_some(())
    });
    assert_eq!(recorder.pending_events(), 3000);
    config(&mut scene, "0");
    assert_eq!(scene.arrives(&lines(1..=3000)), producer);
    scene.acknowledge(&producer, 3000);
    scene.settled(&recorder);
}

#[test]
fn sending_pauses_while_the_stream_is_too_large() {
    let mut scene = Scene::new();
    scene.pace.stream_bytes = 256 << 10;
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    let long = "x".repeat(1000);
    let (severity, service) = (Severity::Error, Service::Other);
    for t in 1..=4000 {
        let error_type = long.as_str().into();
        recorder.record(&Event::Error(ErrorEvent { t, error_type, severity, service }));
    }
    // The exporter reads and trims; it never sees much more than the limit and a round.
    let (mut expected, mut trimmed) = (1, 0);
    eventually("everything comes through", || {
        let size: Option<u64> = redis::cmd("MEMORY")
            .arg("USAGE")
            .arg(DEFAULT_STREAM)
            .arg("SAMPLES")
            .arg(0)
            .query(&mut scene.exporter)
            .unwrap();
        assert!(size.unwrap_or(0) < 3 << 20, "the stream took {size:?} bytes");
        for entry in scene.entries() {
            if entry.first == expected {
                expected += entry.count;
            }
            let producer = entry.producer.clone();
            scene.acknowledge(&producer, expected - 1);
            trimmed += scene.exporter.xdel::<_, _, u64>(DEFAULT_STREAM, &[entry.id]).unwrap();
        }
        (expected == 4001).then_some(())
    });
    assert!(trimmed > 3);
    scene.settled(&recorder);
}
