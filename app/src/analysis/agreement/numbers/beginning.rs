//! Where in a folded sentence a quantity may begin: most of a text is words and marks with which none does, and a look tells.

use std::sync::LazyLock;

use super::units::{MONTHS, NUMBER_WORDS};

/// Where from `at` on a quantity may begin, as far as a look tells; else the end.
pub(super) fn next_beginning(sentence: &str, mut at: usize) -> usize {
    let bytes = sentence.as_bytes();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let length = |kind: Kind| rest.iter().take_while(|byte| KINDS[usize::from(**byte)] == kind).count();
        match KINDS[usize::from(rest[0])] {
            Kind::Letter => {
                let letters = length(Kind::Letter);
                if may_begin(&rest[..letters]) {
                    return at;
                }
                at += letters;
            }
            Kind::Mark => at += length(Kind::Mark),
            Kind::DigitOrNotAscii => return at,
        }
    }
    at
}

/// ASCII letters at the beginning of a text.
pub(super) fn letters(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_alphabetic).count()
}

/// What a byte tells of whether a quantity may begin there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With a word, perhaps.
    Letter,
    /// It may.
    DigitOrNotAscii,
    /// It may not.
    Mark,
}

static KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Mark; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphabetic() {
            kinds[byte] = Kind::Letter;
        } else if (byte as u8).is_ascii_digit() || byte >= 128 {
            kinds[byte] = Kind::DigitOrNotAscii;
        }
        byte += 1;
    }
    kinds
};

/// The words that a quantity may begin with and that begin with one letter.
#[derive(Default)]
struct Beginnings {
    /// A bit for each length that there is.
    lengths: u32,
    words: Vec<&'static [u8]>,
}

/// Whether a quantity may begin with this English word.
fn may_begin(word: &[u8]) -> bool {
    static BY_LETTER: LazyLock<[Beginnings; 26]> = LazyLock::new(|| {
        let mut by_letter: [Beginnings; 26] = Default::default();
        let number_words = NUMBER_WORDS.iter().map(|(word, _)| *word);
        for word in MONTHS.into_iter().chain(number_words).chain(["half", "a", "an", "one"]) {
            let beginnings = &mut by_letter[usize::from(word.as_bytes()[0] - b'a')];
            beginnings.lengths |= 1 << word.len();
            beginnings.words.push(word.as_bytes());
        }
        by_letter
    });
    let letter = word.first().map(|first| usize::from(first.wrapping_sub(b'a')));
    letter.and_then(|letter| BY_LETTER.get(letter)).is_some_and(|Beginnings { lengths, words }| {
        let is_as_long = lengths.checked_shr(word.len() as u32).unwrap_or(0) & 1 == 1;
        is_as_long && words.contains(&word)
    })
}
