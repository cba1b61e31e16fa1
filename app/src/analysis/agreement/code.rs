//! Code in answers, compared as tokens. Names that a piece of code gives itself do not count: `s := f()` and `x := f()`
//! are the same.

use std::collections::BTreeMap;

use super::text::hash;

/// Tokens of a piece that are read.
const MOST_TOKENS: usize = 400;
/// Pieces of an answer that are read.
const MOST_PIECES: usize = 8;
/// Fewer are a name that is mentioned, not code.
const FEWEST_TOKENS: usize = 2;
/// Share of the shorter piece that must stand in the longer one.
const SAME: f64 = 0.7;

/// A piece of code as a bag of tokens.
pub(super) type Bag = BTreeMap<String, usize>;

/// All code of an answer as the pairs of neighbouring tokens in it, by their hashes: their order counts, white space and comments do not.
#[derive(Debug, Clone)]
pub(super) struct TokenPairs(BTreeMap<u64, usize>);

impl TokenPairs {
    /// The pairs in these pieces.
    pub(super) fn of(pieces: &[String]) -> Self {
        let mut pairs = BTreeMap::new();
        for piece in pieces.iter().take(MOST_PIECES) {
            let tokens = without_own_names(split(piece));
            // With its ends, so that a single token is told too.
            let ended = [""].into_iter().chain(tokens.iter().map(String::as_str)).chain([""]);
            for pair in ended.clone().zip(ended.skip(1)) {
                *pairs.entry(hash(pair)).or_insert(0) += 1;
            }
        }
        Self(pairs)
    }

    /// Dice's coefficient: 0, nothing in common, to 1, the same.
    pub(super) fn dice(&self, other: &Self) -> f64 {
        let all = self.0.values().chain(other.0.values()).sum::<usize>();
        let shared: usize = self.0.iter().filter_map(|(pair, n)| Some((*n).min(*other.0.get(pair)?))).sum();
        if all > 0 { 2.0 * shared as f64 / all as f64 } else { 0.0 }
    }
}

/// The pieces of an answer that are more than the mention of a name.
pub(super) fn bags(pieces: &[String]) -> Vec<Bag> {
    let bag = |piece: &String| {
        let mut bag = Bag::new();
        for token in without_own_names(split(piece)) {
            *bag.entry(token).or_insert(0) += 1;
        }
        bag
    };
    pieces.iter().map(bag).filter(|bag| size(bag) >= FEWEST_TOKENS).take(MOST_PIECES).collect()
}

fn size(bag: &Bag) -> usize {
    bag.values().sum()
}

/// Whether two answers' code says different things: no piece of the one is a piece of the other. Without code on both
/// sides there is nothing to say.
pub(super) fn differ(a: &[Bag], b: &[Bag]) -> bool {
    !a.is_empty() && !b.is_empty() && !a.iter().any(|one| b.iter().any(|other| are_same(one, other)))
}

/// Whether the shorter stands in the longer, with no word replaced by another.
fn are_same(a: &Bag, b: &Bag) -> bool {
    let shared: usize = a.iter().filter_map(|(token, n)| Some((*n).min(*b.get(token)?))).sum();
    let word_lacks = |a: &Bag, b: &Bag| a.keys().any(|token| token.len() > 1 && !b.contains_key(token));
    let replaced = size(a) == size(b) && word_lacks(a, b) && word_lacks(b, a);
    shared as f64 >= SAME * size(a).min(size(b)) as f64 && !replaced
}

/// Words with their dashes, numbers and operators; brackets and marks say nothing by themselves, comments are prose.
fn split(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for line in code.lines() {
        let line = ["//", " # ", "  #", "-- "]
            .iter()
            .fold(line, |line, mark| line.split(mark).next().unwrap_or(line));
        let mut word = String::new();
        for c in line.chars() {
            if c.is_alphanumeric()
                || c == '_'
                || (c == '.' && !word.is_empty())
                || (c == '-' && word.chars().all(|c| c == '-'))
            {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                tokens.push(std::mem::take(&mut word));
            }
            if !c.is_whitespace() && !"()[]{}.,;'\"`~".contains(c) {
                tokens.push(c.to_string());
            }
        }
        if !word.is_empty() {
            tokens.push(word);
        }
        if tokens.len() >= MOST_TOKENS {
            tokens.truncate(MOST_TOKENS);
            break;
        }
    }
    tokens
}

/// The same tokens without the assignments' names and signs.
fn without_own_names(tokens: Vec<String>) -> Vec<String> {
    let own: Vec<String> = tokens
        .windows(3)
        .filter(|three| three[0].chars().all(char::is_alphanumeric))
        .filter(|three| (three[1] == "=" && three[2] != "=") || (three[1] == ":" && three[2] == "="))
        .map(|three| three[0].clone())
        .collect();
    let keyword = |token: &str| matches!(token, "=" | ":" | "let" | "const" | "var");
    let without_owner = |token: String| match token.split_once('.') {
        Some((owner, member)) if own.iter().any(|name| name == owner) => member.to_owned(),
        _ => token,
    };
    tokens.into_iter().filter(|token| !own.contains(token) && !keyword(token)).map(without_owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(a: &str, b: &str) -> bool {
        let (a, b) = (bags(&[a.to_owned()]), bags(&[b.to_owned()]));
        assert_eq!(differ(&a, &b), differ(&b, &a));
        differ(&a, &b)
    }

    #[test]
    fn names_and_frames_do_not_matter() {
        assert!(!differs("x = list(dict.fromkeys(items))", "result = list(dict.fromkeys(items))"));
        assert!(!differs("list(dict.fromkeys(items))", "unique = list(dict.fromkeys(items))  # keeps order"));
        assert!(!differs("ls", "rm -rf /"), "a word is a mention");
    }

    #[test]
    fn other_calls_and_other_options_do() {
        assert!(differs("sorted(set(items))", "list(dict.fromkeys(items))"));
        assert!(differs("git reset --soft HEAD~1", "git reset --hard HEAD~1"));
    }
}
