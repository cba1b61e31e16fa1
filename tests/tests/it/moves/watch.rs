//! Watches a page move: what was expected of which family since the last look.

use std::collections::BTreeSet;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use techsapo_tests::{Exporter, Exposition, Selection, wait};

type Labels = Vec<(&'static str, &'static str)>;

/// What is expected of some series of a family, taken together. Of a histogram it is the observations that count.
#[derive(Debug, Clone)]
pub(super) struct Move {
    family: &'static str,
    labels: Labels,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// Rises by exactly this since the last look.
    Rises(f64),
    /// Rises by this or more.
    AtLeast(f64),
    /// Is this.
    Is(f64),
    /// Is more than this.
    Above(f64),
}

/// Less than a nano-dollar, and less than floating point loses on the way.
const TOLERANCE: f64 = 4e-10;

/// They rise by exactly this.
pub(super) fn rises(family: &'static str, labels: &[(&'static str, &'static str)], by: f64) -> Move {
    Move { family, labels: labels.to_vec(), how: How::Rises(by) }
}

/// They rise by this or more: other things move them, too.
pub(super) fn at_least(family: &'static str, labels: &[(&'static str, &'static str)], by: f64) -> Move {
    Move { family, labels: labels.to_vec(), how: How::AtLeast(by) }
}

/// They are this.
pub(super) fn is(family: &'static str, labels: &[(&'static str, &'static str)], value: f64) -> Move {
    Move { family, labels: labels.to_vec(), how: How::Is(value) }
}

/// They are more than this.
pub(super) fn above(family: &'static str, labels: &[(&'static str, &'static str)], value: f64) -> Move {
    Move { family, labels: labels.to_vec(), how: How::Above(value) }
}

impl Move {
    /// Nothing, if it was as expected; else what was found.
    fn complaint(&self, before: &Exposition, now: &Exposition) -> Option<String> {
        let (was, value) = (self.total(before), self.total(now));
        let close = |one: f64, other: f64| (one - other).abs() <= TOLERANCE * other.abs().max(1.0);
        let as_expected = match self.how {
            How::Rises(by) => close(value.unwrap_or(0.0) - was.unwrap_or(0.0), by),
            How::AtLeast(by) => value.unwrap_or(0.0) - was.unwrap_or(0.0) >= by,
            How::Is(wanted) => value.is_some_and(|value| close(value, wanted)),
            How::Above(least) => value.is_some_and(|value| value > least),
        };
        (!as_expected).then(|| format!("{self}: it was {was:?} and is {value:?}"))
    }

    /// Nothing where there is no such series.
    fn total(&self, page: &Exposition) -> Option<f64> {
        let selection = match page.family(self.family)?.kind.as_str() {
            "histogram" => page.observations(self.family),
            "gauge" => page.gauge(self.family),
            _ => page.counter(self.family),
        };
        let selection = self.labels.iter().fold(selection, |all, (name, value)| all.with(name, value));
        (!selection.samples().is_empty()).then(|| Selection::total(&selection))
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} {:?}", self.family, self.labels, self.how)
    }
}

/// Looks at an exporter's page again and again.
pub(super) struct Watch {
    exporter: Exporter,
    before: Exposition,
    moved: BTreeSet<&'static str>,
}

impl Watch {
    /// What moves from now on.
    pub(super) fn new(exporter: Exporter) -> Self {
        let before = exporter.scrape();
        Self { exporter, before, moved: BTreeSet::new() }
    }

    /// The exporter.
    pub(super) fn exporter(&self) -> &Exporter {
        &self.exporter
    }

    /// Families that were as expected.
    pub(super) fn moved(&self) -> &BTreeSet<&'static str> {
        &self.moved
    }

    /// Waits for a page on which everything is as expected.
    ///
    /// # Panics
    /// When there is none, with all that was not.
    pub(super) fn expect(&mut self, moves: &[Move]) {
        let deadline = Instant::now() + wait::PATIENCE;
        let page = loop {
            let page = self.exporter.scrape();
            let complaints: Vec<_> =
                moves.iter().filter_map(|one| one.complaint(&self.before, &page)).collect();
            if complaints.is_empty() {
                break page;
            }
            assert!(Instant::now() < deadline, "{}", complaints.join("\n"));
            thread::sleep(Duration::from_millis(100));
        };
        page.never_decreased_since(&self.before);
        self.before = page;
        self.moved.extend(moves.iter().map(|one| one.family));
    }
}
