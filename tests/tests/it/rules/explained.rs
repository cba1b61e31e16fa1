//! What `techsapo-exporter explain` says of queries and alerts is what Prometheus and its rules say.

use techsapo_exporter::tools::explain::{alerts, examples};

use super::book::rules;
use super::promql::Names;

#[test]
fn every_example_is_a_query_of_what_exists() {
    let names = Names::new();
    let wrong: Vec<_> = examples()
        .filter_map(|(metric, query)| {
            let reason = match names.labels_of(&query) {
                Ok(_) if query.contains(metric) => return None,
                Ok(_) => "it does not name the metric".to_owned(),
                Err(reason) => reason,
            };
            Some(format!("{metric}: {query}: {reason}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn its_rules_are_those_of_the_files() {
    let words = |expr: &str| expr.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut of_files: Vec<_> = rules()
        .into_iter()
        .map(|rule| {
            let priority = rule.labels.get("priority").cloned().unwrap_or_default();
            (rule.name, rule.alerts, words(&rule.expr), priority)
        })
        .collect();
    let mut known: Vec<_> = alerts::rules()
        .iter()
        .map(|rule| (rule.name.clone(), rule.alerts, words(&rule.expr), rule.priority.clone()))
        .collect();
    of_files.sort();
    known.sort();
    assert_eq!(known, of_files);
}
