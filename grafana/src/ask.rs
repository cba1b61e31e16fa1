//! What Grafana makes of a query before it sends it: its variables replaced by what they stand for.

use std::collections::BTreeMap;

/// Scrapes in the shortest window of a rate: Grafana's rule for `$__rate_interval`.
const SCRAPES: u64 = 4;
/// What the provisioned data source says of the distance of two scrapes, in seconds.
pub const SCRAPE_S: u64 = 15;

/// The circumstances of a panel: what is shown, how finely, and what is chosen.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// Length of the dashboard's range, in seconds.
    pub range_s: u64,
    /// Distance of two points, in seconds.
    pub step_s: u64,
    /// For each list of the dashboard, the values chosen.
    pub chosen: BTreeMap<String, Vec<String>>,
}

impl Circumstances {
    /// The circumstances of a panel that shows `range_s` seconds in at most `points`, at least `least_s` apart.
    pub fn new(range_s: u64, points: u64, least_s: u64, chosen: &BTreeMap<String, Vec<String>>) -> Self {
        let step_s = rounded(range_s / points.max(1)).max(least_s).max(SCRAPE_S);
        Self { range_s, step_s, chosen: chosen.clone() }
    }

    /// The query as Prometheus is asked it.
    pub fn put_into(&self, expr: &str) -> String {
        let rate_s = (self.step_s + SCRAPE_S).max(SCRAPES * SCRAPE_S);
        let mut asked = expr
            .replace("$__rate_interval", &format!("{rate_s}s"))
            .replace("$__interval", &format!("{}s", self.step_s))
            .replace("$__range", &format!("{}s", self.range_s));
        for (name, values) in &self.chosen {
            let values: Vec<String> = values.iter().map(|value| escaped(value)).collect();
            asked = asked.replace(&format!("${name}"), &format!("({})", values.join("|")));
        }
        asked
    }
}

/// Distances that Grafana chooses from, as far as they matter here.
fn rounded(seconds: u64) -> u64 {
    [15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200]
        .into_iter()
        .rev()
        .find(|step| *step <= seconds)
        .unwrap_or(SCRAPE_S)
}

/// A value as a part of a regular expression within a string of PromQL.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for character in value.chars() {
        if r"\^$*+?.()|[]{}".contains(character) {
            text.push_str(r"\\");
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_grafana_does() {
        let chosen = BTreeMap::from([("route".to_owned(), vec!["/a.b".to_owned(), "/c".to_owned()])]);
        let hour = Circumstances::new(3_600, 1_000, 0, &chosen);
        let asked =
            hour.put_into(r#"rate(x{route=~"$route"}[$__rate_interval]) + y[$__range] + z[$__interval]"#);
        assert_eq!(asked, r#"rate(x{route=~"(/a\\.b|/c)"}[60s]) + y[3600s] + z[15s]"#);
        let week = Circumstances::new(604_800, 1_000, 0, &chosen);
        assert_eq!(week.put_into("$__rate_interval $__interval"), "615s 600s");
        assert_eq!(Circumstances::new(3_600, 1_000, 120, &chosen).step_s, 120);
    }
}
