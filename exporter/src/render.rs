//! The page: Prometheus' text format, every family of the catalogue in its order, HELP and TYPE even where there is no
//! series. Pure: a function of a [`View`].

use std::fmt::Write as _;

use memchr::memchr3;

use crate::catalog::{FAMILIES, Family, FamilyId, Kind, Section, write_scaled};
use crate::gauges::{Gauges, Samples};
use crate::own::OwnSample;
use crate::state::State;

/// The text format's content type.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Room that is made for one series before the page is written: what a counter with two labels takes, so that a large page
/// is not copied while it grows.
const SERIES_BYTES: usize = 128;

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
    let mut page =
        String::with_capacity(64 * 1024 + view.state.map_or(0, |state| state.series.len() * SERIES_BYTES));
    let gauges = view.leader.then(|| Gauges::new(view.state, view.samples, view.now_ms));
    for (&id, family) in FamilyId::ALL.iter().zip(FAMILIES) {
        let _ = writeln!(page, "# HELP {} {}\n# TYPE {0} {}", family.name, family.help, family.type_name());
        let name = Name::new(family, "", None);
        if family.section == Section::Exporter {
            for sample in view.own.iter().filter(|sample| sample.family == family.name) {
                name.write(&mut page, sample.labels.iter().map(String::as_str));
                let _ = writeln!(page, "{}", sample.value);
            }
            continue;
        }
        match family.kind {
            Kind::Gauge => {
                if let Some(gauges) = &gauges {
                    gauges.for_each(id, &mut |labels, value| {
                        name.write(&mut page, labels.iter().copied());
                        let _ = writeln!(page, "{value}");
                    });
                }
            }
            Kind::Counter => {
                if let Some(state) = view.state {
                    state.series.for_each(id, |labels, cells| {
                        name.write(&mut page, labels.iter().copied());
                        write_value(&mut page, cells[0], family.decimals);
                    });
                }
            }
            Kind::Histogram(bounds) => {
                if let Some(state) = view.state {
                    let histogram = Histogram::new(family, bounds);
                    state.series.for_each(id, |labels, cells| histogram.write(&mut page, labels, cells));
                }
            }
        }
    }
    page
}

/// All that stands before a value, but the label values themselves: put together once for a family.
struct Name {
    /// What stands before each label value, and after the last.
    pieces: Vec<String>,
}

impl Name {
    fn new(family: &Family, suffix: &str, further: Option<&str>) -> Self {
        let mut piece = format!("{}{suffix}", family.name);
        let mut pieces = Vec::new();
        for label in family.labels.iter().map(|&(label, _)| label).chain(further) {
            let separator = if pieces.is_empty() { "{" } else { "\"," };
            pieces.push(format!("{piece}{separator}{label}=\""));
            piece.clear();
        }
        pieces.push(if pieces.is_empty() { format!("{piece} ") } else { "\"} ".to_owned() });
        Self { pieces }
    }

    /// Writes it with these label values, ready for the value.
    fn write<'a>(&self, page: &mut String, values: impl Iterator<Item = &'a str>) {
        for (piece, value) in self.pieces.iter().zip(values) {
            page.push_str(piece);
            escape(page, value);
        }
        page.extend(self.pieces.last().map(String::as_str));
    }
}

/// The lines of one histogram family.
struct Histogram {
    bucket: Name,
    sum: Name,
    count: Name,
    /// Upper bounds as they are written, `+Inf` excepted.
    bounds: Vec<String>,
    decimals: u8,
}

impl Histogram {
    fn new(family: &Family, bounds: &[u64]) -> Self {
        Self {
            bucket: Name::new(family, "_bucket", Some("le")),
            sum: Name::new(family, "_sum", None),
            count: Name::new(family, "_count", None),
            bounds: bounds.iter().map(|&bound| scaled(bound, family.decimals)).collect(),
            decimals: family.decimals,
        }
    }

    fn write(&self, page: &mut String, labels: &[&str], cells: &[u64]) {
        let (sum, counts) = cells.split_last().unwrap_or((&0, &[]));
        let labels = || labels.iter().copied();
        let mut cumulative = 0u64;
        for (at, count) in counts.iter().enumerate() {
            cumulative += count;
            let bound = self.bounds.get(at).map_or("+Inf", String::as_str);
            self.bucket.write(page, labels().chain([bound]));
            write_value(page, cumulative, 0);
        }
        self.sum.write(page, labels());
        write_value(page, *sum, self.decimals);
        self.count.write(page, labels());
        write_value(page, cumulative, 0);
    }
}

fn write_value(page: &mut String, units: u64, decimals: u8) {
    write_scaled(page, units, decimals);
    page.push('\n');
}

fn scaled(units: u64, decimals: u8) -> String {
    let mut text = String::new();
    write_scaled(&mut text, units, decimals);
    text
}

fn escape(page: &mut String, value: &str) {
    if memchr3(b'\\', b'"', b'\n', value.as_bytes()).is_none() {
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
