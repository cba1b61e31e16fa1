//! How far two answers to a question agree: deterministic, offline, without a model.
//!
//! 1. *Similarity* of wording: ½ cosine of sublinear term frequencies + ½ Dice's coefficient of character trigrams, words of
//!    the question weighted down (`similarity`).
//! 2. *Corroboration* lifts it a little: both take the same side, or both name a number that the question does not.
//! 3. A *conflict* caps it: verdicts, negations, opposites, numbers, names or code that contradict each other (`conflict`).
//! 4. *Calibration* makes of that a share: of pairs that score 0.7, about seven in ten agree (`calibration`).
//!
//! Symmetric; two answers of the same words are 1, two empty ones too. Work is bounded whatever the length of a text.
//! docs/agreement.md tells how well it does, and on what.

pub mod calibration;
mod code;
mod conflict;
pub mod evaluation;
mod known;
mod lexicon;
mod numbers;
mod sentence;
mod similarity;
mod stance;
pub mod terms;
mod text;
mod words;

use techsapo_shared::event::WHOLE_PPM;

pub use conflict::Conflict;
use numbers::Quantity;
use sentence::Sentence;
use similarity::Wording;
use stance::{Asked, Side, Topic};
use text::Parts;
use words::Reading;

/// What the same verdict adds to the similarity: one in two answers shares it by chance.
const SAME_SIDE: f64 = 0.05;
/// What a number adds that both name and the question does not.
const SAME_NUMBER: f64 = 0.1;

/// A question, as far as the comparison of its answers depends on it.
#[derive(Debug, Clone)]
pub struct Prompt {
    wording: Wording,
    numbers: Vec<Quantity>,
    asked: Asked,
    topic: Topic,
}

impl Prompt {
    /// Reads a question; an empty one is a question that is not known.
    pub fn of(question: &str) -> Self {
        let folded = Parts::of(question).sentences;
        let reading = Reading::of(folded.iter().map(String::as_str));
        let sentences = Sentence::all(&reading);
        Self {
            wording: Wording::of(&reading, &sentences, &Wording::default()),
            numbers: numbers::quantities(&folded),
            asked: Asked::of(&reading),
            topic: Topic::of(&folded, sentences),
        }
    }
}

/// An answer made ready to be compared; preparing is the greater part of the work, and each answer is compared often.
#[derive(Debug, Clone)]
pub struct Fingerprint {
    /// The text, folded, and its code, to know an equal one; where not all of it is kept, or there is neither, the answer's hash too.
    whole: (Vec<String>, Vec<String>, Option<u64>),
    sentences: Vec<Sentence>,
    wording: Wording,
    numbers: Vec<Quantity>,
    /// Those that the question does not name.
    asked: Vec<Quantity>,
    stance: Option<Side>,
    code: Vec<code::Bag>,
    /// What code says in order, where it is the greater part of the answer: there words say little of it.
    mostly_code: Option<code::TokenPairs>,
}

/// What two answers have in common, and what they contradict each other in. Shares are 0 to 1.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Calibrated: the share of such pairs that agree.
    pub agreement: f64,
    /// Cosine of the term frequencies.
    pub cosine: f64,
    /// Dice's coefficient of the trigrams.
    pub dice: f64,
    /// Mean of both, or what code has in common where answers are mostly code and that is more, before anything lifts or caps it.
    pub similarity: f64,
    /// Whether both take the same side of a yes-or-no question.
    pub same_verdict: bool,
    /// Whether both name a number that the question does not.
    pub same_number: bool,
    /// What they contradict each other in; each caps the similarity.
    pub conflicts: Vec<Cap>,
    /// Similarity after lift and caps: what is calibrated.
    pub capped: f64,
}

/// A conflict, and what it leaves of the similarity at most.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Cap {
    /// What is contradictory.
    pub reason: Conflict,
    /// The most that is left.
    pub at_most: f64,
}

impl Comparison {
    /// The agreement in millionths.
    pub fn agreement_ppm(&self) -> u32 {
        (self.agreement * f64::from(WHOLE_PPM)).round() as u32
    }
}

impl Fingerprint {
    /// Prepares an answer to a question.
    pub fn of(answer: &str, question: &Prompt) -> Self {
        let parts = Parts::of(answer);
        let reading = Reading::of(parts.sentences.iter().map(String::as_str));
        let sentences = Sentence::all(&reading);
        // Signs alone are no words, and different ones not the same.
        let is_signs = parts.sentences.is_empty() && parts.code.is_empty();
        Self {
            wording: Wording::of(&reading, &sentences, &question.wording),
            numbers: numbers::quantities(&parts.sentences),
            asked: question.numbers.clone(),
            stance: stance::stance(&reading, question.asked, &question.topic),
            code: code::bags(&parts.code),
            mostly_code: mostly_code(&parts),
            sentences,
            whole: (
                parts.sentences,
                parts.code,
                (parts.is_cut || is_signs).then(|| text::hash(answer.trim())),
            ),
        }
    }

    /// Compares two answers to the same question.
    pub fn compare(&self, other: &Self) -> Comparison {
        let (cosine, dice) = (self.wording.cosine(&other.wording), self.wording.dice(&other.wording));
        let code = self.mostly_code.as_ref().zip(other.mostly_code.as_ref());
        let similarity = f64::midpoint(cosine, dice).max(code.map_or(0.0, |(one, other)| one.dice(other)));
        let same_verdict = self.stance.is_some() && self.stance == other.stance;
        let same_number = self.names_a_number_of(other);
        let conflicts = conflict::conflicts(self, other);
        let lifted = similarity
            + if same_verdict { SAME_SIDE } else { 0.0 }
            + if same_number { SAME_NUMBER } else { 0.0 };
        let caps: Vec<_> =
            conflicts.into_iter().map(|reason| Cap { reason, at_most: reason.at_most() }).collect();
        let is_equal = self.whole == other.whole;
        let capped =
            if is_equal { 1.0 } else { caps.iter().fold(lifted.min(1.0), |left, cap| left.min(cap.at_most)) };
        let agreement = if is_equal { 1.0 } else { calibration::agreement(capped) };
        Comparison { agreement, cosine, dice, similarity, same_verdict, same_number, conflicts: caps, capped }
    }

    fn names_a_number_of(&self, other: &Self) -> bool {
        let is_asked = |number: &Quantity| self.asked.iter().any(|asked| asked.matches(number));
        // Neither may be: a range may match both a number of the question and one that is not.
        let theirs =
            |one: &Quantity| other.numbers.iter().any(|theirs| !is_asked(theirs) && theirs.matches(one));
        self.numbers.iter().any(|one| !is_asked(one) && theirs(one))
    }
}

/// The code of an answer that has more of it than of prose.
fn mostly_code(parts: &Parts) -> Option<code::TokenPairs> {
    let prose: usize = parts.sentences.iter().map(String::len).sum();
    let code: usize = parts.code.iter().map(String::len).sum();
    (code > prose).then(|| code::TokenPairs::of(&parts.code))
}

#[cfg(test)]
mod tests;
