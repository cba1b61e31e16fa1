//! The repository's own configuration on Prometheus 2 and 3 at once, like the two servers of a pair: both scrape the same real
//! targets, work out every rule, and send what is recorded to one real long-term store.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use techsapo_tests::http::{self, get};
use techsapo_tests::{
    Alertmanager, App, Exporter, Later, Process, Prometheus, RedisServer, free_port, repository, wait,
};
use tempfile::TempDir;

use super::book;
use super::promql::FOREIGN;
use super::runbooks;

/// `text` with each of `changes` made, every one of which must have something to change.
pub(super) fn changed(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "nothing to change: {from}");
        text.replace(from, to)
    })
}

/// The rules, copied to `folder` as `change` makes them.
pub(super) fn copy_rules(folder: &Path, change: impl Fn(&str) -> String) {
    for file in book::files() {
        let to = folder.join(file.file_name().unwrap());
        std::fs::write(to, change(&repository::read(&file))).unwrap();
    }
}

/// The configuration with addresses and folder of a test.
pub(super) fn configuration(addresses: &[(&str, &str)], rules: &Path) -> String {
    let rules = format!("  - {}/", rules.display());
    let config = changed(&repository::read("prometheus/prometheus.yml"), &[("  - rules/", &rules)]);
    // In two steps, so that no new port is taken for an old one.
    let marks: Vec<_> = (0..addresses.len()).map(|index| format!("@{index}@")).collect();
    let there =
        addresses.iter().zip(&marks).map(|((from, _), mark)| (*from, mark.as_str())).collect::<Vec<_>>();
    let back = addresses.iter().zip(&marks).map(|((_, to), mark)| (mark.as_str(), *to)).collect::<Vec<_>>();
    changed(&changed(&config, &there), &back)
}

/// A server that is nothing but a command and an address, ready when `path` answers.
fn server(folder: &Path, port: u16, path: &str, command: &mut Command) -> Process {
    let name = command.get_program().to_string_lossy().into_owned();
    let process = Process::start(&name, folder, command);
    wait::until_true(&format!("{name} is ready"), || {
        get(&format!("http://127.0.0.1:{port}{path}")).is_ok_and(|answer| answer.status == 200)
    });
    process
}

/// All series of the store at `port`, as label sets.
fn stored(port: u16) -> Vec<BTreeMap<String, String>> {
    let url = format!("http://127.0.0.1:{port}/api/v1/series");
    let answer =
        http::send(http::client().get(url).query(&[("match[]", r#"{__name__!=""}"#)])).unwrap().json();
    let read = |series: &Value| serde_json::from_value(series.clone()).unwrap();
    answer["data"].as_array().unwrap().iter().map(read).collect()
}

/// Every rule was worked out, and none failed.
fn rules_are_well(prometheus: &Prometheus, version: &str) {
    let rules = || -> Vec<Value> {
        let groups = prometheus.api("/api/v1/rules")["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    };
    wait::until_true(&format!("every rule was worked out on {version}"), || {
        rules().iter().all(|rule| rule["health"] != "unknown")
    });
    let rules = rules();
    assert_eq!(rules.len(), book::rules().len(), "{version}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{version}: {rule}");
    }
}

#[test]
fn both_versions_work_out_everything_and_store_it_once() {
    let (redis, folder) = (RedisServer::start(), TempDir::new().unwrap());
    let app = App::of(&redis).start();
    // Series that are born while it runs stand at zero for some scrapes first, as they do by default.
    let exporter = Exporter::of(&redis).app(&app.url()).birth_hold("4s").start();
    let alertmanager = Alertmanager::start(&changed(
        &repository::read("alertmanager/alertmanager.yml"),
        &[("  - templates/", &format!("  - {}/alertmanager/templates/", repository::root().display()))],
    ));
    let [node, store, old, new] = [0; 4].map(|_| free_port());
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let _node = server(
        folder.path(),
        node,
        "/metrics",
        Command::new("prometheus-node-exporter").arg(format!("--web.listen-address={}", listen(node))),
    );
    let _store = server(
        folder.path(),
        store,
        "/health",
        Command::new("victoria-metrics")
            .arg(format!("-storageDataPath={}", folder.path().join("store").display()))
            .args([format!("-httpListenAddr={}", listen(store)).as_str(), "-retentionPeriod=90d"]),
    );
    copy_rules(folder.path(), |rules| rules.replace("interval: 1m", "interval: 1s"));
    let start = |program: &Path, port: u16, replica: &str| {
        let addresses = [
            ("127.0.0.1:10040", exporter.address()),
            ("127.0.0.1:9100", listen(node)),
            ("127.0.0.1:9090", listen(port)),
            ("127.0.0.1:9093", alertmanager.address()),
            ("127.0.0.1:8428", listen(store)),
        ];
        let addresses = addresses.each_ref().map(|(from, to)| (*from, to.as_str()));
        let config = changed(
            &configuration(&addresses, folder.path()),
            &[(": 15s", ": 1s"), (": 10s", ": 1s"), (r#"replica: "0""#, &format!("replica: {replica:?}"))],
        );
        Prometheus::configured(program, port, &config, &[])
    };
    let servers = [
        ("2", start(Path::new("prometheus"), old, "0")),
        ("3", start(&Later::get().program("prometheus"), new, "1")),
    ];
    for (_, prometheus) in &servers {
        prometheus.wait_value("count(up == 1)", 5.0);
    }
    for question in 0..10 {
        app.generate(&format!("Question {question}"), "basic").unwrap();
    }

    for (version, prometheus) in &servers {
        prometheus.wait_value("sum(techsapo_wallbounce_requests_total)", 10.0);
        rules_are_well(prometheus, version);
        for (metric, labels) in FOREIGN {
            let found = wait::until(&format!("{metric} on {version}"), || {
                Some(prometheus.query(metric)).filter(|found| !found.is_empty())
            });
            for label in *labels {
                assert!(
                    found.iter().any(|(has, _)| has.contains_key(*label)),
                    "{version}: {metric} has no {label}"
                );
            }
        }
        for (page, query) in runbooks::queries() {
            // It panics when Prometheus refuses the query.
            let answer = prometheus.query(&query);
            assert!(answer.len() < 10_000, "{page}: {query}");
        }
        // A bucket's bound is written differently by the two.
        prometheus.wait_value("techsapo:http_requests_slow:ratio_rate5m", 0.0);
        prometheus.wait_value("techsapo:wallbounce_requests_failed:ratio_rate5m", 0.0);
        let firing = prometheus.query(r#"ALERTS{alertstate="firing"}"#);
        let firing: Vec<_> = firing.iter().map(|(labels, _)| labels["alertname"].as_str()).collect();
        assert_eq!(firing, ["Watchdog"], "{version}: a healthy system");
        let sent = "min(prometheus_remote_storage_samples_total > 0)";
        wait::until_true(&format!("{version} sends to the store"), || prometheus.value(sent).is_some());
    }

    let recorded = "techsapo:wallbounce_requests_failed:ratio_rate5m";
    let stored = wait::until("what is recorded is stored", || {
        let stored = stored(store);
        stored.iter().any(|series| series["__name__"] == recorded).then_some(stored)
    });
    for series in &stored {
        let name = &series["__name__"];
        assert!(name.contains(':') || name == "ALERTS", "{name} is only for Prometheus");
        assert!(!series.contains_key("replica"), "{series:?}");
    }
    // Both sent it, and it is one.
    assert_eq!(stored.iter().filter(|series| series["__name__"] == recorded).count(), 1);

    let alerts = wait::until("the Watchdog of both arrives", || {
        let alerts = alertmanager.alerts();
        alerts.iter().any(|alert| alert["labels"]["alertname"] == "Watchdog").then_some(alerts)
    });
    let of_watchdog = alerts.iter().filter(|alert| alert["labels"]["alertname"] == "Watchdog");
    assert_eq!(of_watchdog.count(), 1, "the same alert of two servers is one");
}
