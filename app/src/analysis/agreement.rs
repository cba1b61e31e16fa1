//! How far two answers agree: deterministic, offline, in integers of a millionth.
//!
//! similarity = ½ cosine of the sublinear term frequencies + ½ Dice's coefficient of the character trigrams, over
//! case-folded text. A term is a word, or, in text written without spaces (Japanese, Chinese), a pair of neighbouring
//! characters, so that Japanese does not score zero. It is symmetric; a text compared with itself is 1.
//!
//! This measures likeness of wording, not of meaning: two answers that differ in one "not" look alike.

use std::collections::BTreeMap;

use techsapo_shared::event::WHOLE_PPM;

/// A text made ready to be compared; preparing is the greater part of the work, and each answer is compared often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    terms: BTreeMap<String, u32>,
    trigrams: BTreeMap<[char; 3], u32>,
}

impl Fingerprint {
    /// Prepares `text`.
    pub fn of(text: &str) -> Self {
        let folded = fold(text);
        Self { terms: count(terms(&folded)), trigrams: count(trigrams(&folded)) }
    }

    /// Agreement of the two texts, 0 to 1 000 000.
    pub fn agreement_ppm(&self, other: &Self) -> u32 {
        if self == other {
            return WHOLE_PPM;
        }
        let similarity =
            f64::midpoint(cosine(&self.terms, &other.terms), dice(&self.trigrams, &other.trigrams));
        (similarity.clamp(0.0, 1.0) * f64::from(WHOLE_PPM)).round() as u32
    }
}

/// Lower case, and every run of white space one space.
fn fold(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// Words, and pairs of neighbours where words are not set apart. A lone character is a term by itself.
fn terms(folded: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for word in folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let chars: Vec<_> = word.chars().collect();
        for run in chars.chunk_by(|&a, &b| is_unspaced(a) == is_unspaced(b)) {
            if is_unspaced(run[0]) && run.len() > 1 {
                terms.extend(run.windows(2).map(|pair| pair.iter().collect()));
            } else {
                terms.push(run.iter().collect());
            }
        }
    }
    terms
}

/// Scripts that set no space between words: kana and Chinese characters.
fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Three neighbouring characters each; the ends are padded, so that the shortest text has some.
fn trigrams(folded: &str) -> Vec<[char; 3]> {
    if folded.is_empty() {
        return Vec::new();
    }
    let padded: Vec<_> = [' '].into_iter().chain(folded.chars()).chain([' ']).collect();
    padded.windows(3).map(|window| [window[0], window[1], window[2]]).collect()
}

fn count<T: Ord>(items: Vec<T>) -> BTreeMap<T, u32> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_insert(0) += 1;
    }
    counts
}

/// Cosine of the angle between two texts whose terms weigh 1 + ln(frequency). The maps are ordered, so that sums do
/// not depend on which text comes first.
fn cosine(a: &BTreeMap<String, u32>, b: &BTreeMap<String, u32>) -> f64 {
    let weight = |frequency: u32| 1.0 + f64::from(frequency).ln();
    let product: f64 = a.iter().filter_map(|(term, &n)| Some(weight(n) * weight(*b.get(term)?))).sum();
    let length =
        |terms: &BTreeMap<String, u32>| terms.values().map(|&n| weight(n).powi(2)).sum::<f64>().sqrt();
    let lengths = length(a) * length(b);
    if lengths > 0.0 { product / lengths } else { 0.0 }
}

/// Share of the trigrams that both texts have: 2 |A ∩ B| / (|A| + |B|), counting repetitions.
fn dice(a: &BTreeMap<[char; 3], u32>, b: &BTreeMap<[char; 3], u32>) -> f64 {
    let common: u32 = a.iter().filter_map(|(gram, &n)| Some(n.min(*b.get(gram)?))).sum();
    let all: u32 = a.values().chain(b.values()).sum();
    if all > 0 { f64::from(2 * common) / f64::from(all) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agreement(a: &str, b: &str) -> u32 {
        Fingerprint::of(a).agreement_ppm(&Fingerprint::of(b))
    }

    proptest! {
        #[test]
        fn is_symmetric_and_a_share(a in ".{0,60}", b in "[a-c 日本語のは。]{0,60}") {
            prop_assert_eq!(agreement(&a, &b), agreement(&b, &a));
            prop_assert!(agreement(&a, &b) <= WHOLE_PPM);
        }

        #[test]
        fn a_text_agrees_with_itself(text in ".{0,60}") {
            prop_assert_eq!(agreement(&text, &text), WHOLE_PPM);
        }
    }

    #[test]
    fn case_and_spacing_do_not_matter() {
        assert_eq!(agreement("Use  an INDEX.", "use an index."), WHOLE_PPM);
    }

    #[test]
    fn nothing_in_common_is_nothing() {
        assert_eq!(agreement("abc def", "xyz uvw"), 0);
        assert_eq!(agreement("", "words"), 0);
    }

    #[test]
    fn japanese_paraphrases_agree_more_than_unrelated_sentences() {
        let one = "データベースの索引を追加すると、検索が速くなります。";
        let same = "検索を速くするには、データベースに索引を追加します。";
        let other = "明日は雨が降るので、傘を持って行きましょう。";
        assert!(agreement(one, same) > 300_000, "{}", agreement(one, same));
        assert!(agreement(one, same) > 3 * agreement(one, other));
    }

    #[test]
    fn terms_of_mixed_text() {
        assert_eq!(terms("redisの速度、x=1"), ["redis", "の速", "速度", "x", "1"]);
    }
}
