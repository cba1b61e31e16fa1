//! Exporters that share the streams of a cluster out, a holder and a standby for each, under a real Prometheus configured by
//! `config/scaling/`: sums over shards are what was accepted, exactly, also over a failover in one of them.

use std::path::Path;
use std::process::Command;

use techsapo_tests::{
    App, Exporter, Generated, Later, Process, Prometheus, RedisCluster, free_port, http, repository, wait,
};
use tempfile::TempDir;

use super::cluster::{apps, spread};
use super::{Load, assert_counted};

/// What `config/scaling/shards.yml` works out anew; all but the last, since the apps of these tests have no cache.
const ANEW: &str = "techsapo_(wallbounce_success_rate|wallbounce_avg_confidence_5m|wallbounce_consensus_score\
                    |llm_success_rate_by_provider|http_p95_response_time|budget_utilization_percent)";

/// The exporters of one shard: whoever holds the state, and who stands by.
fn shard(cluster: &RedisCluster, place: usize, apps: &[App]) -> [Exporter; 2] {
    let setup = Exporter::of(&cluster.nodes[place]).redis_url(&cluster.url());
    let setup =
        apps.iter().fold(setup.stream(&RedisCluster::stream(place)), |setup, app| setup.app(&app.url()));
    let holder = setup.clone().start();
    let standby = setup.spawn();
    standby.wait_log("standby");
    [holder, standby]
}

/// A text with each of `changes` made, every one of which must have something to change.
fn changed(text: &str, changes: &[(String, String)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "nothing to change: {from}");
        text.replace(from, to)
    })
}

/// The configuration with the addresses of a test, sooner, and without the jobs of what does not run in it.
fn configuration(shards: &[[Exporter; 2]; 3], store: u16) -> String {
    let folder = repository::root().display();
    let whole = repository::read("config/scaling/prometheus.yml");
    let (config, _) = whole.split_once("\n  - job_name: node").expect("a job after the exporters'");
    let mut changes = vec![
        ("- ../../prometheus".to_owned(), format!("- {folder}/prometheus")),
        ("- shards.yml".to_owned(), format!("- {folder}/config/scaling/shards.yml")),
        (": 15s".to_owned(), ": 1s".to_owned()),
        (": 10s".to_owned(), ": 1s".to_owned()),
        (
            r#"["alertmanager-0.internal:9093", "alertmanager-1.internal:9093", "alertmanager-2.internal:9093"]"#.to_owned(),
            "[]".to_owned(),
        ),
        ("vminsert.internal:8480/insert/0/prometheus".to_owned(), format!("127.0.0.1:{store}")),
    ];
    changes.extend(shards.iter().enumerate().map(|(number, pair)| {
        let example =
            format!("[\"exporter-{number}a.internal:10040\", \"exporter-{number}b.internal:10040\"]");
        (example, format!("{:?}", pair.each_ref().map(Exporter::address)))
    }));
    changed(config, &changes)
}

/// VictoriaMetrics, as one server.
fn store(folder: &Path, port: u16) -> Process {
    let mut command = Command::new("victoria-metrics");
    command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    command.arg(format!("-storageDataPath={}", folder.join("store").display()));
    let process = Process::start("victoria-metrics", folder, &mut command);
    wait::until_true("the store answers", || {
        http::get(&format!("http://127.0.0.1:{port}/health")).is_ok_and(|answer| answer.status == 200)
    });
    process
}

fn value(prometheus: &Prometheus, query: &str) -> f64 {
    prometheus.value(query).unwrap_or_else(|| panic!("{query} has no value"))
}

/// What Prometheus sums up over all shards is what the callers were answered.
fn assert_summed(prometheus: &Prometheus, answers: &[Generated]) {
    prometheus.wait_value("sum(techsapo_wallbounce_requests_total)", answers.len() as f64);
    let calls: usize = answers.iter().map(|answer| answer.calls().len()).sum();
    prometheus.wait_value("sum(techsapo_llm_requests_total)", calls as f64);
    let cost: u64 = answers.iter().map(Generated::cost_nanousd).sum();
    let summed = value(prometheus, "sum(techsapo_wallbounce_cost_usd)");
    assert_eq!((summed * 1e9).round() as u64, cost, "cost in nano-dollars");
}

#[test]
fn prometheus_sums_over_shards_exactly_also_over_a_failover_in_one_of_them() {
    let (cluster, folder) = (RedisCluster::start(), TempDir::new().unwrap());
    let mut apps = apps(&cluster);
    let mut shards = [0, 1, 2].map(|place| shard(&cluster, place, &apps));
    let port = free_port();
    let _store = store(folder.path(), port);
    let prometheus =
        Prometheus::configured(Path::new("prometheus"), free_port(), &configuration(&shards, port), &[]);
    let mut answers = spread(&cluster, &mut apps);
    assert_summed(&prometheus, &answers);
    prometheus.wait_value("count(sum by (shard) (techsapo_wallbounce_requests_total) > 0)", 3.0);

    let load = Load::on(&apps);
    wait::until_true("the shards count", || {
        prometheus.value("sum(techsapo_wallbounce_requests_total)") > Some(answers.len() as f64)
    });
    let [holder, standby] = &mut shards[1];
    holder.kill_9();
    standby.wait_ready();
    holder.spawn_again();
    holder.wait_log("standby");
    answers.extend(load.end());
    assert_summed(&prometheus, &answers);
    assert_counted(&[shards[0][0].scrape(), shards[1][1].scrape(), shards[2][0].scrape()], &answers);
    assert_summed(&prometheus, &answers);

    for counter in ["techsapo_wallbounce_requests_total", "techsapo_http_request_duration_seconds_bucket"] {
        assert_eq!(value(&prometheus, &format!("sum(resets({counter}[10m]))")), 0.0, "{counter}");
        let series = format!("count(count by (shard, instance) ({counter}))");
        assert_eq!(
            value(&prometheus, &series),
            3.0,
            "a shard's series are the same ones whoever serves them"
        );
    }
    prometheus.wait_value("count(sum by (shard) (techsapo_exporter_leader) == 1)", 3.0);
    prometheus.wait_value(r#"count(ALERTS{alertname=~"Exporter.*",alertstate="firing"}) or vector(0)"#, 0.0);

    // What every shard works out of its own events is there once, of all of them.
    let anew = format!(r#"count(count by (__name__) ({{__name__=~"{ANEW}"}}))"#);
    prometheus.wait_value(&anew, 6.0);
    assert_eq!(prometheus.value(&format!(r#"count({{__name__=~"{ANEW}",shard!=""}})"#)), None);
    prometheus.wait_value("techsapo_wallbounce_success_rate", 1.0);
    prometheus.wait_value("min(techsapo_llm_success_rate_by_provider)", 1.0);
    let cost: u64 = answers.iter().map(Generated::cost_nanousd).sum();
    let spent = cost as f64 / 1e9 / 70.0 * 100.0;
    let of_month = r#"techsapo_budget_utilization_percent{period="monthly"}"#;
    wait::until_true(&format!("{of_month} is {spent}"), || {
        prometheus.value(of_month).is_some_and(|shown| (shown - spent).abs() < spent * 1e-6)
    });

    // The store is sent sums alone.
    let series = format!("http://127.0.0.1:{port}/api/v1/series");
    wait::until_true("sums are stored", || {
        let query = [("match[]", r#"{__name__!=""}"#)];
        let found = http::send(http::client().get(&series).query(&query)).unwrap().json();
        let found = found["data"].as_array().unwrap().clone();
        let of_a_shard = |series: &&serde_json::Value| {
            let name = series["__name__"].as_str().unwrap();
            name != "ALERTS" && !series["shard"].is_null()
        };
        assert_eq!(found.iter().find(of_a_shard), None);
        found.iter().any(|series| series["__name__"] == "techsapo:wallbounce_consensus_score:avg")
    });
}

#[test]
fn what_is_worked_out_over_shards_is_right_on_both_versions_of_prometheus() {
    let mimir = TempDir::new().unwrap();
    let (whole, other) = (
        repository::read("config/scaling/prometheus.yml"),
        repository::read("config/scaling/remote-write-mimir.yml"),
    );
    // What stands in the one instead of the other.
    let remote_write = |text: &str| {
        let begin = text.find("remote_write:").unwrap();
        let end = text[begin..].find("\n\n").map_or(text.len(), |length| begin + length);
        text[begin..end].to_owned()
    };
    let labels = |text: &str| {
        let begin = text.find("  external_labels:\n").unwrap();
        text[begin..begin + text[begin..].find("\n\n").unwrap()].to_owned()
    };
    let changes = [
        (remote_write(&whole), remote_write(&other)),
        (labels(&whole), labels(&other)),
        (
            "    - regex: replica\n      action: labeldrop\n  alertmanagers".to_owned(),
            "    - regex: cluster|__replica__\n      action: labeldrop\n  alertmanagers".to_owned(),
        ),
        ("- ../../prometheus".to_owned(), format!("- {}/prometheus", repository::root().display())),
        ("- shards.yml".to_owned(), format!("- {}/config/scaling/shards.yml", repository::root().display())),
    ];
    let file = mimir.path().join("prometheus.yml");
    std::fs::write(&file, changed(&whole, &changes)).unwrap();
    let folder = repository::root().join("config/scaling");
    for promtool in [Path::new("promtool").to_owned(), Later::get().program("promtool")] {
        let run = |words: &[&str]| {
            let output = Command::new(&promtool).args(words).current_dir(&folder).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
        };
        run(&["test", "rules", "shards-test.yml"]);
        run(&["check", "config", "prometheus.yml"]);
        run(&["check", "config", &file.to_string_lossy()]);
    }
}
