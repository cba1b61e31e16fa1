//! `techsapo-exporter explain METRIC`: what a metric means, from the catalogue and the alerting rules. Needs no server.
//!
//! In comes a name as people have it: mistyped, one of a histogram's series, or a whole series with its labels. Pure
//! but for what is printed.

pub mod alerts;
mod labels;
mod selector;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command};

use self::selector::Selector;
use crate::catalog::{FAMILIES, Family, Kind, Seed, write_scaled};
use crate::tools::nearest::nearest;

/// What to explain.
#[derive(Debug, Args)]
pub struct ExplainCommand {
    /// Name of a metric, or a series as it stands on the page or in a query: 'name{label="value"}'. Without it, all
    /// metrics are listed.
    #[arg(value_parser = AnyMetric, hide_possible_values = true)]
    metric: Option<String>,
}

/// Any text; completed in shells with the catalogue's names.
#[derive(Debug, Clone)]
struct AnyMetric;

impl TypedValueParser for AnyMetric {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(FAMILIES.iter().map(|family| PossibleValue::new(family.name))))
    }
}

/// Why nothing was explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no such metric.
    #[error("there is no metric {asked:?}; {}", suggestion(.near))]
    Unknown {
        /// What was asked for.
        asked: String,
        /// Names like it.
        near: Vec<&'static str>,
    },
    /// The name is followed by what are no labels.
    #[error("{0:?} cannot be read; expected a name, or a series such as 'name{{label=\"value\"}}'")]
    Unreadable(String),
    /// Nobody reads what is printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

fn suggestion(near: &[&str]) -> String {
    match near {
        [] => "`techsapo-exporter explain` lists all".to_owned(),
        near => format!("did you mean {}?", near.join(", ")),
    }
}

impl ExplainCommand {
    /// Writes the explanation, or the list of all metrics, to `out`.
    ///
    /// # Errors
    /// There is no such metric, or `out` takes nothing.
    pub fn run(&self, out: &mut impl Write) -> Result<(), ExplainError> {
        match &self.metric {
            Some(asked) => write!(out, "{}", explain(asked)?)?,
            None => {
                let width = FAMILIES.iter().map(|family| family.name.len()).max().unwrap_or(0);
                for family in FAMILIES {
                    writeln!(out, "{:width$}  {}", family.name, family.help)?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

/// The family that a name means, and what the name is if not the family's own.
fn find(name: &str) -> Option<(&'static Family, Option<&'static str>)> {
    let family = |name: &str| FAMILIES.iter().find(|family| family.name == name);
    if let Some(family) = family(name) {
        return Some((family, None));
    }
    let series = [
        ("_bucket", "observations up to and including the bound in the label le"),
        ("_sum", "the sum of all observations"),
        ("_count", "the number of observations"),
    ];
    for (suffix, note) in series {
        let family = name.strip_suffix(suffix).and_then(family);
        if let Some(family) = family.filter(|family| matches!(family.kind, Kind::Histogram(_))) {
            return Some((family, Some(note)));
        }
    }
    // OpenMetrics writes counters with _total and calls their families without it.
    let other = match name.strip_suffix("_total") {
        Some(without) => family(without),
        None => family(&format!("{name}_total")),
    };
    let note = "another way to write the counter's name";
    other.filter(|family| family.kind == Kind::Counter).map(|family| (family, Some(note)))
}

fn explain(asked: &str) -> Result<Explanation, ExplainError> {
    let selector = Selector::parse(asked).ok_or_else(|| ExplainError::Unreadable(asked.to_owned()))?;
    let Some((family, series)) = find(selector.name) else {
        return Err(ExplainError::Unknown { asked: selector.name.to_owned(), near: near(selector.name) });
    };
    let series = series.map(|note| format!("{} is {note}", selector.name));
    Ok(Explanation { family, series, mistakes: labels::mistakes(family, &selector.matchers) })
}

/// Names like the one that was asked for: nearly all begin alike, and that says nothing.
fn near(asked: &str) -> Vec<&'static str> {
    let bare = |name: &'static str| name.split_once('_').map_or(name, |(_, rest)| rest);
    let asked =
        ["techsapo_", "nodejs_"].iter().find_map(|prefix| asked.strip_prefix(prefix)).unwrap_or(asked);
    let near = nearest(asked, FAMILIES.iter().map(|family| bare(family.name)));
    near.into_iter()
        .filter_map(|near| FAMILIES.iter().map(|family| family.name).find(|name| bare(name) == near))
        .collect()
}

/// Everything that is known of a family.
struct Explanation {
    family: &'static Family,
    /// What the series is that was asked for, if it does not bear the family's name.
    series: Option<String>,
    /// What is wrong with the labels that were asked for.
    mistakes: Vec<String>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = self.family;
        writeln!(f, "{}\n  {}\n", family.name, family.help)?;
        let mut row = |name: &str, text: &str| writeln!(f, "  {name:<9} {text}");
        row("type", family.type_name())?;
        row("unit", unit(family))?;
        for (index, &(label, domain)) in family.labels.iter().enumerate() {
            let title = if index == 0 { "labels" } else { "" };
            row(title, &format!("{label}: {} ({})", labels::meaning(domain), labels::values(domain)))?;
        }
        if let Kind::Histogram(bounds) = family.kind {
            row("series", "_bucket, _sum and _count behind the name")?;
            row("buckets", &bounds_of(bounds, family.decimals))?;
        }
        row("moved by", family.source)?;
        match family.seed {
            Seed::None => {}
            Seed::All => row("at first", "all its series stand at zero")?,
            Seed::Configured => {
                row("at first", "series of the configured providers and models stand at zero")?;
            }
        }
        row("query", &example(family))?;
        let alerts: Vec<_> =
            alerts::on(family).iter().map(|rule| format!("{} ({})", rule.name, rule.priority)).collect();
        if !alerts.is_empty() {
            row("alerts", &alerts.join(", "))?;
        }
        row("document", &format!("docs/metrics.md#{} ({})", family.name, family.section.title()))?;
        self.series.iter().try_for_each(|series| writeln!(f, "\n  note: {series}"))?;
        self.mistakes.iter().try_for_each(|mistake| writeln!(f, "\n  no such series: {mistake}"))
    }
}

fn bounds_of(bounds: &[u64], decimals: u8) -> String {
    let mut text = String::new();
    for &bound in bounds {
        write_scaled(&mut text, bound, decimals);
        text.push(' ');
    }
    text + "+Inf"
}

/// What a value counts or measures: names say it, as Prometheus' conventions ask, and helps where they do not.
fn unit(family: &Family) -> &'static str {
    let named = |word: &str| family.name.split('_').any(|part| part == word);
    let helped = |word: &str| family.help.contains(word);
    match () {
        () if named("seconds") || helped("in seconds") => "seconds",
        () if named("bytes") => "bytes",
        () if named("usd") => "US dollars",
        () if named("percent") => "percent",
        () if helped("(0-1)") => "ratio, 0 to 1",
        () if helped("1 for ") || helped("1 while ") || helped("1 if ") || helped("1, labelled") => "1 or 0",
        () => "number",
    }
}

/// A query to begin with. By the first label: the catalogue puts first what a family is mostly asked by.
fn example(family: &Family) -> String {
    let name = family.name;
    let by = |more: &str| match (family.labels.first(), more) {
        (Some((label, _)), "") => format!(" by ({label})"),
        (Some((label, _)), more) => format!(" by ({more}, {label})"),
        (None, "") => String::new(),
        (None, more) => format!(" by ({more})"),
    };
    match family.kind {
        Kind::Histogram(_) => format!("histogram_quantile(0.95, sum{} (rate({name}_bucket[5m])))", by("le")),
        Kind::Counter if unit(family) == "US dollars" => format!("sum{} (increase({name}[24h]))", by("")),
        Kind::Counter => format!("sum{} (rate({name}[5m]))", by("")),
        Kind::Gauge => format!("max{} ({name})", by("")),
    }
}

/// A query for each metric, as [`ExplainCommand`] shows it.
pub fn examples() -> impl Iterator<Item = (&'static str, String)> {
    FAMILIES.iter().map(|family| (family.name, example(family)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::FamilyId;

    fn explained(asked: &str) -> String {
        explain(asked).unwrap().to_string()
    }

    #[test]
    fn every_metric_is_explained_with_all_that_the_catalogue_says() {
        for family in FAMILIES {
            let text = explained(family.name);
            for part in [family.name, family.help, family.type_name(), family.source] {
                assert!(text.contains(part), "{}: {part} is missing in\n{text}", family.name);
            }
            for &(label, domain) in family.labels {
                assert!(text.contains(&format!("{label}: {}", labels::meaning(domain))), "{text}");
                if !labels::values(domain).contains(' ') || domain.values().len() < 20 {
                    domain.values().iter().for_each(|value| assert!(text.contains(value), "{value}: {text}"));
                }
            }
            assert!(text.contains("  query     ") && !text.contains("note:"), "{text}");
        }
    }

    #[test]
    fn a_histogram_is_explained_with_its_buckets_in_its_unit() {
        let text = explained("techsapo_http_request_duration_seconds_bucket");
        assert!(
            text.contains("  buckets   0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 +Inf\n"),
            "{text}"
        );
        assert!(
            text.contains("sum by (le, method) (rate(techsapo_http_request_duration_seconds_bucket[5m]))")
        );
        assert!(
            text.contains("note: techsapo_http_request_duration_seconds_bucket is observations up to"),
            "{text}"
        );
    }

    #[test]
    fn series_lead_to_their_family() {
        for (asked, family) in [
            ("techsapo_llm_response_time_seconds_sum", FamilyId::LlmResponseTime),
            ("techsapo_llm_response_time_seconds_count", FamilyId::LlmResponseTime),
            ("techsapo_wallbounce_cost_usd_total", FamilyId::WallbounceCost),
            ("techsapo_llm_requests", FamilyId::LlmRequests),
            ("techsapo_errors_total{severity=\"critical\"} 5", FamilyId::Errors),
        ] {
            assert!(explained(asked).starts_with(&format!("{}\n", family.row().name)), "{asked}");
        }
        // A counter has no buckets, and a gauge is no counter.
        for asked in ["techsapo_errors_total_bucket", "techsapo_queue_size_total"] {
            assert!(matches!(explain(asked), Err(ExplainError::Unknown { .. })), "{asked}");
        }
    }

    #[test]
    fn labels_that_cannot_be_are_told() {
        let asked = |labels: &str| explained(&format!("techsapo_llm_requests_total{{{labels}}}"));
        for right in [
            "provider=\"Gemini\",model=\"any\",instance=\"a\",job=\"b\"",
            "provider=~\"Gem.*\"",
            "status!=\"success\"",
        ] {
            assert!(!asked(right).contains("no such series"), "{right}");
        }
        let text = asked("provider=\"gemini\",tier=\"basic\"");
        assert!(text.contains("provider is never \"gemini\"; did you mean \"Gemini\"?"), "{text}");
        assert!(
            text.contains("it has no label \"tier\"; it has provider, model, status, task_type"),
            "{text}"
        );
        let text = explained("techsapo_cpu_usage_percent{le=\"1\"}");
        assert!(text.contains("it has no label \"le\", nor any other"), "{text}");
        assert!(matches!(explain("techsapo_errors_total{x"), Err(ExplainError::Unreadable(_))));
    }

    #[test]
    fn a_mistyped_name_brings_the_nearest() {
        let message = |asked: &str| explain(asked).err().map(|error| error.to_string()).unwrap_or_default();
        for (asked, near) in [
            ("techsapo_lmm_request_total", "techsapo_llm_requests_total"),
            ("llm_requests_total", "techsapo_llm_requests_total"),
            ("nodejs_gc_duration", "nodejs_gc_duration_seconds"),
            ("budget", "techsapo_budget_utilization_percent"),
        ] {
            assert!(message(asked).contains(near), "{asked}: {}", message(asked));
        }
        assert!(message("zzzzzzzz").ends_with("`techsapo-exporter explain` lists all"));
    }

    #[test]
    fn units_are_those_of_the_names_and_helps() {
        for (family, expected) in [
            (FamilyId::HttpP95, "seconds"),
            (FamilyId::CheckpointAge, "seconds"),
            (FamilyId::MemoryUsage, "bytes"),
            (FamilyId::ProviderCost, "US dollars"),
            (FamilyId::BudgetUtilization, "percent"),
            (FamilyId::LlmAgreement, "ratio, 0 to 1"),
            (FamilyId::CacheHitRatio, "ratio, 0 to 1"),
            (FamilyId::CircuitBreakerState, "1 or 0"),
            (FamilyId::Leader, "1 or 0"),
            (FamilyId::QueueSize, "number"),
            (FamilyId::LlmTokenUsage, "number"),
        ] {
            assert_eq!(unit(family.row()), expected, "{}", family.row().name);
        }
    }

    #[test]
    fn without_a_name_all_are_listed_one_per_line() {
        let mut out = Vec::new();
        ExplainCommand { metric: None }.run(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), FAMILIES.len());
        for (line, family) in text.lines().zip(FAMILIES) {
            assert!(line.starts_with(family.name) && line.ends_with(family.help), "{line}");
        }
    }
}
