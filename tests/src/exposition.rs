//! A strict reader of the text format: HELP and TYPE before samples, each family in one block, no series twice,
//! histograms that add up. What it accepts, any Prometheus accepts.
//!
//! Assertions speak the domain: `metrics.counter("techsapo_llm_requests_total").with("provider", "Gemini").is(3)`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

/// Families whose counters belong to the exporter's process and begin at zero with it.
const OF_THE_PROCESS: [&str; 2] = ["techsapo_exporter_", "process_"];

/// A metrics page.
#[derive(Debug, Clone, Default)]
pub struct Exposition {
    /// Families in the order of the page.
    pub families: Vec<Family>,
}

/// One family.
#[derive(Debug, Clone, Default)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// The HELP line's text.
    pub help: String,
    /// The TYPE line's word.
    pub kind: String,
    /// Its samples; those of a histogram bear the suffixes `_bucket`, `_sum`, `_count`.
    pub samples: Vec<Sample>,
}

/// One line of figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name with its suffix.
    pub name: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// The value as it was written.
    pub text: String,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// The value in units of 10⁻ᵈ, read from its digits, so that nothing is rounded: nano-dollars with 9.
    ///
    /// # Panics
    /// When the value has more places than that, or is no plain decimal number.
    pub fn units(&self, decimals: usize) -> u64 {
        let (whole, fraction) = self.text.split_once('.').unwrap_or((&self.text, ""));
        assert!(fraction.len() <= decimals, "{self} has more than {decimals} places");
        format!("{whole}{fraction:0<decimals$}").parse().unwrap_or_else(|error| panic!("{self}: {error}"))
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let labels: Vec<String> =
            self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(f, "{}{{{}}} {}", self.name, labels.join(","), self.text)
    }
}

impl Exposition {
    /// Reads a page.
    ///
    /// # Panics
    /// When the page breaks a rule of the format; the message says which, and the line.
    pub fn parse(page: &str) -> Self {
        assert!(page.ends_with('\n'), "the page does not end with a newline");
        let mut families: Vec<Family> = Vec::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(families.iter().all(|family| family.name != name), "{name} stands in two places");
                families.push(Family { name: name.to_owned(), help: help.to_owned(), ..Family::default() });
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                let family =
                    families.last_mut().filter(|family| family.name == name && family.kind.is_empty());
                kind.clone_into(&mut family.unwrap_or_else(|| panic!("TYPE without its HELP: {line}")).kind);
            } else if !line.starts_with('#') {
                let sample = parse_sample(line).unwrap_or_else(|| panic!("no sample: {line}"));
                let family = families.last_mut().filter(|family| family.owns(&sample.name));
                family.unwrap_or_else(|| panic!("a sample outside its family: {line}")).samples.push(sample);
            }
        }
        families.iter().for_each(Family::check);
        Self { families }
    }

    /// The family of this name, if it stands on the page.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// A counter's series.
    pub fn counter(&self, name: &str) -> Selection<'_> {
        self.select(name, "counter", name)
    }

    /// A gauge's series.
    pub fn gauge(&self, name: &str) -> Selection<'_> {
        self.select(name, "gauge", name)
    }

    /// A histogram's `_count` series: how many were observed.
    pub fn observations(&self, name: &str) -> Selection<'_> {
        self.select(name, "histogram", &format!("{name}_count"))
    }

    /// A histogram's `_bucket` series.
    pub fn buckets(&self, name: &str) -> Selection<'_> {
        self.select(name, "histogram", &format!("{name}_bucket"))
    }

    /// A histogram's `_sum` series.
    pub fn sums(&self, name: &str) -> Selection<'_> {
        self.select(name, "histogram", &format!("{name}_sum"))
    }

    fn select(&self, name: &str, kind: &str, sample_name: &str) -> Selection<'_> {
        let family = self.family(name).unwrap_or_else(|| panic!("{name} is not on the page"));
        assert_eq!(family.kind, kind, "the type of {name}");
        let samples = family.samples.iter().filter(|sample| sample.name == sample_name).collect();
        Selection { what: sample_name.to_owned(), samples, family }
    }

    /// Every counter and histogram of the durable state that stood on the `earlier` page stands here, no lower.
    ///
    /// # Panics
    /// Names every series that went down or away.
    pub fn never_decreased_since(&self, earlier: &Self) {
        let wrong = self.decreases_since(earlier);
        assert!(wrong.is_empty(), "what only grows went down:\n{}", wrong.join("\n"));
    }

    /// What only grows, stood on the `earlier` page, and is lower or missing here.
    pub fn decreases_since(&self, earlier: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        for before in earlier.families.iter().filter(|family| family.is_durable_sum()) {
            let after = self.family(&before.name);
            let now: BTreeMap<_, _> = after
                .into_iter()
                .flat_map(|family| &family.samples)
                .map(|sample| ((&sample.name, &sample.labels), sample))
                .collect();
            for sample in &before.samples {
                match now.get(&(&sample.name, &sample.labels)) {
                    Some(after) if after.value >= sample.value => {}
                    Some(after) => wrong.push(format!("{sample} became {}", after.text)),
                    None => wrong.push(format!("{sample} went away")),
                }
            }
        }
        wrong
    }
}

impl Family {
    fn owns(&self, sample: &str) -> bool {
        let suffix = sample.strip_prefix(&self.name);
        match self.kind.as_str() {
            "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            "counter" | "gauge" => suffix == Some(""),
            _ => false,
        }
    }

    fn is_durable_sum(&self) -> bool {
        self.kind != "gauge" && !OF_THE_PROCESS.iter().any(|prefix| self.name.starts_with(prefix))
    }

    fn check(&self) {
        assert!(
            ["counter", "gauge", "histogram"].contains(&self.kind.as_str()),
            "{}: type {}",
            self.name,
            self.kind
        );
        let mut seen = HashSet::new();
        for sample in &self.samples {
            assert!(seen.insert((&sample.name, &sample.labels)), "twice on the page: {sample}");
            assert!(self.kind == "gauge" || sample.value >= 0.0, "below zero: {sample}");
            assert!(sample.labels.values().all(|value| !value.is_empty()), "an empty label: {sample}");
        }
        if self.kind == "histogram" {
            self.check_histogram();
        }
    }

    fn check_histogram(&self) {
        let mut groups: BTreeMap<BTreeMap<&str, &str>, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.samples {
            let labels = sample.labels.iter().filter(|(name, _)| *name != "le");
            groups
                .entry(labels.map(|(name, value)| (name.as_str(), value.as_str())).collect())
                .or_default()
                .push(sample);
        }
        for (labels, samples) in groups {
            let only = |suffix: &str| {
                let of_suffix = samples.iter().filter(|sample| sample.name.ends_with(suffix));
                of_suffix
                    .map(|sample| sample.value)
                    .next()
                    .unwrap_or_else(|| panic!("{}{labels:?} has no {suffix}", self.name))
            };
            let buckets: Vec<(f64, f64)> = samples
                .iter()
                .filter_map(|sample| Some((parse_value(sample.labels.get("le")?)?, sample.value)))
                .collect();
            let ascending = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            assert!(ascending, "{}{labels:?} is not cumulative: {buckets:?}", self.name);
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, only("_count"))), "{}{labels:?}", self.name);
            only("_sum");
        }
    }
}

/// Series of one family that bear certain labels.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    what: String,
    samples: Vec<&'a Sample>,
    family: &'a Family,
}

impl<'a> Selection<'a> {
    /// Those among them whose label `name` is `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.what, "{{{name}={value:?}}}");
        self.samples.retain(|sample| sample.labels.get(name).is_some_and(|found| found == value));
        self
    }

    /// The series themselves.
    pub fn samples(&self) -> &[&'a Sample] {
        &self.samples
    }

    /// The one series.
    ///
    /// # Panics
    /// When there is none, or more than one.
    pub fn one(&self) -> &'a Sample {
        match self.samples[..] {
            [sample] => sample,
            _ => panic!("{} names {} series, not one.\n{}", self.what, self.samples.len(), self.listing()),
        }
    }

    /// The one series has this value.
    ///
    /// # Panics
    /// When it has another, or is not one.
    pub fn is(&self, value: impl Into<f64>) {
        let (sample, value) = (self.one(), value.into());
        assert!(sample.value == value, "{} is {}, not {value}.\n{}", self.what, sample.text, self.listing());
    }

    /// There is no such series.
    ///
    /// # Panics
    /// When there is.
    pub fn absent(&self) {
        assert!(self.samples.is_empty(), "{} should not be there.\n{}", self.what, self.listing());
    }

    /// The sum over the series.
    pub fn total(&self) -> f64 {
        self.samples.iter().map(|sample| sample.value).sum()
    }

    /// The sum over the series in units of 10⁻ᵈ, exactly.
    pub fn total_units(&self, decimals: usize) -> u64 {
        self.samples.iter().map(|sample| sample.units(decimals)).sum()
    }

    fn listing(&self) -> String {
        let lines: Vec<String> = self.family.samples.iter().take(50).map(ToString::to_string).collect();
        format!("The family holds:\n{}", lines.join("\n"))
    }
}

fn parse_value(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust also reads `inf` and `infinity`, which the format does not know.
        _ => text.starts_with(|c: char| c.is_ascii_digit() || c == '-').then(|| text.parse().ok())?,
    }
}

/// `name{label="value",…} value`, without a time stamp.
fn parse_sample(line: &str) -> Option<Sample> {
    let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = parse_quoted(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let text = rest.strip_prefix(' ')?;
    Some(Sample { name: name.to_owned(), labels, text: text.to_owned(), value: parse_value(text)? })
}

/// What stands before the closing quote, unescaped, and what follows it.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total Sum.\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n\"} 3\na_total{x=\"2\"} 0.000000001\n\
                        # HELP h Spread.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3.5\nh_count 2\n\
                        # HELP g Level.\n# TYPE g gauge\n";

    fn refusal(page: &str) -> String {
        let page = page.to_owned();
        let panic =
            std::panic::catch_unwind(|| Exposition::parse(&page)).expect_err("the page should be refused");
        let literal = panic.downcast_ref::<&str>().map(|&text| text.to_owned());
        panic.downcast_ref::<String>().cloned().or(literal).unwrap()
    }

    #[test]
    fn reads_a_page() {
        let page = Exposition::parse(PAGE);
        page.counter("a_total").with("x", "1").with("y", "q\"\\\n").is(3);
        page.counter("a_total").with("x", "3").absent();
        page.observations("h").is(2);
        page.buckets("h").with("le", "0.5").is(1);
        page.sums("h").is(3.5);
        page.gauge("g").absent();
        assert_eq!(page.counter("a_total").total_units(9), 3_000_000_001);
    }

    #[test]
    fn refuses_what_breaks_the_format() {
        let head = "# HELP h Spread.\n# TYPE h histogram\n";
        for (page, reason) in [
            ("a 1\n".to_owned(), "outside its family"),
            (PAGE.replace("h_count 2", "h_count 3"), "h{}"),
            (PAGE.replace("\"0.5\"} 1", "\"0.5\"} 3"), "not cumulative"),
            (PAGE.replace("{x=\"2\"} 0.000000001", "{x=\"1\",y=\"q\\\"\\\\\\n\"} 4"), "twice on the page"),
            (format!("{head}h_bucket{{le=\"+Inf\"}} 1\nh_count 1\n"), "has no _sum"),
            (format!("{head}h 1\n"), "outside its family"),
            (format!("{PAGE}{head}"), "stands in two places"),
            ("# TYPE a counter\n".to_owned(), "TYPE without its HELP"),
            ("# HELP a A.\n# TYPE a counter\na -1\n".to_owned(), "below zero"),
            ("# HELP a A.\n# TYPE a counter\na one\n".to_owned(), "no sample"),
            ("# HELP a A.\n# TYPE a counter\na 1".to_owned(), "newline"),
        ] {
            let found = refusal(&page);
            assert!(found.contains(reason), "{reason:?} expected, found {found:?}");
        }
    }

    #[test]
    fn notices_what_went_down_or_away() {
        let before = Exposition::parse(PAGE);
        Exposition::parse(&PAGE.replace("} 3\n", "} 4\n")).never_decreased_since(&before);
        for worse in [PAGE.replace("} 3\n", "} 2\n"), PAGE.replace("a_total{x=\"2\"} 0.000000001\n", "")] {
            let after = Exposition::parse(&worse);
            let outcome = std::panic::catch_unwind(|| after.never_decreased_since(&before));
            assert!(outcome.is_err(), "unnoticed:\n{worse}");
        }
    }
}
