//! The page: Prometheus' text format, every family of the catalogue in its order, HELP and TYPE even where there is no
//! series. Pure: a function of a [`View`].

use std::fmt::Write as _;

use crate::catalog::{FAMILIES, Family, FamilyId, Kind, Section, write_scaled};
use crate::gauges::{Gauges, Samples};
use crate::own::OwnSample;
use crate::state::State;

/// The text format's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What this exporter may serve at the moment.
pub struct View<'a> {
    /// Whether it holds the state's lock. On standby it serves its own figures alone.
    pub leader: bool,
    /// The last durable state; absent until it is known to be the right one to continue.
    pub state: Option<&'a State>,
    /// What the samplers saw.
    pub samples: &'a Samples,
    /// The exporter's own figures.
    pub own: &'a [OwnSample],
    /// Time of the scrape, Unix milliseconds.
    pub now_ms: u64,
}

/// Writes the page.
pub fn render(view: &View<'_>) -> String {
    let mut page = String::with_capacity(256 * 1024);
    let gauges = view.leader.then(|| Gauges::new(view.state, view.samples, view.now_ms));
    for (&id, family) in FamilyId::ALL.iter().zip(FAMILIES) {
        let _ = writeln!(page, "# HELP {} {}\n# TYPE {0} {}", family.name, family.help, family.type_name());
        if family.section == Section::Exporter {
            for sample in view.own.iter().filter(|sample| sample.family == family.name) {
                let labels: Vec<&str> = sample.labels.iter().map(String::as_str).collect();
                write_number(&mut page, family, &labels, sample.value);
            }
            continue;
        }
        match family.kind {
            Kind::Gauge => {
                if let Some(gauges) = &gauges {
                    gauges.for_each(id, &mut |labels, value| write_number(&mut page, family, labels, value));
                }
            }
            Kind::Counter => {
                if let Some(state) = view.state {
                    state.series.for_each(id, |labels, cells| {
                        write_name(&mut page, family.name, "", family, labels, None);
                        write_value(&mut page, cells[0], family.decimals);
                    });
                }
            }
            Kind::Histogram(bounds) => {
                if let Some(state) = view.state {
                    let bounds: Vec<String> =
                        bounds.iter().map(|&bound| scaled(bound, family.decimals)).collect();
                    state.series.for_each(id, |labels, cells| {
                        write_histogram(&mut page, family, &bounds, labels, cells);
                    });
                }
            }
        }
    }
    page
}

fn write_histogram(page: &mut String, family: &Family, bounds: &[String], labels: &[&str], cells: &[u64]) {
    let (sum, counts) = cells.split_last().unwrap_or((&0, &[]));
    let mut cumulative = 0u64;
    for (at, count) in counts.iter().enumerate() {
        cumulative += count;
        let bound = bounds.get(at).map_or("+Inf", String::as_str);
        write_name(page, family.name, "_bucket", family, labels, Some(bound));
        write_value(page, cumulative, 0);
    }
    write_name(page, family.name, "_sum", family, labels, None);
    write_value(page, *sum, family.decimals);
    write_name(page, family.name, "_count", family, labels, None);
    write_value(page, cumulative, 0);
}

fn write_number(page: &mut String, family: &Family, labels: &[&str], value: f64) {
    write_name(page, family.name, "", family, labels, None);
    let _ = writeln!(page, " {value}");
}

fn write_value(page: &mut String, units: u64, decimals: u8) {
    page.push(' ');
    write_scaled(page, units, decimals);
    page.push('\n');
}

fn scaled(units: u64, decimals: u8) -> String {
    let mut text = String::new();
    write_scaled(&mut text, units, decimals);
    text
}

fn write_name(
    page: &mut String,
    name: &str,
    suffix: &str,
    family: &Family,
    labels: &[&str],
    le: Option<&str>,
) {
    page.push_str(name);
    page.push_str(suffix);
    let mut separator = '{';
    let named = family.labels.iter().map(|&(label, _)| label).zip(labels.iter().copied());
    for (label, value) in named.chain(le.map(|bound| ("le", bound))) {
        page.push(separator);
        page.push_str(label);
        page.push_str("=\"");
        escape(page, value);
        page.push('"');
        separator = ',';
    }
    if separator == ',' {
        page.push('}');
    }
}

fn escape(page: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        page.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => page.push_str("\\\\"),
            '"' => page.push_str("\\\""),
            '\n' => page.push_str("\\n"),
            other => page.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalog::Domain;
    use crate::series::Key;

    fn page(leader: bool, state: Option<&State>) -> String {
        let samples = Samples::default();
        render(&View { leader, state, samples: &samples, own: &[], now_ms: 0 })
    }

    #[test]
    fn every_family_has_help_and_type_even_without_series() {
        let page = page(false, None);
        for family in FAMILIES {
            assert!(page.contains(&format!("# HELP {} ", family.name)), "{}", family.name);
            assert!(
                page.contains(&format!("# TYPE {} {}\n", family.name, family.type_name())),
                "{}",
                family.name
            );
        }
        assert!(!page.lines().any(|line| !line.starts_with('#')), "standby serves no domain series");
    }

    #[test]
    fn label_values_are_escaped_and_sums_exact() {
        let mut state = State::new(Uuid::nil(), &[], 1_000);
        let model = state.series.intern(Domain::Model, "a\"b\\c\nd");
        state.series.observe(FamilyId::LlmResponseTime, Key::new(&[0, model]), 1_234_567, 1_000);
        let page = page(true, Some(&state));
        let line = r#"techsapo_llm_response_time_seconds_sum{provider="Gemini",model="a\"b\\c\nd"} 1.234567"#;
        assert!(page.contains(line), "{page}");
        assert!(page.contains(r#"model="a\"b\\c\nd",le="1"} 0"#));
        assert!(page.contains(r#"model="a\"b\\c\nd",le="2"} 1"#));
        assert!(page.contains(r#"model="a\"b\\c\nd",le="+Inf"} 1"#));
    }
}
