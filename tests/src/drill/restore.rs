//! Everything is lost, with the folder of backups; what is left is the repository on another host, the key, and the scripts. Allowed are
//! 15 minutes until the data are back, and 60 until the service is.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Line, Report};
use crate::{App, AppSetup, Backups, Exporter, MariaDb, Prometheus, RedisServer, free_port, wait};

const DATA_BACK: Duration = Duration::from_secs(15 * 60);
const SERVICE_BACK: Duration = Duration::from_secs(60 * 60);
/// Analyses of before, as the audit holds them.
const EARLIER: [usize; 2] = [50_000, 500];
/// Analyses that are asked for before the last backup, and after it.
const ASKED: usize = 200;
const ASKED_LATER: usize = 20;
const CLIENTS: usize = 4;

/// Servers and programs of one host.
struct Host {
    app: App,
    exporter: Exporter,
    prometheus: Prometheus,
    redis: RedisServer,
    mysql: MariaDb,
}

fn app(redis: &RedisServer, mysql: &MariaDb) -> AppSetup {
    App::of(redis).set("TECHSAPO_MYSQL_URL", &mysql.url()).set("TECHSAPO_CACHE_ENABLED", "true")
}

fn prometheus(exporter: &Exporter) -> Prometheus {
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: techsapo, static_configs: [{{targets: [{:?}]}}]}}]\n",
        exporter.address()
    );
    Prometheus::configured(Path::new("prometheus"), free_port(), &config, &["--web.enable-admin-api"])
}

impl Host {
    fn start() -> Self {
        let (redis, mysql) = (RedisServer::start(), MariaDb::start());
        let exporter = Exporter::of(&redis).start();
        let app = app(&redis, &mysql).start();
        let prometheus = prometheus(&exporter);
        Self { app, exporter, prometheus, redis, mysql }
    }

    /// Asks so often, by several clients at once. Every answer must come.
    fn ask(&self, what: &str, count: usize) {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                scope.spawn(move || {
                    for n in (client..count).step_by(CLIENTS) {
                        self.app.generate(&format!("What is {what} number {n}?"), "basic").unwrap();
                    }
                });
            }
        });
    }

    fn wait_audited(&self, expected: usize) {
        wait::until_true(&format!("the audit has {expected} analyses"), || {
            audited(&self.mysql) == Some(expected)
        });
    }

    /// Puts analyses of earlier days into the audit, two calls each.
    fn remember(&self, count: usize) {
        self.mysql.sql(&format!(
            "INSERT INTO analyses SELECT UUID(), seq, UTC_TIMESTAMP(3) - INTERVAL seq MINUTE, UUID(), 'session', 'caller', NULL, \
             'basic', 'parallel', 'success', 'merged', FALSE, 1200000, 900000, 800000, 1500000, 200, SHA2(seq, 256) FROM seq_1_to_{count}; \
             INSERT INTO analysis_calls SELECT a.producer, a.seq, c.seq, 'Simulated-A', 'model', 'success', 900000, 300, 200, 750000, NULL \
             FROM analyses a JOIN seq_1_to_2 c WHERE a.session_id = 'session'"
        ));
    }
}

/// How many analyses the audit holds, where there is one.
fn audited(mysql: &MariaDb) -> Option<usize> {
    if mysql.sql("SHOW TABLES LIKE 'analysis_calls'").is_empty() {
        return None;
    }
    mysql.sql("SELECT COUNT(*) FROM analyses").parse().ok()
}

/// Runs the drill.
///
/// # Panics
/// When something does not come back, or more is lost than what happened after the backup.
pub(super) fn run(report: &mut Report) {
    let earlier = EARLIER[usize::from(report.short)];
    report.tell(&format!("a host with {earlier} analyses in its audit, and clients"));
    let old = Host::start();
    wait::until_true("the audit's tables are made", || audited(&old.mysql) == Some(0));
    old.remember(earlier);
    old.ask("backed up", ASKED);
    old.wait_audited(earlier + ASKED);
    // Prometheus has seen something that it is to remember.
    let seen = "max_over_time(techsapo_wallbounce_requests_total[1h])";
    wait::until_true("Prometheus has counted all", || {
        old.prometheus.value(&format!("sum({seen})")) == Some(ASKED as f64)
    });

    let mut backups = Backups::of(&old.redis).with_audit(&old.mysql).with_repository();
    backups.set("KINDS", "redis,audit,metrics");
    backups.set("PROMETHEUS_URL", &old.prometheus.url(""));
    backups.set("PROMETHEUS_DATA", &old.prometheus.data().display().to_string());
    let began = Instant::now();
    backups.make();
    let remark = format!("{:.0} s, encrypted and copied off the host", began.elapsed().as_secs_f64());
    report.record(Line {
        what: format!("backup of {} analyses", earlier + ASKED),
        remark,
        ..Line::default()
    });
    let began = Instant::now();
    backups.succeed("verify-backup.sh", &[]);
    let remark = format!("{:.0} s, into scratch servers", began.elapsed().as_secs_f64());
    report.record(Line { what: "verification of that backup".to_owned(), remark, ..Line::default() });
    old.ask("lost", ASKED_LATER);
    old.wait_audited(earlier + ASKED + ASKED_LATER);

    report.tell("the host is gone, with its journals, states, databases and backups");
    drop(old);
    std::fs::remove_dir_all(backups.dir()).unwrap();
    let lost_at = Instant::now();
    let (redis, mysql) = (RedisServer::start(), MariaDb::start());
    mysql.drop_database();
    let exporter = Exporter::of(&redis).start();
    let prometheus = prometheus(&exporter);
    backups.set("REDIS_URL", &redis.url());
    backups.set("MYSQL_URL", &mysql.url());
    backups.set("PROMETHEUS_URL", &prometheus.url(""));
    backups.set("PROMETHEUS_DATA", &prometheus.data().display().to_string());
    backups.succeed("restore.sh", &["--yes", "--fetch"]);
    assert_eq!(audited(&mysql), Some(earlier + ASKED), "what was backed up is back, all of it");
    report.record(Line {
        what: "everything is lost: the data".to_owned(),
        back_after: Some(lost_at.elapsed()),
        allowed: Some(DATA_BACK),
        facts_lost: Some(ASKED_LATER as u64),
        remark: format!(
            "{} rows from the repository into empty servers; lost is what came after the backup: at most 6 h",
            (earlier + ASKED) * 3
        ),
        ..Line::default()
    });

    let app = app(&redis, &mysql).start();
    let host = Host { app, exporter, prometheus, redis, mysql };
    let again = host.app.generate("What is backed up number 7?", "basic").unwrap();
    assert_eq!(again.0["cached"], true, "answers of before are given again");
    host.ask("new", 10);
    host.wait_audited(earlier + ASKED + 11);
    wait::until_true("Prometheus counts what is new", || {
        // Apart from what is remembered of the one that is gone.
        let of_now =
            format!("sum(techsapo_wallbounce_requests_total{{instance={:?}}})", host.exporter.address());
        host.prometheus.value(&of_now) == Some(11.0)
    });
    let page = host.exporter.scrape();
    assert_eq!(page.counter("techsapo_telemetry_lost_events_total").total(), 0.0);
    report.record(Line {
        what: "everything is lost: the service".to_owned(),
        back_after: Some(lost_at.elapsed()),
        allowed: Some(SERVICE_BACK),
        remark: "new servers start at once here; the time to get a host comes on top".to_owned(),
        ..Line::default()
    });
    // Prometheus looks for new blocks once a minute.
    wait::until_within(2 * wait::PATIENCE, "Prometheus remembers what was before", || {
        host.prometheus.value(&format!("max({seen})")).filter(|counted| *counted > 11.0)
    });
    let left = host.redis.cli::<usize>(&["EXISTS", "techsapo:owner"]);
    assert_eq!(left, 1, "the new exporter owns the stream");
}
