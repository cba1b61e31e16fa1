//! `techsapo-exporter tail` on a real Redis: what it shows, what it keeps from the terminal, when it ends, and that it
//! leaves no trace.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use techsapo_tests::{App, Exporter, Producer, RedisServer, binaries, facts, stands_still, wait};
use tempfile::TempDir;

use super::{exporter, texts};

/// A running tail. What it writes is in two files.
struct Tail {
    child: Child,
    folder: TempDir,
}

impl Tail {
    /// Starts one, and waits until it follows.
    fn of(redis: &RedisServer, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = |name| File::create(folder.path().join(name)).unwrap();
        let mut command = binaries::command("techsapo-exporter");
        command.args(["tail", "--redis.url", &redis.url()]).args(flags);
        let child = command.stdin(Stdio::null()).stdout(file("out")).stderr(file("notes")).spawn().unwrap();
        let tail = Self { child, folder };
        tail.wait_notes("following techsapo:events");
        tail
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn out(&self) -> String {
        self.text("out")
    }

    fn wait_out(&self, part: &str) {
        wait::until_true(&format!("tail shows {part:?}"), || self.out().contains(part));
    }

    fn wait_notes(&self, part: &str) {
        wait::until_true(&format!("tail notes {part:?}"), || self.text("notes").contains(part));
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it, and waits until it stands: the signal is sent before it takes effect.
    fn freeze(&self) {
        self.signal(Signal::STOP);
        wait::until_true("tail stands still", || stands_still(self.child.id()));
    }

    fn wait_exit(&mut self) -> Option<i32> {
        wait::until("tail ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn error(kind: &str) -> Value {
    facts::event("error", &json!({"error_type": kind}))
}

#[test]
fn an_app_s_events_are_shown_while_the_exporter_counts_each_once() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).start();
    let tail = Tail::of(&redis, &["--type", "analysis,llm_request"]);
    app.generate("Is it shown?", "basic").unwrap();
    tail.wait_out(" analysis ");
    let out = tail.out();
    let analysis = out.lines().find(|line| line.contains(" analysis ")).unwrap();
    for part in ["task_type=basic", "status=success", "duration=", "confidence=0.", "agreements=[{a="] {
        assert!(analysis.contains(part), "{part}: {analysis}");
    }
    assert!(
        out.contains(" llm_request ") && out.contains(" cost=$0.") && !out.contains(" http_request "),
        "{out}"
    );
    exporter.scrape_until("the analysis is counted", |page| {
        page.counter("techsapo_wallbounce_requests_total").total() == 1.0
    });
    let page = exporter.scrape();
    page.counter("techsapo_telemetry_duplicate_events_total").is(0);
    assert_eq!(redis.cli::<Vec<Group>>(&["XINFO", "GROUPS", "techsapo:events"]).len(), 0);
}

/// Whatever Redis says of a group.
type Group = redis::Value;

#[test]
fn types_are_chosen_and_json_is_what_the_producer_sent() {
    let redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    let mut tail =
        Tail::of(&redis, &["--json", "--type", "error", "--type", "config_changed", "--count", "3"]);
    let shown = [error("one"), facts::event("config_changed", &json!({})), error("two")];
    producer.send(&[facts::many(2), shown[..2].to_vec()].concat());
    producer.send(&[facts::many(1), shown[2..].to_vec(), vec![error("three")]].concat());
    assert_eq!(tail.wait_exit(), Some(0));
    let lines: Vec<Value> = tail.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, shown);
}

#[test]
fn it_begins_as_many_entries_back_as_asked() {
    let redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    // More than are asked for at once.
    for number in 0..150 {
        producer.send(&[error(&format!("e{number}"))]);
    }
    let shown = |last: &str| {
        let output = exporter(&["tail", "--redis.url", &redis.url(), "--last", last, "--count", "3"]);
        assert_eq!(output.status.code(), Some(0));
        let out = texts(&output).0;
        let kinds =
            out.lines().map(|line| line.split("error_type=").nth(1).unwrap().split(' ').next().unwrap());
        kinds.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown("3"), ["e147", "e148", "e149"]);
    assert_eq!(shown("130"), ["e20", "e21", "e22"]);
    assert_eq!(shown("150"), ["e0", "e1", "e2"]);
    assert_eq!(shown("1000000"), ["e0", "e1", "e2"]);
}

#[test]
fn hostile_content_reaches_no_terminal() {
    let redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\r";
    let send = |producer: &mut Producer| {
        let event = error(hostile).to_string();
        // As JSON escapes it, as no JSON may have it, as an unknown type, and around an event.
        producer.send_lines([&*event, hostile, &format!("{{\"{}\":1}}", "\u{9b}2J")]);
        producer.add(&[("v", hostile), ("d", hostile)]);
        producer.send(&[error("last")]);
    };
    for flags in [&[][..], &["--json"], &["--color", "never"]] {
        let tail = Tail::of(&redis, flags);
        send(&mut producer);
        tail.wait_out("last");
        let (out, notes) = (tail.out(), tail.text("notes"));
        for text in [&out, &notes] {
            let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.chars().any(acts), "{flags:?}: {text:?}");
        }
        assert_eq!(out.lines().count(), 2, "{out}");
        assert!(notes.contains("no event (not JSON): \\u{1b}]0;owned"), "{notes}");
        assert!(
            notes.contains("no event (unknown event type)") && notes.contains("is no batch of events"),
            "{notes}"
        );
        if flags == ["--json"] {
            let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
            assert_eq!(first["error"]["error_type"], hostile);
        }
    }
}

#[test]
fn what_was_trimmed_before_it_was_read_is_told_as_a_gap() {
    let redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    let tail = Tail::of(&redis, &[]);
    producer.send(&[error("first")]);
    tail.wait_out("first");
    tail.freeze();
    // What Redis may have handed over already, what nobody reads, and what is there when it goes on.
    producer.send(&[error("second")]);
    producer.send(&facts::many(5));
    redis.cli::<usize>(&["XTRIM", "techsapo:events", "MAXLEN", "0"]);
    producer.send(&[error("after")]);
    tail.signal(Signal::CONT);
    tail.wait_out("after");
    tail.wait_notes(&format!("events of producer {}", producer.id()));
    assert!(tail.text("notes").contains("gap: ") && !tail.out().contains("cache_lookup"));
    producer.send_range(1..=1);
    tail.wait_notes("sends 1 events again");
}

#[test]
fn a_redis_that_goes_and_comes_back_is_followed_again() {
    let mut redis = RedisServer::start();
    let mut producer = Producer::new(&redis);
    let tail = Tail::of(&redis, &[]);
    producer.send(&[error("before")]);
    tail.wait_out("before");
    redis.kill_9();
    tail.wait_notes("; trying again");
    redis.start_again();
    tail.wait_notes("connected again");
    // Before anything newer hides that it was emptied.
    tail.wait_notes("reading it from its start");
    producer.reconnect(&redis);
    producer.send(&[error("later")]);
    tail.wait_out("later");
}

#[test]
fn it_ends_when_nobody_reads_although_nothing_comes() {
    let redis = RedisServer::start();
    let mut command = binaries::command("techsapo-exporter");
    command.args(["tail", "--redis.url", &redis.url()]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let status = wait::until("tail ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
fn where_it_cannot_begin_it_says_what_to_do() {
    let redis = RedisServer::start();
    redis.cli::<()>(&["CONFIG", "SET", "requirepass", "sesame"]);
    let secret = redis.url().replace("redis://", "redis://:wrong-sesame@");
    for (url, code, part) in [
        ("redis://127.0.0.1:9", 1, "cannot connect to 127.0.0.1:9"),
        (&secret, 1, "Redis refuses AUTH: WRONGPASS"),
        (&redis.url(), 1, "NOAUTH"),
        ("http://wrong-sesame@127.0.0.1", 2, "--redis.url cannot be used"),
    ] {
        let output = exporter(&["tail", "--redis.url", url]);
        let (out, notes) = texts(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(code), ""), "{notes}");
        assert!(notes.contains(part) && !notes.contains("wrong-sesame"), "{notes}");
    }
}

#[test]
fn a_terminal_is_coloured_unless_somebody_does_not_want_it() {
    let redis = RedisServer::start();
    Producer::new(&redis).send(&[error("red")]);
    let program = binaries::folder().join("techsapo-exporter");
    let shown = |flags: &str, variable: &str| {
        let tail =
            format!("{} tail --redis.url {} --last 1 --count 1 {flags}", program.display(), redis.url());
        // A terminal of its own.
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &tail, "/dev/null"]).env("TERM", "xterm");
        script.env_remove("NO_COLOR").env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE").env_remove("CI");
        if let Some((name, value)) = variable.split_once('=') {
            script.env(name, value);
        }
        let output = script.stdin(Stdio::null()).output().unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && out.contains("red"), "{out}");
        out.contains("\u{1b}[")
    };
    assert!(shown("", ""));
    assert!(shown("--color always", "NO_COLOR=1"));
    assert!(!shown("", "NO_COLOR=1"));
    assert!(!shown("", "TERM=dumb"));
    assert!(!shown("--color never", ""));
    let piped = exporter(&["tail", "--redis.url", &redis.url(), "--last", "1", "--count", "1"]);
    assert!(!texts(&piped).0.contains('\u{1b}'));
}
