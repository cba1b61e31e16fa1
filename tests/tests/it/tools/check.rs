//! `techsapo-exporter --check` on real servers: what it says of each state of things, and that it changes nothing.

use std::net::TcpListener;
use std::path::Path;

use techsapo_exporter::checkpoint::Store as _;
use techsapo_exporter::checkpoint::folder::Folder;
use techsapo_tests::{App, Exporter, MariaDb, Producer, RedisServer, binaries, facts, free_port, wait};

use super::texts;

/// What it said, line by line, and its exit code.
struct Checked {
    lines: Vec<String>,
    code: Option<i32>,
}

impl Checked {
    /// Checks with these flags: no app and a free address unless they say otherwise.
    fn with(flags: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = binaries::command("techsapo-exporter");
        for (flag, value) in [("--app.url", "none"), ("--web.listen-address", &address)] {
            if !flags.contains(&flag) {
                command.args([flag, value]);
            }
        }
        let output = command.arg("--check").args(flags).output().unwrap();
        let (out, err) = texts(&output);
        assert_eq!(err, "", "{out}");
        Self { lines: out.lines().map(str::to_owned).collect(), code: output.status.code() }
    }

    fn of(redis: &str, folder: &Path, further: &[&str]) -> Self {
        let folder = folder.to_string_lossy();
        Self::with(&[&["--redis.url", redis, "--checkpoint.dir", &folder], further].concat())
    }

    /// The line about this.
    #[track_caller]
    fn about(&self, about: &str) -> &str {
        let line = self.lines.iter().find(|line| line[9..].starts_with(about));
        line.unwrap_or_else(|| panic!("nothing about {about}: {:#?}", self.lines))
    }

    #[track_caller]
    fn says(&self, verdict: &str, about: &str, part: &str) {
        let line = self.about(about);
        assert!(line.starts_with(verdict) && line.contains(part), "{verdict} … {part}: {line}");
    }

    /// Nothing failed, and so says the exit code.
    #[track_caller]
    fn is_well(&self) {
        assert_eq!(self.code, Some(0), "{:#?}", self.lines);
        assert!(self.lines.iter().all(|line| !line.starts_with("failed")), "{:#?}", self.lines);
    }

    /// These alone failed.
    #[track_caller]
    fn fails_in(&self, abouts: &[&str]) {
        let failed: Vec<_> = self.lines.iter().filter(|line| line.starts_with("failed")).collect();
        assert_eq!(self.code, Some(1), "{:#?}", self.lines);
        assert_eq!(failed.len(), abouts.len(), "{:#?}", self.lines);
        assert!(failed.iter().zip(abouts).all(|(line, about)| line[9..].starts_with(about)), "{failed:#?}");
    }
}

/// Every file of a folder with what it holds.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

/// A folder in which an exporter has counted ten events and ended.
fn left_behind(redis: &RedisServer) -> Exporter {
    let mut exporter = Exporter::of(redis).start();
    let mut producer = Producer::new(redis);
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    exporter.sigterm();
    exporter
}

#[test]
fn beside_a_running_exporter_all_is_well_and_nothing_changes() {
    let redis = RedisServer::start();
    let app = App::of(&redis).start();
    let exporter = Exporter::of(&redis).start();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(10));
    producer.wait_acknowledged();
    let checked = Checked::of(
        &redis.url(),
        exporter.checkpoints(),
        &["--app.url", &app.url(), "--web.listen-address", &exporter.address()],
    );
    checked.is_well();
    assert!(checked.lines.iter().all(|line| line.starts_with("ok ")), "{:#?}", checked.lines);
    checked.says("ok", "redis 127.0.0.1:", "version ");
    checked.says("ok", "stream techsapo:events", "entries, the newest came");
    checked.says("ok", "checkpoint.dir ", "can write");
    checked.says("ok", "checkpoint in ", "format 1, ");
    checked.says("ok", "checkpoint in ", "techsapo:events up to 1");
    checked.says("ok", "owner of techsapo:events", "the state in the checkpoint");
    checked.says("ok", "counting", "goes on");
    checked.says("ok", "app http://", "journal's");
    checked.says("ok", "web.listen-address", "a running techsapo-exporter serves there: ready");
    producer.send(&facts::many(5));
    let page = exporter.scrape_after(&mut producer);
    assert!(page.counter("techsapo_telemetry_events_total").total() >= 15.0);
    page.gauge("techsapo_exporter_leader").is(1);
    page.gauge("techsapo_exporter_redis_up").is(1);
}

#[test]
fn before_the_first_start_it_makes_nothing() {
    let redis = RedisServer::start();
    let folder = redis.folder().join("not").join("yet");
    let checked = Checked::of(&redis.url(), &folder, &[]);
    checked.is_well();
    checked.says("warning", "stream techsapo:events", "it is not there yet");
    checked.says("ok", "checkpoint.dir ", "it is not there yet, and will be made");
    checked.says("ok", "checkpoint in ", "there is none yet");
    checked.says("ok", "counting", "begins at zero");
    checked.says("ok", "web.listen-address", "it is free");
    assert!(!folder.parent().unwrap().exists());
    assert_eq!(redis.cli::<usize>(&["DBSIZE"]), 0);
}

#[test]
fn a_redis_that_is_away_or_wants_a_password_fails_and_the_rest_is_looked_at_all_the_same() {
    let redis = RedisServer::start();
    let exporter = left_behind(&redis);
    let away = Checked::of("redis://127.0.0.1:9", exporter.checkpoints(), &[]);
    away.fails_in(&["redis 127.0.0.1:9"]);
    away.says("failed", "redis", "start it, or give its address with --redis.url");
    away.says("ok", "checkpoint in ", "format 1");
    away.says("ok", "web.listen-address", "free");

    redis.cli::<()>(&["CONFIG", "SET", "requirepass", "sesame"]);
    let wrong = redis.url().replace("redis://", "redis://:wrong-sesame@");
    for url in [redis.url(), wrong] {
        let refused = Checked::of(&url, exporter.checkpoints(), &[]);
        refused.fails_in(&["redis 127.0.0.1:"]);
        refused.says("failed", "redis", "another user or password; give them in TECHSAPO_EXPORTER_REDIS_URL");
        assert!(!refused.lines.concat().contains("sesame"), "{:#?}", refused.lines);
    }
    let right = redis.url().replace("redis://", "redis://:sesame@");
    Checked::of(&right, exporter.checkpoints(), &[]).is_well();
}

#[test]
fn a_redis_of_another_kind_is_told_from_the_right_one() {
    let (redis, master) = (RedisServer::start(), RedisServer::start());
    let folder = redis.folder().join("checkpoints");
    let host = redis.url().trim_start_matches("redis://").trim_end_matches('/').to_owned();
    for url in [format!("redis+cluster://{host}"), format!("redis+sentinel://{host}/main")] {
        let checked = Checked::of(&url, &folder, &["--redis.stream", "techsapo:events:{0}"]);
        checked.fails_in(&["redis "]);
    }
    redis.cli::<()>(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let replica = Checked::of(&redis.url(), &folder, &[]);
    replica.fails_in(&["redis "]);
    replica.says("failed", "redis", &format!("it is a replica of 127.0.0.1:{}", master.port()));

    master.cli::<()>(&["SET", "techsapo:events", "x"]);
    let key = Checked::of(&master.url(), &folder, &[]);
    key.fails_in(&["stream techsapo:events"]);
    key.says("failed", "stream", "holds a string, not a stream");

    let nonsense = Checked::of("nonsense-sesame", &folder, &[]);
    nonsense.fails_in(&["settings"]);
    nonsense.says("failed", "settings", "--redis.url cannot be used");
    assert!(!nonsense.lines.concat().contains("sesame"));
}

#[test]
fn a_damaged_checkpoint_is_told_and_left_as_it_is() {
    let redis = RedisServer::start();
    let exporter = left_behind(&redis);
    let folder = exporter.checkpoints();
    for (slot, well) in [("state.0", true), ("state.1", false)] {
        let path = folder.join(slot);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let before = files(folder);
        let checked = Checked::of(&redis.url(), folder, &[]);
        if well {
            checked.is_well();
            checked.says("ok", "checkpoint in ", "format 1");
            assert!(
                checked.lines.iter().any(|line| line.starts_with("warning  checkpoint in ")
                    && line.contains("one copy is damaged"))
            );
        } else {
            checked.fails_in(&["checkpoint in ", "owner of "]);
            checked.says("failed", "checkpoint in ", "no whole one is left");
        }
        assert_eq!(files(folder), before);
    }
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_not_called_damaged() {
    let redis = RedisServer::start();
    let exporter = left_behind(&redis);
    for slot in ["state.0", "state.1"] {
        let path = exporter.checkpoints().join(slot);
        std::fs::remove_file(&path).unwrap();
        // Not even root reads a folder as a file.
        std::fs::create_dir(&path).unwrap();
    }
    let checked = Checked::of(&redis.url(), exporter.checkpoints(), &[]);
    checked.fails_in(&["checkpoint in "]);
    checked.says("failed", "checkpoint in ", "it cannot be read");
}

#[test]
fn a_checkpoint_of_a_later_build_and_an_older_copy_are_failures() {
    let redis = RedisServer::start();
    let mut exporter = left_behind(&redis);
    let backup = files(exporter.checkpoints());
    exporter.restart();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(3));
    producer.wait_acknowledged();
    exporter.sigterm();
    backup.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    let older = Checked::of(&redis.url(), exporter.checkpoints(), &[]);
    older.fails_in(&["counting"]);
    older.says("failed", "counting", "it is an older copy");

    let mut store = Folder::open(exporter.checkpoints()).unwrap();
    assert!(store.try_acquire().unwrap());
    store.load().unwrap();
    store.commit(b"\xffwhatever a later build writes").unwrap();
    store.release();
    let later = Checked::of(&redis.url(), exporter.checkpoints(), &[]);
    later.fails_in(&["checkpoint in ", "owner of "]);
    later.says("failed", "checkpoint in ", "a later build wrote it");
}

#[test]
fn what_is_another_s_is_told() {
    let redis = RedisServer::start();
    let exporter = Exporter::of(&redis).start();
    let mut producer = Producer::new(&redis);
    producer.send(&facts::many(1));
    producer.wait_acknowledged();
    let owner: String = redis.cli(&["GET", "techsapo:owner"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = redis.folder().join("a-file");
    std::fs::write(&file, "").unwrap();
    let checked = Checked::of(
        &redis.url(),
        &file.join("checkpoints"),
        &["--web.listen-address", &address, "--app.url", &exporter.url()],
    );
    checked.fails_in(&["checkpoint.dir", "web.listen-address"]);
    checked.says("failed", "checkpoint.dir", "is no folder");
    checked.says("failed", "web.listen-address", "another program listens there");
    checked.says("warning", "app ", "it answered 404");

    let stray = Checked::of(&redis.url(), &redis.folder().join("another"), &[]);
    stray.fails_in(&["owner of ", "counting"]);
    stray.says("failed", "owner of ", &owner);
    stray.says("failed", "counting", "Redis knows of acknowledgements");
    assert_eq!(redis.cli::<String>(&["GET", "techsapo:owner"]), owner);
}

#[test]
fn a_state_in_a_database_is_looked_at_without_taking_the_lease() {
    let (redis, database) = (RedisServer::start(), MariaDb::start());
    let redis_url = redis.url();
    let url = database.url();
    let check = |url: &str| Checked::with(&["--redis.url", &redis_url, "--checkpoint.url", url]);
    let first = check(&url);
    first.is_well();
    first.says("warning", "checkpoint.url ", "will be made");
    assert_eq!(database.sql("SHOW TABLES LIKE 'exporter_checkpoints'"), "");

    let mut exporter = Exporter::of(&redis).database(&database).start();
    let row = || database.sql("SELECT term, holder, version FROM exporter_checkpoints");
    // The state that was begun is made durable at once; then nothing changes any more.
    let before = wait::until("the row is at rest", || {
        let before = row();
        std::thread::sleep(std::time::Duration::from_secs(2));
        (row() == before).then_some(before)
    });
    let held = check(&url);
    held.is_well();
    assert!(held.lines.iter().any(|line| line.contains("holds the lease for another")), "{:#?}", held.lines);
    held.says("ok", "checkpoint in mysql://", "format 1");
    assert_eq!(row(), before);
    exporter.scrape().gauge("techsapo_exporter_leader").is(1);

    exporter.sigterm();
    let free = check(&url);
    free.is_well();
    assert!(free.lines.iter().any(|line| line.contains("nobody holds the lease")), "{:#?}", free.lines);
    assert!(database.sql("SELECT holder IS NULL FROM exporter_checkpoints").contains('1'));

    let refused = check(&url.replace(database.password(), "wrong-sesame"));
    refused.fails_in(&["checkpoint.url "]);
    assert!(!refused.lines.concat().contains("sesame"), "{:#?}", refused.lines);
    database.sql("UPDATE exporter_checkpoints SET state = LEFT(state, LENGTH(state) - 9)");
    check(&url).says("failed", "checkpoint in mysql://", "no whole one is left");
    let reader = format!("mysql://looker:look-only@{}", url.rsplit('@').next().unwrap());
    database.sql("CREATE USER looker@'%' IDENTIFIED BY 'look-only'; GRANT SELECT ON *.* TO looker@'%'");
    let read_only = check(&reader);
    read_only.says("failed", "checkpoint.url ", "cannot be written to");
}
