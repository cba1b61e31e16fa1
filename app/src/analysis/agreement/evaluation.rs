//! How well the score does on labelled pairs: the area under the ROC curve, and how far its shares can be taken at their
//! word.

use serde::{Deserialize, Serialize};

use super::{Comparison, Fingerprint, Prompt};

/// Bins of the expected calibration error.
const BINS: usize = 10;

/// Two answers, and what is known of them: a line of a file of pairs.
#[derive(Debug, Clone, Deserialize)]
pub struct Pair {
    /// The one answer.
    pub a: String,
    /// The other.
    pub b: String,
    /// What was asked, if that is known.
    #[serde(default)]
    pub prompt: String,
    /// 1 when they agree, 0 when they do not.
    pub label: Option<u8>,
    /// In what they differ or are alike; for tables.
    #[serde(default)]
    pub kind: String,
    /// Language of the answers; for tables.
    #[serde(default)]
    pub lang: String,
}

impl Pair {
    /// Compares the two answers.
    pub fn compare(&self) -> Comparison {
        let prompt = Prompt::of(&self.prompt);
        Fingerprint::of(&self.a, &prompt).compare(&Fingerprint::of(&self.b, &prompt))
    }
}

/// What labels say of scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Labelled pairs.
    pub labelled: usize,
    /// Those of them that agree.
    pub agreeing: usize,
    /// Area under the ROC curve: how often an agreeing pair scores above one that does not. Absent with one kind alone.
    pub auc: Option<f64>,
    /// Expected calibration error: mean distance of claimed and true shares over ten bins, weighted by their pairs.
    pub ece: f64,
    /// Brier score: mean squared distance of claim and label.
    pub brier: f64,
}

impl Figures {
    /// Of scores from 0 to 1 with their labels; nothing of nothing.
    pub fn of(scored: &[(f64, bool)]) -> Option<Self> {
        if scored.is_empty() {
            return None;
        }
        let all = scored.len() as f64;
        let squares: f64 = scored.iter().map(|(score, agrees)| (score - truth(*agrees)).powi(2)).sum();
        Some(Self {
            labelled: scored.len(),
            agreeing: scored.iter().filter(|(_, agrees)| *agrees).count(),
            auc: auc(scored),
            ece: ece(scored),
            brier: squares / all,
        })
    }
}

fn truth(agrees: bool) -> f64 {
    f64::from(u8::from(agrees))
}

/// By ranks, ties counting half (Mann-Whitney).
fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut ranks, mut below) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        let agreeing = tied.iter().filter(|(_, agrees)| *agrees).count() as f64;
        let middle = below + f64::midpoint(1.0, tied.len() as f64);
        ranks += agreeing * middle;
        below += tied.len() as f64;
    }
    let agreeing = scored.iter().filter(|(_, agrees)| *agrees).count() as f64;
    let others = scored.len() as f64 - agreeing;
    (agreeing > 0.0 && others > 0.0)
        .then(|| (ranks - agreeing * (agreeing + 1.0) / 2.0) / (agreeing * others))
}

fn ece(scored: &[(f64, bool)]) -> f64 {
    let mut bins = [(0.0, 0.0); BINS];
    for (score, agrees) in scored {
        let bin = &mut bins[((score * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + score, bin.1 + truth(*agrees));
    }
    bins.iter().map(|(claimed, true_ones)| (claimed - true_ones).abs()).sum::<f64>() / scored.len() as f64
}

/// A labelled pair with its comparison.
#[cfg(test)]
pub(crate) struct Labelled {
    pub(crate) pair: Pair,
    pub(crate) comparison: Comparison,
    pub(crate) agrees: bool,
}

/// Compares every pair of a file whose lines are all labelled.
#[cfg(test)]
pub(crate) fn labelled(file: &str) -> Vec<Labelled> {
    let compare = |line: &str| {
        let pair: Pair = serde_json::from_str(line).unwrap();
        Labelled { comparison: pair.compare(), agrees: pair.label.unwrap() == 1, pair }
    };
    file.lines().map(compare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_scores() {
        let right = [(0.1, false), (0.2, false), (0.8, true), (0.9, true)];
        assert_eq!(Figures::of(&right).unwrap().auc, Some(1.0));
        let wrong: Vec<_> = right.iter().map(|(score, agrees)| (*score, !agrees)).collect();
        assert_eq!(Figures::of(&wrong).unwrap().auc, Some(0.0));
        let tied = [(0.5, false), (0.5, true)];
        let figures = Figures::of(&tied).unwrap();
        assert_eq!((figures.auc, figures.ece, figures.brier), (Some(0.5), 0.0, 0.25));
        assert_eq!(Figures::of(&[(1.0, true)]).unwrap().auc, None);
        assert_eq!(Figures::of(&[]), None);
    }
}
