//! Text made ready to be compared: an answer in, its prose as folded sentences and its code as tokens out.
//!
//! Prose is brought to NFKC and case-folded; Markdown's marks are taken away, the numbers of its lists too. Code (fenced
//! or inline) is kept apart as written, for there case matters; the words of inline code stay in the prose as well,
//! because one answer may write a name in backticks that the other does not. Work is bounded: beyond [`MOST_CHARS`] and
//! [`MOST_SENTENCES`] nothing is read.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::hash::{BuildHasher, Hash};

use caseless::Caseless;
use rustc_hash::FxBuildHasher;
use unicode_normalization::UnicodeNormalization;

use super::lexicon::{NO_SIGNS, YES_SIGNS};

/// Characters of an answer that are read. What decides an answer stands in its first pages.
pub(super) const MOST_CHARS: usize = 12_000;
/// Sentences of an answer that are set against another's.
pub(super) const MOST_SENTENCES: usize = 40;

/// What stands for a choice that is named A: a letter that no article is written with.
const CHOICE_A: char = 'á';

/// An answer, taken apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    /// Folded sentences, in order.
    pub(super) sentences: Vec<String>,
    /// Each piece of code as it was written.
    pub(super) code: Vec<String>,
    /// Whether there was more than is read.
    pub(super) is_cut: bool,
}

impl Parts {
    /// Takes `answer` apart.
    pub(super) fn of(answer: &str) -> Self {
        // No character takes less than a byte.
        let is_short = answer.len() <= MOST_CHARS;
        let cut = if is_short { None } else { answer.char_indices().nth(MOST_CHARS) };
        let end = cut.map_or(answer.len(), |(end, _)| end);
        let mut parts = Self { is_cut: end < answer.len(), ..Self::default() };
        let mut prose = String::with_capacity(end + 1);
        let mut fenced: Option<String> = None;
        let mut text = &answer[..end];
        if let Some((verdict, rest)) = verdict_sign(text) {
            prose.push_str(verdict);
            text = rest;
        }
        for line in text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            match (&mut fenced, is_fence) {
                (None, true) => fenced = Some(String::new()),
                (None, false) => {
                    parts.code.extend(inline_code(line));
                    push_with_choices(&mut prose, &without_marks(line));
                    prose.push('\n');
                }
                (Some(_), true) => parts.code.extend(fenced.take()),
                (Some(code), false) => {
                    code.push_str(line);
                    code.push('\n');
                }
            }
        }
        parts.code.extend(fenced);
        parts.code.retain(|code| !code.trim().is_empty());
        parts.sentences = sentences(&fold(&prose));
        parts.is_cut |= parts.sentences.len() > MOST_SENTENCES;
        parts.sentences.truncate(MOST_SENTENCES);
        parts
    }
}

/// The yes or no that a text begins with as a sign, in words, and what follows it. A sign before a word is a bullet, and several
/// are a gap to be filled.
fn verdict_sign(text: &str) -> Option<(&'static str, &str)> {
    let text = text.trim_start();
    let sign = text.chars().next()?;
    let verdict = if YES_SIGNS.contains(&sign) {
        "はい"
    } else if NO_SIGNS.contains(&sign) {
        "いいえ"
    } else {
        return None;
    };
    // How a sign is drawn: as a picture, and in which colour of skin.
    let rest = text[sign.len_utf8()..]
        .trim_start_matches(|c| matches!(c, '\u{fe0e}' | '\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}'));
    let ends = rest.trim().is_empty()
        || rest.starts_with(['\n', '\r', '。', '．', '.', '、', ',', '！', '!'])
        || ["です", "だ"].iter().any(|end| rest.starts_with(end));
    ends.then_some((verdict, rest))
}

/// Of a text, or a part of one: the same in every run, for the hasher has no seed.
pub(super) fn hash(text: impl Hash) -> u64 {
    FxBuildHasher.hash_one(text)
}

/// NFKC, and full case folding.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    // Line by line, for nothing is composed across the end of one, and most lines of code and English are ASCII.
    for line in text.split_inclusive('\n') {
        if line.is_ascii() {
            let start = folded.len();
            folded.push_str(line);
            folded[start..].make_ascii_lowercase();
        } else {
            fold_line(line, &mut folded);
        }
    }
    folded
}

fn fold_line(line: &str, folded: &mut String) {
    // Folding may undo a composition, so it is composed once more.
    // NFKC makes of 1½ an eleven and a slash.
    let spaced =
        line.chars().flat_map(|c| matches!(c, '½' | '¼' | '¾').then_some(' ').into_iter().chain([c]));
    let plain = |c| if matches!(c, '’' | '‘') { '\'' } else { c };
    folded.extend(spaced.nfkc().default_case_fold().nfkc().map(plain));
}

/// Whether any of it is of a script that sets no space between words.
pub(super) fn has_unspaced(text: &str) -> bool {
    !text.is_ascii() && text.chars().any(is_unspaced)
}

/// Scripts that set no space between words: kana and Chinese characters.
pub(super) fn is_unspaced(c: char) -> bool {
    is_kana(c) || is_ideograph(c)
}

/// Hiragana and katakana, with the mark for a long vowel.
pub(super) fn is_kana(c: char) -> bool {
    is_hiragana(c) || is_katakana(c)
}

/// Hiragana.
pub(super) fn is_hiragana(c: char) -> bool {
    matches!(c, '\u{3041}'..='\u{309f}')
}

/// Katakana, with the mark for a long vowel.
pub(super) fn is_katakana(c: char) -> bool {
    matches!(c, '\u{30a1}'..='\u{30fa}' | '\u{30fc}'..='\u{30ff}')
}

/// Chinese characters.
pub(super) fn is_ideograph(c: char) -> bool {
    matches!(c, '々' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// What stands between backticks in a line.
fn inline_code(line: &str) -> impl Iterator<Item = String> {
    line.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Adds a line to `prose`. A choice named A is written [`CHOICE_A`], or it would be taken for the article once case is folded. A capital
/// that begins a sentence may be either, and is left as it is.
fn push_with_choices(prose: &mut String, line: &str) {
    let mut written = 0;
    // Looked for once: a line may be full of them.
    let has_small = OnceCell::new();
    let has_small = || *has_small.get_or_init(|| line.contains(|c: char| c.is_lowercase() || is_unspaced(c)));
    for (at, _) in line.match_indices('A') {
        let (before, behind) = (&line[written..at], &line[at + 1..]);
        let is_apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() || is_unspaced(c));
        let stands_alone = is_apart(line[..at].chars().next_back())
            && is_apart(behind.chars().next())
            // A.I., A/B, A-levels and A+ are names of their own.
            && !behind.starts_with(['/', '-', '+', '&', '\'', '’', '#'])
            && !(behind.starts_with('.') && behind[1..].starts_with(char::is_alphanumeric));
        let words_before = line[..at].trim_end().trim_end_matches(['(', '（', '「', '"', '“']).trim_end();
        let begins =
            words_before.is_empty() || words_before.ends_with(['.', '!', '?', ':', ';', '。', '|', '>']);
        let is_all = !behind.contains(char::is_alphanumeric);
        // In a line of capitals it says nothing.
        if stands_alone && (is_all || (!begins && has_small())) {
            prose.push_str(before);
            prose.push(CHOICE_A);
            written = at + 1;
        }
    }
    prose.push_str(&line[written..]);
}

/// A line of prose without the marks of headings, quotes, lists and emphasis.
fn without_marks(line: &str) -> Cow<'_, str> {
    let mut line = line.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '#' | '>' | '|'));
    for bullet in ["- ", "* ", "+ ", "• ", "・"] {
        line = line.strip_prefix(bullet).unwrap_or(line);
    }
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - rest.len();
    if (1..=2).contains(&digits) {
        for end in [". ", ") ", "．", "、"] {
            line = rest.strip_prefix(end).unwrap_or(line);
        }
    }
    // A single one is no emphasis: 2**8.
    let is_emphasised = line.contains("**") && line.matches("**").count() % 2 == 0;
    if is_emphasised || line.contains("__") || line.contains('`') {
        let line = if is_emphasised { Cow::Owned(line.replace("**", "")) } else { Cow::Borrowed(line) };
        Cow::Owned(line.replace("__", "").replace('`', " "))
    } else {
        Cow::Borrowed(line)
    }
}

/// Cut where a sentence ends: at full stops and colons that a space follows, at semicolons and at the end of lines. One more
/// than are read tells that there are more.
fn sentences(text: &str) -> Vec<String> {
    const FULL_STOP: &str = "。";
    const FULL_STOP_BEGINS: u8 = FULL_STOP.as_bytes()[0];
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        let mark = match byte {
            b'!' | b'?' | b'\n' | b';' => 1,
            // "In short: …" is an opening, and what follows a sentence of its own; 3.5 and 9:30 are one.
            b'.' | b':' => usize::from(text[at + 1..].chars().next().is_none_or(char::is_whitespace)),
            FULL_STOP_BEGINS if text[at..].starts_with(FULL_STOP) => FULL_STOP.len(),
            _ => 0,
        };
        if mark > 0 {
            add_sentence(&text[start..at], &mut sentences);
            start = at + mark;
            if sentences.len() > MOST_SENTENCES {
                return sentences;
            }
        }
    }
    add_sentence(&text[start..], &mut sentences);
    sentences
}

fn add_sentence(sentence: &str, sentences: &mut Vec<String>) {
    if sentence.chars().any(char::is_alphanumeric) {
        sentences.push(with_single_spaces(sentence));
    }
}

fn with_single_spaces(sentence: &str) -> String {
    let sentence = sentence.trim();
    // Most are so already. Every byte is looked at, which is less than to stop at the first that is found.
    let has_other_space = sentence.bytes().fold(false, |has, byte| has | matches!(byte, b'\t'..=b'\r'));
    if sentence.is_ascii() && !has_other_space && !sentence.contains("  ") {
        return sentence.to_owned();
    }
    let mut words = sentence.split_whitespace();
    let mut spaced = String::with_capacity(sentence.len());
    spaced.push_str(words.next().unwrap_or_default());
    for word in words {
        spaced.push(' ');
        spaced.push_str(word);
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_and_code_come_apart() {
        let parts = Parts::of(
            "# Answer\n1. Use **bold** `List` here.\n```rust\nlet X = 1;\n```\nDone! Ｆｕｌｌ width; ok",
        );
        assert_eq!(parts.sentences, ["answer", "use bold list here", "done", "full width", "ok"]);
        assert_eq!(parts.code, ["List", "let X = 1;\n"]);
    }

    #[test]
    fn folding_is_the_same_line_by_line_and_as_a_whole() {
        for text in ["Plain ASCII\nＷｉｄｅ\n", "ﬁne\r\nSTRASSE ß\n\n'Q'", "e\u{301}\n\u{301}x", "½ and 1½"]
        {
            let whole: String = {
                let mut whole = String::new();
                fold_line(text, &mut whole);
                whole
            };
            assert_eq!(fold(text), whole, "{text:?}");
        }
    }

    #[test]
    fn a_decimal_point_ends_no_sentence() {
        assert_eq!(Parts::of("It is 3.5 m. Yes").sentences, ["it is 3.5 m", "yes"]);
        assert_eq!(Parts::of("はい。3.5mです。").sentences, ["はい", "3.5mです"]);
    }

    #[test]
    fn reading_is_bounded() {
        let parts = Parts::of(&"A sentence. ".repeat(100_000));
        assert_eq!(parts.sentences.len(), MOST_SENTENCES);
    }

    #[test]
    fn a_fence_that_is_never_closed_still_holds_code() {
        assert_eq!(Parts::of("```\nx").code, ["x\n"]);
    }
}
