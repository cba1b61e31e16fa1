//! Likeness of wording: ½ cosine of the sublinear term frequencies + ½ Dice's coefficient of the character trigrams.

use super::sentence::Sentence;
use super::text::{hash, is_hiragana, is_ideograph};
use super::words::Reading;

/// How much a term without a meaning of its own counts beside one that has one.
const FUNCTION_WEIGHT: f64 = 0.2;
/// How much a single Chinese character counts beside a pair: 避 and 回避 have it in common.
const CHARACTER_WEIGHT: f64 = 0.5;
/// How much a term of the question counts beside one that the question does not hold: every answer repeats those.
const ASKED_WEIGHT: f64 = 0.3;

/// Hashes of strings, in order, each with its weight.
type Weights = Vec<(u64, f64)>;

/// A text as far as its wording is compared.
#[derive(Debug, Clone, Default)]
pub(super) struct Wording {
    terms: Weights,
    /// Length of the vector of terms.
    length: f64,
    trigrams: Weights,
    /// Sum of the trigrams' weights.
    all_trigrams: f64,
}

impl Wording {
    /// Of a folded text and its terms, as an answer to a question with the terms `asked`.
    pub(super) fn of(reading: &Reading<'_>, sentences: &[Sentence], asked: &Wording) -> Self {
        let mut counts: Vec<(u64, f64)> =
            Vec::with_capacity(sentences.iter().map(|sentence| sentence.terms.len()).sum());
        let mut count = |term: u64, weight: f64| counts.push((term, weight));
        for term in sentences.iter().flat_map(|sentence| &sentence.terms) {
            count(term.hash, if term.content { 1.0 } else { FUNCTION_WEIGHT });
            if term.content && term.text.chars().all(is_ideograph) && term.text.chars().nth(1).is_some() {
                term.text.chars().for_each(|c| count(hash(&*c.encode_utf8(&mut [0; 4])), CHARACTER_WEIGHT));
            }
        }
        // Stable: of a term that is a character too, the first decides what it weighs.
        counts.sort_by_key(|(term, _)| *term);
        let mut terms: Weights = Vec::with_capacity(counts.len());
        let mut discounts = Discounts(&asked.terms);
        for same in counts.chunk_by(|(a, _), (b, _)| a == b) {
            let (term, kind) = same[0];
            terms.push((term, kind * discounts.of(term) * sublinear(same.len())));
        }
        let grams = sorted_grams(reading);
        let mut trigrams: Weights = Vec::with_capacity(grams.len());
        let mut discounts = Discounts(&asked.trigrams);
        for same in grams.chunk_by(u64::eq) {
            let gram = same[0];
            trigrams.push((gram, weight_of_gram(gram) * same.len() as f64 * discounts.of(gram)));
        }
        Self {
            length: terms.iter().map(|(_, weight)| weight.powi(2)).sum::<f64>().sqrt(),
            terms,
            all_trigrams: trigrams.iter().map(|(_, weight)| weight).sum(),
            trigrams,
        }
    }

    /// Cosine of the angle between the terms of two texts, 0 to 1.
    pub(super) fn cosine(&self, other: &Self) -> f64 {
        let lengths = self.length * other.length;
        // A sum of nothing is -0, which would be told.
        let product = 0.0 + common(&self.terms, &other.terms).map(|(a, b)| a * b).sum::<f64>();
        if lengths > 0.0 { (product / lengths).min(1.0) } else { 0.0 }
    }

    /// Share of the trigrams that both texts have: 2 |A ∩ B| / (|A| + |B|), counting repetitions.
    pub(super) fn dice(&self, other: &Self) -> f64 {
        let shared = 0.0 + common(&self.trigrams, &other.trigrams).map(|(a, b)| a.min(b)).sum::<f64>();
        let all = self.all_trigrams + other.all_trigrams;
        if all > 0.0 { (2.0 * shared / all).min(1.0) } else { 0.0 }
    }
}

/// What the terms of a question leave of the weight of others, which are asked for in their order.
struct Discounts<'a>(&'a [(u64, f64)]);

impl Discounts<'_> {
    fn of(&mut self, key: u64) -> f64 {
        if find(&mut self.0, key).is_some() { ASKED_WEIGHT } else { 1.0 }
    }
}

/// How much a term counts that stands there so often: the logarithm's first summand is 1.
fn sublinear(count: usize) -> f64 {
    if count == 1 { 1.0 } else { 1.0 + (count as f64).ln() }
}

/// What two ordered lists have in common.
fn common(a: &[(u64, f64)], b: &[(u64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let mut rest = b;
    a.iter().filter_map(move |(key, mine)| find(&mut rest, *key).map(|theirs| (*mine, theirs)))
}

/// The weight of a key in an ordered list, which what stands before the key is taken from.
fn find(rest: &mut &[(u64, f64)], key: u64) -> Option<f64> {
    while let [(first, weight), after @ ..] = *rest {
        if *first >= key {
            return (*first == key).then_some(*weight);
        }
        *rest = after;
    }
    None
}

/// Bits of a character in a trigram.
const CHAR_BITS: u32 = 21;

/// Three neighbouring characters each, as one number, in order. A sentence is its words, a space before and behind each;
/// English words without a meaning are left out.
fn sorted_grams(reading: &Reading<'_>) -> Vec<u64> {
    let mut grams = Vec::with_capacity(reading.sentences().map(|(sentence, _)| sentence.len() + 1).sum());
    for runs in reading.runs() {
        // The space before the first word is there already.
        let (mut last_three, mut chars) = (u64::from(' '), 1);
        let mut push = |c: u64| {
            last_three = (last_three << CHAR_BITS | c) & ((1 << (3 * CHAR_BITS)) - 1);
            chars += 1;
            if chars >= 3 {
                grams.push(last_three);
            }
        };
        for run in runs {
            if run.is_ascii() {
                run.bytes().map(u64::from).for_each(&mut push);
            } else {
                run.chars().map(u64::from).for_each(&mut push);
            }
            push(u64::from(' '));
        }
    }
    grams.sort_unstable();
    grams
}

/// In Japanese, hiragana alone weighs little.
fn weight_of_gram(gram: u64) -> f64 {
    const SPACE: u64 = b' ' as u64;
    let says_little = (0..3).all(|place| {
        let c = (gram >> (place * CHAR_BITS)) & ((1 << CHAR_BITS) - 1);
        // Of ASCII, which most are, no more is asked.
        c == SPACE || (c > 0x7f && char::from_u32(c as u32).is_some_and(is_hiragana))
    });
    if says_little { FUNCTION_WEIGHT } else { 1.0 }
}
