//! Processes killed, Redis gone or emptied, in the middle of load: no counter ever goes down, and at rest every event
//! counts exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use techsapo_tests::{Exporter, Exposition, Producer, RedisServer, facts, wait};

use super::{counted, stage};

/// The pages of one exporter, each held against the one before.
struct Watch {
    last: Exposition,
    seen: usize,
}

impl Watch {
    fn new(exporter: &Exporter) -> Self {
        Self { last: exporter.scrape(), seen: 1 }
    }

    /// Scrapes once. A page without a holder's figures (the exporter is starting) says nothing.
    fn look(&mut self, exporter: &Exporter) {
        let Ok(answer) = exporter.get("/metrics") else { return };
        let page = Exposition::parse(&answer.text());
        if page.family("techsapo_telemetry_events_total").is_some_and(|family| !family.samples.is_empty()) {
            page.never_decreased_since(&self.last);
            self.last = page;
            self.seen += 1;
        }
    }
}

/// Sends small events without a pause, numbered and not, now and then one of a series that nobody has seen before,
/// until it is stopped. Returns how many of each.
struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Producer, Sent)>,
}

#[derive(Default)]
struct Sent {
    unnumbered: usize,
    new_series: usize,
}

impl Load {
    fn on(redis: &RedisServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut producer, stopped) = (Producer::new(redis), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut sent = Sent::default();
            while !stopped.load(Ordering::Relaxed) {
                producer.send(&facts::many(20));
                // Without a number of its own an event is known by its entry's place alone.
                producer.send_unnumbered(&facts::many(1));
                sent.unnumbered += 1;
                if sent.unnumbered % 20 == 0 {
                    sent.new_series += 1;
                    let route = format!("/{}", sent.new_series);
                    producer.send(&[facts::event("http_request", &json!({"route": route}))]);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            (producer, sent)
        });
        Self { stop, thread }
    }

    fn stop(self) -> (Producer, Sent) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn the_exporter_killed_again_and_again_under_load() {
    let redis = RedisServer::start();
    let mut exporter = Exporter::of(&redis).birth_hold("1s").start();
    let mut watch = Watch::new(&exporter);
    let load = Load::on(&redis);
    for round in 0..8u64 {
        // Killed sooner or later after its start, so that it is hit at different steps.
        let life = Instant::now() + Duration::from_millis(900 + 170 * round);
        while Instant::now() < life {
            watch.look(&exporter);
            std::thread::sleep(Duration::from_millis(15));
        }
        exporter.kill_9();
        exporter.spawn_again();
    }
    let (mut producer, sent) = load.stop();
    exporter.wait_ready();
    let page = exporter.scrape_after(&mut producer);
    page.never_decreased_since(&watch.last);
    assert_eq!(counted(&page), (producer.last_seq() as usize + sent.unnumbered) as f64);
    page.counter("techsapo_telemetry_unnumbered_events_total").is(sent.unnumbered as f64);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
    page.counter("techsapo_telemetry_gaps_total").is(0);
    assert!(watch.seen > 20, "only {} pages were compared", watch.seen);
    exporter.scrape_until("every new series shows its one event", |page| {
        page.counter("techsapo_http_requests_total").total() == sent.new_series as f64
    });
}

#[test]
fn connections_cut_again_and_again_double_nothing() {
    let (redis, exporter, mut producer) = stage();
    for _ in 0..30 {
        producer.send(&facts::many(2));
        producer.send_unnumbered(&facts::many(1));
        std::thread::sleep(Duration::from_millis(100));
        redis.cli::<usize>(&["CLIENT", "KILL", "TYPE", "normal"]);
        producer.reconnect(&redis);
    }
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 90.0);
    page.counter("techsapo_telemetry_unnumbered_events_total").is(30);
    assert!(page.counter("techsapo_exporter_redis_connections_total").one().value > 1.0);
}

#[test]
fn ids_that_go_back_are_read_and_trimmed_all_the_same() {
    let (redis, exporter, mut producer) = stage();
    let line = facts::many(1)[0].to_string();
    // As if Redis' clock had been an hour ahead, until it was set right and Redis restarted.
    let ahead = format!("{}-0", facts::now_ms() + 3_600_000);
    let entry = ["v", "1", "p", producer.id(), "s", "1", "h", "1", "n", "1", "d", &line];
    redis.cli::<String>(&[&["XADD", "techsapo:events", &ahead][..], &entry].concat());
    producer.note_lines([line.clone()]);
    producer.wait_acknowledged();
    redis.cli::<usize>(&["DEL", "techsapo:events"]);
    producer.send(&facts::many(4));
    assert_eq!(counted(&exporter.scrape_after(&mut producer)), 5.0);
    wait::until_true("the stream is trimmed", || redis.cli::<usize>(&["XLEN", "techsapo:events"]) == 0);
}

/// Sends again whatever is not acknowledged, as a shipper does, until all is.
fn resend_until_acknowledged(producer: &mut Producer) {
    wait::until_true("everything is acknowledged", || {
        if producer.acknowledged() < producer.last_seq() {
            producer.rewind(7);
            std::thread::sleep(Duration::from_millis(1_500));
        }
        producer.acknowledged() == producer.last_seq()
    });
}

#[test]
fn redis_killed_and_everything_in_it_forgotten() {
    let (mut redis, exporter, mut producer) = stage();
    let mut watch = Watch::new(&exporter);
    for _ in 0..3 {
        producer.send(&facts::many(30));
        producer.send(&facts::many(30));
        watch.look(&exporter);
        redis.kill_9();
        watch.look(&exporter);
        redis.start_again();
        producer.reconnect(&redis);
        producer.send(&facts::many(5));
    }
    resend_until_acknowledged(&mut producer);
    let page = exporter.scrape_after(&mut producer);
    page.never_decreased_since(&watch.last);
    assert_eq!(counted(&page), 3.0 * 65.0);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn redis_killed_and_its_appendonly_file_read_again() {
    let mut redis = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let exporter = Exporter::of(&redis).start();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(30));
    redis.kill_9();
    redis.start_again();
    producer.reconnect(&redis);
    producer.send(&facts::many(5));
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 35.0);
    page.counter("techsapo_telemetry_gaps_total").is(0);
}

#[test]
fn flushall_loses_nothing_that_the_producer_still_has() {
    let (redis, exporter, mut producer) = stage();
    producer.send(&facts::many(40));
    let before = exporter.scrape_after(&mut producer);
    exporter.process.pause();
    producer.send(&facts::many(10));
    redis.cli::<()>(&["FLUSHALL"]);
    exporter.process.resume();
    producer.send(&facts::many(10));
    resend_until_acknowledged(&mut producer);
    let page = exporter.scrape_after(&mut producer);
    page.never_decreased_since(&before);
    assert_eq!(counted(&page), 60.0);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn a_stream_trimmed_by_hand_is_a_gap_that_closes() {
    let (redis, exporter, mut producer) = stage();
    producer.send(&facts::many(3));
    producer.wait_acknowledged();
    exporter.process.pause();
    // A read that still waits in Redis would be given the next entry before anybody can trim it.
    wait::until_true("no read waits in Redis", || {
        redis.cli::<String>(&["INFO", "clients"]).contains("blocked_clients:0\r\n")
    });
    producer.send(&facts::many(10));
    redis.cli::<usize>(&["XTRIM", "techsapo:events", "MAXLEN", "0"]);
    producer.send(&facts::many(10));
    exporter.process.resume();
    resend_until_acknowledged(&mut producer);
    let page = exporter.scrape_after(&mut producer);
    assert_eq!(counted(&page), 23.0);
    assert!(page.counter("techsapo_telemetry_gaps_total").one().value >= 1.0);
    page.counter("techsapo_telemetry_lost_events_total").is(0);
}

#[test]
fn redis_out_of_memory_is_trimmed_free_again() {
    let redis = RedisServer::with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let exporter = Exporter::of(&redis).start();
    let mut producer = Producer::new(&redis);
    exporter.process.pause();
    // Fill it from outside: what a full Redis refuses here is not the exporter's doing.
    let filler = "x".repeat(100_000);
    let line = facts::event("error", &json!({"note": filler})).to_string();
    let add = |count: u64| {
        let id = producer.id().to_owned();
        let mut command = redis::cmd("XADD");
        command.arg("techsapo:events").arg("*").arg(&[
            ("v", "1"),
            ("p", &id),
            ("n", "1"),
            ("h", "1"),
            ("d", &line),
        ]);
        command.arg("s").arg(count).exec(&mut redis.connection()).is_ok()
    };
    let sent = (1..).take_while(|&seq| add(seq)).count() as u64;
    assert!((1..100).contains(&sent), "{sent} entries fitted");
    exporter.process.resume();
    exporter.scrape_until("all that fitted is counted", |page| counted(page) == sent as f64);
    producer.note_lines((0..sent).map(|_| line.clone()));
    producer.wait_acknowledged();
    producer.send(&facts::many(1));
    assert_eq!(counted(&exporter.scrape_after(&mut producer)), sent as f64 + 1.0);
}

#[test]
fn redis_away_at_the_start_is_waited_for() {
    let mut redis = RedisServer::start();
    redis.kill_9();
    let mut exporter = Exporter::of(&redis).spawn();
    exporter.wait_log("Redis");
    assert_eq!(exporter.get("/-/healthy").unwrap().status, 200);
    let answer = exporter.get("/-/ready").unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("Redis"), "{}", answer.text());
    redis.start_again();
    exporter.wait_ready();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(3));
    assert_eq!(counted(&exporter.scrape_after(&mut producer)), 3.0);
}

#[test]
fn a_key_of_another_kind_in_the_stream_s_place_is_told_and_survived() {
    let (redis, exporter, mut producer) = stage();
    producer.send(&facts::many(5));
    let before = exporter.scrape_after(&mut producer);
    redis.cli::<()>(&["SET", "techsapo:events", "no stream"]);
    exporter.wait_log("WRONGTYPE");
    exporter.scrape().never_decreased_since(&before);
    redis.cli::<()>(&["DEL", "techsapo:events"]);
    producer.send(&facts::many(5));
    assert_eq!(counted(&exporter.scrape_after(&mut producer)), 10.0);
}

#[test]
fn a_password_is_never_written_to_the_log() {
    let mut redis = RedisServer::start();
    redis.kill_9();
    let url = redis.url().replace("redis://", "redis://:open-sesame@");
    let exporter = Exporter::of(&redis).redis_url(&url).spawn();
    exporter.wait_log("Redis");
    redis.start_again();
    exporter.wait_log("authentication failed");
    assert!(!exporter.process.log().contains("open-sesame"), "{}", exporter.process.log());
    assert!(!exporter.get("/-/ready").unwrap().text().contains("open-sesame"));
}

#[test]
fn what_redis_has_forgotten_it_is_told_again_also_of_those_who_are_silent() {
    let (redis, _exporter, mut speaking) = stage();
    let mut silent = Producer::new(&redis);
    for producer in [&mut silent, &mut speaking] {
        producer.send(&facts::many(3));
        producer.wait_acknowledged();
    }
    speaking.send(&facts::many(2));
    speaking.wait_acknowledged();
    let _: u64 = redis.cli(&["DEL", "techsapo:acks"]);
    for producer in [&mut silent, &mut speaking] {
        producer.wait_acknowledged();
    }
}
