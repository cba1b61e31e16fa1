//! The unit tests of the alerts, in Prometheus' own form.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use techsapo_tests::{Later, repository};

use super::book::{alerts, yaml};

/// What has to be tested of each alert, as the name of a test says it after the alert's.
const KINDS: [&str; 4] = ["fires", "stays silent", "at the boundary", "after a reset"];
const WITHOUT_DATA: &str = "without data";
/// Fires always: there is nothing that it could depend on.
const WATCHDOG: &str = "Watchdog";

fn files() -> Vec<PathBuf> {
    repository::files("prometheus/tests", "yml")
}

#[test]
fn each_alert_has_all_kinds_of_tests() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files() {
        let file = yaml(&repository::read(file));
        for test in file["tests"].as_array().unwrap() {
            let name = test["name"].as_str().unwrap();
            // Where an alert begins is asked of the series that it is (`mutants`).
            let Some(checks) = test["alert_rule_test"].as_array() else { continue };
            for check in checks {
                let alert = check["alertname"].as_str().unwrap().to_owned();
                let kind = name.strip_prefix(&format!("{alert}: ")).unwrap_or_default();
                if test["input_series"].as_array().is_none_or(Vec::is_empty) {
                    found.entry(alert).or_default().insert(WITHOUT_DATA.to_owned());
                } else if KINDS.contains(&kind) {
                    // What is called so must also be so.
                    let fires =
                        checks.iter().any(|check| !check["exp_alerts"].as_array().unwrap().is_empty());
                    assert!(kind != "fires" || fires, "{name}: nothing fires");
                    assert!(kind != "stays silent" || !fires, "{name}: something fires");
                    found.entry(alert).or_default().insert(kind.to_owned());
                }
            }
        }
    }
    let all: BTreeSet<String> = KINDS.iter().chain([&WITHOUT_DATA]).map(|&kind| kind.to_owned()).collect();
    for alert in alerts() {
        let tested = found.remove(&alert.name).unwrap_or_default();
        let wanted = if alert.name == WATCHDOG {
            [KINDS[0], WITHOUT_DATA].map(str::to_owned).into()
        } else {
            all.clone()
        };
        let missing: Vec<_> = wanted.difference(&tested).collect();
        assert!(missing.is_empty(), "{}: no test of {missing:?}", alert.name);
    }
    assert!(found.is_empty(), "tests of alerts that are not there: {:?}", found.keys());
}

fn pass(promtool: &Path) {
    let folder = repository::root().join("prometheus/tests");
    // Two at a time: promtool works through its files one after the other, on one core.
    let (mut halves, files) = ([Vec::new(), Vec::new()], files());
    for (index, file) in files.iter().enumerate() {
        halves[index % 2].push(file.file_name().unwrap());
    }
    let running = halves.map(|half| {
        let mut command = Command::new(promtool);
        command.args(["test", "rules"]).args(half).current_dir(&folder);
        std::thread::spawn(move || command.output().unwrap())
    });
    for half in running {
        let output = half.join().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn they_pass_on_the_installed_prometheus() {
    pass(Path::new("promtool"));
}

#[test]
fn they_pass_on_prometheus_3() {
    pass(&Later::get().program("promtool"));
}
