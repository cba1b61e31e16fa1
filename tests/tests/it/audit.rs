//! The audit in a real MariaDB: every analysis stands there exactly once, whatever is killed or away meanwhile, and its
//! figures are those of the answers and of the metrics.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use techsapo_tests::{App, AppSetup, Exporter, Generated, MariaDb, RedisServer, binaries, generate, wait};

fn audited(redis: &RedisServer, mysql: &MariaDb) -> AppSetup {
    App::of(redis).set("TECHSAPO_MYSQL_URL", &mysql.url())
}

fn ask(app: &App, count: usize) -> Vec<Generated> {
    (0..count).map(|n| app.generate(&format!("How many are {n} and {n}?"), "basic").unwrap()).collect()
}

fn rows(mysql: &MariaDb) -> usize {
    mysql.sql("SELECT COUNT(*) FROM analyses").parse().unwrap()
}

fn has_table(mysql: &MariaDb) -> bool {
    !mysql.sql("SHOW TABLES LIKE 'analysis_calls'").is_empty()
}

fn wait_rows(mysql: &MariaDb, expected: usize) {
    wait::until_true(&format!("the audit has {expected} analyses"), || {
        has_table(mysql) && rows(mysql) == expected
    });
}

/// Request id to cost, as the answers say.
fn costs<'a>(answers: impl IntoIterator<Item = &'a Generated>) -> BTreeMap<String, u64> {
    let cost =
        |answer: &Generated| (answer.0["request_id"].as_str().unwrap().to_owned(), answer.cost_nanousd());
    answers.into_iter().map(cost).collect()
}

/// Request id to cost, as the audit says; a call that is missing or doubled shows in the sum of its calls.
fn audited_costs(mysql: &MariaDb) -> BTreeMap<String, u64> {
    let rows = mysql.sql(
        "SELECT request_id, cost_nanousd, (SELECT SUM(c.cost_nanousd) FROM analysis_calls c \
         WHERE c.producer = a.producer AND c.seq = a.seq) FROM analyses a",
    );
    let mut costs = BTreeMap::new();
    for row in rows.lines() {
        let [id, cost, of_calls] = row.split('\t').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(cost, of_calls, "{id}");
        assert!(costs.insert(id.to_owned(), cost.parse().unwrap()).is_none(), "{id} stands twice");
    }
    costs
}

fn service(app: &App, name: &str) -> serde_json::Value {
    app.get("/api/v1/health").unwrap().json()["services"][name].clone()
}

#[test]
fn metrics_audit_and_answers_agree_to_the_nano_dollar() {
    let (redis, mysql) = (RedisServer::start(), MariaDb::start());
    let exporter = Exporter::of(&redis).birth_hold("0s").start();
    let app = audited(&redis, &mysql).start();
    let answers = ask(&app, 25);
    wait_rows(&mysql, 25);
    let expected = costs(&answers);
    assert_eq!(audited_costs(&mysql), expected);
    assert_eq!(mysql.sql("SELECT COUNT(*) FROM analysis_calls"), "50");

    let total: u64 = expected.values().sum();
    let page = exporter.scrape_until("every analysis is on the page", |page| {
        page.counter("techsapo_wallbounce_requests_total").total() == 25.0
    });
    assert_eq!(page.counter("techsapo_wallbounce_cost_usd").total_units(9), total);
    assert!(
        page.counter("techsapo_mysql_queries_total")
            .with("query_type", "insert")
            .with("status", "success")
            .total()
            >= 2.0
    );

    // Who asked is a pseudonym, and what was asked a length and a hash.
    let row =
        mysql.sql("SELECT prompt_bytes, LENGTH(prompt_hash), mode, task_type, status FROM analyses LIMIT 1");
    assert!(row.ends_with("\t64\tparallel\tbasic\tsuccess"), "{row}");
    assert_eq!(service(&app, "mysql")["state"], "up");
    exporter.scrape_until("connection, queue and memory are sampled", |page| {
        page.gauge("techsapo_active_connections").with("connection_type", "mysql").total() == 1.0
            && page.gauge("techsapo_memory_usage_bytes").with("component", "mysql").total() > 1e6
    });
}

#[test]
fn nothing_is_lost_or_doubled_while_app_and_database_are_killed() {
    let (redis, mut mysql) = (RedisServer::start(), MariaDb::start());
    let _exporter = Exporter::of(&redis).birth_hold("0s").start();
    let mut app = audited(&redis, &mysql).start();
    let mut answers = Vec::new();
    for round in 0..4 {
        let (url, done) = (app.url(), AtomicBool::new(false));
        answers.extend(thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut answers = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    // What breaks off with the app was not answered, and may stand in the audit or not.
                    answers.extend(generate(&url, "What now?", "basic"));
                }
                answers
            });
            thread::sleep(Duration::from_millis(300 + 97 * round));
            if round % 2 == 0 {
                mysql.kill_9();
                thread::sleep(Duration::from_millis(250));
            }
            app.kill_9();
            done.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        }));
        if round % 2 == 0 {
            mysql.start_again();
        }
        app.restart();
    }
    answers.extend(ask(&app, 3));
    assert!(answers.len() > 20, "{}", answers.len());
    wait::until_true("the audit is written to its end", || service(&app, "mysql")["waiting"] == 0);
    let found = audited_costs(&mysql);
    for (id, cost) in costs(&answers) {
        assert_eq!(found.get(&id), Some(&cost), "{id}");
    }
    app.wait_drained();
}

#[test]
fn a_database_that_is_away_at_the_start_delays_the_audit_and_nothing_else() {
    let (redis, mut mysql) = (RedisServer::start(), MariaDb::start());
    mysql.kill_9();
    let mut app = audited(&redis, &mysql).start();
    let mut answers = ask(&app, 3);
    wait::until_true("health says that MySQL is down", || service(&app, "mysql")["state"] == "down");
    assert!(service(&app, "mysql")["waiting"].as_u64().unwrap() >= 3);
    assert!(app.sigterm().success());
    mysql.start_again();
    app.restart();
    answers.extend(ask(&app, 2));
    wait_rows(&mysql, 5);
    assert_eq!(audited_costs(&mysql), costs(&answers));
    wait::until_true("health says that MySQL is up", || service(&app, "mysql")["state"] == "up");
}

#[test]
fn two_apps_migrate_one_empty_database_and_share_it() {
    let (redis, mysql) = (RedisServer::start(), MariaDb::start());
    let mut apps: Vec<_> = (0..2).map(|_| audited(&redis, &mysql).spawn()).collect();
    apps.iter_mut().for_each(App::wait_healthy);
    let answers: Vec<_> = apps.iter().flat_map(|app| ask(app, 4)).collect();
    wait_rows(&mysql, 8);
    assert_eq!(audited_costs(&mysql), costs(&answers));
    assert_eq!(mysql.sql("SELECT COUNT(DISTINCT producer) FROM analyses"), "2");
    assert_eq!(mysql.sql("SELECT COUNT(*) FROM schema_migrations"), "1");
    // Another start finds everything in order, and an app of an earlier build leaves a later one's tables alone.
    apps[0].restart();
    wait::until_true("MySQL is up", || service(&apps[0], "mysql")["state"] == "up");
    mysql.sql("INSERT INTO schema_migrations VALUES (99, 'later', 0, NOW())");
    apps[0].restart();
    wait::until_true("it refuses", || {
        service(&apps[0], "mysql")["reason"].as_str().is_some_and(|reason| reason.contains("a later build"))
    });
}

#[test]
fn a_row_that_is_refused_is_put_aside_and_holds_up_nothing() {
    let (redis, mut mysql) = (RedisServer::start(), MariaDb::start());
    let exporter = Exporter::of(&redis).birth_hold("0s").start();
    let app = audited(&redis, &mysql).start();
    ask(&app, 1);
    wait_rows(&mysql, 1);
    mysql.sql("ALTER TABLE analyses ADD CONSTRAINT no_poison CHECK (task_type <> 'premium')");
    let good = ask(&app, 1);
    app.generate("What?", "premium").unwrap();
    let after = ask(&app, 2);
    wait_rows(&mysql, 4);
    let found = audited_costs(&mysql);
    assert!(costs(good.iter().chain(&after)).iter().all(|(id, cost)| found.get(id) == Some(cost)));
    let refused = fs::read_to_string(app.journal().join("audit-spill/refused.jsonl")).unwrap();
    assert_eq!(refused.lines().count(), 1);
    assert!(refused.contains("premium") && refused.contains("no_poison"), "{refused}");
    let counted = |times: f64| {
        exporter.scrape_until("the refusals are counted", |page| {
            page.counter("techsapo_errors_total")
                .with("error_type", "audit_refused")
                .with("service", "mysql")
                .total()
                == times
        });
    };
    counted(1.0);
    assert_eq!(service(&app, "mysql")["state"], "up");

    // In one batch: one that is refused, and one for which the server fails for a while. The first is put aside once,
    // however often the batch is tried.
    let fails = "IF(NEW.task_type = 'premium', NEW.task_type, (SELECT 'a' UNION SELECT 'b'))";
    mysql.sql(&format!(
        "CREATE TRIGGER fails BEFORE INSERT ON analyses FOR EACH ROW SET NEW.task_type = {fails}"
    ));
    mysql.kill_9();
    app.generate("What?", "premium").unwrap();
    let later = ask(&app, 1);
    mysql.start_again();
    wait::until_true("the second is tried", || {
        service(&app, "mysql")["reason"].as_str().is_some_and(|reason| reason.contains("more than 1 row"))
    });
    mysql.sql("DROP TRIGGER fails");
    wait_rows(&mysql, 5);
    assert!(costs(&later).iter().all(|(id, cost)| audited_costs(&mysql).get(id) == Some(cost)));
    counted(2.0);
    let refused = fs::read_to_string(app.journal().join("audit-spill/refused.jsonl")).unwrap();
    assert_eq!(refused.lines().count(), 2);
}

/// The journal is small and MySQL away: what it would hold back goes to the disk, the metrics miss nothing, and the
/// audit has everything in the end, also from a run that had no audit in between.
#[test]
fn a_long_outage_costs_the_metrics_nothing_and_the_audit_only_time() {
    let (redis, mut mysql) = (RedisServer::start(), MariaDb::start());
    let exporter = Exporter::of(&redis).birth_hold("0s").start();
    let setup = audited(&redis, &mysql)
        .set("TECHSAPO_JOURNAL_MAX_BYTES", "1MiB")
        .set("TECHSAPO_AUDIT_JOURNAL_SHARE", "0.02")
        .set("TECHSAPO_SIMULATED_LATENCY", "1ms")
        .set("TECHSAPO_SIMULATED_LATENCY_JITTER", "0ms");
    mysql.kill_9();
    let folder = tempfile::tempdir().unwrap();
    let setup = setup.journal(&folder.path().join("journal"));
    let mut app = setup.clone().start();
    let mut answers = ask(&app, 60);
    let spill = app.journal().join("audit-spill");
    wait::until_true("analyses wait on the disk", || {
        fs::read_dir(&spill).is_ok_and(|files| files.count() > 0)
    });
    exporter.scrape_until("the metrics are complete", |page| {
        page.counter("techsapo_wallbounce_requests_total").total() == 60.0
    });
    app.kill_9();

    // Without an audit nothing is held back: what the first run left goes to the disk too.
    let mut without = setup.clone().set("TECHSAPO_MYSQL_URL", "").start();
    without.wait_drained();
    assert_eq!(service(&without, "mysql")["state"], "off");
    assert!(without.sigterm().success());

    mysql.start_again();
    app = setup.start();
    answers.extend(ask(&app, 2));
    wait_rows(&mysql, 62);
    assert_eq!(audited_costs(&mysql), costs(&answers));
    wait::until_true("nothing is left on the disk", || fs::read_dir(&spill).unwrap().count() == 0);
}

#[test]
fn migrate_by_hand_is_said_and_done_once() {
    let (redis, mysql) = (RedisServer::start(), MariaDb::start());
    let app = audited(&redis, &mysql).set("TECHSAPO_MYSQL_MIGRATE", "false").start();
    wait::until_true("health says what to do", || {
        service(&app, "mysql")["reason"].as_str().is_some_and(|reason| reason.contains("techsapo migrate"))
    });
    let answers = ask(&app, 1);
    let migrate = || {
        let mut command = binaries::command("techsapo");
        let output = command.arg("migrate").env("TECHSAPO_MYSQL_URL", mysql.url()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(migrate().contains("(1 versions applied)"));
    assert!(migrate().contains("(0 versions applied)"));
    wait_rows(&mysql, 1);
    assert_eq!(audited_costs(&mysql), costs(&answers));
}
