//! The terms by which a text is found: the same as those by which answers are compared, and numbers.
//!
//! Words without their endings; where words are not set apart, pairs of neighbouring characters and each character by
//! itself, foreign words whole. Words without a meaning of their own are left out. Folded, so that ＡＢＣ is abc.

use super::sentence::Sentence;
use super::text::{fold, is_ideograph};
use super::words::Reading;

/// Where a text is cut before terms are taken from it; no term goes over these.
const ENDS: [char; 5] = ['\n', '。', '!', '?', ';'];

/// Terms of a text, in its order, with repetitions.
pub fn terms(text: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for sentence in fold(text).split(ENDS) {
        for term in Sentence::all(&Reading::of([sentence])).into_iter().flat_map(|sentence| sentence.terms) {
            let is_number = term.text.chars().any(|c| c.is_ascii_digit());
            if !term.content && !is_number {
                continue;
            }
            let is_pair = term.text.chars().count() == 2 && term.text.chars().all(is_ideograph);
            if is_pair {
                terms.extend(term.text.chars().map(String::from));
            }
            terms.push(term.text.into_string());
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::terms;

    #[test]
    fn endings_forms_and_small_words_make_no_difference() {
        assert_eq!(
            terms("The servers RESTARTED"),
            terms("restart a server").into_iter().rev().collect::<Vec<_>>()
        );
        assert_eq!(terms("ＫＡＦＫＡ"), ["kafka"]);
        assert_eq!(terms("HTTP 504!"), ["http", "504"]);
        assert_eq!(terms("the of a"), [""; 0]);
    }

    #[test]
    fn japanese_is_found_by_pairs_characters_and_foreign_words() {
        let found = terms("秘密鍵をローテーションする");
        for term in ["秘密", "密鍵", "鍵", "ローテーション"] {
            assert!(found.iter().any(|known| known == term), "{term} in {found:?}");
        }
        assert!(!found.iter().any(|term| term == "する"), "{found:?}");
    }
}
