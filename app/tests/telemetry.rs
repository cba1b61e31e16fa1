//! Journal and shipper against a real Redis. The tests play the exporter: they read the stream, and acknowledge by
//! writing the hashes that the exporter writes.
#![allow(clippy::unwrap_used)] // What goes wrong here fails the test, and that is what a panic does.

#[path = "telemetry/records.rs"]
mod records;
#[path = "telemetry/trouble.rs"]
mod trouble;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::{Commands, Connection, streams::StreamRangeReply};
use techsapo_app::telemetry::{Recorder, Telemetry, TelemetryError, TelemetrySettings, shipper::Pace};
use techsapo_shared::{
    event::{Anomaly, ErrorEvent, Event},
    labels::{AnomalyType, Service, Severity},
    wire::{Batch, DEFAULT_STREAM, StreamKeys},
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(20);

/// A redis-server on a port of its own, killed when dropped.
struct Redis {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let child = Self::spawn(port, &folder);
        let redis = Self { child, port, folder };
        redis.connection();
        redis
    }

    fn spawn(port: u16, folder: &TempDir) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed")
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts again, empty: nothing was saved.
    fn start_again(&mut self) {
        self.child = Self::spawn(self.port, &self.folder);
        self.connection();
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection, once the server answers.
    fn connection(&self) -> Connection {
        let client = redis::Client::open(self.url()).unwrap();
        eventually("redis answers", || {
            let mut connection = client.get_connection().ok()?;
            redis::cmd("PING").exec(&mut connection).ok().map(|()| connection)
        })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `look` finds what it looks for. How long that takes is not what is tested.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < SOON, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Redis, a journal folder, and the exporter that the test plays.
struct Scene {
    redis: Redis,
    exporter: Connection,
    folder: TempDir,
    pace: Pace,
}

/// An entry of the stream, as the exporter sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: String,
    producer: String,
    first: u64,
    count: u64,
    oldest: u64,
    dropped: u64,
    lines: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let redis = Redis::start();
        let exporter = redis.connection();
        let pace =
            Pace { poll: Duration::from_millis(10), stall: Duration::from_millis(300), ..Pace::default() };
        Self { redis, exporter, folder: tempfile::tempdir().unwrap(), pace }
    }

    fn settings(&self, journal_bytes: u64) -> TelemetrySettings {
        TelemetrySettings {
            journal_dir: self.folder.path().join("journal"),
            journal_bytes,
            audited: false,
            redis: self.redis.url().parse().unwrap(),
            streams: vec![DEFAULT_STREAM.into()],
        }
    }

    fn start(&self) -> Telemetry {
        Telemetry::start_with(&self.settings(8 * MIB), self.pace).unwrap()
    }

    fn journal_files(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path().join("journal")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some()).count()
    }

    fn entries(&mut self) -> Vec<Entry> {
        let reply: StreamRangeReply = self.exporter.xrange_all(DEFAULT_STREAM).unwrap();
        reply
            .ids
            .into_iter()
            .map(|entry| {
                let fields: BTreeMap<String, Vec<u8>> = entry
                    .map
                    .iter()
                    .map(|(name, value)| (name.clone(), redis::from_redis_value_ref(value).unwrap()))
                    .collect();
                let batch =
                    Batch::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())))
                        .unwrap();
                let origin = batch.origin.unwrap();
                Entry {
                    id: entry.id,
                    producer: origin.producer.into(),
                    first: origin.first_seq,
                    count: batch.count,
                    oldest: origin.oldest_seq,
                    dropped: origin.dropped,
                    lines: batch.lines().map(|line| String::from_utf8(line.to_vec()).unwrap()).collect(),
                }
            })
            .collect()
    }

    /// Reads the stream as the exporter does: of each producer what comes next, in order.
    fn applied(&mut self) -> BTreeMap<String, Vec<String>> {
        let mut applied: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in self.entries() {
            let lines = applied.entry(entry.producer).or_default();
            let expected = lines.len() as u64 + 1;
            if entry.first <= expected {
                lines.extend(entry.lines.into_iter().skip((expected - entry.first) as usize));
            }
        }
        applied
    }

    /// Waits until the stream holds exactly these facts of exactly one producer, from its first on.
    fn arrives(&mut self, expected: &[String]) -> String {
        eventually("all facts are in the stream", || {
            let applied = self.applied();
            let (producer, lines) = applied.first_key_value()?;
            (applied.len() == 1 && lines == expected).then(|| producer.clone())
        })
    }

    fn acknowledge(&mut self, producer: &str, seq: u64) {
        let keys = StreamKeys::of(DEFAULT_STREAM);
        let _: () = self.exporter.hset(keys.acks, producer, seq).unwrap();
    }

    fn publish_cursor(&mut self, id: &str) {
        let keys = StreamKeys::of(DEFAULT_STREAM);
        let _: () = self.exporter.hset(keys.cursors, keys.stream, id).unwrap();
    }

    fn settled(&self, recorder: &Recorder) {
        eventually("everything is acknowledged", || (recorder.pending_events() == 0).then_some(()));
    }
}

fn fact(t: u64) -> Event<'static> {
    Event::Anomaly(Anomaly { t, kind: AnomalyType::TrafficSpike })
}

fn lines(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|t| serde_json::to_string(&fact(t)).unwrap()).collect()
}

fn record(recorder: &Recorder, range: std::ops::RangeInclusive<u64>) {
    range.for_each(|t| recorder.record(&fact(t)));
}

/// Ends a run whose facts are not acknowledged; its file stays.
fn end(telemetry: Telemetry) {
    telemetry.shutdown(Duration::ZERO);
}

#[test]
fn facts_arrive_in_order_with_a_header_that_is_true() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    record(&recorder, 1..=5000);
    let producer = scene.arrives(&lines(1..=5000));

    let mut expected = 1;
    for entry in scene.entries() {
        assert_eq!((entry.first, entry.oldest, entry.dropped), (expected, 1, 0));
        assert_eq!(entry.count, entry.lines.len() as u64);
        assert!(entry.lines.iter().map(|line| line.len() + 1).sum::<usize>() <= 64 << 10);
        expected += entry.count;
    }
    assert_eq!(recorder.pending_events(), 5000);

    scene.acknowledge(&producer, 5000);
    scene.settled(&recorder);
    assert_eq!(recorder.sample().unwrap().used_bytes, 0);
    record(&recorder, 5001..=5001);
    scene.arrives(&lines(1..=5001));
    assert_eq!(scene.entries().last().unwrap().oldest, 5001);

    scene.acknowledge(&producer, 5001);
    telemetry.shutdown(SOON);
    assert_eq!(scene.journal_files(), 0, "everything is acknowledged");
}

#[test]
fn shutdown_ships_what_is_pending_and_waits_for_the_acknowledgement() {
    let mut scene = Scene::new();
    scene.pace.poll = Duration::from_secs(3600); // Nothing is shipped but by the shutdown.
    let telemetry = scene.start();
    record(&telemetry.recorder(), 1..=100);
    let shutdown = std::thread::spawn(move || telemetry.shutdown(SOON));
    let producer = scene.arrives(&lines(1..=100));
    assert!(!shutdown.is_finished());
    scene.acknowledge(&producer, 100);
    shutdown.join().unwrap();
    assert_eq!(scene.journal_files(), 0);
}

#[test]
fn what_an_earlier_run_left_is_shipped_under_its_own_id_and_its_file_deleted() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    record(&telemetry.recorder(), 1..=300);
    let first = scene.arrives(&lines(1..=300));
    scene.acknowledge(&first, 200);
    end(telemetry);
    assert_eq!(scene.journal_files(), 1);
    let _: () = scene.exporter.del(DEFAULT_STREAM).unwrap();

    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    assert!(recorder.pending_events() >= 100);
    record(&recorder, 1001..=1010);
    let entries = eventually("both runs' facts arrive", || {
        let entries = scene.entries();
        (entries.iter().map(|entry| entry.count).sum::<u64>() >= 110).then_some(entries)
    });
    assert_eq!((entries[0].producer.as_str(), entries[0].first), (first.as_str(), 201));
    assert_eq!(entries[0].lines, lines(201..=300));
    let second = &entries[1].producer;
    assert_ne!(*second, first);
    assert_eq!(entries[1].first, 1);

    scene.acknowledge(&first, 300);
    eventually("the earlier run's file is deleted", || (scene.journal_files() == 1).then_some(()));
    assert_eq!(recorder.pending_events(), 10);
    scene.acknowledge(second, 10);
    scene.settled(&recorder);
}

#[test]
fn what_the_exporter_passed_over_is_sent_again() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    record(&telemetry.recorder(), 1..=10);
    let producer = scene.arrives(&lines(1..=10));
    let before = scene.entries();
    scene.publish_cursor(&before.last().unwrap().id);
    let after = eventually("it is sent again", || {
        let entries = scene.entries();
        (entries.len() > before.len()).then_some(entries)
    });
    assert_eq!(after[before.len()].first, 1);
    scene.acknowledge(&producer, 10);
    scene.settled(&telemetry.recorder());
}

#[test]
fn a_batch_that_only_waits_for_the_exporter_is_not_sent_again() {
    let mut scene = Scene::new();
    scene.pace.stall = Duration::from_millis(20);
    let telemetry = scene.start();
    record(&telemetry.recorder(), 1..=10);
    scene.arrives(&lines(1..=10));
    let before = scene.entries();
    // The statistics tell when it has looked for the batch several times.
    eventually("it looks for the batch", || {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut scene.exporter).unwrap();
        let looked = stats.lines().find(|line| line.starts_with("cmdstat_hget:calls="))?;
        let calls: u64 = looked["cmdstat_hget:calls=".len()..].split(',').next()?.parse().ok()?;
        (calls > 30).then_some(())
    });
    assert_eq!(scene.entries(), before);
    end(telemetry);
}

#[test]
fn acknowledgements_of_what_was_never_written_free_nothing() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    record(&recorder, 1..=10);
    let producer = scene.arrives(&lines(1..=10));
    scene.acknowledge(&producer, 1_000_000);
    record(&recorder, 11..=11);
    scene.arrives(&lines(1..=11));
    assert_eq!(recorder.pending_events(), 11);
    scene.acknowledge(&producer, 11);
    scene.settled(&recorder);
}

#[test]
fn drops_are_counted_travel_with_the_batches_and_survive_the_run() {
    let mut scene = Scene::new();
    scene.redis.kill();
    let telemetry = Telemetry::start_with(&scene.settings(MIB), scene.pace).unwrap();
    let recorder = telemetry.recorder();
    record(&recorder, 1..=30_000);
    let sample = recorder.sample().unwrap();
    assert!(sample.dropped > 0 && sample.used_bytes <= sample.capacity_bytes, "{sample:?}");
    let kept = 30_000 - sample.dropped;
    assert_eq!(recorder.pending_events(), kept);
    drop(recorder);
    end(telemetry);

    scene.redis.start_again();
    scene.exporter = scene.redis.connection();
    let telemetry = scene.start();
    let producer = scene.arrives(&lines(1..=kept));
    assert!(scene.entries().iter().all(|entry| entry.dropped == sample.dropped));
    scene.acknowledge(&producer, kept);
    scene.settled(&telemetry.recorder());
    assert_eq!(
        telemetry.recorder().sample().unwrap().dropped,
        0,
        "the exporter was told under the earlier id"
    );
}

#[test]
fn an_idle_shipper_leaves_redis_alone() {
    let mut scene = Scene::new();
    let telemetry = scene.start();
    let recorder = telemetry.recorder();
    record(&recorder, 1..=10);
    let producer = scene.arrives(&lines(1..=10));
    scene.acknowledge(&producer, 10);
    scene.settled(&recorder);
    let mut calls = || {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut scene.exporter).unwrap();
        stats.lines().find(|line| line.starts_with("cmdstat_hget:")).map(str::to_owned)
    };
    let before = calls();
    std::thread::sleep(20 * scene.pace.poll);
    assert_eq!(calls(), before);
}

#[test]
fn without_a_stream_there_is_no_telemetry() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TelemetrySettings {
        journal_dir: folder.path().join("journal"),
        journal_bytes: MIB,
        audited: false,
        redis: "redis://127.0.0.1:1".parse().unwrap(),
        streams: vec![],
    };
    assert!(matches!(Telemetry::start(&settings), Err(TelemetryError::NoStream)));
}
