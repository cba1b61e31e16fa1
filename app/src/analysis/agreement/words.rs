//! A folded text as clauses and English words: split once, each word looked up once, and read by whatever asks for it.
//!
//! Words are those of Unicode's rules (UAX #29). Most clauses are ASCII, where those rules are few; a test holds the short
//! way against the whole one.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::known::Known;
use super::text::{has_unspaced, hash};

/// An English word, apostrophes resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) hash: u64,
    pub(super) known: Known,
}

impl<'a> Word<'a> {
    fn of(text: &'a str) -> Self {
        let hash = hash(text);
        Self { text, hash, known: Known::hashed(text, hash) }
    }

    pub(super) fn is(&self, list: Known) -> bool {
        self.known.is(list)
    }

    /// Whether it has a meaning of its own.
    pub(super) fn is_content(&self) -> bool {
        !self.is(Known::FUNCTION) && !self.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    }
}

/// Part of a sentence that a negation reaches within.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clause<'a> {
    pub(super) text: &'a str,
    /// Whether it is of a script that sets no space between words.
    pub(super) is_unspaced: bool,
    /// None where it is unspaced.
    pub(super) words: &'a [Word<'a>],
}

/// Sentences taken apart.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    words: Vec<Word<'a>>,
    /// Runs of letters and digits that are no English word without a meaning of its own.
    runs: Vec<&'a str>,
    /// Each clause with its words' places.
    clauses: Vec<(&'a str, bool, Range<usize>)>,
    sentences: Vec<Places<'a>>,
}

/// A sentence, and where its clauses and runs are.
#[derive(Debug)]
struct Places<'a> {
    sentence: &'a str,
    clauses: Range<usize>,
    runs: Range<usize>,
}

impl<'a> Reading<'a> {
    /// Of folded sentences.
    pub(super) fn of(sentences: impl IntoIterator<Item = &'a str, IntoIter: Clone>) -> Self {
        let sentences = sentences.into_iter();
        // With the space behind it an English word has six letters in the mean, and most clauses have more than four words.
        let bytes: usize = sentences.clone().map(str::len).sum();
        let mut reading = Self {
            words: Vec::with_capacity(bytes / 5 + 1),
            runs: Vec::with_capacity(bytes / 8 + 1),
            clauses: Vec::with_capacity(bytes / 24 + 1),
            sentences: Vec::with_capacity(sentences.size_hint().0),
        };
        for sentence in sentences {
            let (first_clause, first_run) = (reading.clauses.len(), reading.runs.len());
            clauses(sentence, |clause| reading.push(clause));
            let (clauses, runs) = (first_clause..reading.clauses.len(), first_run..reading.runs.len());
            reading.sentences.push(Places { sentence, clauses, runs });
        }
        reading
    }

    fn push(&mut self, clause: &'a str) {
        let first = self.words.len();
        let is_unspaced = if clause.is_ascii() {
            split_ascii(clause, |word, is_plain| {
                if is_plain && word != CANNOT {
                    let word = Word::of(word);
                    self.words.push(word);
                    self.runs.extend((!word.is(Known::FUNCTION)).then_some(word.text));
                } else {
                    resolve(word, &mut self.words);
                    self.runs.extend(runs(word));
                }
            });
            false
        } else {
            let is_unspaced = has_unspaced(clause);
            if !is_unspaced {
                words(clause, &mut self.words);
            }
            self.runs.extend(runs(clause));
            is_unspaced
        };
        self.clauses.push((clause, is_unspaced, first..self.words.len()));
    }

    /// The sentences, each with its clauses, in order.
    pub(super) fn sentences(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&'a str, impl DoubleEndedIterator<Item = Clause<'_>> + Clone)> {
        self.sentences.iter().map(|Places { sentence, clauses, .. }| {
            let clause = |(text, is_unspaced, words): &(&'a str, bool, Range<usize>)| Clause {
                text,
                is_unspaced: *is_unspaced,
                words: &self.words[words.clone()],
            };
            (*sentence, self.clauses[clauses.clone()].iter().map(clause))
        })
    }

    /// For each sentence its runs of letters and digits, without English words that have no meaning of their own.
    pub(super) fn runs(&self) -> impl Iterator<Item = &[&'a str]> {
        self.sentences.iter().map(|places| &self.runs[places.runs.clone()])
    }
}

/// The one word without an apostrophe that is two.
const CANNOT: &str = "cannot";

/// Where a negation ends to reach.
fn clauses<'a>(sentence: &'a str, mut each: impl FnMut(&'a str)) {
    let mut each = |clause: &'a str| {
        if !clause.trim().is_empty() {
            each(clause);
        }
    };
    if sentence.is_ascii() {
        let mut start = 0;
        for (at, byte) in sentence.bytes().enumerate() {
            if matches!(byte, b',' | b':' | b'(' | b')') {
                each(&sentence[start..at]);
                start = at + 1;
            }
        }
        each(&sentence[start..]);
    } else {
        sentence.split([',', '、', ':', '(', ')', '—', '「', '」']).for_each(each);
    }
}

/// Adds the English words of a text, apostrophes resolved.
pub(super) fn words<'a>(text: &'a str, words: &mut Vec<Word<'a>>) {
    text.unicode_words().for_each(|word| resolve(word, words));
}

/// Adds the words that one with an apostrophe is: "don't" is "do not", "it's" is "it".
fn resolve<'a>(word: &'a str, words: &mut Vec<Word<'a>>) {
    match word {
        CANNOT | "can't" => words.extend(["can", "not"].map(Word::of)),
        "won't" => words.extend(["will", "not"].map(Word::of)),
        _ => match (word.strip_suffix("n't"), word.split_once('\'')) {
            (Some(verb), _) => words.extend([verb, "not"].map(Word::of)),
            (None, Some((stem, _))) => words.push(Word::of(stem)),
            (None, None) => words.push(Word::of(word)),
        },
    }
}

/// The runs of letters and digits that are no English word without a meaning of its own.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let runs = text.split(|c: char| !c.is_alphanumeric());
    runs.filter(|run| !run.is_empty() && !Known::of(run).is(Known::FUNCTION))
}

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
/// Joins letters and digits, but is none.
const LOW_LINE: u8 = 4;
/// Within a word where letters stand on both sides.
const BETWEEN_LETTERS: u8 = 8;
/// Within a word where digits stand on both sides.
const BETWEEN_DIGITS: u8 = 16;

/// What UAX #29 makes of an ASCII character, as far as words depend on it.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => LETTER,
            b'0'..=b'9' => DIGIT,
            b'_' => LOW_LINE,
            b'\'' | b'.' => BETWEEN_LETTERS | BETWEEN_DIGITS,
            b':' => BETWEEN_LETTERS,
            b',' | b';' => BETWEEN_DIGITS,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

/// Gives the words of ASCII, each with whether it is of letters and digits alone.
fn split_ascii<'a>(text: &'a str, mut each: impl FnMut(&'a str, bool)) {
    const OF_A_WORD: u8 = LETTER | DIGIT | LOW_LINE;
    let bytes = text.as_bytes();
    let kind = |at: usize| bytes.get(at).map_or(0, |byte| KINDS[usize::from(*byte)]);
    let mut at = 0;
    while at < bytes.len() {
        let (start, mut kinds) = (at, 0);
        loop {
            while kind(at) & OF_A_WORD != 0 {
                kinds |= kind(at);
                at += 1;
            }
            let between = if at > start { (kind(at - 1), kind(at + 1)) } else { (0, 0) };
            let joins = match between {
                (LETTER, LETTER) => kind(at) & BETWEEN_LETTERS != 0,
                (DIGIT, DIGIT) => kind(at) & BETWEEN_DIGITS != 0,
                _ => false,
            };
            if !joins {
                break;
            }
            kinds |= kind(at);
            at += 1;
        }
        // A low line alone is no word.
        if kinds & (LETTER | DIGIT) != 0 {
            each(&text[start..at], kinds & !(LETTER | DIGIT) == 0);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts<'a>(words: &[Word<'a>]) -> Vec<&'a str> {
        words.iter().map(|word| word.text).collect()
    }

    #[test]
    fn apostrophes_are_resolved() {
        let reading = Reading::of(["it's what you don't, can't and cannot"]);
        assert_eq!(
            texts(&reading.words),
            ["it", "what", "you", "do", "not", "can", "not", "and", "can", "not"]
        );
        assert_eq!(reading.runs().flatten().collect::<Vec<_>>(), [&"s", &"don", &"t", &"t"]);
    }

    proptest! {
        #[test]
        fn ascii_is_split_as_unicode_says(
            text in prop_oneof!["[ -~\\t\\n]{0,40}", "[a-c1-3_'.,:; ]{0,24}", "[\\x00-\\x7f]{0,24}"]
        ) {
            let mut found = Vec::new();
            split_ascii(&text, |word, is_plain| {
                assert_eq!(is_plain, word.bytes().all(|byte| byte.is_ascii_alphanumeric()));
                found.push(word);
            });
            prop_assert_eq!(found, text.unicode_words().collect::<Vec<_>>());
        }

        #[test]
        fn ascii_is_read_like_any_text(text in "[a-c1-3_'.,:() ]{0,24}( don't| cannot| the|, a\\.b)?") {
            // The dash makes it no ASCII, and ends a clause that is empty.
            let dashed = format!("{text}—");
            let (short, whole) = (Reading::of([text.as_str()]), Reading::of([dashed.as_str()]));
            let clauses = |reading: &Reading<'_>| -> Vec<String> {
                reading.clauses.iter().map(|(text, ..)| text.to_string()).collect()
            };
            prop_assert_eq!(clauses(&short), clauses(&whole));
            let mut expected = Vec::new();
            for (clause, ..) in &short.clauses {
                words(clause, &mut expected);
            }
            prop_assert_eq!(texts(&short.words), texts(&expected));
            prop_assert_eq!(&short.runs, &runs(&text).collect::<Vec<_>>());
        }
    }
}
