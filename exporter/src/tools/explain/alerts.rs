//! Which alerts look at a metric: read from Prometheus' rules as they stood when this program was built.
//!
//! The rules are in a plain form of YAML, of which names, expressions and priorities are all that is wanted here; the
//! workspace's tests hold what is read against a real reader of YAML. An alert uses a metric also if it uses a series
//! that is recorded from it. Pure.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::catalog::{Family, Kind};

const FILES: [&str; 8] = [
    include_str!("../../../../prometheus/rules/recording.yml"),
    include_str!("../../../../prometheus/rules/service.yml"),
    include_str!("../../../../prometheus/rules/volume.yml"),
    include_str!("../../../../prometheus/rules/slo.yml"),
    include_str!("../../../../prometheus/rules/pipeline.yml"),
    include_str!("../../../../prometheus/rules/stack.yml"),
    include_str!("../../../../prometheus/rules/certificates.yml"),
    include_str!("../../../../prometheus/rules/backup.yml"),
];

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Name of the alert, or of the series that is recorded.
    pub name: String,
    /// Whether it alerts.
    pub alerts: bool,
    /// Its expression, on one line.
    pub expr: String,
    /// How soon an alert is answered; empty on a recorded series.
    pub priority: String,
}

/// All rules, in the order of the files.
pub fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| FILES.iter().flat_map(|file| read(file)).collect())
}

fn read(file: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    // How far the key of the expression that goes on is indented.
    let mut expr_at = None;
    for line in file.lines() {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        if expr_at.is_some_and(|at| indent <= at && !text.is_empty()) {
            expr_at = None;
        }
        let begun = [("- alert:", true), ("- record:", false)]
            .into_iter()
            .find_map(|(key, alerts)| Some((text.strip_prefix(key)?.trim(), alerts)));
        if let Some((name, alerts)) = begun {
            rules.push(Rule { name: name.to_owned(), alerts, expr: String::new(), priority: String::new() });
        }
        let Some(rule) = rules.last_mut() else { continue };
        if let Some(inline) = text.strip_prefix("expr:") {
            expr_at = Some(indent);
            inline.trim().trim_start_matches(">-").clone_into(&mut rule.expr);
        } else if expr_at.is_some() && !text.is_empty() {
            if !rule.expr.is_empty() {
                rule.expr.push(' ');
            }
            rule.expr.push_str(text);
        } else if let Some(priority) = text.strip_prefix("priority:") {
            priority.trim().clone_into(&mut rule.priority);
        }
    }
    rules
}

/// The alerts that look at `family`, by themselves or by a recorded series.
pub(super) fn on(family: &Family) -> Vec<&'static Rule> {
    let series: &[&str] = match family.kind {
        Kind::Histogram(_) => &["_bucket", "_sum", "_count"],
        Kind::Counter | Kind::Gauge => &[""],
    };
    let mut names: BTreeSet<String> =
        series.iter().map(|suffix| format!("{}{suffix}", family.name)).collect();
    // A recorded series may be made of another one that stands below it.
    loop {
        let known = names.len();
        let recorded = rules().iter().filter(|rule| !rule.alerts && uses(rule, &names));
        let recorded: Vec<_> = recorded.map(|rule| rule.name.clone()).collect();
        names.extend(recorded);
        if names.len() == known {
            break;
        }
    }
    rules().iter().filter(|rule| rule.alerts && uses(rule, &names)).collect()
}

fn uses(rule: &Rule, names: &BTreeSet<String>) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    rule.expr.split(|c| !word(c)).any(|word| names.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::FamilyId;

    #[test]
    fn an_alert_uses_a_metric_directly_or_by_what_is_recorded_of_it() {
        let names = |family: FamilyId| -> Vec<_> {
            on(family.row()).into_iter().map(|rule| (rule.name.as_str(), rule.priority.as_str())).collect()
        };
        // By techsapo:wallbounce_consensus_confidence:mean5m.
        assert!(names(FamilyId::ConsensusConfidence).contains(&("WallBounceConsensusLow", "P0")));
        assert!(names(FamilyId::MemoryUsagePercent).iter().any(|(_, priority)| !priority.is_empty()));
        assert!(names(FamilyId::Scrapes).is_empty(), "{:?}", names(FamilyId::Scrapes));
    }

    #[test]
    fn expressions_are_read_whole_and_alone() {
        let file = "groups:\n  - name: g\n    rules:\n      - record: a:b:c\n        expr: >-\n          sum(x)\n\n          / y\n      - alert: A\n        expr: z > 1\n        labels:\n          priority: P1\n        annotations:\n          summary: w\n";
        let read: Vec<_> = read(file).into_iter().map(|r| (r.name, r.alerts, r.expr, r.priority)).collect();
        let rule = |name: &str, alerts, expr: &str, priority: &str| {
            (name.to_owned(), alerts, expr.to_owned(), priority.to_owned())
        };
        assert_eq!(read, [rule("a:b:c", false, "sum(x) / y", ""), rule("A", true, "z > 1", "P1")]);
    }
}
