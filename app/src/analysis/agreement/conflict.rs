//! Where two answers contradict each other. Likeness of wording cannot see that: two answers that differ in one "not" or
//! one number look more alike than two honest paraphrases.
//!
//! Each sentence of one answer is set against its nearest counterpart in the other. There a negation that reaches a shared
//! word on one side only, a pair of opposites, other numbers, or another name in an otherwise equal sentence is a conflict.
//! Over whole answers, verdicts, numbers and code are compared.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::lexicon::{NEGATING_PREFIXES, NEGATING_PREFIXES_JA, OPPOSITES, OPPOSITES_JA};
use super::numbers::{Dimension, Quantity, unmatched};
use super::sentence::{Sentence, Term, stem};
use super::text::{has_unspaced, hash};
use super::{Fingerprint, code};

/// What two answers contradict each other in. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// One says yes, the other no.
    Verdict,
    /// The same is said and denied.
    Negation,
    /// The one word means the opposite of the other.
    Opposite,
    /// A quantity differs.
    Number,
    /// An equal sentence with another word in it.
    Substitution,
    /// The code does something else.
    Code,
}

impl Conflict {
    /// What it leaves of the similarity: less than two answers have that have nothing to do with each other but the
    /// subject. Chosen on the tuning half.
    pub(super) fn at_most(self) -> f64 {
        match self {
            Self::Verdict | Self::Number => 0.03,
            Self::Negation | Self::Opposite => 0.04,
            Self::Code => 0.05,
            Self::Substitution => 0.06,
        }
    }
}

/// From this overlap on two sentences count as speaking of the same.
const RELATED: f64 = 0.25;
/// What two sentences with numbers of one unit must overlap: the unit says already what they measure.
const RELATED_BY_UNIT: f64 = 0.1;
/// From this overlap on they count as one sentence with something changed.
const NEARLY_EQUAL: f64 = 0.55;
/// In sentences that only speak of the same, so many of the shared terms must be denied.
const DENIED_SHARE: f64 = 0.34;
/// From this likeness on, and with so many words shared, an exchanged word is a fact exchanged.
const EQUAL_BUT_FOR: f64 = 0.65;
const FEWEST_SHARED: usize = 3;
/// As many words may be exchanged in a sentence that is equal otherwise.
const MOST_EXCHANGED: usize = 3;

/// Every kind of conflict between two answers, in order. Which comes first does not matter.
pub(super) fn conflicts(a: &Fingerprint, b: &Fingerprint) -> Vec<Conflict> {
    let mut found = Vec::new();
    if matches!((a.stance, b.stance), (Some(one), Some(other)) if one != other) {
        found.push(Conflict::Verdict);
    }
    let same_side = a.stance.is_some() && a.stance == b.stance;
    let (nearest_to_a, nearest_to_b) = counterparts(&a.sentences, &b.sentences);
    for (one, other, nearest) in [(a, b, nearest_to_a), (b, a, nearest_to_b)] {
        for (at, nearest) in nearest.into_iter().enumerate() {
            let Some((nearest, overlap)) = nearest else { continue };
            in_sentences(&one.sentences[at], &other.sentences[nearest], overlap, same_side, &mut found);
            if overlap >= NEARLY_EQUAL && numbers_exchanged(one, at, other, nearest) {
                found.push(Conflict::Number);
            }
        }
    }
    if numbers_differ(a, b) {
        found.push(Conflict::Number);
    }
    if code::differ(&a.code, &b.code) {
        found.push(Conflict::Code);
    } else if !a.code.is_empty() && !b.code.is_empty() {
        // The code is the same: a word exchanged is a name in it.
        found.retain(|conflict| *conflict != Conflict::Substitution);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// For a sentence: which one of the other answer speaks most nearly of the same, and how nearly.
type Counterpart = Option<(usize, f64)>;

/// The counterparts of the sentences of two answers in each other; the first of equals.
fn counterparts(a: &[Sentence], b: &[Sentence]) -> (Vec<Counterpart>, Vec<Counterpart>) {
    let (mut of_a, mut of_b): (Vec<Counterpart>, Vec<Counterpart>) =
        (vec![None; a.len()], vec![None; b.len()]);
    let is_nearer = |known: &Counterpart, overlap: f64| known.is_none_or(|(_, known)| overlap > known);
    for (at_a, one) in a.iter().enumerate() {
        for (at_b, other) in b.iter().enumerate() {
            let overlap = one.overlap(other);
            if overlap < RELATED {
                continue;
            }
            if is_nearer(&of_a[at_a], overlap) {
                of_a[at_a] = Some((at_b, overlap));
            }
            if is_nearer(&of_b[at_b], overlap) {
                of_b[at_b] = Some((at_a, overlap));
            }
        }
    }
    (of_a, of_b)
}

fn in_sentences(a: &Sentence, b: &Sentence, overlap: f64, same_side: bool, found: &mut Vec<Conflict>) {
    let (mut shared, mut denied) = (0_usize, 0_usize);
    for (one, other) in a.shared(b) {
        shared += 1;
        denied += usize::from(one.negated != other.negated);
    }
    let share = denied as f64 / shared.max(1) as f64;
    let (only_a, only_b) = (a.lacking_in(b), b.lacking_in(a));
    let opposite = opposites(&only_a, &only_b);
    match opposite {
        // "Not safe" and "unsafe" are no conflict.
        Some((one, other)) if one.negated != other.negated => return,
        Some(_) if overlap >= NEARLY_EQUAL || !same_side => found.push(Conflict::Opposite),
        Some(_) => {}
        None => {}
    }
    if denied > 0 && (overlap >= NEARLY_EQUAL || (share >= DENIED_SHARE && shared >= 2 && !same_side)) {
        found.push(Conflict::Negation);
    }
    let content = |terms: &[&Term]| terms.iter().filter(|term| term.content).count();
    let exchanged = [content(&only_a), content(&only_b)];
    // Of all terms, those without a meaning too: how many both have, and their share.
    let alike = (a.terms.len() - only_a.len()).min(b.terms.len() - only_b.len());
    let likeness = 2.0 * alike as f64 / (a.terms.len() + b.terms.len()).max(1) as f64;
    if opposite.is_none()
        && denied == 0
        && likeness >= EQUAL_BUT_FOR
        && alike >= FEWEST_SHARED
        && exchanged.iter().all(|n| (1..=MOST_EXCHANGED).contains(n))
    {
        found.push(Conflict::Substitution);
    }
}

/// The first of the words of `ours` that means the opposite of one of `theirs`, with the first such.
fn opposites<'a>(ours: &[&'a Term], theirs: &[&'a Term]) -> Option<(&'a Term, &'a Term)> {
    let others: Vec<_> = theirs.iter().map(|term| (*term, Denied::of(&term.text))).collect();
    let any_denies = others.iter().any(|(_, denied)| denied.is_any());
    ours.iter().find_map(|one| {
        let word = Word::of(one);
        // Most words have no opposite and deny none.
        let may_be = any_denies || word.denied.is_any() || !word.opposites.is_empty();
        let mut others = others.iter().filter(|_| may_be);
        let (other, _) = others.find(|(other, denied)| word.is_opposite_of(&other.text, *denied))?;
        Some((*one, *other))
    })
}

/// The opposites of each stem, by the stem's hash: looked up for every word that two sentences do not share.
static OPPOSITES_OF: LazyLock<FxHashMap<u64, (&str, Vec<&str>)>> = LazyLock::new(|| {
    let mut of: FxHashMap<u64, (&str, Vec<&str>)> = FxHashMap::default();
    for (one, other) in OPPOSITES.iter().chain(OPPOSITES_JA) {
        let (one, other) = (stem(one), stem(other));
        of.entry(hash(one)).or_insert((one, Vec::new())).1.push(other);
        of.entry(hash(other)).or_insert((other, Vec::new())).1.push(one);
    }
    of
});

/// What a word may deny: what stands in it behind a prefix that negates, in English and in Japanese.
#[derive(Clone, Copy)]
struct Denied<'a>([Option<&'a str>; 2]);

impl<'a> Denied<'a> {
    fn of(word: &'a str) -> Self {
        let behind = |prefixes: &[&str]| {
            prefixes.iter().find_map(|prefix| word.strip_prefix(prefix).filter(|rest| !rest.is_empty()))
        };
        // Every word of two sentences that the other lacks comes here.
        match word.as_bytes().first() {
            Some(b'u' | b'i' | b'n' | b'd') => Self([behind(NEGATING_PREFIXES), None]),
            Some(first) if !first.is_ascii() => Self([None, behind(NEGATING_PREFIXES_JA)]),
            _ => Self([None, None]),
        }
    }

    fn is_any(self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    fn is(self, is_japanese: bool, word: &str) -> bool {
        // "To" is not the opposite of "into". Of a Japanese word only pairs of characters are known: 非推 against 推奨.
        self.0[usize::from(is_japanese)].is_some_and(|rest| {
            (rest == word && rest.len() > 2) || (!rest.is_ascii() && word.starts_with(rest))
        })
    }
}

/// A word that is held against many: what does not depend on the other is looked up once.
struct Word<'a> {
    text: &'a str,
    opposites: &'static [&'static str],
    is_japanese: bool,
    denied: Denied<'a>,
}

impl<'a> Word<'a> {
    fn of(term: &'a Term) -> Self {
        let text = term.text.as_str();
        let known = OPPOSITES_OF.get(&term.hash).filter(|(known, _)| *known == text);
        Self {
            text,
            opposites: known.map_or(&[], |(_, opposites)| opposites),
            is_japanese: has_unspaced(text),
            denied: Denied::of(text),
        }
    }

    /// Whether the other means the opposite: by the list, or by a prefix that negates.
    fn is_opposite_of(&self, other: &str, denied_by_other: Denied<'_>) -> bool {
        self.opposites.contains(&other)
            || self.denied.is(self.is_japanese, other)
            || denied_by_other.is(self.is_japanese, self.text)
    }
}

/// Whether each answer holds a number that the other has no match for, of one dimension.
fn numbers_differ(a: &Fingerprint, b: &Fingerprint) -> bool {
    let ours: Vec<&Quantity> = unmatched(&a.numbers, &b.numbers, &a.asked).collect();
    let theirs: Vec<&Quantity> = unmatched(&b.numbers, &a.numbers, &a.asked).collect();
    ours.iter()
        .any(|one| theirs.iter().any(|other| one.is_held_against(other) && about_the_same(a, one, b, other)))
}

/// Whether two numbers may be held against each other: a unit says what they measure; where there is none, their
/// sentences must speak of the same.
fn about_the_same(a: &Fingerprint, one: &Quantity, b: &Fingerprint, other: &Quantity) -> bool {
    let related = if one.dimension == Dimension::Plain { RELATED } else { RELATED_BY_UNIT };
    match (a.sentences.get(one.sentence), b.sentences.get(other.sentence)) {
        (Some(a), Some(b)) => a.overlap(b) >= related || a.content().len().min(b.content().len()) <= 2,
        _ => false,
    }
}

/// Whether two nearly equal sentences hold numbers that do not match, though the answers may hold them elsewhere.
fn numbers_exchanged(a: &Fingerprint, at: usize, b: &Fingerprint, nearest: usize) -> bool {
    let of = |fingerprint: &Fingerprint, at: usize| -> Vec<Quantity> {
        fingerprint.numbers.iter().filter(|number| number.sentence == at).copied().collect()
    };
    let (ours, theirs) = (of(a, at), of(b, nearest));
    let ours_left: Vec<_> = unmatched(&ours, &theirs, &[]).collect();
    let theirs_left: Vec<_> = unmatched(&theirs, &ours, &[]).collect();
    // "One" is a number only beside another one.
    let has_one = |lacking: &Sentence, other: &Sentence| {
        lacking.lacking_in(other).iter().any(|term| term.text == "one")
    };
    let (mine, other) = (&a.sentences[at], &b.sentences[nearest]);
    if (!ours_left.is_empty() && has_one(other, mine)) || (!theirs_left.is_empty() && has_one(mine, other)) {
        return true;
    }
    theirs_left.iter().any(|one| ours_left.iter().any(|other| one.is_held_against(other)))
}
