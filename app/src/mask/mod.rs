//! Hides personal data and secrets in a text: mail addresses, phone numbers (Japanese and international), card numbers, API keys,
//! tokens, passwords, private keys, credentials in URLs, IP addresses. Names of people are not guessed.
//!
//! Comes in: any text. What must hold: a text without any of it is returned as it is, without a copy; masking twice is
//! the same as once; ids, hashes, timestamps, durations and names of models stay readable. Time is linear.

mod patterns;
#[cfg(test)]
mod tests;
mod verify;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_automata::meta::{Config, Regex};
use regex_automata::{Anchored, Input, Match, PatternID};

use patterns::PATTERNS;

/// Memory for the automaton's states, which are made as they are needed. With less than all texts of a log need it would forget and
/// make them again and again, which costs many times as much as searching.
const AUTOMATON_BYTES: usize = 16 << 20;

static CANDIDATES: LazyLock<Regex> = LazyLock::new(|| {
    let patterns: Vec<_> = PATTERNS.iter().map(|pattern| pattern.candidates).collect();
    let regex = Regex::builder()
        .configure(Config::new().hybrid_cache_capacity(AUTOMATON_BYTES))
        .build_many(&patterns);
    regex.unwrap_or_else(|error| panic!("the table of what is masked is wrong: {error}"))
});

/// The text with everything personal or secret replaced by what it was, such as `[mail]`.
pub fn mask(text: &str) -> Cow<'_, str> {
    if is_uuid(text) {
        return Cow::Borrowed(text);
    }
    let (mut masked, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(candidate) = CANDIDATES.find(Input::new(text).range(at..)) {
        if let Some((label, from, to)) = hidden_at(text, candidate) {
            masked.push_str(&text[copied..from]);
            masked.push_str(label);
            (copied, at) = (to, to);
        } else {
            // Something else may begin within what was none.
            let first = text[candidate.start()..].chars().next();
            at = candidate.start() + first.map_or(1, char::len_utf8);
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    masked.push_str(&text[copied..]);
    Cow::Owned(masked)
}

/// Whether it is a UUID and nothing else. Every line has one, its digits look like the beginning of all kinds of numbers, and
/// nothing of it is anybody's.
fn is_uuid(text: &str) -> bool {
    let is_right = |(at, &byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.as_bytes().iter().enumerate().all(is_right)
}

/// What is to be hidden where a candidate begins: of its own kind, or else of one further down the table.
fn hidden_at(text: &str, candidate: Match) -> Option<(&'static str, usize, usize)> {
    let first = candidate.pattern().as_usize();
    let others = (first + 1..PATTERNS.len()).filter_map(|index| {
        let here = Input::new(text).range(candidate.start()..);
        CANDIDATES.find(here.anchored(Anchored::Pattern(PatternID::must(index))))
    });
    std::iter::once(candidate).chain(others).find_map(|candidate| {
        let pattern = &PATTERNS[candidate.pattern().as_usize()];
        let (from, to) = (pattern.verify)(text, candidate.start(), candidate.end())?;
        Some((pattern.label, from, to))
    })
}
