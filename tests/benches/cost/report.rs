//! Figures, and the table of docs/performance.md that they stand in.

use std::fmt;

use techsapo_tests::repository;

const BEGIN: &str = "<!-- figures: written by ./scripts/bench.sh --write -->\n";
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
    /// What is asked of it, in words.
    pub(crate) asked: &'static str,
}

impl Figure {
    fn number(&self) -> String {
        match self.value {
            large if large >= 1_000.0 => format!("{large:.0}"),
            small => format!("{small:.2}"),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.number(), self.unit)
    }
}

/// Puts the figures into the table; rows that were not measured this time stay.
pub(crate) fn write(figures: &[Figure]) {
    let path = repository::root().join("docs/performance.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let mut rows: Vec<String> = table.lines().skip(2).map(str::to_owned).collect();
    for figure in figures {
        let row = format!("| `{}` | {} {} | {} |", figure.name, figure.number(), figure.unit, figure.asked);
        let start = format!("| `{}` |", figure.name);
        match rows.iter_mut().find(|known| known.starts_with(&start)) {
            Some(known) => *known = row,
            None => rows.push(row),
        }
    }
    let table = format!("| figure | measured | asked |\n|---|---|---|\n{}\n", rows.join("\n"));
    std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
}
