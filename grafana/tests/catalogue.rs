//! Every query names only what the exporter serves: families of the catalogue, their labels, and of closed labels only
//! values that exist. Counters are looked at over time, gauges as they are.

#![allow(clippy::unwrap_used)] // A test that meets the unexpected has failed.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, LabelModifier, VectorSelector, parse};
use serde_json::Value;
use techsapo_exporter::catalog::{Domain, FAMILIES, Family, Kind};
use techsapo_grafana::ask::Circumstances;

type Labels = BTreeSet<String>;

/// What others serve: each with its labels, and whether it is a counter.
const FOREIGN: &[(&str, &[&str], bool)] = &[
    ("up", &["job", "instance"], false),
    ("ALERTS", &["alertname", "alertstate", "severity", "priority", "instance", "job"], false),
    ("node_network_receive_bytes_total", &["device", "job", "instance"], true),
    ("node_network_transmit_bytes_total", &["device", "job", "instance"], true),
];

/// What a selector can find.
struct Found {
    labels: BTreeMap<&'static str, Option<Domain>>,
    is_counter: bool,
}

fn found(name: &str) -> Option<Found> {
    let scraped = ["job", "instance"].map(|label| (label, None));
    for family in FAMILIES {
        let mut labels: BTreeMap<_, _> =
            family.labels.iter().map(|&(label, domain)| (label, Some(domain))).collect();
        labels.extend(scraped);
        if part_of(family, name) == Some("_bucket") {
            labels.insert("le", None);
        }
        if part_of(family, name).is_some() {
            return Some(Found { labels, is_counter: family.kind != Kind::Gauge });
        }
    }
    let (_, labels, is_counter) = FOREIGN.iter().find(|(foreign, ..)| *foreign == name)?;
    Some(Found { labels: labels.iter().map(|&label| (label, None)).collect(), is_counter: *is_counter })
}

/// Whether `name` is one of the family's, and which part of it.
fn part_of(family: &Family, name: &str) -> Option<&'static str> {
    let part = name.strip_prefix(family.name)?;
    let parts: &[&'static str] =
        if matches!(family.kind, Kind::Histogram(_)) { &["_bucket", "_sum", "_count"] } else { &[""] };
    parts.iter().find(|one| **one == part).copied()
}

fn check_matcher(matcher: &Matcher, domain: Option<Domain>) -> Result<(), String> {
    let values = domain.map(Domain::values).unwrap_or_default();
    let exists = match &matcher.op {
        _ if values.is_empty() => true,
        MatchOp::Equal | MatchOp::NotEqual => values.contains(&matcher.value),
        MatchOp::Re(pattern) | MatchOp::NotRe(pattern) => values.iter().any(|value| pattern.is_match(value)),
    };
    if exists { Ok(()) } else { Err(format!("{} is never {:?}", matcher.name, matcher.value)) }
}

fn check_selector(selector: &VectorSelector, over_time: bool) -> Result<Labels, String> {
    let name = selector.name.as_deref().ok_or("a selector without a name")?;
    let found = found(name).ok_or(format!("nobody serves {name}"))?;
    if found.is_counter != over_time {
        return Err(format!("{name} is a {}", if found.is_counter { "counter" } else { "gauge" }));
    }
    for matcher in &selector.matchers.matchers {
        let domain =
            found.labels.get(matcher.name.as_str()).ok_or(format!("{name} has no {}", matcher.name))?;
        check_matcher(matcher, *domain).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(found.labels.keys().map(|&label| label.to_owned()).collect())
}

/// The labels that the result can bear, or what is wrong.
fn labels(expr: &Expr) -> Result<Labels, String> {
    Ok(match expr {
        Expr::VectorSelector(selector) => check_selector(selector, false)?,
        Expr::MatrixSelector(selector) => check_selector(&selector.vs, true)?,
        Expr::Paren(inner) => labels(&inner.expr)?,
        Expr::Unary(inner) => labels(&inner.expr)?,
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Labels::new(),
        Expr::Binary(binary) => {
            let (mut left, right) = (labels(&binary.lhs)?, labels(&binary.rhs)?);
            // A number on one side leaves the other's labels; `or` gives both sides'.
            if left.is_empty() || binary.op.to_string() == "or" {
                left.extend(right);
            }
            left
        }
        Expr::Aggregate(aggregate) => {
            let inner = labels(&aggregate.expr)?;
            match &aggregate.modifier {
                Some(LabelModifier::Include(by)) => {
                    let unknown: Vec<_> = by.labels.iter().filter(|label| !inner.contains(*label)).collect();
                    if !unknown.is_empty() {
                        return Err(format!("{} has no {unknown:?}", aggregate.expr));
                    }
                    by.labels.iter().cloned().collect()
                }
                Some(LabelModifier::Exclude(_)) => {
                    return Err("`without` depends on how it is scraped".into());
                }
                None if aggregate.op.to_string() == "topk" => inner,
                None => Labels::new(),
            }
        }
        Expr::Call(call) => {
            let mut all = Labels::new();
            for argument in &call.args.args {
                all.extend(labels(argument)?);
            }
            match call.func.name {
                "histogram_quantile" if !all.remove("le") => return Err(format!("{call} has no buckets")),
                "label_replace" => {
                    let target = call.args.args.get(1).map(ToString::to_string);
                    all.insert(target.unwrap_or_default().trim_matches('"').to_owned());
                }
                "scalar" | "vector" => all.clear(),
                _ => {}
            }
            all
        }
        Expr::Subquery(_) | Expr::Extension(_) => return Err(format!("{expr} is not looked into")),
    })
}

/// The labels of the query's result. Whatever can be chosen may have any value.
fn check(expr: &str) -> Result<Labels, String> {
    let mut asked = Circumstances::new(3_600, 1_000, 60, &BTreeMap::new()).put_into(expr);
    for name in ["provider", "app_instance", "route"] {
        asked = asked.replace(&format!("\"${name}\""), "\".+\"");
    }
    labels(&parse(&asked)?)
}

/// Labels that a series' name is made of.
fn named(legend: &str) -> impl Iterator<Item = &str> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap())
}

#[test]
fn every_query_asks_for_what_there_is() {
    let mut wrong = Vec::new();
    for dashboard in techsapo_grafana::dashboards() {
        let json = dashboard.json();
        for panel in json["panels"].as_array().unwrap() {
            let columns = panel["type"] == "table";
            let mut of_columns: Option<Labels> = None;
            for target in panel["targets"].as_array().into_iter().flatten() {
                let (expr, legend) =
                    (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
                let place = format!("{}: {}: {expr}", dashboard.uid, panel["title"]);
                match check(expr) {
                    Err(error) => wrong.push(format!("{place}: {error}")),
                    Ok(labels) => {
                        let unknown: Vec<_> =
                            named(legend).filter(|label| !labels.contains(*label)).collect();
                        if !unknown.is_empty() {
                            wrong.push(format!("{place}: no {unknown:?} to name series by"));
                        }
                        let first = of_columns.get_or_insert_with(|| labels.clone());
                        if columns && *first != labels {
                            wrong.push(format!("{place}: columns of {first:?} and of {labels:?}"));
                        }
                    }
                }
            }
        }
        let annotations = json["annotations"]["list"].as_array().unwrap();
        for expr in annotations.iter().filter_map(|annotation| annotation["target"]["expr"].as_str()) {
            wrong.extend(check(expr).err().map(|error| format!("{}: {expr}: {error}", dashboard.uid)));
        }
        for variable in json["templating"]["list"].as_array().unwrap() {
            wrong.extend(check_variable(variable).err());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `label_values(family,label)`: both exist, and the label bears the variable's name.
fn check_variable(variable: &Value) -> Result<(), String> {
    let name = variable["name"].as_str().unwrap();
    let Some(query) = variable["query"]["query"].as_str() else { return Ok(()) };
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
    let (family, label) = inner.split_once(',').unwrap();
    let found = found(family).ok_or(format!("nobody serves {family}"))?;
    if found.labels.contains_key(label) && label == name { Ok(()) } else { Err(format!("{name}: {query}")) }
}

#[test]
fn what_is_wrong_is_found() {
    for (expr, wrong) in [
        ("techsapo_no_such_thing", "nobody serves"),
        ("sum(rate(techsapo_llm_requests_total{colour=\"red\"}[5m]))", "has no colour"),
        ("sum(rate(techsapo_llm_requests_total{status=\"failed\"}[5m]))", "never \"failed\""),
        ("sum(rate(techsapo_llm_requests_total{status=~\"fail.*\"}[5m]))", "never \"fail.*\""),
        ("sum by (model) (rate(techsapo_wallbounce_cost_usd[5m]))", "has no [\"model\"]"),
        ("techsapo_llm_requests_total", "is a counter"),
        ("rate(techsapo_cpu_usage_percent[5m])", "is a gauge"),
        ("sum(rate(techsapo_llm_response_time_seconds[5m]))", "nobody serves"),
        ("histogram_quantile(0.9, rate(techsapo_llm_response_time_seconds_sum[5m]))", "has no buckets"),
    ] {
        let error = check(expr).expect_err(expr);
        assert!(error.contains(wrong), "{expr}: {error}");
    }
    let labels = check("sum by (provider, model) (rate(techsapo_llm_requests_total[5m]))").unwrap();
    assert_eq!(labels, ["model", "provider"].map(str::to_owned).into());
}
