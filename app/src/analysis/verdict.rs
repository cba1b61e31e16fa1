//! What the answers say together, in integers of a millionth.
//!
//! * An answer's *agreement* is the mean of its agreement with each other answer.
//! * *consensus* is the mean agreement over all pairs of answers.
//! * *clusters* are answers that agree with each other by more than half on average; their *entropy* tells how the answers
//!   split: 0 when they stand together, 1 when each stands alone.
//! * *confidence* = consensus × (1 − entropy / 2) × (asked + answered) / (2 × asked). Of answers that split, at most half can
//!   be right, whatever their mean agreement is; and a call that brought no answer costs half of its share, for the
//!   answers that came are not wrong because another did not come.
//! * The answer that is returned is the one with the highest agreement, the first of them where several have it.
//!
//! A pair's agreement is calibrated on labelled pairs; confidence is a figure for ranking made of calibrated ones, not the
//! probability that the answer is true: models may agree on an error.
//!
//! With fewer than two answers there is nothing to compare: agreement, consensus and confidence are absent, not 1. No
//! model's own word for its confidence enters.

use techsapo_shared::event::WHOLE_PPM;
use techsapo_shared::labels::{Provider as Name, Status};

use std::sync::OnceLock;

use super::Call;
use super::agreement::{Comparison, Fingerprint, Prompt};

/// Mean agreement from which on two clusters are one: they more likely agree than not.
const TOGETHER_PPM: u32 = WHOLE_PPM / 2;

/// How far two answers agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Who gave the one.
    pub a: Name,
    /// Who gave the other.
    pub b: Name,
    /// 0 to 1 000 000.
    pub score_ppm: u32,
    /// What the score is made of.
    pub comparison: Comparison,
}

/// What the answers say together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Verdict {
    /// Every pair of answers.
    pub pairs: Vec<Pair>,
    /// For each call: its answer's agreement with the others.
    pub agreement_ppm: Vec<Option<u32>>,
    /// Mean agreement of the answers.
    pub consensus_ppm: Option<u32>,
    /// Confidence in the answer that is returned.
    pub confidence_ppm: Option<u32>,
    /// The calls whose answers stand together, the largest cluster first, then the one asked first.
    pub clusters: Vec<Vec<usize>>,
    /// How the answers split over the clusters.
    pub entropy_ppm: Option<u32>,
    /// The call whose answer agrees most with the others.
    pub chosen: Option<usize>,
    /// Calls that were made.
    pub asked: usize,
    /// Calls that brought an answer.
    pub answered: usize,
}

/// Reads a question, and its answers as they come: most of what comparing takes is done while others are waited for.
pub(super) struct Reader<'a> {
    question: &'a str,
    prompt: OnceLock<Prompt>,
}

impl<'a> Reader<'a> {
    /// Of a question, which is not read yet.
    pub(super) fn of(question: &'a str) -> Self {
        Self { question, prompt: OnceLock::new() }
    }

    /// Reads the question, unless it was read before.
    pub(super) fn prompt(&self) -> &Prompt {
        self.prompt.get_or_init(|| Prompt::of(self.question))
    }

    /// Reads the answer that a call brought, if it brought one.
    pub(super) fn read(&self, call: Call) -> Read {
        let fingerprint =
            call.result.as_ref().ok().map(|answer| Fingerprint::of(&answer.text, self.prompt()));
        Read { call, fingerprint }
    }
}

/// A call that ended, and its answer made ready to be compared.
pub(super) struct Read {
    pub(super) call: Call,
    fingerprint: Option<Fingerprint>,
}

impl Verdict {
    /// Compares the answers that calls brought, which are given back in the same order.
    pub(super) fn of(read: Vec<Read>) -> (Self, Vec<Call>) {
        let (calls, fingerprints): (Vec<Call>, Vec<_>) =
            read.into_iter().map(|Read { call, fingerprint }| (call, fingerprint)).unzip();
        (Self::between(&calls, &fingerprints), calls)
    }

    fn between(calls: &[Call], fingerprints: &[Option<Fingerprint>]) -> Self {
        let answers: Vec<_> =
            fingerprints.iter().enumerate().filter_map(|(index, one)| Some((index, one.as_ref()?))).collect();
        // Whom an open breaker or the budget kept from being asked says nothing about the answers.
        let asked = calls.iter().filter(|call| call.status() != Status::Rejected).count();
        let mut verdict = Self { asked, answered: answers.len(), ..Self::default() };
        let mut scores = vec![vec![None; calls.len()]; calls.len()];
        for (position, (a, one)) in answers.iter().enumerate() {
            for (b, other) in &answers[position + 1..] {
                let comparison = one.compare(other);
                let score_ppm = comparison.agreement_ppm();
                scores[*a][*b] = Some(score_ppm);
                scores[*b][*a] = Some(score_ppm);
                verdict.pairs.push(Pair {
                    a: calls[*a].provider,
                    b: calls[*b].provider,
                    score_ppm,
                    comparison,
                });
            }
        }
        verdict.agreement_ppm = scores.iter().map(|scores| mean(scores.iter().copied().flatten())).collect();
        verdict.consensus_ppm = mean(verdict.pairs.iter().map(|pair| pair.score_ppm));
        let answered: Vec<usize> = answers.iter().map(|(index, _)| *index).collect();
        verdict.clusters = clusters(&answered, &scores);
        verdict.entropy_ppm = verdict.consensus_ppm.map(|_| entropy_ppm(&verdict.clusters, answers.len()));
        verdict.confidence_ppm = verdict.consensus_ppm.map(|consensus| verdict.discounted(consensus));
        // Backwards, because the last of equals wins: so the first does.
        verdict.chosen = answered.iter().copied().rev().max_by_key(|&index| verdict.agreement_ppm[index]);
        verdict
    }

    /// The confidence that there would be if the answer of `call` were returned by itself: its agreement, discounted
    /// for a split and for calls without an answer.
    pub fn confidence_in_ppm(&self, call: usize) -> Option<u32> {
        self.agreement_ppm.get(call).copied().flatten().map(|agreement| self.discounted(agreement))
    }

    fn discounted(&self, score_ppm: u32) -> u32 {
        let whole = u64::from(WHOLE_PPM);
        let unsplit = 2 * whole - u64::from(self.entropy_ppm.unwrap_or(0));
        let (asked, answered) = (self.asked as u64, self.answered as u64);
        // Without a call there is no score, and nothing to divide.
        let discounted =
            u64::from(score_ppm) * unsplit / (2 * whole) * (asked + answered) / (2 * asked).max(1);
        u32::try_from(discounted).unwrap_or(WHOLE_PPM)
    }
}

/// Mean, rounded; nothing of nothing.
fn mean(scores: impl Iterator<Item = u32>) -> Option<u32> {
    let (sum, count) = scores.fold((0_u64, 0_u64), |(sum, count), score| (sum + u64::from(score), count + 1));
    u32::try_from((sum + count / 2).checked_div(count)?).ok()
}

/// Joins the two clusters whose answers agree most on average, as long as they agree by half; the first of equals.
fn clusters(answered: &[usize], scores: &[Vec<Option<u32>>]) -> Vec<Vec<usize>> {
    let mut clusters: Vec<Vec<usize>> = answered.iter().map(|&index| vec![index]).collect();
    let between = |one: &[usize], other: &[usize]| {
        mean(one.iter().flat_map(|&a| other.iter().filter_map(move |&b| scores[a][b])))
    };
    loop {
        let mut best: Option<(u32, usize, usize)> = None;
        for one in 0..clusters.len() {
            for other in one + 1..clusters.len() {
                if let Some(score) = between(&clusters[one], &clusters[other])
                    && score >= TOGETHER_PPM
                    && best.is_none_or(|(known, ..)| score > known)
                {
                    best = Some((score, one, other));
                }
            }
        }
        let Some((_, one, other)) = best else { break };
        let joined = clusters.remove(other);
        clusters[one].extend(joined);
        clusters[one].sort_unstable();
    }
    clusters.sort_by_key(|cluster| (std::cmp::Reverse(cluster.len()), cluster[0]));
    clusters
}

/// Shannon's entropy of the clusters' shares, over what it is when each answer stands alone.
fn entropy_ppm(clusters: &[Vec<usize>], answered: usize) -> u32 {
    let most = (answered as f64).ln();
    if most <= 0.0 {
        return 0;
    }
    let share = |cluster: &Vec<usize>| cluster.len() as f64 / answered as f64;
    let entropy: f64 = clusters.iter().map(share).map(|share| -share * share.ln()).sum();
    ((entropy / most).clamp(0.0, 1.0) * f64::from(WHOLE_PPM)).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Option<u32> = None;

    #[test]
    fn answers_that_agree_stand_together() {
        let two_and_one = [
            vec![NO, Some(900_000), Some(100_000)],
            vec![Some(900_000), NO, Some(200_000)],
            vec![Some(100_000), Some(200_000), NO],
        ];
        let split = clusters(&[0, 1, 2], &two_and_one);
        assert_eq!(split, [vec![0, 1], vec![2]]);
        assert_eq!(entropy_ppm(&split, 3), 579_380);
    }

    #[test]
    fn entropy_is_none_for_one_camp_and_whole_for_each_alone() {
        assert_eq!(entropy_ppm(&[vec![0, 1, 2, 3]], 4), 0);
        assert_eq!(entropy_ppm(&[vec![0], vec![1], vec![2], vec![3]], 4), WHOLE_PPM);
        assert_eq!(entropy_ppm(&[vec![0]], 1), 0);
    }

    #[test]
    fn a_split_and_a_missing_answer_cost_confidence() {
        let of = |entropy, asked, answered| {
            let verdict = Verdict { entropy_ppm: Some(entropy), asked, answered, ..Verdict::default() };
            verdict.discounted(800_000)
        };
        assert_eq!(of(0, 2, 2), 800_000);
        assert_eq!(of(WHOLE_PPM, 2, 2), 400_000);
        assert_eq!(of(0, 4, 2), 600_000);
        assert_eq!(Verdict::default().discounted(0), 0);
    }
}
