//! Which side an answer takes when it is asked something that can be answered by yes or no.
//!
//! The first clause that takes a side decides, for answers begin with their verdict. Its side is the product of the words
//! in it that take one ("safe" for, "avoid" against) and of its negations, so that "not unsafe", "I do not advise against
//! it" and "避ける必要はありません" speak for. An outright yes or no is taken with the side of the question: yes to "is it
//! unnecessary?" speaks against.

use compact_str::CompactString;
use rustc_hash::FxHashSet;

use super::lexicon::{
    AGAINST, ASKING, ASKING_WHAT_JA, FOR, NO, NO_JA, NO_NEGATIONS_JA, SIDES_JA, YES, YES_JA,
};
use super::sentence::{Sentence, clauses, negates, negations, words};
use super::text::is_unspaced;

/// Sentences in which a verdict is looked for.
const FIRST_SENTENCES: usize = 2;
/// Clauses of each.
const FIRST_CLAUSES: usize = 4;

/// Characters at the end of a Japanese clause in which its predicate stands.
const PREDICATE_JA: usize = 14;
/// Japanese words that a reason ends with; the verdict comes behind.
const REASONS_JA: &[&str] = &["ので", "ため", "から", "ば"];
/// English words that begin what is not the verdict itself.
const SUBORDINATING: &[&str] =
    &["because", "since", "if", "when", "unless", "while", "as", "but", "so", "until", "and"];
/// English words that speak for whatever follows them, be it what was asked about or not.
const RECOMMENDING: &[&str] = &[
    "recommend",
    "recommended",
    "prefer",
    "better",
    "encouraged",
    "advised",
    "required",
    "necessary",
    "needed",
];
/// The same in Japanese; others do so in a frame ([`FRAMES_JA`]).
const RECOMMENDING_JA: &[&str] = &["必要", "有効"];
/// Characters that a Japanese answer must take from the question's end to be a yes.
const SHORTEST_ECHO: usize = 4;
/// What a Japanese recommendation of something stands behind.
const FRAMES_JA: &[&str] = &["のが", "方が", "ほうが", "ことを"];

/// For or against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    For,
    Against,
}

impl Side {
    fn flipped(self) -> Self {
        match self {
            Self::For => Self::Against,
            Self::Against => Self::For,
        }
    }

    fn flipped_if(self, flip: bool) -> Self {
        if flip { self.flipped() } else { self }
    }
}

/// A question as far as its answers' sides depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// There is no question, or none that is known.
    Unknown,
    /// It asks for more than yes or no.
    What,
    /// Yes or no; on which side yes is.
    Whether(Side),
}

impl Asked {
    /// What the folded sentences of a question ask.
    pub(super) fn of(sentences: &[String]) -> Self {
        let is_polar = |sentence: &String| {
            if sentence.chars().any(is_unspaced) {
                // "直すには", "始まった年は": the topic alone, and what is said of it is asked for.
                !sentence.trim_end().ends_with('は')
                    && !ASKING_WHAT_JA.iter().any(|word| sentence.contains(word))
            } else {
                let words = words(sentence);
                let first = |word: &str| ASKING.contains(&word);
                let or_not = sentence.trim_end().ends_with("or not");
                // "My disk is full. Should I …" and, with a beginning, "In Japan, should I …".
                let starts = clauses(sentence).any(|clause| words_start(clause, first));
                or_not
                    || (starts
                        && !words.first().is_some_and(|word| {
                            matches!(*word, "how" | "what" | "which" | "when" | "why" | "who" | "where")
                        }))
            }
        };
        if sentences.is_empty() {
            return Self::Unknown;
        }
        let Some(sentence) = sentences.iter().rev().find(|sentence| is_polar(sentence)) else {
            return Self::What;
        };
        let not_or_not = sentence.trim_end().trim_end_matches("or not");
        let all = Topic::default();
        Self::Whether(
            clauses(not_or_not).filter_map(|clause| sides(clause, &all)).last().unwrap_or(Side::For),
        )
    }
}

fn words_start(clause: &str, is: impl Fn(&str) -> bool) -> bool {
    clause.split_whitespace().next().is_some_and(is)
}

/// The side that an answer takes.
pub(super) fn stance(sentences: &[String], asked: Asked, topic: &Topic) -> Option<Side> {
    let yes = match asked {
        Asked::Whether(side) => side,
        Asked::Unknown | Asked::What => Side::For,
    };
    let clauses: Vec<&str> = sentences
        .iter()
        .take(FIRST_SENTENCES)
        .flat_map(|sentence| clauses(sentence).take(FIRST_CLAUSES))
        .collect();
    let first = clauses.first()?;
    if let Some(side) = outright(first, sentences.first()?) {
        return Some(side.flipped_if(yes == Side::Against));
    }
    if asked == Asked::What {
        return None;
    }
    // Where the question is not known, a later clause may be about anything.
    let read = if asked == Asked::Unknown { 1 } else { clauses.len() };
    clauses[..read].iter().find_map(|clause| sides(clause, topic))
}

/// An outright yes or no at the beginning.
fn outright(clause: &str, sentence: &str) -> Option<Side> {
    if clause.chars().any(is_unspaced) {
        let begins = |list: &[&str]| list.iter().any(|word| sentence.trim_start().starts_with(word));
        return if begins(YES_JA) { Some(Side::For) } else { begins(NO_JA).then_some(Side::Against) };
    }
    let words = words(clause);
    let begins = |list: &[&str]| words.first().is_some_and(|word| list.contains(word));
    let alone = words.len() <= 2;
    // "Generally yes" and "not really, no" end on it; "no visa is needed" is a sentence whose words decide.
    let ends = |list: &[&str]| alone && words.last().is_some_and(|word| list.contains(word));
    if alone && words.first() == Some(&"not") {
        Some(Side::Against)
    } else if (begins(YES) && words.first().is_some_and(|word| *word != "always" || alone)) || ends(YES) {
        Some(Side::For)
    } else {
        ((alone && begins(NO)) || ends(NO)).then_some(Side::Against)
    }
}

/// What a question is about. A recommendation of something else ("I recommend waiting", "加熱したものを選ぶのが無難") is no
/// verdict on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Topic {
    terms: FxHashSet<CompactString>,
    /// What a Japanese question says before its か, to be heard again in a yes: なりますか, なります.
    said_ja: Option<String>,
}

impl Topic {
    /// Of a question's sentences.
    pub(super) fn of(folded: &[String], sentences: &[Sentence]) -> Self {
        let terms = sentences.iter().flat_map(Sentence::content).map(|term| term.text.clone());
        let said_ja = folded.iter().rev().find_map(|sentence| sentence.trim().strip_suffix('か'));
        Self { terms: terms.collect(), said_ja: said_ja.map(str::to_owned) }
    }

    fn is_echo(&self, clause: &str) -> bool {
        let said = |said: &String| clause.chars().count() >= SHORTEST_ECHO && said.ends_with(clause.trim());
        self.said_ja.as_ref().is_some_and(said)
    }

    fn is_of(&self, clause: &str) -> bool {
        Sentence::of(clause).content().any(|term| self.terms.contains(&term.text))
    }
}

/// The side of a clause, if it takes one.
fn sides(clause: &str, topic: &Topic) -> Option<Side> {
    if clause.chars().any(is_unspaced) { sides_ja(clause, topic) } else { sides_en(clause, topic) }
}

fn sides_en(clause: &str, topic: &Topic) -> Option<Side> {
    let words = words(clause);
    // What a reason or a condition says is not the verdict.
    let end = (1..words.len()).find(|at| SUBORDINATING.contains(&words[*at])).unwrap_or(words.len());
    let words = &words[..end];
    let (mut side, mut decided, mut recommends) = (Side::For, false, false);
    for (at, &word) in words.iter().enumerate() {
        if (negates(words, at) && word != "without") || AGAINST.contains(&word) {
            side = side.flipped();
            decided = true;
        } else if RECOMMENDING.contains(&word) {
            recommends = true;
        } else {
            decided |= FOR.contains(&word);
        }
    }
    // "It is." and "You may": a verb that stands for the question's.
    let elliptic = (2..=5).contains(&words.len()) && ASKING.contains(&words[words.len() - 1]);
    (decided || elliptic || (recommends && topic.is_of(clause))).then_some(side)
}

fn sides_ja(clause: &str, topic: &Topic) -> Option<Side> {
    // The predicate stands at the end; what comes before is told about it.
    let start = clause.char_indices().rev().nth(PREDICATE_JA - 1).map_or(0, |(at, _)| at);
    let predicate = &clause[start..];
    let predicate = REASONS_JA
        .iter()
        .filter_map(|word| predicate.rsplit_once(word))
        .map(|(_, after)| after)
        .min_by_key(|after| after.len())
        .unwrap_or(predicate);
    let (mut side, mut decided, mut recommends) = (Side::For, false, false);
    let mut rest_at = 0;
    let negations = negations(predicate);
    while let Some(c) = predicate[rest_at..].chars().next() {
        let rest = &predicate[rest_at..];
        if let Some((word, is_for)) =
            SIDES_JA.iter().filter(|(word, _)| rest.starts_with(word)).max_by_key(|(word, _)| word.len())
        {
            side = side.flipped_if(!is_for);
            let before = predicate[..rest_at].trim_end_matches('お');
            if *is_for
                && (RECOMMENDING_JA.contains(word) || FRAMES_JA.iter().any(|frame| before.ends_with(frame)))
            {
                recommends = true;
            } else {
                decided = true;
            }
            rest_at += word.len();
        } else if let Some(phrase) = NO_NEGATIONS_JA.iter().find(|phrase| rest.starts_with(**phrase)) {
            rest_at += phrase.len();
        } else if let Some((_, bytes)) = negations.iter().find(|(at, _)| *at == rest_at) {
            side = side.flipped();
            decided = true;
            rest_at += bytes;
        } else {
            rest_at += c.len_utf8();
        }
    }
    (decided || topic.is_echo(clause) || (recommends && topic.is_of(clause))).then_some(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::agreement::text::Parts;

    fn side(question: &str, answer: &str) -> Option<Side> {
        let question = Parts::of(question).sentences;
        let terms: Vec<_> = question.iter().map(|sentence| Sentence::of(sentence)).collect();
        stance(&Parts::of(answer).sentences, Asked::of(&question), &Topic::of(&question, &terms))
    }

    #[test]
    fn english_verdicts() {
        let question = "Should I do this?";
        for answer in [
            "Yes.",
            "Sure, go on.",
            "It is safe.",
            "It's not unsafe.",
            "I do not advise against it.",
            "You may.",
            "Generally yes.",
        ] {
            assert_eq!(side(question, answer), Some(Side::For), "{answer}");
        }
        for answer in [
            "No.",
            "Not really.",
            "Avoid it.",
            "It isn't safe.",
            "I would advise against that.",
            "Better not.",
            "Don't.",
            "Never!",
            "You shouldn't.",
            "It is unwise.",
        ] {
            assert_eq!(side(question, answer), Some(Side::Against), "{answer}");
        }
        for answer in ["It depends on the load.", "The load decides."] {
            assert_eq!(side(question, answer), None, "{answer}");
        }
    }

    #[test]
    fn japanese_verdicts() {
        let question = "これをしてもよいですか？";
        for answer in [
            "はい。",
            "問題ありません。",
            "おすすめします。",
            "してもかまいません。",
            "避ける必要はありません。",
            "危険ではありません。",
            "避けない方が賢明です。",
        ] {
            assert_eq!(side(question, answer), Some(Side::For), "{answer}");
        }
        for answer in [
            "いいえ。",
            "避けてください。",
            "おすすめできません。",
            "してはいけません。",
            "やめておいた方が無難です。",
            "必要ありません。",
            "大丈夫ではありません。",
        ] {
            assert_eq!(side(question, answer), Some(Side::Against), "{answer}");
        }
    }

    #[test]
    fn yes_takes_the_side_of_the_question() {
        assert_eq!(
            side("確定申告は不要ですか？", "はい、そうです。"),
            side("確定申告は不要ですか？", "不要です。")
        );
        assert_eq!(side("Is it unnecessary?", "Yes."), side("Is it unnecessary?", "It is unnecessary."));
    }

    #[test]
    fn a_recommendation_counts_for_what_was_asked_about_alone() {
        assert_eq!(side("Should I use a pool?", "I recommend a pool."), Some(Side::For));
        assert_eq!(side("Should I restart it?", "I recommend patience."), None);
        assert_eq!(side("生の魚を食べてもよいですか？", "加熱したものを選ぶのが無難です。"), None);
    }

    #[test]
    fn what_asks_for_more_than_a_side() {
        assert_eq!(side("How long does it take?", "It is not long."), None);
        assert_eq!(side("何番ですか", "80番ではありません。"), None);
    }
}
