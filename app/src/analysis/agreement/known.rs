//! English words that decide something, each looked up once: in what lists of the lexicon a word stands.

use std::ops::BitOr;
use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::lexicon::{
    AGAINST, ASKING, ENDING_A_REACH, FOR, FUNCTION_WORDS, NEGATORS, NO, RECOMMENDING, SUBORDINATING, YES,
};
use super::text::hash;

/// The lists that a word stands in: a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known(u16);

impl Known {
    pub(super) const FUNCTION: Self = Self(1);
    pub(super) const NEGATOR: Self = Self(1 << 1);
    pub(super) const ENDS_A_REACH: Self = Self(1 << 2);
    pub(super) const SUBORDINATING: Self = Self(1 << 3);
    pub(super) const FOR: Self = Self(1 << 4);
    pub(super) const AGAINST: Self = Self(1 << 5);
    pub(super) const RECOMMENDING: Self = Self(1 << 6);
    pub(super) const ASKING: Self = Self(1 << 7);
    pub(super) const YES: Self = Self(1 << 8);
    pub(super) const NO: Self = Self(1 << 9);

    /// Of a word.
    pub(super) fn of(word: &str) -> Self {
        Self::hashed(word, hash(word))
    }

    /// Of a word whose hash is known already.
    pub(super) fn hashed(word: &str, hash: u64) -> Self {
        WORDS.get(&hash).filter(|(known, _)| *known == word).map_or(Self::default(), |(_, lists)| *lists)
    }

    /// Whether the word stands in this list.
    pub(super) fn is(self, list: Self) -> bool {
        self.0 & list.0 != 0
    }
}

impl BitOr for Known {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const LISTS: [(&[&str], Known); 10] = [
    (FUNCTION_WORDS, Known::FUNCTION),
    (NEGATORS, Known::NEGATOR),
    (ENDING_A_REACH, Known::ENDS_A_REACH),
    (SUBORDINATING, Known::SUBORDINATING),
    (FOR, Known::FOR),
    (AGAINST, Known::AGAINST),
    (RECOMMENDING, Known::RECOMMENDING),
    (ASKING, Known::ASKING),
    (YES, Known::YES),
    (NO, Known::NO),
];

/// By hash, for the hash of a word is wanted anyway, and comparing a number is cheap. No two of them share one.
static WORDS: LazyLock<FxHashMap<u64, (&str, Known)>> = LazyLock::new(|| {
    let mut words: FxHashMap<u64, (&str, Known)> = FxHashMap::default();
    for (list, known) in LISTS {
        for word in list {
            let entry = words.entry(hash(word)).or_insert((word, Known::default()));
            entry.1 = entry.1 | known;
        }
    }
    words
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_in_its_lists_and_in_no_other() {
        for word in LISTS.into_iter().flat_map(|(list, _)| list) {
            for (list, known) in LISTS {
                assert_eq!(Known::of(word).is(known), list.contains(word), "{word}");
            }
        }
        assert_eq!(Known::of("lease"), Known::default());
    }
}
