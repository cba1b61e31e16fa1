//! What came of a question, whether the providers were asked now or then.

use std::sync::Arc;
use std::time::Duration;

use crate::analysis::Report;
use crate::store::answers::Found;

/// What came of a question.
pub(super) enum Answered {
    /// The providers were asked.
    Fresh(Arc<Report>),
    /// They had been asked before.
    Again(Found),
}

impl Answered {
    /// The analysis that was made, now or then.
    pub(super) fn report(&self) -> &Report {
        match self {
            Self::Fresh(report) | Self::Again(Found { report, .. }) => report,
        }
    }

    /// Where the answer was, if it is given again.
    pub(super) fn found(&self) -> Option<&Found> {
        match self {
            Self::Fresh(_) => None,
            Self::Again(found) => Some(found),
        }
    }

    /// What this answer cost.
    pub(super) fn cost_nanousd(&self) -> u64 {
        match self {
            Self::Fresh(report) => report.total_cost_nanousd(),
            Self::Again(_) => 0,
        }
    }

    /// When it was there, Unix milliseconds.
    pub(super) fn ended_ms(&self) -> u64 {
        self.found().map_or(self.report().ended_ms, |found| found.found_ms)
    }

    /// How long it took.
    pub(super) fn duration(&self) -> Duration {
        self.found().map_or(self.report().duration, |found| found.took)
    }
}
