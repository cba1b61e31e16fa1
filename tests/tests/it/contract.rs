//! Producers in Python, by nothing but the published contract (`docs/wire.md`, `shared/event.schema.json`): what they
//! send is counted as the contract says. The one that users start from stands in `examples/python`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use redis::streams::{StreamInfoStreamReply, StreamRangeReply};
use serde_json::Value;
use techsapo_shared::event::Event;
use techsapo_shared::wire::{Batch, StreamKeys};
use techsapo_tests::{Exporter, Exposition, Process, Producer, RedisServer, repository, wait};
use tempfile::TempDir;

const STREAM: &str = "techsapo:events";

/// What the exporter must make of one case of `contract/cases.py`: the case, how much each of the pipeline's own
/// counters grows (see [`figures`]; one that is not named must not grow), and up to which number its producer is
/// acknowledged (0: not at all).
type Case = (&'static str, &'static [(&'static str, u64)], u64);

const CASES: &[Case] = &[
    ("plain", &[("events cache_lookup", 10)], 10),
    ("the_same_again", &[("events cache_lookup", 10), ("duplicate_events", 20)], 10),
    ("overlap", &[("events cache_lookup", 20), ("duplicate_events", 5 + 8 + 15)], 20),
    ("a_gap_that_is_filled", &[("events cache_lookup", 15), ("gaps", 1)], 15),
    ("a_gap_that_cannot_be_filled", &[("events cache_lookup", 11), ("gaps", 1), ("lost_events", 4)], 15),
    ("a_first_batch_that_is_not_the_first", &[("events cache_lookup", 3), ("lost_events", 100)], 103),
    (
        "poison",
        &[
            ("events cache_lookup", 3),
            ("rejected_events syntax", 3),
            ("rejected_events unknown_type", 1),
            ("rejected_events schema", 5),
            ("rejected_events out_of_bounds", 3),
        ],
        15,
    ),
    (
        "broken_headers",
        &[
            ("events cache_lookup", 1),
            ("rejected_batches version", 3),
            ("rejected_batches missing_field", 4),
            ("rejected_batches malformed_field", 4),
            ("rejected_batches nonsense", 5),
        ],
        1,
    ),
    ("bad_records", &[("events cache_lookup", 2), ("lost_events", 2)], 4),
    ("without_numbers", &[("events cache_lookup", 8), ("unnumbered_events", 8)], 0),
    ("drops", &[("events cache_lookup", 3), ("duplicate_events", 1), ("dropped", 10)], 3),
    ("fields_of_a_later_version", &[("events llm_request", 1)], 1),
    ("strings", &[("events error", 4), ("rejected_events syntax", 1)], 5),
    (
        "big_integers",
        &[
            ("events llm_request", 3),
            ("rejected_events out_of_bounds", 1),
            ("rejected_events schema", 1),
            ("rejected_events syntax", 1),
        ],
        6,
    ),
];

#[test]
fn what_a_python_producer_sends_is_counted_as_the_contract_says() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let mut before = figures(&exporter.scrape());
    for &(name, grows, acknowledged) in CASES {
        let quarantined = redis.cli::<u64>(&["XLEN", "techsapo:quarantine"]);
        let status = python("tests/tests/it/contract/cases.py").args([&redis.url(), name]).status().unwrap();
        assert!(status.success(), "{name}: {status}");
        let after = figures(&read_to_the_end(&redis, &exporter));
        let mut grown: Vec<(&str, u64)> = after.iter().map(|(key, &value)| (key.as_str(), value)).collect();
        grown.iter_mut().for_each(|(key, value)| *value -= before.get(*key).copied().unwrap_or(0));
        grown.retain(|&(_, growth)| growth > 0);
        let mut wanted = grows.to_vec();
        wanted.sort_unstable();
        assert_eq!(grown, wanted, "{name}");
        let read = redis.cli::<Option<u64>>(&["HGET", "techsapo:acks", &format!("python-{name}")]);
        assert_eq!(read.unwrap_or(0), acknowledged, "{name}: its acknowledgement");
        let refused: u64 = grown.iter().filter(|(key, _)| key.starts_with("rejected")).map(|(_, n)| n).sum();
        let copies = redis.cli::<u64>(&["XLEN", "techsapo:quarantine"]) - quarantined;
        assert_eq!(copies, refused, "{name}: copies in the quarantine");
        before = after;
    }

    let page = exporter.scrape();
    // What was refused has moved nothing; the rest is exact to the nano-dollar.
    let cost = (1_000_000_000_000_000 + 999_999_999_999_999 + 1_000) + 1_000;
    assert_eq!(page.counter("techsapo_provider_cost_usd").total_units(9), cost);
    let errors = page.counter("techsapo_errors_total");
    for text in [
        "接続に失敗しました",
        "絵文字😀 \"'\\\u{8}\u{c}\n\r\t\0\u{7f}\u{2028}",
        &"é".repeat(100),
        "a lone surrogate becomes a question mark ?",
    ] {
        errors.clone().with("error_type", text).is(1);
    }
}

#[test]
fn the_python_example_sends_what_schema_and_wire_ask_for() {
    let redis = RedisServer::start();
    let folder = TempDir::new().unwrap();
    let mut demo = python("examples/python/demo.py");
    demo.arg(redis.url()).arg(folder.path().join("events.db"));
    let mut demo = Process::start("demo", folder.path(), &mut demo);

    // Before any exporter can take it away.
    let events = wait::until("a batch of every type of event", || {
        let events = events_of(&redis.cli(&["XRANGE", STREAM, "-", "+"]));
        (events.len() >= Event::TYPES.len()).then_some(events)
    });
    let schema = serde_json::from_str(&repository::read("shared/event.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for event in &events {
        schema.validate(event).unwrap_or_else(|error| panic!("{event}: {error}"));
    }
    let types: Vec<&str> =
        events.iter().flat_map(Value::as_object).flat_map(|one| one.keys()).map(String::as_str).collect();
    assert_eq!(types, Event::TYPES);

    let exporter = Exporter::of(&redis).start();
    assert!(demo.wait_exit().success(), "{}", demo.log());
    assert!(demo.log().ends_with("all are counted\n"), "{}", demo.log());
    let grown: Vec<_> =
        figures(&read_to_the_end(&redis, &exporter)).into_iter().filter(|&(_, n)| n > 0).collect();
    let mut wanted: Vec<_> = Event::TYPES.iter().map(|kind| (format!("events {kind}"), 1)).collect();
    wanted.sort_unstable();
    assert_eq!(grown, wanted);
}

#[test]
fn a_python_producer_and_the_exporter_killed_and_redis_emptied_count_what_was_accepted() {
    let redis = RedisServer::start();
    let mut exporter = Exporter::of(&redis).start();
    let folder = TempDir::new().unwrap();
    let journal = folder.path().join("events.db");
    let mut load = Load::start(&redis, folder.path(), &journal);
    for _ in 0..3 {
        load.accepts_more();
        load.process.kill_9();
        load = Load::start(&redis, folder.path(), &journal);
        load.accepts_more();
        exporter.kill_9();
        load.accepts_more();
        exporter.restart();
    }
    load.accepts_more();
    // Both at once, and what the last run of the producer sends while there is no exporter is gone before there is one.
    load.process.kill_9();
    exporter.kill_9();
    load = Load::start(&redis, folder.path(), &journal);
    load.accepts_more();
    wait::until_true("batches wait in the stream", || redis.cli::<u64>(&["XLEN", STREAM]) > 1);
    redis.cli::<()>(&["FLUSHALL"]);
    exporter.restart();
    assert!(load.process.sigterm().success(), "{}", load.process.log());

    let log = load.process.log();
    let kills = log.lines().filter(|&line| line == "begins").count() - 1;
    let said_ok = log.lines().filter(|&line| line == "ok").count() as u64;
    // A run is told of by every later one until it is done, and never grows after its end.
    let runs: BTreeMap<&str, u64> = log
        .lines()
        .filter_map(|line| line.strip_prefix("run ")?.split_once(' '))
        .map(|(run, last)| (run, last.parse().unwrap()))
        .collect();
    let accepted: u64 = runs.values().sum();
    assert_eq!((kills, runs.len()), (4, 5));
    assert!(
        (said_ok..=said_ok + kills as u64).contains(&accepted),
        "{said_ok} answered, {accepted} accepted"
    );

    let page = figures(&read_to_the_end(&redis, &exporter));
    assert_eq!(page["events cache_lookup"], accepted);
    for nothing in ["lost_events", "dropped", "unnumbered_events", "rejected_events schema"] {
        assert_eq!(page[nothing], 0, "{nothing}");
    }
}

#[test]
fn a_full_python_journal_drops_counts_and_takes_more_when_it_has_room() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let folder = TempDir::new().unwrap();
    let mut script = python("tests/tests/it/contract/full.py");
    let output = script.arg(redis.url()).arg(folder.path().join("events.db")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (accepted, dropped) = (told["accepted"].as_u64().unwrap(), told["dropped"].as_u64().unwrap());
    assert!(dropped > 0 && accepted > 0, "{told}");
    let page = figures(&read_to_the_end(&redis, &exporter));
    assert_eq!((page["events cache_lookup"], page["dropped"]), (accepted, dropped));
    assert_eq!(page["lost_events"], 0);
}

/// A Python process that states events as fast as they are accepted. All runs of a folder write one log.
struct Load {
    process: Process,
}

impl Load {
    fn start(redis: &RedisServer, folder: &Path, journal: &Path) -> Self {
        let mut command = python("tests/tests/it/contract/load.py");
        let process = Process::start("load", folder, command.arg(redis.url()).arg(journal));
        Self { process }
    }

    /// Waits until it has accepted a good number of events more.
    fn accepts_more(&mut self) {
        let accepted = |log: String| log.lines().filter(|&line| line == "ok").count();
        let before = accepted(self.process.log());
        wait::until_true("the producer accepts events", || {
            self.process.assert_alive();
            accepted(self.process.log()) >= before + 300
        });
    }
}

/// A Python script of the repository that finds the example's module, and leaves nothing beside it.
fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(repository::root().join(script));
    command.env("PYTHONPATH", repository::root().join("examples/python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The page that holds all that stands in the stream now.
fn read_to_the_end(redis: &RedisServer, exporter: &Exporter) -> Exposition {
    let keys = StreamKeys::of(STREAM);
    let newest = redis.cli::<StreamInfoStreamReply>(&["XINFO", "STREAM", STREAM]).last_generated_id;
    wait::until_true("the exporter has read all", || {
        redis.cli::<Option<String>>(&["HGET", &keys.cursors, STREAM]).is_some_and(|cursor| cursor == newest)
    });
    exporter.scrape_after(&mut Producer::new(redis))
}

/// What the page says of the pipeline: `duplicate_events` for `techsapo_telemetry_duplicate_events_total`, and
/// `rejected_events syntax` for one of several series.
fn figures(page: &Exposition) -> BTreeMap<String, u64> {
    let name =
        |full: &str| Some(full.strip_prefix("techsapo_telemetry_")?.strip_suffix("_total")?.to_owned());
    let samples = page.families.iter().flat_map(|family| &family.samples);
    samples
        .filter_map(|sample| {
            let words = std::iter::once(name(&sample.name)?).chain(sample.labels.values().cloned());
            Some((words.collect::<Vec<_>>().join(" "), sample.units(0)))
        })
        .collect()
}

/// The events of a producer's only run, in the order of their numbers, each once.
fn events_of(stream: &StreamRangeReply) -> Vec<Value> {
    let mut events = Vec::new();
    for entry in &stream.ids {
        let fields: Vec<(String, Vec<u8>)> = entry
            .map
            .iter()
            .map(|(name, value)| (name.clone(), redis::from_redis_value(value.clone()).unwrap()))
            .collect();
        let batch =
            Batch::decode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))).unwrap();
        let origin = batch.origin.unwrap();
        assert_eq!((origin.oldest_seq, origin.dropped), (1, 0));
        if origin.first_seq == events.len() as u64 + 1 {
            events.extend(batch.lines().map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
    }
    events
}
