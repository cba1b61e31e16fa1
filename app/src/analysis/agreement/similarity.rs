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
        let mut counts: Vec<(u64, (u32, f64))> =
            Vec::with_capacity(sentences.iter().map(|sentence| sentence.terms.len()).sum());
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
        // Stable: of a term that is a character too, the first decides what it weighs.
        counts.sort_by_key(|(term, _)| *term);
        counts.dedup_by(|(term, (more, _)), (first, (count, _))| {
            let is_same = term == first;
            *count += if is_same { *more } else { 0 };
            is_same
        });
        let terms: Weights = counts.into_iter().map(weight).collect();
        let mut grams = Vec::with_capacity(folded.iter().map(String::len).sum());
        folded.iter().for_each(|sentence| add_grams(sentence, &mut grams));
        grams.sort_unstable();
        let weight = |same: &[u64]| {
            let gram = same[0];
            (gram, weight_of_gram(gram) * same.len() as f64 * discount(&asked.trigrams, gram))
        };
        let trigrams: Weights = grams.chunk_by(u64::eq).map(weight).collect();
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

/// Bits of a character in a trigram.
const CHAR_BITS: u32 = 21;

/// Adds three neighbouring characters each, as one number; the ends of words are padded. English words without a meaning
/// are left out.
fn add_grams(sentence: &str, grams: &mut Vec<u64>) {
    const THREE: u64 = (1 << (3 * CHAR_BITS)) - 1;
    let (mut gram, mut length) = (u64::from(' '), 1_usize);
    let mut add = |c: char| {
        gram = (gram << CHAR_BITS | u64::from(c)) & THREE;
        length += 1;
        if length >= 3 {
            grams.push(gram);
        }
    };
    for word in sentence.split(|c: char| !c.is_alphanumeric()) {
        if !word.is_empty() && !is_function_word(word) {
            word.chars().for_each(&mut add);
            add(' ');
        }
    }
}

/// In Japanese, hiragana alone weighs little.
fn weight_of_gram(gram: u64) -> f64 {
    let says_little = (0..3).all(|place| {
        let bits = (gram >> (place * CHAR_BITS)) as u32 & ((1 << CHAR_BITS) - 1);
        char::from_u32(bits).is_some_and(|c| is_hiragana(c) || c == ' ')
    });
    if says_little { FUNCTION_WEIGHT } else { 1.0 }
}
