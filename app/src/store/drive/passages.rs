//! Cuts a document into passages: paragraphs together up to a size, a long one at the ends of its sentences; each begins
//! with what the one before it ended with.
//!
//! What must hold: no character of the text is lost; no passage is longer than [`MOST_BYTES`]; time is linear.

/// Longest passage. In bytes, for a Japanese character is three of them, and says about as much as three Latin letters.
pub(super) const MOST_BYTES: usize = 1_800;
/// How much of the passage before is repeated at most.
const OVERLAP_BYTES: usize = 300;

/// The passages of a text, in its order.
pub(super) fn passages(text: &str) -> Vec<String> {
    let mut passages = Vec::new();
    let mut current: Vec<&str> = Vec::new();
    // How many pieces of it stood in the passage before.
    let mut repeated = 0;
    for piece in paragraphs(text).flat_map(pieces) {
        if bytes(&current) + piece.len() > MOST_BYTES && current.len() > repeated {
            passages.push(current.concat());
            let kept = overlap(&current, MOST_BYTES - piece.len());
            current.drain(..current.len() - kept);
            repeated = kept;
        }
        current.push(piece);
    }
    if current.len() > repeated {
        passages.push(current.concat());
    }
    passages.iter().map(|passage| passage.trim().to_owned()).filter(|passage| !passage.is_empty()).collect()
}

fn bytes(pieces: &[&str]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

/// How many pieces at the end fit into the overlap, and into the room that the next piece leaves.
fn overlap(pieces: &[&str], room: usize) -> usize {
    let most = OVERLAP_BYTES.min(room);
    let sizes = pieces.iter().rev().scan(0, |sum, piece| {
        *sum += piece.len();
        Some(*sum)
    });
    // Never all of them: a passage that is within another tells nothing.
    sizes.take_while(|sum| *sum <= most).count().min(pieces.len() - 1)
}

/// Paragraphs, each with the empty lines behind it.
fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest
            .find("\n\n")
            .map_or(rest.len(), |at| at + rest[at..].find(|c: char| c != '\n').unwrap_or(rest.len() - at));
        let (paragraph, behind) = rest.split_at(end);
        rest = behind;
        Some(paragraph)
    })
}

/// A paragraph as it is; a long one as its sentences; a long sentence in pieces of equal size.
fn pieces(paragraph: &str) -> Vec<&str> {
    if paragraph.len() <= MOST_BYTES - OVERLAP_BYTES {
        return vec![paragraph];
    }
    let mut pieces = Vec::new();
    let mut chars = paragraph.char_indices().peekable();
    let mut from = 0;
    while let Some((at, c)) = chars.next() {
        let end = at + c.len_utf8();
        let next = chars.peek().map(|(_, next)| *next);
        let ends = match c {
            '。' | '！' | '？' | '\n' => true,
            '.' | '!' | '?' => next.is_some_and(char::is_whitespace),
            _ => false,
        };
        let next_end = end + next.map_or(0, char::len_utf8);
        if ends || next.is_none() || next_end - from > OVERLAP_BYTES {
            pieces.push(&paragraph[from..end]);
            from = end;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paragraphs_stay_together_and_overlap() {
        let paragraph = |n: usize| format!("Paragraph {n}. {}", "word ".repeat(40));
        let text: Vec<_> = (0..20).map(paragraph).collect();
        let passages = passages(&text.join("\n\n"));
        assert!(passages.len() > 2);
        for pair in passages.windows(2) {
            let last = pair[0].rsplit("\n\n").next().unwrap();
            assert!(
                pair[1].starts_with(last.trim_end()),
                "{:?} begins with the end of {:?}",
                pair[1],
                pair[0]
            );
        }
        assert!(passages[1].contains("Paragraph 8"), "{:?}", passages[1]);
    }

    #[test]
    fn a_long_japanese_paragraph_is_cut_at_the_ends_of_sentences() {
        let text = "この手順では、まずサービスを停止します。".repeat(100);
        let passages = passages(&text);
        assert!(passages.len() > 3);
        assert!(passages.iter().all(|passage| passage.ends_with('。') && passage.starts_with('こ')));
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        assert_eq!(passages(""), Vec::<String>::new());
        assert_eq!(passages("\n\n \n"), Vec::<String>::new());
        assert_eq!(passages("a"), ["a"]);
    }

    proptest! {
        #[test]
        fn no_passage_is_too_long_and_no_word_is_lost(text in "([a-zあ-ん。. ]{0,400}\n{0,3}){0,12}") {
            let found = passages(&text);
            prop_assert!(found.iter().all(|passage| passage.len() <= MOST_BYTES));
            // Each begins where the one before ended, or before that.
            let mut end = 0;
            for passage in &found {
                let from = end - end.min(OVERLAP_BYTES + 10);
                let from = (0..=from).rev().find(|at| text.is_char_boundary(*at)).unwrap();
                let at = text[from..].find(passage.as_str()).map(|at| from + at);
                prop_assert!(at.is_some_and(|at| text[end.min(at)..at].trim().is_empty()), "{passage:?} behind byte {end}");
                end = at.unwrap() + passage.len();
            }
            prop_assert!(text[end..].trim().is_empty());
        }
    }
}
