//! Every metric, label and label value that a rule, its texts or a runbook's query names can exist.

use std::collections::BTreeMap;

use regex::Regex;

use super::book::rules;
use super::promql::Names;
use super::runbooks;

#[test]
fn rules_name_only_what_exists() {
    let names = Names::new();
    let in_text = Regex::new(r"\$labels\.(\w+)").unwrap();
    let metric = Regex::new(r"\b(?:techsapo|node|prometheus|alertmanager)_\w+|\b\w+:\w+:\w+").unwrap();
    let mut wrong = Vec::new();
    for rule in rules() {
        let labels = match names.labels_of(&rule.expr) {
            Ok(labels) => labels,
            Err(reason) => {
                wrong.push(format!("{}: {reason}", rule.name));
                continue;
            }
        };
        for (part, text) in &rule.annotations {
            for label in in_text.captures_iter(text).map(|found| found[1].to_owned()) {
                if !labels.contains(&label) && !rule.labels.contains_key(&label) {
                    wrong.push(format!("{}: {part} names the label {label}, which it has not", rule.name));
                }
            }
            for found in metric.find_iter(text).map(|found| found.as_str()) {
                if !names.has(found) {
                    wrong.push(format!("{}: {part} asks for {found}, which is not there", rule.name));
                }
            }
        }
        if !rule.alerts {
            wrong.extend(misnamed(&rule.name, &labels.into_iter().collect::<Vec<_>>()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a recorded series' name, which is level:metric:operations: the level names the labels that are left.
fn misnamed(name: &str, labels: &[String]) -> Option<String> {
    let parts: Vec<_> = name.split(':').collect();
    let [level, _, _] = parts[..] else { return Some(format!("{name} is not level:metric:operations")) };
    let mut rest = level.to_owned();
    for label in labels {
        rest = rest.replacen(label.as_str(), "", 1);
    }
    let named = if labels.is_empty() { level == "techsapo" } else { rest.chars().all(|c| c == '_') };
    (!named).then(|| format!("{name} has the labels {labels:?}, which its level does not say"))
}

#[test]
fn runbooks_ask_only_for_what_exists() {
    let names = Names::new();
    let queries: BTreeMap<_, _> =
        runbooks::queries().into_iter().map(|(page, query)| (query, page)).collect();
    let wrong: Vec<_> = queries
        .iter()
        .filter_map(|(query, page)| {
            names.labels_of(query).err().map(|reason| format!("{page}: {reason}\n  {query}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
