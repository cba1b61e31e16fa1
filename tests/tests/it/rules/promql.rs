//! Which labels an expression's result can have, and whether every metric, label and value that it names exists.
//!
//! What exists: the exporter's catalogue, what our scripts write for Node Exporter, the series that our rules record, and
//! [`FOREIGN`], the few metrics of others that we use. `versions` sees to it that the latter are really there.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector, parse,
};
use regex::Regex;
use techsapo_exporter::catalog::{Domain, FAMILIES, Kind};
use techsapo_tests::textfile;

use super::book::{Rule, rules};

/// Metrics of others, with the labels that we use of them.
pub(super) const FOREIGN: &[(&str, &[&str])] = &[
    ("up", &[]),
    ("ALERTS", &["alertname", "alertstate", "severity", "priority", "area"]),
    ("alertmanager_cluster_members", &[]),
    ("alertmanager_config_last_reload_successful", &[]),
    ("alertmanager_notifications_failed_total", &["integration"]),
    ("node_filesystem_avail_bytes", &["device", "fstype", "mountpoint"]),
    ("node_filesystem_size_bytes", &["device", "fstype", "mountpoint"]),
    ("node_memory_MemAvailable_bytes", &[]),
    ("prometheus_config_last_reload_successful", &[]),
    ("prometheus_notifications_errors_total", &["alertmanager"]),
    ("prometheus_notifications_queue_length", &[]),
    ("prometheus_remote_storage_highest_timestamp_in_seconds", &[]),
    ("prometheus_remote_storage_queue_highest_sent_timestamp_seconds", &["remote_name", "url"]),
    ("prometheus_remote_storage_samples_failed_total", &["remote_name", "url"]),
    ("prometheus_remote_storage_samples_retried_total", &["remote_name", "url"]),
    ("prometheus_rule_evaluation_failures_total", &["rule_group"]),
];
/// Labels that Prometheus adds to whatever it scrapes.
const OF_TARGETS: [&str; 2] = ["instance", "job"];

/// Names of labels.
pub(super) type Labels = BTreeSet<String>;
/// What is wrong with an expression.
type Wrong = String;

/// Everything that may be named.
pub(super) struct Names {
    /// Metrics that are scraped, with what values their labels can have.
    scraped: BTreeMap<String, BTreeMap<String, Option<Domain>>>,
    recorded: BTreeMap<String, Rule>,
}

impl Names {
    /// Those of the catalogue, of our scripts, of [`FOREIGN`] and of our recording rules.
    pub(super) fn new() -> Self {
        let mut scraped = BTreeMap::new();
        let targets = || OF_TARGETS.map(|label| (label.to_owned(), None));
        for family in FAMILIES {
            let labels = family.labels.iter().map(|&(label, domain)| (label.to_owned(), Some(domain)));
            let labels: BTreeMap<_, _> = labels.chain(targets()).collect();
            let suffixes: &[&str] = match family.kind {
                Kind::Histogram(_) => &["_bucket", "_sum", "_count"],
                Kind::Counter | Kind::Gauge => &[""],
            };
            for suffix in suffixes {
                let mut labels = labels.clone();
                if *suffix == "_bucket" {
                    labels.insert("le".to_owned(), None);
                }
                scraped.insert(format!("{}{suffix}", family.name), labels);
            }
        }
        for (metric, labels) in FOREIGN {
            let labels = labels.iter().map(|&label| (label.to_owned(), None)).chain(targets());
            scraped.insert((*metric).to_owned(), labels.collect());
        }
        for metric in textfile::declared() {
            let labels = metric.labels.into_iter().map(|label| (label, None)).chain(targets());
            scraped.insert(metric.name, labels.collect());
        }
        let recorded = rules().into_iter().filter(|rule| !rule.alerts);
        Self { scraped, recorded: recorded.map(|rule| (rule.name.clone(), rule)).collect() }
    }

    /// The labels that the result of `text` can have.
    ///
    /// # Errors
    /// The first thing in it that does not exist.
    pub(super) fn labels_of(&self, text: &str) -> Result<Labels, Wrong> {
        self.labels(&parse(text)?)
    }

    /// Whether a metric of this name is scraped or recorded.
    pub(super) fn has(&self, metric: &str) -> bool {
        self.scraped.contains_key(metric) || self.recorded.contains_key(metric)
    }

    fn labels(&self, expr: &Expr) -> Result<Labels, Wrong> {
        match expr {
            Expr::VectorSelector(selector) => self.selected(selector),
            Expr::MatrixSelector(matrix) => self.selected(&matrix.vs),
            Expr::Paren(inner) => self.labels(&inner.expr),
            Expr::Unary(inner) => self.labels(&inner.expr),
            Expr::Subquery(inner) => self.labels(&inner.expr),
            Expr::Aggregate(aggregate) => self.aggregated(aggregate),
            Expr::Binary(binary) => self.combined(binary),
            Expr::Call(call) => self.called(call),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Labels::new()),
            Expr::Extension(_) => Err("an extension".to_owned()),
        }
    }

    fn selected(&self, selector: &VectorSelector) -> Result<Labels, Wrong> {
        let Some(name) = &selector.name else {
            // Whatever matches by its name.
            let all = self.scraped.values().flat_map(|labels| labels.keys().cloned());
            return Ok(all.chain(["__name__".to_owned()]).collect());
        };
        if let Some(rule) = self.recorded.get(name) {
            let labels = self.labels_of(&rule.expr)?;
            let matched = selector.matchers.matchers.iter().map(|matcher| &matcher.name);
            return all_in(matched, &labels, name).map(|()| labels);
        }
        let known = self.scraped.get(name).ok_or_else(|| format!("there is no metric {name}"))?;
        for matcher in &selector.matchers.matchers {
            let domain = known.get(&matcher.name).ok_or_else(|| lacks(name, &matcher.name))?;
            if let Some(domain) = domain.filter(|domain| !domain.values().is_empty()) {
                possible(matcher, domain).map_err(|wrong| format!("{name}: {wrong}"))?;
            }
        }
        Ok(known.keys().cloned().collect())
    }

    fn aggregated(&self, aggregate: &AggregateExpr) -> Result<Labels, Wrong> {
        let inner = self.labels(&aggregate.expr)?;
        if ["topk", "bottomk"].contains(&aggregate.op.to_string().as_str()) {
            return Ok(inner);
        }
        match &aggregate.modifier {
            None => Ok(Labels::new()),
            Some(LabelModifier::Include(by)) => {
                all_in(&by.labels, &inner, "what is aggregated")?;
                Ok(by.labels.iter().cloned().collect())
            }
            Some(LabelModifier::Exclude(without)) => {
                all_in(&without.labels, &inner, "what is aggregated")?;
                Ok(inner.into_iter().filter(|label| !without.labels.contains(label)).collect())
            }
        }
    }

    fn combined(&self, binary: &BinaryExpr) -> Result<Labels, Wrong> {
        let (left, right) = (self.labels(&binary.lhs)?, self.labels(&binary.rhs)?);
        let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
        if let Some(LabelModifier::Include(on)) = matching {
            all_in(&on.labels, &left, "the left side")?;
            all_in(&on.labels, &right, "the right side")?;
        }
        if binary.op.is_set_operator() {
            let either = binary.op.to_string() == "or";
            return Ok(if either { left.union(&right).cloned().collect() } else { left });
        }
        if binary.lhs.value_type() == ValueType::Scalar {
            return Ok(right);
        }
        let many = binary.modifier.as_ref().map(|modifier| &modifier.card);
        Ok(match (many, matching) {
            (Some(VectorMatchCardinality::ManyToOne(_)), _) => left,
            (Some(VectorMatchCardinality::OneToMany(_)), _) => right,
            (_, Some(LabelModifier::Include(on))) => on.labels.iter().cloned().collect(),
            (_, Some(LabelModifier::Exclude(ignored))) => {
                left.into_iter().filter(|label| !ignored.labels.contains(label)).collect()
            }
            _ => left,
        })
    }

    fn called(&self, call: &Call) -> Result<Labels, Wrong> {
        let arguments = &call.args.args;
        let mut labels = Labels::new();
        for argument in arguments {
            labels.extend(self.labels(argument)?);
        }
        let text = |index: usize| match &**arguments.get(index)? {
            Expr::StringLiteral(literal) => Some(literal.val.clone()),
            _ => None,
        };
        match call.func.name {
            "label_replace" => {
                let (target, source) = (text(1).ok_or("no target")?, text(3).ok_or("no source")?);
                all_in([&source], &labels, "label_replace's vector")?;
                labels.insert(target);
            }
            "histogram_quantile" => {
                all_in(["le"], &labels, "histogram_quantile's vector")?;
                labels.remove("le");
            }
            "absent" => match &**arguments.first().ok_or("absent of nothing")? {
                Expr::VectorSelector(selector) => {
                    let equal = |matcher: &&Matcher| matches!(matcher.op, MatchOp::Equal);
                    let equal = selector.matchers.matchers.iter().filter(equal);
                    labels = equal.map(|matcher| matcher.name.clone()).collect();
                }
                _ => return Err("absent of something computed has no labels".to_owned()),
            },
            _ => {}
        }
        Ok(labels)
    }
}

fn lacks(what: &str, label: &str) -> Wrong {
    format!("{what} has no label {label}")
}

fn all_in<I: IntoIterator<Item = S>, S: AsRef<str>>(
    wanted: I,
    labels: &Labels,
    what: &str,
) -> Result<(), Wrong> {
    wanted.into_iter().try_for_each(|label| {
        let label = label.as_ref();
        if labels.contains(label) { Ok(()) } else { Err(lacks(what, label)) }
    })
}

/// Whether a matcher names values that its label can have. A pattern must match one, each of its alternatives too.
fn possible(matcher: &Matcher, domain: Domain) -> Result<(), Wrong> {
    let values = domain.values();
    let none = |text: &str| format!("{} can never be {text}", matcher.name);
    match &matcher.op {
        MatchOp::Equal | MatchOp::NotEqual if values.contains(&matcher.value) => Ok(()),
        MatchOp::Equal | MatchOp::NotEqual => Err(none(&matcher.value)),
        MatchOp::Re(_) | MatchOp::NotRe(_) => {
            let alternatives = if matcher.value.contains('(') {
                vec![&*matcher.value]
            } else {
                matcher.value.split('|').collect()
            };
            alternatives.into_iter().try_for_each(|pattern| {
                let pattern_of =
                    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| error.to_string())?;
                if values.iter().any(|value| pattern_of.is_match(value)) {
                    Ok(())
                } else {
                    Err(none(pattern))
                }
            })
        }
    }
}

#[test]
fn what_does_not_exist_is_found() {
    let names = Names::new();
    let labels = |text: &str| names.labels_of(text).map(|labels| labels.into_iter().collect::<Vec<_>>());
    for (text, reason) in [
        ("techsapo_llm_request_total", "no metric techsapo_llm_request_total"),
        ("techsapo_llm_response_time_seconds", "no metric"),
        (r#"techsapo_llm_requests_total{vendor="google"}"#, "no label vendor"),
        (r#"techsapo_llm_requests_total{provider="google"}"#, "provider can never be google"),
        (r#"techsapo_llm_requests_total{status=~"error|failed"}"#, "status can never be failed"),
        (r#"techsapo_http_requests_total{status_code=~"6.."}"#, "status_code can never be 6.."),
        ("sum by (vendor) (techsapo_llm_requests_total)", "no label vendor"),
        (
            "sum(techsapo_llm_requests_total) / on (provider) techsapo_llm_success_rate_by_provider",
            "left side",
        ),
        ("histogram_quantile(0.9, sum(techsapo_llm_response_time_seconds_bucket))", "no label le"),
        (r#"label_replace(up, "a", "$1", "b", "(.*)")"#, "no label b"),
        (r#"provider:llm_response_time_seconds:mean5m{model="m"}"#, "no label model"),
        ("sum(", "unclosed left parenthesis"),
    ] {
        let wrong = labels(text).expect_err(text);
        assert!(wrong.contains(reason), "{text}: {wrong}");
    }
    for (text, wanted) in [
        ("sum by (provider) (rate(techsapo_llm_requests_total[5m])) > 1", vec!["provider"]),
        (r#"max(techsapo_memory_usage_percent) or vector(1)"#, vec![]),
        (r#"absent(up{job="node"})"#, vec!["job"]),
        ("provider:llm_response_time_seconds:mean5m * 2", vec!["provider"]),
        ("time() - max by (job) (up) > 1", vec!["job"]),
        (r#"label_replace(up, "a", "$1", "job", "(.*)")"#, vec!["a", "instance", "job"]),
    ] {
        assert_eq!(labels(text), Ok(wanted.into_iter().map(str::to_owned).collect()), "{text}");
    }
}
