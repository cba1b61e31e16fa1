//! Figures, and the table of docs/performance.md that they stand in.

use std::fmt;

use techsapo_tests::repository;

/// A table of docs/performance.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// What measuring costs.
    Figures,
    /// The same for peers.
    Peers,
    /// The app beside gateways to providers.
    Gateways,
}

impl Table {
    /// The line before it.
    fn begin(self) -> &'static str {
        match self {
            Self::Figures => "<!-- figures: written by ./scripts/bench.sh --write -->\n",
            Self::Peers => "<!-- figures of peers: written by ./scripts/bench.sh --write peers -->\n",
            Self::Gateways => {
                "<!-- figures of gateways: written by ./scripts/bench.sh --write app-peers -->\n"
            }
        }
    }

    /// What its third column is about.
    fn remark(self) -> &'static str {
        match self {
            Self::Figures => "asked",
            Self::Peers | Self::Gateways => "what it is",
        }
    }
}

/// The line behind a table.
const END: &str = "<!-- end of figures -->";

/// One measured number.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: &'static str,
    /// The number.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What is asked of it, or, of a peer's, what it is.
    pub(crate) asked: &'static str,
}

impl Figure {
    fn number(&self) -> String {
        match self.value {
            large if large >= 1_000.0 => format!("{large:.0}"),
            ratio if self.unit == "ratio" => format!("{ratio:.3}"),
            small => format!("{small:.2}"),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.number(), self.unit)
    }
}

/// The middle one of some values; not a number when there are none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Puts the figures into a table; rows that were not measured this time stay.
pub(crate) fn write(table: Table, figures: &[Figure]) {
    let begin = table.begin();
    let path = repository::root().join("docs/performance.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(begin).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let mut rows: Vec<String> = written.lines().skip(2).map(str::to_owned).collect();
    for figure in figures {
        let row = format!("| `{}` | {} {} | {} |", figure.name, figure.number(), figure.unit, figure.asked);
        let start = format!("| `{}` |", figure.name);
        match rows.iter_mut().find(|known| known.starts_with(&start)) {
            Some(known) => *known = row,
            None => rows.push(row),
        }
    }
    let remark = table.remark();
    let rows = format!("| figure | measured | {remark} |\n|---|---|---|\n{}\n", rows.join("\n"));
    std::fs::write(&path, format!("{before}{begin}{rows}{END}{after}")).unwrap();
}
