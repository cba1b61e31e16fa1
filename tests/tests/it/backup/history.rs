//! What Prometheus and the long-term store remember, configuration with its secrets, and the copies off the host.

use std::fs;
use std::path::Path;
use std::process::Command;

use techsapo_tests::{Backups, Process, Prometheus, free_port, http, wait};
use tempfile::TempDir;

use super::redis;

/// A long-term store with its folder.
struct Store {
    _process: Process,
    _folder: TempDir,
    url: String,
}

fn store() -> Store {
    let folder = TempDir::new().unwrap();
    let url = format!("http://127.0.0.1:{}", free_port());
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-storageDataPath={}", folder.path().join("data").display()));
    command.arg(format!("-httpListenAddr={}", url.trim_start_matches("http://")));
    command.args(["-retentionPeriod=10y", "-memory.allowedBytes=64MB"]);
    let process = Process::start("victoria-metrics", folder.path(), &mut command);
    wait::until_true("the store answers", || {
        http::get(&format!("{url}/health")).is_ok_and(|answer| answer.status == 200)
    });
    Store { _process: process, _folder: folder, url }
}

impl Store {
    fn write(&self, line: &str) {
        let url = format!("{}/api/v1/import/prometheus", self.url);
        let answer = http::send(http::client().post(url).body(line.to_owned())).unwrap();
        assert!(answer.status < 300, "{}", answer.text());
    }

    fn value(&self, query: &str) -> Option<String> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = http::send(http::client().get(url).query(&[("query", query)])).ok()?.json();
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    }
}

fn prometheus() -> Prometheus {
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}\n\
         scrape_configs: [{{job_name: self, static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]}}]\n"
    );
    Prometheus::configured(Path::new("prometheus"), port, &config, &["--web.enable-admin-api"])
}

#[test]
fn what_prometheus_and_the_long_term_store_remember_comes_back_beside_what_is_new() {
    let redis = redis();
    let mut backups = Backups::of(&redis);
    let (old_prometheus, old_store) = (prometheus(), store());
    old_store.write("remembered 42 1500000000000\nremembered 43 1500000060000\n");
    let samples = "sum(count_over_time(up[1h]))";
    wait::until_true("there are samples that are old enough to be counted", || {
        old_prometheus.query("count_over_time(up[1h] offset 25s)").len() == 1
    });
    let scraped = old_prometheus.value(samples).unwrap();
    for (name, value) in [
        ("KINDS", "metrics,long-term"),
        ("PROMETHEUS_URL", &old_prometheus.url("")),
        ("LONG_TERM_URL", &old_store.url),
    ] {
        backups.set(name, value);
    }
    let snapshots = || fs::read_dir(old_prometheus.data().join("snapshots")).map_or(0, Iterator::count);
    backups.set("PROMETHEUS_DATA", &backups.scratch().display().to_string());
    assert!(backups.fail("backup.sh", &[]).contains("TECHSAPO_BACKUP_PROMETHEUS_DATA"));
    assert_eq!(snapshots(), 0, "a snapshot was made that this could not have removed");
    backups.set("PROMETHEUS_DATA", &old_prometheus.data().display().to_string());
    let said = backups.succeed("backup.sh", &[]);
    assert!(!said.contains(" 0 series") && !said.contains("samples 0"), "{said}");
    assert_eq!(snapshots(), 0, "Prometheus' own snapshot is removed");
    backups.succeed("verify-backup.sh", &[]);

    drop((old_prometheus, old_store));
    let (prometheus, store) = (prometheus(), store());
    backups.set("PROMETHEUS_URL", &prometheus.url(""));
    backups.set("PROMETHEUS_DATA", &prometheus.data().display().to_string());
    backups.set("LONG_TERM_URL", &store.url);
    store.write("new 1\n");
    backups.succeed("restore.sh", &["--yes"]);
    wait::until_true("the old samples are in the store", || {
        store.value("sum_over_time(remembered[20y])").as_deref() == Some("85")
    });
    // It looks for new blocks once a minute.
    wait::until_within(2 * wait::PATIENCE, "Prometheus finds the old samples", || {
        prometheus.value(samples).filter(|found| *found >= scraped)
    });
    let said = backups.succeed("restore.sh", &["--yes", "--only", "metrics"]);
    assert!(said.contains("0 blocks"), "what is there is not put there again: {said}");
}

#[test]
fn without_the_interface_for_snapshots_it_says_so() {
    let redis = redis();
    let mut backups = Backups::of(&redis);
    let prometheus = Prometheus::start(&[]);
    backups.set("KINDS", "metrics");
    backups.set("PROMETHEUS_URL", &prometheus.url(""));
    backups.set("PROMETHEUS_DATA", &prometheus.data().display().to_string());
    assert!(backups.fail("backup.sh", &[]).contains("admin APIs disabled"));
}

#[test]
fn configuration_comes_back_with_its_secrets_and_without_journals_states_and_the_backups_own_key() {
    let redis = redis();
    let mut backups = Backups::of(&redis);
    let from = backups.scratch().join("host");
    let put = |name: &str, text: &str| {
        let path = from.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("etc/techsapo.toml", "listen = 1\n");
    put("secrets/redis password", "sesame");
    for name in
        ["data/journal/a.journal", "data/journal/audit-spill/1.jsonl", "exporter/state.0", "exporter/state.1"]
    {
        put(name, "not to be restored");
    }
    let key = backups.scratch().join("host/etc/backup.key").display().to_string();
    backups.new_key(&key);
    backups.set("KEY", &key);
    backups.set("KINDS", "config");
    backups.set("CONFIG_PATHS", &format!("{0}:{0}/gone", from.display()));
    backups.make();
    backups.succeed("verify-backup.sh", &[]);

    let to = backups.scratch().join("new host");
    let restore = ["--yes", "--config-to", to.to_str().unwrap()];
    backups.succeed("restore.sh", &restore);
    let below = to.join(from.strip_prefix("/").unwrap());
    let read = |name: &str| fs::read_to_string(below.join(name)).ok();
    assert_eq!(read("etc/techsapo.toml").as_deref(), Some("listen = 1\n"));
    assert_eq!(read("secrets/redis password").as_deref(), Some("sesame"));
    for name in ["data/journal/a.journal", "data/journal/audit-spill", "exporter/state.0", "etc/backup.key"] {
        assert!(!below.join(name).exists(), "{name}");
    }
    // What is there stays, unless it is to be replaced and is older.
    fs::write(below.join("etc/techsapo.toml"), "listen = 2\n").unwrap();
    backups.succeed("restore.sh", &restore);
    assert_eq!(read("etc/techsapo.toml").as_deref(), Some("listen = 2\n"));
    let replace = [&restore[..], &["--replace"]].concat();
    assert!(backups.fail("restore.sh", &replace).contains("newer than the backup"));
    backups.succeed("restore.sh", &[&replace[..], &["--force"]].concat());
    assert_eq!(read("etc/techsapo.toml").as_deref(), Some("listen = 1\n"));
}

#[test]
fn a_lost_folder_of_backups_is_fetched_from_the_repository() {
    let redis = redis();
    let mut backups = Backups::of(&redis).with_repository();
    let repository = backups.scratch().join("repository").display().to_string();
    redis.cli::<()>(&["SET", "techsapo:{app}:answer:2:a", "b"]);

    backups.set("REPOSITORY", "/nowhere/repository");
    let said = backups.fail("backup.sh", &[]);
    assert!(said.contains("nothing was copied off the host"), "{said}");
    assert_eq!(backups.figure("last_run_success", "off-host"), Some(0.0));
    assert_eq!(backups.figure("last_run_success", "redis"), Some(1.0));

    backups.set("REPOSITORY", &repository);
    let stamp = backups.make();
    assert_eq!(backups.figure("last_run_success", "off-host"), Some(1.0));
    backups.succeed("verify-backup.sh", &[]);
    assert_eq!(backups.figure("verification_success", "off-host"), Some(1.0));

    fs::remove_dir_all(backups.dir()).unwrap();
    redis.cli::<()>(&["FLUSHALL"]);
    backups.succeed("restore.sh", &["--yes", "--fetch"]);
    assert_eq!(backups.stamps(), [stamp]);
    assert_eq!(redis.cli::<String>(&["GET", "techsapo:{app}:answer:2:a"]), "b");

    // A repository that lacks the newest set is found.
    backups.set("REPOSITORY", "");
    backups.make();
    backups.set("REPOSITORY", &repository);
    let said = backups.fail("verify-backup.sh", &[]);
    assert!(said.contains("off-host"), "{said}");
    assert_eq!(backups.figure("verification_success", "off-host"), Some(0.0));
}
