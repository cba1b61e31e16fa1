//! What others wrote, made safe to look at: a terminal obeys control characters, and some others change the order or the
//! sight of what is read. Pure.

use std::borrow::Cow;

/// Whether a terminal might do anything with `character` but show it.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Direction, joining, invisible separators and tags.
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// The text with such characters written out, `\u{1b}`.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    replaced(text, |character, out| out.extend(character.escape_default()))
}

/// The same for a text in JSON, which stays the same JSON: `\u001b`.
pub(super) fn printable_json(text: &str) -> Cow<'_, str> {
    replaced(text, |character, out| match character {
        // Between tokens; within strings JSON has no such character as it is.
        '\t' | '\r' | '\n' => out.push(' '),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    })
}

fn replaced(text: &str, replace: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if acts(character) { replace(character, &mut out) } else { out.push(character) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(printable("plain, 日本語, é"), "plain, 日本語, é");
        assert_eq!(printable("\x1b[31m\x07\r\n"), "\\u{1b}[31m\\u{7}\\r\\n");
        // CSI in one character, and a text that would be read from right to left.
        assert_eq!(printable("a\u{9b}2J\u{202e}b"), "a\\u{9b}2J\\u{202e}b");
    }

    #[test]
    fn json_stays_the_same_json() {
        let text = "{\"a\":\t\"\u{9b}2J\u{7f}\u{202e}\u{e0041} é\"}\r";
        let safe = printable_json(text);
        assert!(!safe.chars().any(acts), "{safe}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&safe), read(text));
    }
}
