//! What dashboards show: each panel's queries, put to Prometheus as Grafana would put them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use techsapo_grafana::ask::Circumstances;

use crate::http::{client, send};

/// Points across a panel of usual width, unless it says how many it wants.
const POINTS: u64 = 1_000;

/// A panel and what its queries were answered.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The panel's JSON.
    pub panel: Value,
    /// Distance of its points in seconds.
    pub step_s: u64,
    /// For each query, in their order: its series, each `{labels, points: [[unix seconds, "value"]…]}`.
    pub answers: Vec<Vec<Value>>,
}

impl Shown {
    /// The panel's title.
    pub fn title(&self) -> &str {
        self.panel["title"].as_str().unwrap_or_default()
    }

    /// Every number that was answered to the query at `index`.
    pub fn numbers(&self, index: usize) -> impl Iterator<Item = f64> {
        let points = self.answers[index].iter().flat_map(|series| series["points"].as_array().unwrap());
        points.map(|point| point[1].as_str().unwrap().parse().unwrap())
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({"panel": self.panel, "step": self.step_s, "answers": self.answers})
    }
}

/// All panels of a dashboard (its JSON) over the `range_s` seconds before `to` (Unix seconds); with every list at its
/// head set to "All". Rows are panels without answers.
///
/// # Panics
/// When Prometheus refuses a query.
pub fn show(prometheus: &str, dashboard: &Value, to: f64, range_s: u64) -> Vec<Shown> {
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let chosen: BTreeMap<_, _> =
        variables.iter().filter_map(|variable| all_values(prometheus, variable)).collect();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .map(|panel| {
            let points = panel["maxDataPoints"].as_u64().unwrap_or(POINTS);
            let least_s = if panel["interval"].is_string() { minutes(&panel["interval"]) * 60 } else { 0 };
            let circumstances = Circumstances::new(range_s, points, least_s, &chosen);
            let answer = |target: &Value| {
                let asked = circumstances.put_into(target["expr"].as_str().unwrap());
                let step = (target["range"] == true).then_some(circumstances.step_s);
                ask(prometheus, &asked, to, range_s, step)
            };
            Shown {
                answers: panel["targets"].as_array().into_iter().flatten().map(answer).collect(),
                step_s: circumstances.step_s,
                panel: panel.clone(),
            }
        })
        .collect()
}

/// What the dashboard's annotations draw in that time: colour and beginning of each.
pub fn happened(prometheus: &str, dashboard: &Value, to: f64, range_s: u64) -> Vec<Value> {
    let mut found = Vec::new();
    let circumstances = Circumstances::new(range_s, POINTS, 0, &BTreeMap::new());
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let Some(expr) = annotation["target"]["expr"].as_str() else { continue };
        let asked = circumstances.put_into(expr);
        for series in ask(prometheus, &asked, to, range_s, Some(circumstances.step_s)) {
            let mut last = 0.0;
            for point in series["points"].as_array().unwrap() {
                let at = point[0].as_f64().unwrap();
                // Neighbours belong to one happening.
                if at - last > 1.5 * circumstances.step_s as f64 {
                    found.push(json!({"colour": annotation["iconColor"], "at": at}));
                }
                last = at;
            }
        }
    }
    found
}

fn minutes(interval: &Value) -> u64 {
    interval.as_str().unwrap().strip_suffix('m').unwrap().parse().unwrap()
}

/// The name of a list and all the values that it offers; nothing for the data source.
fn all_values(prometheus: &str, variable: &Value) -> Option<(String, Vec<String>)> {
    let query = variable["query"]["query"].as_str()?;
    let (family, label) = query.strip_prefix("label_values(")?.strip_suffix(')')?.split_once(',')?;
    let url = format!("{prometheus}/api/v1/label/{label}/values");
    let answer = send(client().get(url).query(&[("match[]", family)])).unwrap().json();
    let values = answer["data"].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned());
    Some((label.to_owned(), values.collect()))
}

/// The series that answer a query: over the range with this step, or for the moment `to` alone.
fn ask(prometheus: &str, query: &str, to: f64, range_s: u64, step: Option<u64>) -> Vec<Value> {
    let (to_text, from) = (to.to_string(), (to - range_s as f64).to_string());
    let request = match step {
        Some(step) => client().get(format!("{prometheus}/api/v1/query_range")).query(&[
            ("query", query),
            ("start", &from),
            ("end", &to_text),
            ("step", &step.to_string()),
        ]),
        None => {
            client().get(format!("{prometheus}/api/v1/query")).query(&[("query", query), ("time", &to_text)])
        }
    };
    let answer = send(request).unwrap().json();
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    let series = answer["data"]["result"].as_array().unwrap().iter().map(|series| {
        let one = || json!([series["value"]]);
        let points = if series["values"].is_array() { series["values"].clone() } else { one() };
        json!({"labels": series["metric"], "points": points})
    });
    series.collect()
}
