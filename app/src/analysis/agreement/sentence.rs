//! A folded sentence as terms, each with a sign: whether a negation reaches it.
//!
//! In English a negation turns the next few words of its clause round, in Japanese the word before it. A sign belongs to a
//! term and not to the sentence, so that "not only fast but never wrong" and "fast and right" are set against each other
//! word by word.

use compact_str::CompactString;
use unicode_segmentation::UnicodeSegmentation;

use super::lexicon::{
    MODAL_NOUNS_JA, NEGATIONS_JA, NEGATORS, NO_NEGATIONS, NO_NEGATIONS_JA, is_function_word,
};
use super::similarity::hash;
use super::text::{is_hiragana, is_ideograph, is_katakana, is_unspaced};

/// How many words with a meaning a negation reaches in English.
const REACH: usize = 3;
/// How many characters before a Japanese negation the negated word may stand.
const REACH_JA: usize = 8;

/// A word, or a pair of neighbouring characters where words are not set apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// The stem, folded.
    pub(super) text: CompactString,
    /// Its hash: most words are told apart by it.
    pub(super) hash: u64,
    /// Whether a negation reaches it.
    pub(super) negated: bool,
    /// Whether it has a meaning of its own.
    pub(super) content: bool,
}

impl Term {
    fn new(text: &str, negated: bool, content: bool) -> Self {
        Self { hash: hash(text), text: CompactString::new(text), negated, content }
    }

    /// Whether it is the same word.
    fn says(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }

    /// The same words have the same key, and there is an order.
    fn key(&self) -> (u64, &str) {
        (self.hash, &self.text)
    }
}

/// A sentence's terms.
#[derive(Debug, Clone, Default)]
pub(super) struct Sentence {
    /// In the order of the text.
    pub(super) terms: Vec<Term>,
    /// Places of those with a meaning, each once, ordered by their key.
    content: Vec<usize>,
}

impl Sentence {
    /// The terms of a folded sentence.
    pub(super) fn of(folded: &str) -> Self {
        let mut terms = Vec::new();
        for clause in clauses(folded) {
            if clause.chars().any(is_unspaced) {
                unspaced(clause, &mut terms);
            } else {
                spaced(clause, &mut terms);
            }
        }
        let mut content: Vec<usize> = (0..terms.len()).filter(|&at| terms[at].content).collect();
        content.sort_by_key(|&at| (terms[at].key(), terms[at].negated));
        content.dedup_by(|a, b| terms[*a].says(&terms[*b]));
        Self { terms, content }
    }

    /// The terms with a meaning, each once.
    pub(super) fn content(&self) -> impl ExactSizeIterator<Item = &Term> {
        self.content.iter().map(|&at| &self.terms[at])
    }

    /// Share of the terms with a meaning that both have: 2 |A ∩ B| / (|A| + |B|).
    pub(super) fn overlap(&self, other: &Self) -> f64 {
        let all = self.content.len() + other.content.len();
        if all == 0 { 0.0 } else { 2.0 * self.shared(other).count() as f64 / all as f64 }
    }

    /// The terms that both have, as each has them.
    pub(super) fn shared<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Term, &'a Term)> {
        let mut theirs = other.content().peekable();
        self.content().filter_map(move |mine| {
            while theirs.next_if(|first| first.key() < mine.key()).is_some() {}
            theirs.peek().filter(|first| first.says(mine)).map(|first| (mine, *first))
        })
    }

    /// All terms that the other does not have, those without a meaning too.
    pub(super) fn lacking_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Term> {
        self.terms.iter().filter(|term| !other.terms.iter().any(|known| known.says(term)))
    }
}

/// Where a negation ends to reach.
pub(super) fn clauses(sentence: &str) -> impl Iterator<Item = &str> {
    sentence.split([',', '、', ':', '(', ')', '—', '「', '」']).filter(|clause| !clause.trim().is_empty())
}

/// English words, apostrophes resolved: "don't" is "do not", "it's" is "it".
pub(super) fn words(clause: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in clause.unicode_words() {
        match word {
            "cannot" | "can't" => words.extend(["can", "not"]),
            "won't" => words.extend(["will", "not"]),
            _ => match (word.strip_suffix("n't"), word.split_once('\'')) {
                (Some(verb), _) => words.extend([verb, "not"]),
                (None, Some((stem, _))) => words.push(stem),
                (None, None) => words.push(word),
            },
        }
    }
    words
}

/// At which words a negation stands.
pub(super) fn negates(words: &[&str], at: usize) -> bool {
    let (word, next) = (words[at], words.get(at + 1));
    NEGATORS.contains(&word)
        && !NO_NEGATIONS.iter().any(|[first, second]| word == *first && next == Some(second))
        && !(word == "nor" && words[..at].contains(&"neither"))
}

fn spaced(clause: &str, terms: &mut Vec<Term>) {
    let words = words(clause);
    let mut reach = 0;
    for (at, &word) in words.iter().enumerate() {
        if negates(&words, at) {
            // Twice negated is not negated.
            reach = if reach > 0 { 0 } else { REACH };
        } else if matches!(word, "but" | "because" | "since" | "so" | "if" | "unless") {
            reach = 0;
        }
        let content = !is_function_word(word) && !word.chars().all(|c| c.is_ascii_digit() || c == '.');
        terms.push(Term::new(stem(word), reach > 0 && content, content));
        reach -= usize::from(reach > 0 && content);
    }
}

/// An English word without the endings of number, person and tense.
pub(super) fn stem(word: &str) -> &str {
    let ends_on_one = matches!(word.as_bytes().last(), Some(b'y' | b'g' | b's' | b'd' | b'r' | b'e'));
    if !word.is_ascii() || word.len() < 4 {
        return word;
    }
    let base = ["ingly", "edly", "ings", "ing", "ied", "ies", "ers", "ed", "es", "ly", "er", "s", "e"]
        .iter()
        .filter(|_| ends_on_one)
        .find_map(|ending| {
            word.strip_suffix(ending)
                .filter(|base| base.len() >= 3 && !(*ending == "s" && base.ends_with('s')))
        })
        .unwrap_or(word);
    // stopped, running.
    let bytes = base.as_bytes();
    let doubled = base.len() > 3
        && bytes[base.len() - 1] == bytes[base.len() - 2]
        && !matches!(bytes[base.len() - 1], b'l' | b's');
    let base = if doubled { &base[..base.len() - 1] } else { base };
    base.strip_suffix(['e', 'y', 'i']).filter(|base| base.len() >= 3).unwrap_or(base)
}

/// Where a Japanese negation stands in `text`: its first byte and its bytes.
pub(super) fn negations(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let skipped = NO_NEGATIONS_JA
            .iter()
            .filter(|phrase| rest.starts_with(**phrase))
            .map(|phrase| phrase.len())
            .max();
        let negation = NEGATIONS_JA
            .iter()
            .find(|ending| rest.starts_with(**ending))
            .filter(|_| at > 0)
            .map(|ending| ending.len());
        match (skipped, negation) {
            (Some(bytes), _) => at += bytes,
            (None, Some(bytes)) => {
                found.push((at, bytes));
                at += bytes;
            }
            (None, None) => at += c.len_utf8(),
        }
    }
    found
}

/// Runs of one script and what they are made of: pairs of Chinese characters, whole foreign words, pairs of hiragana.
fn unspaced(clause: &str, terms: &mut Vec<Term>) {
    let first = terms.len();
    // For each term: the byte that its run begins at.
    let mut starts = Vec::new();
    let chars: Vec<(usize, char)> = clause.char_indices().collect();
    for run in chars.chunk_by(|(_, a), (_, b)| kind(*a) == kind(*b)) {
        let (start, c) = run[0];
        // From the first character of some neighbours to the last.
        let text = |some: &[(usize, char)]| {
            let (last, c) = some[some.len() - 1];
            &clause[some[0].0..last + c.len_utf8()]
        };
        let mut push = |text: &str, content: bool| {
            terms.push(Term::new(text, false, content));
            starts.push(start);
        };
        match kind(c) {
            Kind::Ideograph if run.len() > 1 => run.windows(2).for_each(|pair| push(text(pair), true)),
            Kind::Ideograph => push(text(run), true),
            Kind::Katakana => push(text(run).trim_end_matches('ー'), true),
            Kind::Hiragana if run.len() > 1 => run.windows(2).for_each(|pair| push(text(pair), false)),
            Kind::Hiragana => push(text(run), false),
            Kind::Word => words(text(run)).iter().for_each(|word| {
                let content =
                    !is_function_word(word) && !word.chars().all(|c| c.is_ascii_digit() || c == '.');
                push(stem(word), content);
            }),
            Kind::Other => {}
        }
    }
    for (negation, _) in negations(clause) {
        // "調味料をかけない": what is negated is the verb, which has no term.
        if clause[..negation]
            .rsplit(|c| !is_hiragana(c))
            .next()
            .is_some_and(|verb| verb.starts_with('を') && verb.chars().nth(1).is_some())
        {
            continue;
        }
        let reach = clause[..negation].char_indices().rev().nth(REACH_JA - 1).map_or(0, |(at, _)| at);
        let mut until = negation;
        loop {
            let before =
                |at: usize| terms[first + at].content && starts[at] < until && starts[at] + 12 >= reach;
            let Some(start) = (0..starts.len()).filter(|at| before(*at)).map(|at| starts[at]).max() else {
                break;
            };
            let mut passes = false;
            for at in (0..starts.len()).filter(|at| starts[*at] == start) {
                let term = &mut terms[first + at];
                term.negated = term.content && !term.negated;
                passes |= MODAL_NOUNS_JA.contains(&term.text.as_str());
            }
            if !passes {
                break;
            }
            until = start;
        }
    }
}

/// Scripts that a run of characters is made of.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Kind {
    Ideograph,
    Katakana,
    Hiragana,
    Word,
    Other,
}

fn kind(c: char) -> Kind {
    match c {
        c if is_ideograph(c) => Kind::Ideograph,
        c if is_katakana(c) => Kind::Katakana,
        c if is_hiragana(c) => Kind::Hiragana,
        c if c.is_alphanumeric() || matches!(c, '\'' | '.' | '_' | ' ') => Kind::Word,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negated(text: &str) -> Vec<String> {
        Sentence::of(text)
            .terms
            .into_iter()
            .filter(|term| term.negated)
            .map(|term| term.text.into_string())
            .collect()
    }

    #[test]
    fn a_negation_reaches_the_next_words_of_its_clause() {
        assert_eq!(negated("do not restart the server, wait"), ["restart", "serv"]);
        assert_eq!(negated("it isn't safe because it leaks"), ["saf"]);
        assert_eq!(negated("not only fast"), Vec::<String>::new());
        assert_eq!(negated("never cannot fail"), Vec::<String>::new());
    }

    #[test]
    fn a_japanese_negation_reaches_the_word_before_it() {
        assert_eq!(negated("水を飲みません"), ["飲"]);
        assert_eq!(negated("変える必要はありません"), ["変", "必要"]);
        assert_eq!(negated("必ず確認しなければなりません"), Vec::<String>::new());
        assert_eq!(negated("危ないかもしれません"), Vec::<String>::new());
    }

    #[test]
    fn words_lose_their_endings() {
        for (word, base) in [
            ("stopped", "stop"),
            ("stops", "stop"),
            ("renewing", "renew"),
            ("renewal", "renewal"),
            ("queries", "quer"),
            ("query", "quer"),
            ("enable", "enabl"),
            ("enabled", "enabl"),
        ] {
            assert_eq!(stem(word), base);
        }
    }
}
