//! Likeness of wording: ½ cosine of the sublinear term frequencies + ½ Dice's coefficient of the character trigrams.

use std::hash::{BuildHasher, Hash};

use rustc_hash::FxBuildHasher;

use super::lexicon::is_function_word;
use super::sentence::Sentence;
use super::text::{is_hiragana, is_ideograph};

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
    /// Of folded sentences and their terms, as an answer to a question with the terms `asked`.
    pub(super) fn of(folded: &[String], sentences: &[Sentence], asked: &Wording) -> Self {
        let is_asked =
            |list: &Weights, key: u64| list.binary_search_by_key(&key, |(known, _)| *known).is_ok();
        let discount = |list: &Weights, key: u64| if is_asked(list, key) { ASKED_WEIGHT } else { 1.0 };
        let mut counts: Vec<(u64, (u32, f64))> = Vec::new();
        let mut count = |term: u64, weight: f64| counts.push((term, (1, weight)));
        for term in sentences.iter().flat_map(|sentence| &sentence.terms) {
            count(term.hash, if term.content { 1.0 } else { FUNCTION_WEIGHT });
            if term.content && term.text.chars().all(is_ideograph) && term.text.chars().nth(1).is_some() {
                term.text.chars().for_each(|c| count(hash(&*c.encode_utf8(&mut [0; 4])), CHARACTER_WEIGHT));
            }
        }
        let weight = |(term, (count, kind)): (u64, (u32, f64))| {
            (term, kind * discount(&asked.terms, term) * (1.0 + f64::from(count).ln()))
        };
        let counts = joined(counts, |(count, _), (more, _)| *count += more);
        let terms: Weights = counts.into_iter().map(weight).collect();
        let mut trigrams = Weights::new();
        folded.iter().for_each(|sentence| grams(sentence, &mut trigrams));
        let mut trigrams = joined(trigrams, |weight, more| *weight += more);
        trigrams.iter_mut().for_each(|(gram, weight)| *weight *= discount(&asked.trigrams, *gram));
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
        let product: f64 = common(&self.terms, &other.terms).map(|(a, b)| a * b).sum();
        if lengths > 0.0 { (product / lengths).min(1.0) } else { 0.0 }
    }

    /// Share of the trigrams that both texts have: 2 |A ∩ B| / (|A| + |B|), counting repetitions.
    pub(super) fn dice(&self, other: &Self) -> f64 {
        let shared: f64 = common(&self.trigrams, &other.trigrams).map(|(a, b)| a.min(b)).sum();
        let all = self.all_trigrams + other.all_trigrams;
        if all > 0.0 { (2.0 * shared / all).min(1.0) } else { 0.0 }
    }
}

/// In order of the keys, each once: `add` joins a later value of a key to the first.
fn joined<T: Copy>(mut list: Vec<(u64, T)>, add: impl Fn(&mut T, T)) -> Vec<(u64, T)> {
    // Stable: sums of fractions must not depend on chance.
    list.sort_by_key(|(key, _)| *key);
    list.dedup_by(|(key, value), (first, sum)| {
        let is_same = key == first;
        if is_same {
            add(sum, *value);
        }
        is_same
    });
    list
}

/// What two ordered lists have in common.
fn common<T: Copy>(a: &[(u64, T)], b: &[(u64, T)]) -> impl Iterator<Item = (T, T)> {
    let mut rest = b;
    a.iter().filter_map(move |(key, mine)| {
        while rest.first().is_some_and(|(first, _)| first < key) {
            rest = &rest[1..];
        }
        rest.first().filter(|(first, _)| first == key).map(|(_, theirs)| (*mine, *theirs))
    })
}

/// The same in every run: the hasher has no seed.
pub(super) fn hash(text: impl Hash) -> u64 {
    FxBuildHasher.hash_one(text)
}

/// Adds three neighbouring characters each, with their weight; the ends of words are padded. English words without a meaning
/// are left out; in Japanese, hiragana alone weighs little.
fn grams(sentence: &str, found: &mut Weights) {
    let mut chars = vec![' '];
    for word in sentence.split(|c: char| !c.is_alphanumeric()) {
        if !word.is_empty() && !is_function_word(word) {
            chars.extend(word.chars());
            chars.push(' ');
        }
    }
    let weight =
        |gram: &[char]| if gram.iter().all(|c| is_hiragana(*c) || *c == ' ') { FUNCTION_WEIGHT } else { 1.0 };
    found.extend(chars.windows(3).map(|gram| (hash(gram), weight(gram))));
}
