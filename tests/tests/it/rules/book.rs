//! The rules as they stand in `prometheus/rules/`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use techsapo_tests::repository;

/// One rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Name of the alert, or of the series that is recorded.
    pub(super) name: String,
    /// Whether it alerts.
    pub(super) alerts: bool,
    /// Its expression.
    pub(super) expr: String,
    /// How long that must hold before it fires.
    pub(super) held: Option<String>,
    /// Labels that it adds.
    pub(super) labels: BTreeMap<String, String>,
    /// What people are told.
    pub(super) annotations: BTreeMap<String, String>,
}

/// The files of rules, from the root.
pub(super) fn files() -> Vec<PathBuf> {
    let files = repository::files("prometheus/rules", "yml");
    assert!(!files.is_empty());
    files
}

/// A file as a value.
pub(super) fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap()
}

/// All rules of all files.
pub(super) fn rules() -> Vec<Rule> {
    let groups = files().into_iter().flat_map(|file| {
        let file = yaml(&repository::read(file));
        file["groups"].as_array().unwrap().clone()
    });
    groups.flat_map(|group| group["rules"].as_array().unwrap().iter().map(rule).collect::<Vec<_>>()).collect()
}

/// Those that alert.
pub(super) fn alerts() -> Vec<Rule> {
    rules().into_iter().filter(|rule| rule.alerts).collect()
}

fn rule(rule: &Value) -> Rule {
    let texts = |key: &str| {
        let fields = rule[key].as_object().into_iter().flatten();
        fields.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()
    };
    let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap().to_owned();
    Rule {
        name,
        alerts: rule["alert"].is_string(),
        expr: rule["expr"].as_str().unwrap().to_owned(),
        held: rule["for"].as_str().map(str::to_owned),
        labels: texts("labels"),
        annotations: texts("annotations"),
    }
}

#[test]
fn every_alert_says_all_that_people_need() {
    let base = home_page();
    for alert in alerts() {
        let name = &alert.name;
        let one_of = |label: &str, values: &[&str]| {
            let value = alert.labels.get(label).unwrap_or_else(|| panic!("{name} lacks the label {label}"));
            assert!(values.contains(&value.as_str()), "{name}: {label} is {value}");
        };
        one_of("priority", &["P0", "P1", "P2"]);
        one_of("severity", &["critical", "warning", "info"]);
        assert!(alert.labels.get("area").is_some_and(|area| !area.is_empty()), "{name} lacks an area");
        let text = |key: &str| alert.annotations.get(key).unwrap_or_else(|| panic!("{name} lacks {key}"));
        assert!(text("summary").ends_with('.'), "{name}: {}", text("summary"));
        assert!(
            text("summary_ja").chars().any(|c| ('ぁ'..='ヶ').contains(&c)),
            "{name}: {}",
            text("summary_ja")
        );
        // The Watchdog has no value to tell.
        let tells = text("description").contains("{{") || name == "Watchdog";
        assert!(tells, "{name}: the description tells no value");
        assert_eq!(*text("runbook_url"), format!("{base}/blob/main/docs/runbooks/{name}.md"));
    }
    let mut names: Vec<_> = rules().into_iter().map(|rule| rule.name).collect();
    names.sort();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "defined twice: {twice:?}");
}

/// Where the repository is published, as its manifest says.
fn home_page() -> String {
    let manifest: toml::Table = repository::read("Cargo.toml").parse().unwrap();
    manifest["workspace"]["package"]["repository"].as_str().unwrap().to_owned()
}
