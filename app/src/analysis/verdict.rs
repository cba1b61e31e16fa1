//! What the answers say together, in integers of a millionth.
//!
//! * An answer's *agreement* is the mean of its agreement with each other answer.
//! * *consensus* is the mean agreement over all pairs of answers.
//! * *confidence* = consensus × (asked + answered) / (2 × asked): a call that brought no answer costs half of its share,
//!   for the answers that came are not wrong because another did not come.
//! * The answer that is returned is the one with the highest agreement, the first of them where several have it.
//!
//! With fewer than two answers there is nothing to compare: agreement, consensus and confidence are absent, not 1. No
//! model's own word for its confidence enters.

use techsapo_shared::labels::Provider as Name;

use super::Call;
use super::agreement::Fingerprint;

/// How far two answers agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Who gave the one.
    pub a: Name,
    /// Who gave the other.
    pub b: Name,
    /// 0 to 1 000 000.
    pub score_ppm: u32,
}

/// What the answers say together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Every pair of answers.
    pub pairs: Vec<Pair>,
    /// For each call: its answer's agreement with the others.
    pub agreement_ppm: Vec<Option<u32>>,
    /// Mean agreement of the answers.
    pub consensus_ppm: Option<u32>,
    /// Confidence in the answer that is returned.
    pub confidence_ppm: Option<u32>,
    /// The call whose answer agrees most with the others.
    pub chosen: Option<usize>,
    asked: u64,
    answered: u64,
}

impl Verdict {
    /// Compares the answers among `calls`.
    pub fn of(calls: &[Call]) -> Self {
        let answers: Vec<_> = calls
            .iter()
            .enumerate()
            .filter_map(|(index, call)| Some((index, Fingerprint::of(&call.result.as_ref().ok()?.text))))
            .collect();
        let mut verdict =
            Self { asked: calls.len() as u64, answered: answers.len() as u64, ..Self::default() };
        let mut scores = vec![Vec::new(); calls.len()];
        for (position, (a, one)) in answers.iter().enumerate() {
            for (b, other) in &answers[position + 1..] {
                let score_ppm = one.agreement_ppm(other);
                verdict.pairs.push(Pair { a: calls[*a].provider, b: calls[*b].provider, score_ppm });
                scores[*a].push(score_ppm);
                scores[*b].push(score_ppm);
            }
        }
        verdict.agreement_ppm = scores.iter().map(|scores| mean(scores)).collect();
        let all: Vec<_> = verdict.pairs.iter().map(|pair| pair.score_ppm).collect();
        verdict.consensus_ppm = mean(&all);
        verdict.confidence_ppm = verdict.consensus_ppm.map(|consensus| verdict.discounted(consensus));
        // Backwards, because the last of equals wins: so the first does.
        let ranked = answers.iter().rev().map(|(index, _)| *index);
        verdict.chosen = ranked.max_by_key(|&index| verdict.agreement_ppm[index]);
        verdict
    }

    /// The confidence that there would be if the answer of `call` were returned by itself: its agreement, discounted
    /// for calls without an answer.
    pub fn confidence_in_ppm(&self, call: usize) -> Option<u32> {
        self.agreement_ppm.get(call).copied().flatten().map(|agreement| self.discounted(agreement))
    }

    fn discounted(&self, score_ppm: u32) -> u32 {
        // Without a call there is no score, and nothing to divide.
        let discounted = u64::from(score_ppm) * (self.asked + self.answered) / (2 * self.asked).max(1);
        u32::try_from(discounted).unwrap_or(u32::MAX)
    }
}

/// Mean, rounded; nothing of nothing.
fn mean(scores: &[u32]) -> Option<u32> {
    let count = scores.len() as u64;
    let sum: u64 = scores.iter().map(|&score| u64::from(score)).sum();
    u32::try_from((sum + count / 2).checked_div(count)?).ok()
}
