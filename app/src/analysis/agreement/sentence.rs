//! A folded sentence as terms, each with a sign: whether a negation reaches it.
//!
//! In English a negation turns the next few words of its clause round, in Japanese the word before it. A sign belongs to a
//! term and not to the sentence, so that "not only fast but never wrong" and "fast and right" are set against each other
//! word by word.

use std::sync::LazyLock;

use compact_str::CompactString;
use rustc_hash::FxHashMap;

use super::known::Known;
use super::lexicon::{MODAL_NOUNS_JA, NEGATIONS_JA, NO_NEGATIONS, NO_NEGATIONS_JA};
use super::text::{hash, is_hiragana, is_ideograph, is_katakana};
use super::words::{Clause, Reading, Word, words};

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
    fn new(text: &str, content: bool) -> Self {
        Self { hash: hash(text), text: CompactString::new(text), negated: false, content }
    }

    fn of(word: &Word<'_>) -> Self {
        let text = stem(word.text);
        let hash = if text.len() == word.text.len() { word.hash } else { hash(text) };
        Self { text: CompactString::new(text), hash, negated: false, content: word.is_content() }
    }

    /// Whether it is the same word.
    pub(super) fn says(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

/// A sentence's terms.
#[derive(Debug, Clone, Default)]
pub(super) struct Sentence {
    /// In the order of the text.
    pub(super) terms: Vec<Term>,
    /// Hashes and places of those with a meaning, each once, in the terms' order.
    content: Vec<(u64, usize)>,
    /// A bit for each term: where it is not set, the term is not there.
    marks: u64,
}

/// The bit of a term in a sentence's marks, by its hash.
fn mark(hash: u64) -> u64 {
    1 << (hash % 64)
}

impl Sentence {
    /// The terms of a folded text's sentences.
    pub(super) fn all(reading: &Reading<'_>) -> Vec<Self> {
        reading.sentences().map(|(_, clauses)| Self::of(clauses)).collect()
    }

    fn of<'a>(clauses: impl Iterator<Item = Clause<'a>> + Clone) -> Self {
        let mut terms: Vec<Term> = Vec::with_capacity(clauses.clone().map(|clause| clause.words.len()).sum());
        clauses.for_each(|clause| add_terms(clause, &mut terms));
        let mut content = Vec::with_capacity(terms.len());
        let all = terms.iter().enumerate();
        content.extend(all.filter(|(_, term)| term.content).map(|(at, term)| (term.hash, at)));
        content.sort_unstable_by(|(hash, a), (other, b)| {
            // The hash says it all, but for a word that stands there twice.
            let same = || terms[*a].text.cmp(&terms[*b].text).then(terms[*a].negated.cmp(&terms[*b].negated));
            hash.cmp(other).then_with(same)
        });
        content.dedup_by(|(_, a), (_, b)| terms[*a].says(&terms[*b]));
        let marks = terms.iter().fold(0, |marks, term| marks | mark(term.hash));
        Self { terms, content, marks }
    }

    /// The terms with a meaning, each once.
    pub(super) fn content(&self) -> impl ExactSizeIterator<Item = &Term> {
        self.content.iter().map(|&(_, at)| &self.terms[at])
    }

    /// Share of the terms with a meaning that both have: 2 |A ∩ B| / (|A| + |B|).
    pub(super) fn overlap(&self, other: &Self) -> f64 {
        let all = self.content.len() + other.content.len();
        if all == 0 { 0.0 } else { 2.0 * self.shared(other).count() as f64 / all as f64 }
    }

    /// The terms that both have, as each has them.
    pub(super) fn shared<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Term, &'a Term)> {
        let (mut ours, mut theirs) = (self.content.as_slice(), other.content.as_slice());
        std::iter::from_fn(move || {
            while let ([(mine, at), our_rest @ ..], [(first, place), their_rest @ ..]) = (ours, theirs) {
                let mut order = mine.cmp(first);
                if order.is_eq() {
                    // Words are looked at where their hashes are equal alone.
                    let (one, other) = (&self.terms[*at], &other.terms[*place]);
                    order = one.text.cmp(&other.text);
                    if order.is_eq() {
                        (ours, theirs) = (our_rest, their_rest);
                        return Some((one, other));
                    }
                }
                if order.is_lt() {
                    ours = our_rest;
                } else {
                    theirs = their_rest;
                }
            }
            None
        })
    }

    /// All terms that the other does not have, those without a meaning too.
    pub(super) fn lacking_in<'a>(&'a self, other: &Self) -> Vec<&'a Term> {
        let is_in_other = |term: &Term| {
            other.marks & mark(term.hash) != 0 && other.terms.iter().any(|known| known.says(term))
        };
        let mut lacking = Vec::with_capacity(self.terms.len());
        lacking.extend(self.terms.iter().filter(|term| !is_in_other(term)));
        lacking
    }
}

/// At which words a negation stands.
pub(super) fn negates(words: &[Word<'_>], at: usize) -> bool {
    if !words[at].is(Known::NEGATOR) {
        return false;
    }
    let (word, next) = (words[at].text, words.get(at + 1).map(|word| word.text));
    let is_phrase = NO_NEGATIONS.iter().any(|[first, second]| word == *first && next == Some(*second));
    let repeats = word == "nor" && words[..at].iter().any(|word| word.text == "neither");
    !(is_phrase || repeats)
}

/// Adds the terms of a clause.
pub(super) fn add_terms(clause: Clause<'_>, terms: &mut Vec<Term>) {
    if clause.is_unspaced {
        unspaced(clause.text, terms);
    } else {
        spaced(clause.words, terms);
    }
}

fn spaced(words: &[Word<'_>], terms: &mut Vec<Term>) {
    let mut reach = 0;
    for (at, word) in words.iter().enumerate() {
        if negates(words, at) {
            // Twice negated is not negated.
            reach = if reach > 0 { 0 } else { REACH };
        } else if word.is(Known::ENDS_A_REACH) {
            reach = 0;
        }
        let mut term = Term::of(word);
        term.negated = reach > 0 && term.content;
        reach -= usize::from(term.negated);
        terms.push(term);
    }
}

/// An English word without the endings of number, person and tense.
pub(super) fn stem(word: &str) -> &str {
    let bytes = word.as_bytes();
    if bytes.len() < 4 || !word.is_ascii() {
        return word;
    }
    let base = &word[..word.len() - ending(bytes)];
    // stopped, running.
    let base = match base.as_bytes() {
        [_, _, .., a, b] if a == b && !matches!(b, b'l' | b's') => &base[..base.len() - 1],
        _ => base,
    };
    match base.as_bytes() {
        [_, _, _, .., b'e' | b'y' | b'i'] => &base[..base.len() - 1],
        _ => base,
    }
}

/// Bytes of the ending of a word of at least four: the longest that leaves three.
fn ending(word: &[u8]) -> usize {
    match word {
        [_, _, _, .., b'i', b'n', b'g', b'l', b'y'] => 5,
        [_, _, _, .., b'e', b'd', b'l', b'y'] | [_, _, _, .., b'i', b'n', b'g', b's'] => 4,
        [_, _, _, .., b'i', b'n', b'g']
        | [_, _, _, .., b'i', b'e', b'd' | b's']
        | [_, _, _, .., b'e', b'r', b's'] => 3,
        [_, _, _, .., b'e', b'd' | b's' | b'r'] | [_, _, _, .., b'l', b'y'] => 2,
        [_, _, .., b's', b's'] => 0,
        [_, _, _, .., b's' | b'e'] => 1,
        _ => 0,
    }
}

/// The phrases that are no negation, by their first character: they are looked for at every one of a text.
static NO_NEGATIONS_BY_FIRST: LazyLock<FxHashMap<char, Vec<&str>>> = LazyLock::new(|| {
    let mut by_first: FxHashMap<char, Vec<&str>> = FxHashMap::default();
    for phrase in NO_NEGATIONS_JA {
        by_first.entry(phrase.chars().next().unwrap_or_default()).or_default().push(phrase);
    }
    by_first
});

/// Where a Japanese negation stands in `text`: its first byte and its bytes.
pub(super) fn negations(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let skipped = NO_NEGATIONS_BY_FIRST
            .get(&c)
            .into_iter()
            .flatten()
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
            terms.push(Term::new(text, content));
            starts.push(start);
        };
        match kind(c) {
            Kind::Ideograph if run.len() > 1 => run.windows(2).for_each(|pair| push(text(pair), true)),
            Kind::Ideograph => push(text(run), true),
            Kind::Katakana => push(text(run).trim_end_matches('ー'), true),
            Kind::Hiragana if run.len() > 1 => run.windows(2).for_each(|pair| push(text(pair), false)),
            Kind::Hiragana => push(text(run), false),
            Kind::Word => {
                let mut foreign = Vec::new();
                words(text(run), &mut foreign);
                starts.resize(starts.len() + foreign.len(), start);
                terms.extend(foreign.iter().map(Term::of));
            }
            Kind::Other => {}
        }
    }
    // The hiragana right before a negation begin here. Kept from one to the next, so that a clause of nothing but
    // negations is read once.
    let (mut hiragana, mut read) = (0, 0);
    for (negation, _) in negations(clause) {
        for (at, c) in clause[read..negation].char_indices().filter(|(_, c)| !is_hiragana(*c)) {
            hiragana = read + at + c.len_utf8();
        }
        read = negation;
        // "調味料をかけない": what is negated is the verb, which has no term.
        let verb = &clause[hiragana..negation];
        if verb.starts_with('を') && verb.chars().nth(1).is_some() {
            continue;
        }
        let reach = clause[..negation].char_indices().rev().nth(REACH_JA - 1).map_or(0, |(at, _)| at);
        // Runs stand in the clause's order: those within reach are found without a look at the others.
        let from = starts.partition_point(|start| start + 12 < reach);
        let mut until = starts.partition_point(|start| *start < negation);
        while let Some(at) = (from..until).rev().find(|at| terms[first + at].content) {
            let start = starts[at];
            let begin = from + starts[from..at].partition_point(|earlier| *earlier < start);
            let end = at + starts[at..].partition_point(|later| *later == start);
            let mut passes = false;
            for term in &mut terms[first + begin..first + end] {
                term.negated = term.content && !term.negated;
                passes |= MODAL_NOUNS_JA.contains(&term.text.as_str());
            }
            if !passes {
                break;
            }
            until = begin;
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
    use proptest::prelude::*;

    use super::*;

    fn negated(text: &str) -> Vec<String> {
        let sentences = Sentence::all(&Reading::of([text]));
        let terms = sentences.into_iter().flat_map(|sentence| sentence.terms);
        terms.filter(|term| term.negated).map(|term| term.text.into_string()).collect()
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

    /// CPU time of this thread for the terms of a text, the least of three.
    fn cpu_time_of(text: &str) -> std::time::Duration {
        let now = || {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            std::time::Duration::try_from(now).unwrap()
        };
        let once = || {
            let started = now();
            std::hint::black_box(Sentence::all(&Reading::of([text])));
            now() - started
        };
        (0..3).map(|_| once()).min().unwrap()
    }

    #[test]
    fn a_clause_of_nothing_but_negations_costs_in_proportion_to_its_length() {
        for unit in ["恐ず", "ない", "必要はない", "をかけない"] {
            // Eight times the text takes eight times the time; were each negation to look at all before it, 64 times.
            let (short, long) = (cpu_time_of(&unit.repeat(500)), cpu_time_of(&unit.repeat(4_000)));
            assert!(long < short * 32, "{unit}: {short:?} for 500, {long:?} for 4 000");
        }
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

    proptest! {
        #[test]
        fn the_ending_is_the_first_of_the_list_that_leaves_three_letters(
            word in "[a-z]{2,6}(ingly|edly|ings|ing|ied|ies|ers|ed|es|ly|er|ss|s|e|y|)"
        ) {
            prop_assume!(word.len() >= 4);
            let endings = ["ingly", "edly", "ings", "ing", "ied", "ies", "ers", "ed", "es", "ly", "er", "s", "e"];
            let leaves_three = |ending: &&str| {
                let base = word.strip_suffix(*ending);
                base.is_some_and(|base| base.len() >= 3 && !(*ending == "s" && base.ends_with('s')))
            };
            let expected = endings.iter().find(|ending| leaves_three(ending)).map_or(0, |ending| ending.len());
            prop_assert_eq!(ending(word.as_bytes()), expected, "{}", word);
        }
    }
}
