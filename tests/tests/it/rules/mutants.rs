//! Whether the unit tests of the alerts hold every threshold, least number and duration: each is changed a little, and a test must
//! fail then. What nobody notices may be wrong for years.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use regex::{Captures, Regex};
use serde_json::{Value, json};
use techsapo_tests::repository;

use super::book::{files, yaml};

/// How much a threshold that is no small number of events is changed, either way.
const LITTLE: f64 = 0.03;
/// Up to here an integer is a number of events, and one more or less is a change.
const FEW: f64 = 50.0;
/// How often Prometheus looks at rules that name no interval of their own.
const INTERVAL: Duration = Duration::from_secs(15);

/// An alert that was changed in one place.
struct Mutant {
    alert: String,
    /// `for: 5m -> 285s`, `…count1m > 10 -> 11`.
    change: String,
    /// The file of rules with the change in it.
    rules: Value,
}

#[test]
fn no_alert_can_be_changed_a_little_without_a_test_that_fails() {
    let (mutants, tests) = (mutants(), tests());
    let folder = tempfile::tempdir().unwrap();
    let next = AtomicUsize::new(0);
    let survivors = std::thread::scope(|scope| {
        let work = || {
            let mut survivors = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(mutant) = mutants.get(index) else { return survivors };
                if passes(mutant, &tests, &folder.path().join(index.to_string())) {
                    survivors.push(format!("{}: {}", mutant.alert, mutant.change));
                }
            }
        };
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(mutants.len() > 100, "{}", mutants.len());
    // Unchanged they pass, so that it was the change that was noticed.
    for (index, (alert, rules)) in unchanged().into_iter().enumerate() {
        let control = Mutant { alert, change: "none".to_owned(), rules };
        assert!(
            passes(&control, &tests, &folder.path().join(format!("control{index}"))),
            "{}",
            control.alert
        );
    }
    assert!(survivors.is_empty(), "of {}, nobody notices {survivors:#?}", mutants.len());
}

/// Whether all tests of its alert pass.
fn passes(Mutant { alert, rules, .. }: &Mutant, files: &[Value], folder: &Path) -> bool {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("rules.yml"), rules.to_string()).unwrap();
    files.iter().enumerate().all(|(index, file)| {
        let is_of_alert = |test: &&Value| test["name"].as_str().unwrap().starts_with(&format!("{alert}: "));
        let tests: Vec<_> = file["tests"].as_array().unwrap().iter().filter(is_of_alert).cloned().collect();
        if tests.is_empty() {
            return true;
        }
        let mut file = file.clone();
        file["tests"] = tests.into();
        // Whatever else the tests load is as it was.
        let changed = rules["groups"][0]["name"].as_str();
        let others = file["rule_files"].as_array().unwrap().iter().filter_map(|path| {
            let path = repository::root().join("prometheus/tests").join(path.as_str().unwrap());
            let other = yaml(&fs::read_to_string(&path).unwrap());
            (other["groups"][0]["name"].as_str() != changed).then(|| json!(path))
        });
        file["rule_files"] = [json!("rules.yml")].into_iter().chain(others).collect::<Vec<_>>().into();
        let name = format!("test{index}.yml");
        fs::write(folder.join(&name), file.to_string()).unwrap();
        let mut command = Command::new("promtool");
        command.args(["test", "rules", &name]).current_dir(folder).output().unwrap().status.success()
    })
}

/// The files of tests.
fn tests() -> Vec<Value> {
    repository::files("prometheus/tests", "yml")
        .into_iter()
        .map(|file| yaml(&repository::read(file)))
        .collect()
}

/// The last alert of each file, with the file as it is.
fn unchanged() -> Vec<(String, Value)> {
    let last = |rules: &Value| {
        let groups = rules["groups"].as_array().unwrap();
        let mut alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).rev();
        alerts.find_map(|rule| rule["alert"].as_str()).map(str::to_owned)
    };
    let read = |file| yaml(&repository::read(file));
    files().into_iter().map(read).filter_map(|rules| Some((last(&rules)?, rules))).collect()
}

/// Every alert, changed in every place.
fn mutants() -> Vec<Mutant> {
    let mut mutants = Vec::new();
    // The objectives' alerts are held by their formula (`documented`).
    for file in files().into_iter().filter(|file| !file.ends_with("slo.yml")) {
        let rules = yaml(&repository::read(file));
        for (group, content) in rules["groups"].as_array().unwrap().iter().enumerate() {
            let interval = content["interval"].as_str().map_or(INTERVAL, duration);
            for (index, rule) in content["rules"].as_array().unwrap().iter().enumerate() {
                let Some(alert) = rule["alert"].as_str() else { continue };
                let mut add = |key: &str, value: String, change: String| {
                    let mut rules = rules.clone();
                    rules["groups"][group]["rules"][index][key] = value.into();
                    mutants.push(Mutant { alert: alert.to_owned(), change, rules });
                };
                if let Some(held) = rule["for"].as_str() {
                    // A fifth, in whole intervals.
                    let by = duration(held).as_secs().div_ceil(5).next_multiple_of(interval.as_secs());
                    let by = Duration::from_secs(by);
                    for other in [duration(held) - by, duration(held) + by] {
                        let other = format!("{}s", other.as_secs());
                        add("for", other.clone(), format!("for: {held} -> {other}"));
                    }
                }
                let expr = rule["expr"].as_str().unwrap();
                for (number, other) in other_thresholds(expr) {
                    let (before, after) = (&expr[..number.start], &expr[number.end..]);
                    let change = format!("{before}[{} -> {other}]{after}", &expr[number.clone()]);
                    add("expr", format!("{before}{other}{after}"), change);
                }
            }
        }
    }
    mutants
}

/// Where a number stands in the expression that something is compared with, or a factor of it; and a little more or less than it.
fn other_thresholds(expr: &str) -> Vec<(Range<usize>, f64)> {
    // A number, no range and no label, behind a comparison or before a factor.
    let numbers = Regex::new(r"(?:([<>=]=?|[(*])\s*)(\d+(?:\.\d+)?)(\s*\*|[^\w.\[]|$)").unwrap();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(capture) = numbers.captures_at(expr, from) {
        let number = capture.get(2).unwrap();
        from = number.end();
        let is_threshold = |capture: &Captures<'_>| {
            let behind_comparison =
                capture.get(1).is_some_and(|sign| sign.as_str().starts_with(['<', '>', '=']));
            behind_comparison || capture[3].trim_start().starts_with('*') || &capture[1] == "*"
        };
        let value: f64 = number.as_str().parse().unwrap();
        // Above nothing, or equal to what stands for yes, is no matter of degree.
        if !is_threshold(&capture) || value == 0.0 || &capture[1] == "==" {
            continue;
        }
        let by = if value.fract() == 0.0 && value <= FEW && !expr[from..].trim_start().starts_with('*') {
            1.0
        } else {
            value * LITTLE
        };
        found.extend([value - by, value + by].map(|other| (number.range(), other)));
    }
    found
}

/// `1h30m`, as Prometheus writes it.
fn duration(text: &str) -> Duration {
    let parts = Regex::new(r"(\d+)([smhd])").unwrap();
    let seconds = parts.captures_iter(text).map(|part| {
        let unit = match &part[2] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => 86_400,
        };
        part[1].parse::<u64>().unwrap() * unit
    });
    Duration::from_secs(seconds.sum())
}
