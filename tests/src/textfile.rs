//! The metrics that scripts write for Node Exporter's textfile collector, as `prometheus/textfile/*.prom` declares them: what
//! rules, documents and dashboards may name beside the exporter's own.

use crate::repository;

/// One declared metric. All are gauges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
}

/// All declared metrics.
///
/// # Panics
/// When one of them has no line of labels.
pub fn declared() -> Vec<Declared> {
    let files = repository::files("prometheus/textfile", "prom");
    assert!(!files.is_empty());
    files.into_iter().flat_map(|file| declared_in(&repository::read(file))).collect()
}

fn declared_in(text: &str) -> Vec<Declared> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge"));
    types
        .map(|name| {
            let mark = format!("# LABELS {name}");
            let labels = text.lines().find_map(|line| line.strip_prefix(&mark));
            let labels = labels.unwrap_or_else(|| panic!("{name}: its labels are not declared"));
            Declared { name: name.to_owned(), labels: labels.split_whitespace().map(str::to_owned).collect() }
        })
        .collect()
}
