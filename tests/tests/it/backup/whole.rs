//! Everything is lost, and comes back; or Redis alone is, and what lives on goes on counting exactly.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

use techsapo_tests::drill::{DRILLS, Line, Report};
use techsapo_tests::{App, AppSetup, Backups, Exporter, Exposition, MariaDb, RedisServer, wait};

use super::redis;

/// Keys of the count: they never come back from a backup.
const TRANSPORT: [&str; 5] =
    ["techsapo:events", "techsapo:acks", "techsapo:cursors", "techsapo:owner", "techsapo:quarantine"];

fn asked(app: &App, from: usize, count: usize) {
    for n in from..from + count {
        app.generate(&format!("How many are {n} and {n}?"), "basic").unwrap();
    }
}

fn analyses(page: &Exposition) -> f64 {
    page.counter("techsapo_wallbounce_requests_total").total()
}

fn counted(exporter: &Exporter, expected: usize) -> Exposition {
    exporter
        .scrape_until(&format!("{expected} analyses are counted"), |page| analyses(page) >= expected as f64)
}

fn lost(page: &Exposition) -> f64 {
    page.counter("techsapo_telemetry_lost_events_total").total()
}

/// Everything that the audit holds.
fn audit(mysql: &MariaDb) -> String {
    let analyses = mysql.sql("SELECT * FROM analyses ORDER BY producer, seq");
    format!("{analyses}\n{}", mysql.sql("SELECT * FROM analysis_calls ORDER BY producer, seq, call_number"))
}

fn wait_rows(mysql: &MariaDb, expected: usize) {
    wait::until_true(&format!("the audit has {expected} analyses"), || {
        !mysql.sql("SHOW TABLES LIKE 'analysis_calls'").is_empty()
            && mysql.sql("SELECT COUNT(*) FROM analyses") == expected.to_string()
    });
}

/// Keys with what Redis says of their content.
fn keys(redis: &RedisServer, pattern: &str) -> BTreeMap<String, Vec<u8>> {
    let keys: Vec<String> = redis.cli(&["KEYS", pattern]);
    keys.into_iter().map(|key| (key.clone(), redis.cli(&["DUMP", &key]))).collect()
}

/// An app with an audit that gives answers again.
fn complete(redis: &RedisServer, mysql: &MariaDb) -> AppSetup {
    App::of(redis)
        .set("TECHSAPO_MYSQL_URL", &mysql.url())
        .set("TECHSAPO_CACHE_ENABLED", "true")
        .set("TECHSAPO_SIMULATED_DISAGREEMENT", "0")
}

#[test]
fn everything_that_was_backed_up_comes_back_to_empty_servers_and_works() {
    let (old_redis, old_mysql) = (redis(), MariaDb::start());
    let mut backups = Backups::of(&old_redis).with_audit(&old_mysql);
    let (rows, answers) = {
        let exporter = Exporter::of(&old_redis).start();
        let app = complete(&old_redis, &old_mysql).start();
        asked(&app, 0, 12);
        wait_rows(&old_mysql, 12);
        counted(&exporter, 12);
        let answers = keys(&old_redis, "techsapo:{app}:answer:*");
        assert_eq!(answers.len(), 12);
        let rows = audit(&old_mysql);
        backups.make();
        // After the backup: this is what a disaster costs.
        asked(&app, 100, 5);
        wait_rows(&old_mysql, 17);
        (rows, answers)
    };
    // App, journal, exporter and state are gone with their folders; so are now the servers.
    drop((old_redis, old_mysql));
    let (redis, mysql) = (redis(), MariaDb::start());
    mysql.drop_database();
    backups.set("REDIS_URL", &redis.url());
    backups.set("MYSQL_URL", &mysql.url());

    let plan = backups.succeed("restore.sh", &["--plan"]);
    assert!(plan.contains("which has 0 keys of the app") && plan.contains("which has no audit"), "{plan}");
    assert_eq!(redis.cli::<usize>(&["DBSIZE"]), 0, "a plan changes nothing");
    let refused = backups.fail("restore.sh", &[]);
    assert!(refused.contains("--yes is needed"), "{refused}");
    let said = backups.succeed("restore.sh", &["--yes"]);
    assert!(said.contains("12 of analyses, 24 of analysis_calls"), "{said}");

    assert_eq!(audit(&mysql), rows);
    assert_eq!(keys(&redis, "techsapo:{app}:answer:*"), answers);
    assert!(!keys(&redis, "techsapo:{app}:budget:*").is_empty());
    let left: Vec<_> = TRANSPORT.iter().filter(|key| redis.cli::<bool>(&["EXISTS", key])).collect();
    assert!(left.is_empty(), "{left:?}");
    for key in answers.keys() {
        let left: i64 = redis.cli(&["TTL", key]);
        assert!((1..=3600).contains(&left), "{key} lives for {left} s");
    }

    let exporter = Exporter::of(&redis).start();
    let app = complete(&redis, &mysql).start();
    let again = app.generate("How many are 3 and 3?", "basic").unwrap();
    assert_eq!(again.0["cached"], true, "an answer of before is given again");
    asked(&app, 200, 5);
    wait_rows(&mysql, 12 + 6);
    let page = counted(&exporter, 6);
    assert_eq!((analyses(&page), lost(&page)), (6.0, 0.0));
    // What is there is not put there again.
    let said = backups.succeed("restore.sh", &["--yes"]);
    assert!(said.contains("18 of analyses"), "{said}");
    assert_eq!(counted(&exporter, 6).counter("techsapo_wallbounce_requests_total").total(), 6.0);
}

#[test]
fn redis_alone_is_lost_and_an_older_backup_of_it_changes_no_counter() {
    let mut redis = redis();
    let backups = Backups::of(&redis);
    let exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).start();
    asked(&app, 0, 10);
    counted(&exporter, 10);
    let said = backups.succeed("backup.sh", &[]);
    assert!(said.contains("keys"), "{said}");
    asked(&app, 0, 10);
    let before = counted(&exporter, 20);

    redis.kill_9();
    redis.lose_data();
    redis.start_again();
    backups.succeed("restore.sh", &["--yes"]);
    asked(&app, 0, 10);
    let page = counted(&exporter, 30);
    page.never_decreased_since(&before);
    assert_eq!((analyses(&page), lost(&page)), (30.0, 0.0));
    // The budget's keys of the app that lives on were there sooner, and are newer.
    assert!(!keys(&redis, "techsapo:{app}:budget:*").is_empty());
}

/// An app goes on; Redis and the exporter's state are lost, and Redis comes back from an older backup: by `restore.sh` with these
/// arguments, or (without any) as it was. Of 24 analyses, 20 had been counted.
fn both_lost(restore: &[&str]) -> (RedisServer, Exporter, App) {
    let mut redis = redis();
    let backups = Backups::of(&redis);
    let mut exporter = Exporter::of(&redis).start();
    let app = App::of(&redis).start();
    asked(&app, 0, 10);
    counted(&exporter, 10);
    backups.make();
    asked(&app, 0, 10);
    counted(&exporter, 20);
    // Not before the app knows: what it does not know to be counted it sends again.
    wait::until_true("the app knows what is counted", || {
        // Being asked is a fact too: who asks again and again finds some on their way for ever.
        thread::sleep(Duration::from_secs(3));
        let status = app.get("/internal/status").unwrap().json();
        // A sample of the app itself may always be under way.
        status["runtime_sample"]["journal"]["used_bytes"].as_u64().unwrap() < 2_000
    });
    exporter.kill_9();
    asked(&app, 0, 4);

    redis.kill_9();
    redis.lose_data();
    std::fs::remove_dir_all(exporter.checkpoints()).unwrap();
    if restore.is_empty() {
        let mut open = Command::new("age");
        open.args(["--decrypt", "--identity"]).arg(backups.scratch().join("key"));
        open.arg("--output").arg(redis.folder().join("dump.rdb")).arg(backups.newest("redis"));
        assert!(open.status().unwrap().success());
        redis.start_again();
    } else {
        redis.start_again();
        backups.succeed("restore.sh", restore);
    }
    exporter.restart();
    (redis, exporter, app)
}

#[test]
fn redis_and_the_exporters_state_are_lost_and_each_analysis_is_counted_once() {
    for (restore, is_told) in [(&["--yes", "--exporter-lost"][..], true), (&["--yes"], false)] {
        let (_redis, exporter, app) = both_lost(restore);
        asked(&app, 0, 10);
        counted(&exporter, 14);
        // Whatever would have been counted again came before this one.
        asked(&app, 0, 1);
        let page = counted(&exporter, 15);
        // An exporter that was not told takes itself for the first one, and what came before for lost.
        assert_eq!((analyses(&page), lost(&page) == 0.0), (15.0, is_told), "{restore:?}");
    }
}

#[test]
fn the_whole_of_an_old_redis_would_tell_of_losses_that_never_were() {
    // Why restore.sh leaves acknowledgements out: by old ones, what was counted since then looks lost.
    let (_redis, exporter, _app) = both_lost(&[]);
    exporter.scrape_until("events look lost", |page| lost(page) > 0.0);
}

#[test]
fn what_is_newer_than_the_backup_is_not_replaced_unless_that_is_said_twice() {
    let (redis, mysql) = (redis(), MariaDb::start());
    let backups = Backups::of(&redis).with_audit(&mysql);
    let app = complete(&redis, &mysql).start();
    asked(&app, 0, 3);
    wait_rows(&mysql, 3);
    backups.make();
    wait::until_true("the clock of the audit is past the backup's", || {
        app.generate("What is new?", "basic").unwrap();
        let stamp = backups.stamps()[0].replace('-', "");
        mysql.sql("SELECT DATE_FORMAT(MAX(ended_at), '%Y%m%d%H%i%s') FROM analyses") > stamp
    });
    drop(app);
    let newer = audit(&mysql);
    for kind in ["audit", "redis"] {
        let said = backups.fail("restore.sh", &["--yes", "--replace", "--only", kind]);
        assert!(
            said.contains("nothing was restored: something newer than the backup would be lost"),
            "{said}"
        );
    }
    assert_eq!(audit(&mysql), newer);
    let said = backups.succeed("restore.sh", &["--yes", "--only", "audit"]);
    assert!(said.contains("beside what is there"), "{said}");
    assert_eq!(audit(&mysql), newer, "beside it, nothing is lost");
    backups.succeed("restore.sh", &["--yes", "--replace", "--force", "--only", "audit"]);
    assert_eq!(mysql.sql("SELECT COUNT(*) FROM analyses"), "3");
}

#[test]
fn the_drill_restores_everything_from_the_repository_alone() {
    let mut report = Report::new(true, |line| eprintln!("{line}"));
    let drill = DRILLS.iter().find(|drill| drill.name == "restore").unwrap();
    (drill.run)(&mut report);
    let lost: Vec<_> = report.lines().iter().filter_map(|line| line.facts_lost).collect();
    assert_eq!(lost, [20], "what came after the backup, and nothing else");
    assert!(report.lines().iter().all(Line::kept), "{}", report.table());
}
