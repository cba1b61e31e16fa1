//! Which side an answer takes when it is asked something that can be answered by yes or no.
//!
//! The first clause that takes a side decides, for answers begin with their verdict. Its side is the product of the words
//! in it that take one ("safe" for, "avoid" against) and of its negations, so that "not unsafe", "I do not advise against
//! it" and "避ける必要はありません" speak for. An outright yes or no is taken with the side of the question: yes to "is it
//! unnecessary?" speaks against.

use super::known::Known;
use super::lexicon::{ASKING_WHAT_JA, NO_JA, NO_NEGATIONS_JA, SIDES_JA, YES_JA};
use super::sentence::{Sentence, Term, add_terms, negates, negations};
use super::text::has_unspaced;
use super::words::{Clause, Reading, words};

/// Sentences in which a verdict is looked for.
const FIRST_SENTENCES: usize = 2;
/// Clauses of each.
const FIRST_CLAUSES: usize = 4;

/// Characters at the end of a Japanese clause in which its predicate stands.
const PREDICATE_JA: usize = 14;
/// Japanese words that a reason ends with; the verdict comes behind.
const REASONS_JA: &[&str] = &["ので", "ため", "から", "ば"];
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
    /// What a question asks.
    pub(super) fn of(question: &Reading<'_>) -> Self {
        let mut is_empty = true;
        for (sentence, clauses) in question.sentences().rev() {
            is_empty = false;
            if is_polar(sentence, clauses) {
                return Self::Whether(side_of_yes(sentence));
            }
        }
        if is_empty { Self::Unknown } else { Self::What }
    }
}

/// Whether a question's sentence can be answered by yes or no.
fn is_polar<'a>(sentence: &str, mut clauses: impl Iterator<Item = Clause<'a>>) -> bool {
    let sentence = sentence.trim_end();
    if has_unspaced(sentence) {
        // "直すには", "始まった年は": the topic alone, and what is said of it is asked for.
        return !sentence.ends_with('は') && !ASKING_WHAT_JA.iter().any(|word| sentence.contains(word));
    }
    let asks = |word: &str| Known::of(word).is(Known::ASKING);
    let asks_what = || {
        let mut all = Vec::new();
        words(sentence, &mut all);
        let what = |word: &str| matches!(word, "how" | "what" | "which" | "when" | "why" | "who" | "where");
        all.first().is_some_and(|word| what(word.text))
    };
    sentence.ends_with("or not")
        // "My disk is full. Should I …" and, with a beginning, "In Japan, should I …".
        || (clauses.any(|clause| clause.text.split_whitespace().next().is_some_and(asks))
            && !asks_what())
}

/// On which side an answer is that says yes to this sentence.
fn side_of_yes(sentence: &str) -> Side {
    let reading = Reading::of([sentence.trim_end().trim_end_matches("or not")]);
    let all = Topic::default();
    let clauses = reading.sentences().flat_map(|(_, clauses)| clauses);
    clauses.rev().find_map(|clause| sides(clause, &all)).unwrap_or(Side::For)
}

/// The side that an answer takes.
pub(super) fn stance(answer: &Reading<'_>, asked: Asked, topic: &Topic) -> Option<Side> {
    let yes = match asked {
        Asked::Whether(side) => side,
        Asked::Unknown | Asked::What => Side::For,
    };
    let first_clauses = || {
        let sentences = answer.sentences().take(FIRST_SENTENCES);
        sentences.flat_map(|(_, clauses)| clauses.take(FIRST_CLAUSES))
    };
    let (sentence, _) = answer.sentences().next()?;
    if let Some(side) = outright(first_clauses().next()?, sentence) {
        return Some(side.flipped_if(yes == Side::Against));
    }
    // Where the question is not known, a later clause may be about anything.
    let read = match asked {
        Asked::What => 0,
        Asked::Unknown => 1,
        Asked::Whether(_) => FIRST_SENTENCES * FIRST_CLAUSES,
    };
    first_clauses().take(read).find_map(|clause| sides(clause, topic))
}

/// An outright yes or no at the beginning.
fn outright(clause: Clause<'_>, sentence: &str) -> Option<Side> {
    if clause.is_unspaced {
        let begins = |list: &[&str]| list.iter().any(|word| sentence.trim_start().starts_with(word));
        return if begins(YES_JA) { Some(Side::For) } else { begins(NO_JA).then_some(Side::Against) };
    }
    let (Some(first), Some(last)) = (clause.words.first(), clause.words.last()) else { return None };
    let alone = clause.words.len() <= 2;
    // "Generally yes" and "not really, no" end on it; "no visa is needed" is a sentence whose words decide.
    let ends = |list: Known| alone && last.is(list);
    if alone && first.text == "not" {
        Some(Side::Against)
    } else if (first.is(Known::YES) && (first.text != "always" || alone)) || ends(Known::YES) {
        Some(Side::For)
    } else {
        ((alone && first.is(Known::NO)) || ends(Known::NO)).then_some(Side::Against)
    }
}

/// What a question is about. A recommendation of something else ("I recommend waiting", "加熱したものを選ぶのが無難") is no
/// verdict on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Topic {
    sentences: Vec<Sentence>,
    /// What a Japanese question says before its か, to be heard again in a yes: なりますか, なります.
    said_ja: Option<String>,
}

impl Topic {
    /// Of a question's sentences.
    pub(super) fn of(folded: &[String], sentences: Vec<Sentence>) -> Self {
        let said_ja = folded.iter().rev().find_map(|sentence| sentence.trim().strip_suffix('か'));
        Self { sentences, said_ja: said_ja.map(str::to_owned) }
    }

    fn is_echo(&self, clause: &str) -> bool {
        let said = |said: &String| clause.chars().count() >= SHORTEST_ECHO && said.ends_with(clause.trim());
        self.said_ja.as_ref().is_some_and(said)
    }

    fn is_of(&self, clause: Clause<'_>) -> bool {
        let mut terms = Vec::new();
        add_terms(clause, &mut terms);
        let is_known =
            |term: &Term| self.sentences.iter().flat_map(Sentence::content).any(|one| one.says(term));
        terms.iter().any(|term| term.content && is_known(term))
    }
}

/// The side of a clause, if it takes one.
fn sides(clause: Clause<'_>, topic: &Topic) -> Option<Side> {
    if clause.is_unspaced { sides_ja(clause, topic) } else { sides_en(clause, topic) }
}

fn sides_en(clause: Clause<'_>, topic: &Topic) -> Option<Side> {
    let words = clause.words;
    // What a reason or a condition says is not the verdict.
    let end = (1..words.len()).find(|&at| words[at].is(Known::SUBORDINATING)).unwrap_or(words.len());
    let words = &words[..end];
    let (mut side, mut decided, mut recommends) = (Side::For, false, false);
    for (at, word) in words.iter().enumerate() {
        if (negates(words, at) && word.text != "without") || word.is(Known::AGAINST) {
            side = side.flipped();
            decided = true;
        } else if word.is(Known::RECOMMENDING) {
            recommends = true;
        } else {
            decided |= word.is(Known::FOR);
        }
    }
    // "It is." and "You may": a verb that stands for the question's.
    let elliptic = words.len() <= 5 && matches!(words, [_, .., verb] if verb.is(Known::ASKING));
    (decided || elliptic || (recommends && topic.is_of(clause))).then_some(side)
}

fn sides_ja(clause: Clause<'_>, topic: &Topic) -> Option<Side> {
    let text = clause.text;
    // The predicate stands at the end; what comes before is told about it.
    let start = text.char_indices().rev().nth(PREDICATE_JA - 1).map_or(0, |(at, _)| at);
    let predicate = &text[start..];
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
    (decided || topic.is_echo(text) || (recommends && topic.is_of(clause))).then_some(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::agreement::text::Parts;

    fn side(question: &str, answer: &str) -> Option<Side> {
        let (question, answer) = (Parts::of(question).sentences, Parts::of(answer).sentences);
        let asked = Reading::of(question.iter().map(String::as_str));
        let topic = Topic::of(&question, Sentence::all(&asked));
        stance(&Reading::of(answer.iter().map(String::as_str)), Asked::of(&asked), &topic)
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
