//! The dashboards on the live product: every query of every panel is put to a Prometheus that has scraped it under load.
//! And held against Grafana's own published types; and the script that gives access, against a stand-in for its API.

mod access;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use techsapo_grafana::Dashboard;
use techsapo_tests::monitored::{Load, Monitored, Shown, happened, show};
use techsapo_tests::{facts, repository, wait};

/// Panels that a whole system of this product has nothing to show in, and why.
const SILENT: &[(&str, &str)] =
    &[("Garbage collection, p99", "the app collects no garbage; a Node.js producer would")];

/// The committed file, which is what Grafana reads.
fn committed(dashboard: &Dashboard) -> Value {
    let text = repository::read(format!("grafana/dashboards/{}", dashboard.file()));
    serde_json::from_str(&text).unwrap()
}

/// The queries of these panels that were answered with no number, as `dashboard: panel: query`.
fn without_answer(uid: &str, panels: &[Shown]) -> Vec<String> {
    let queries = panels.iter().filter(|panel| SILENT.iter().all(|(title, _)| *title != panel.title()));
    queries
        .flat_map(|panel| {
            let empty = (0..panel.answers.len()).filter(|&index| !panel.numbers(index).any(f64::is_finite));
            empty.map(move |index| {
                format!("{uid}: {}: {}", panel.title(), panel.panel["targets"][index]["expr"])
            })
        })
        .collect()
}

#[test]
fn every_panel_has_something_to_show_on_the_live_system() {
    let monitored = Monitored::start("1s");
    let load = Load::on(&monitored, Duration::from_millis(200));
    let mut open: Vec<Dashboard> = techsapo_grafana::dashboards();
    let mut missing = Vec::new();
    // Providers must fail and breakers open: each takes its time on a busy machine.
    let deadline = Instant::now() + 3 * wait::PATIENCE;
    while !open.is_empty() && Instant::now() < deadline {
        monitored.change_configuration();
        std::thread::sleep(Duration::from_secs(2));
        let to = facts::now_ms() as f64 / 1e3;
        missing.clear();
        open.retain(|dashboard| {
            let shown = show(monitored.prometheus(), &committed(dashboard), to, dashboard.range_s());
            let found = without_answer(dashboard.uid, &shown);
            missing.extend_from_slice(&found);
            !found.is_empty()
        });
    }
    assert!(missing.is_empty(), "nothing answers these: {missing:#?}");
    // What is excused must be silent indeed, or the excuse is out of date.
    let to = facts::now_ms() as f64 / 1e3;
    for dashboard in techsapo_grafana::dashboards() {
        let json = committed(&dashboard);
        for panel in show(monitored.prometheus(), &json, to, dashboard.range_s()) {
            let excused = SILENT.iter().any(|(title, _)| *title == panel.title());
            let speaks = (0..panel.answers.len()).any(|index| panel.numbers(index).any(f64::is_finite));
            assert!(!(excused && speaks), "{} has something to show", panel.title());
        }
        // A change is seen where a scrape came before it and another after it, which takes its time on a busy machine.
        wait::until_true(&format!("{} tells of a change of the configuration", dashboard.uid), || {
            let now = facts::now_ms() as f64 / 1e3;
            let drawn = happened(monitored.prometheus(), &json, now, 600);
            let is_told = drawn.iter().any(|one| one["colour"] == "blue");
            if !is_told {
                monitored.change_configuration();
                std::thread::sleep(Duration::from_secs(2));
            }
            is_told
        });
    }
    load.stop();
}

/// Where `scripts/test.sh` puts the JSON Schema that it makes of Grafana's types.
fn schema() -> Value {
    let folder = std::env::var_os("TECHSAPO_GRAFANA_TYPES").map_or_else(
        // This test runs from <target>/<profile>/deps.
        || std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("grafana-types"),
        PathBuf::from,
    );
    let path = folder.join("schema.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; ./scripts/test.sh rust dashboards makes it", path.display())
    });
    serde_json::from_str(&text).unwrap()
}

/// Settings of annotations, and of their queries, that the Prometheus plugin adds to what Grafana's own types list.
const OF_THE_PLUGIN: [&str; 6] =
    ["titleFormat", "textFormat", "tagKeys", "useValueForTime", "expr", "interval"];

/// The dashboard as a whole, and its panels' options and settings by kind, as `grafana/types/types.ts` names them.
fn parts(dashboard: &Value) -> Value {
    let mut whole = dashboard.clone();
    for annotation in whole["annotations"]["list"].as_array_mut().unwrap() {
        for object in ["", "/target"] {
            let settings = annotation.pointer_mut(object).and_then(Value::as_object_mut);
            settings
                .into_iter()
                .for_each(|settings| settings.retain(|name, _| !OF_THE_PLUGIN.contains(&name.as_str())));
        }
    }
    let kinds = ["bargauge", "gauge", "stat", "state-timeline", "table", "timeseries"];
    let of_kind = |pointer: &str| {
        let found = |kind: &&str| {
            let panels =
                dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] == **kind);
            let settings: Vec<Value> = panels.map(|panel| panel.pointer(pointer).unwrap().clone()).collect();
            ((*kind).to_owned(), json!(settings))
        };
        kinds.iter().map(found).collect::<Map<_, _>>()
    };
    json!({"dashboard": whole, "options": of_kind("/options"), "custom": of_kind("/fieldConfig/defaults/custom")})
}

#[test]
fn dashboards_are_what_grafana_s_published_types_allow() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for dashboard in techsapo_grafana::dashboards() {
        let parts = parts(&committed(&dashboard));
        let wrong: Vec<String> = validator
            .iter_errors(&parts)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{}: {wrong:#?}", dashboard.uid);
        // The schema sees what is wrong, and not only what is missing.
        for (pointer, value) in [
            ("/dashboard/graphTooltip", json!(7)),
            ("/dashboard/panels/1/gridPos/w", json!("wide")),
            ("/dashboard/panels/1/fieldConfig/defaults/color/mode", json!("rainbow")),
            ("/options/timeseries/0/tooltip/mode", json!("sometimes")),
            ("/custom/timeseries/0/drawStyle", json!("crayon")),
        ] {
            let mut broken = parts.clone();
            *broken.pointer_mut(pointer).unwrap() = value;
            assert!(!validator.is_valid(&broken), "{}: {pointer} may be anything", dashboard.uid);
        }
    }
}

#[test]
fn what_is_provisioned_fits_together() {
    let source = repository::read("grafana/provisioning/datasources/prometheus.yml");
    assert!(source.contains("uid: techsapo-prometheus") && source.contains("timeInterval: 15s"), "{source}");
    let providers = repository::read("grafana/provisioning/dashboards/techsapo.yml");
    let access: Value = serde_json::from_str(&repository::read("grafana/access/access.json")).unwrap();
    let enterprise = repository::read("grafana/enterprise/access-control/techsapo.yml");
    for folder in techsapo_grafana::Folder::ALL {
        let uid = format!("techsapo-{}", folder.name());
        assert!(providers.contains(&format!("folderUid: {uid}\n")), "{uid}");
        assert!(
            providers.contains(&format!("path: /var/lib/grafana/dashboards/{}\n", folder.name())),
            "{uid}"
        );
        assert!(access["folders"][&uid].is_array(), "nobody may see {uid}");
        assert!(enterprise.contains(&format!("scope: folders:uid:{uid}\n")), "{uid}");
    }
    for team in access["teams"].as_array().unwrap() {
        assert!(enterprise.contains(&format!("- name: {}\n", team.as_str().unwrap())), "{team}");
    }
    for dashboard in techsapo_grafana::dashboards() {
        let json = committed(&dashboard);
        assert_eq!(
            json["templating"]["list"][0]["current"]["value"], "techsapo-prometheus",
            "{}",
            dashboard.uid
        );
    }
}
