//! A metric as people copy it from a page or a query: its name, perhaps with labels, `name{label="value"}`. Pure.

/// A name with what was asked of its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selector<'a> {
    /// Everything before the labels.
    pub(super) name: &'a str,
    /// The labels, in their order.
    pub(super) matchers: Vec<Matcher>,
}

/// What was asked of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matcher {
    /// Its name.
    pub(super) label: String,
    /// Its value, or a pattern of it.
    pub(super) value: String,
    /// Whether the value is a regular expression.
    pub(super) is_pattern: bool,
}

impl<'a> Selector<'a> {
    /// Reads a selector; nothing if its labels are not written as Prometheus writes them.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let Some((name, rest)) = text.split_once('{') else {
            return Some(Self { name: text, matchers: Vec::new() });
        };
        let mut rest = rest.trim_start();
        let mut matchers = Vec::new();
        // A comma may stand behind the last one too.
        while !rest.starts_with('}') {
            let (matcher, behind) = Matcher::parse(rest)?;
            matchers.push(matcher);
            rest = behind.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if rest.starts_with('}') => rest,
                None => return None,
            };
        }
        // A value, or a range, may follow.
        Some(Self { name: name.trim_end(), matchers })
    }
}

impl Matcher {
    /// The matcher that `text` begins with, and what stands behind it.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        let (label, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|&operator| rest.starts_with(operator))?;
        let rest = rest[operator.len()..].trim_start();
        let quote = rest.chars().next().filter(|&c| c == '"' || c == '\'')?;
        let mut value = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                end if end == quote => {
                    let is_pattern = operator.ends_with('~');
                    return Some((Self { label: label.to_owned(), value, is_pattern }, &rest[at + 1..]));
                }
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_their_labels() {
        let bare = Selector::parse(" up ").unwrap();
        assert_eq!((bare.name, bare.matchers.len()), ("up", 0));
        let read = Selector::parse(r#"x_total{a="1", b =~ 'c.*',d!="e\"}f",} 5"#).unwrap();
        assert_eq!(read.name, "x_total");
        let read: Vec<_> =
            read.matchers.iter().map(|m| (m.label.as_str(), m.value.as_str(), m.is_pattern)).collect();
        assert_eq!(read, [("a", "1", false), ("b", "c.*", true), ("d", "e\"}f", false)]);
        assert_eq!(Selector::parse("x{}").unwrap().matchers, []);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "x{",
            "x{a}",
            "x{a=}",
            "x{a=1}",
            "x{a=\"1\"",
            "x{a=\"1}",
            "x{a=\"1\" b=\"2\"}",
            "x{ä=\"1\"}",
            "x{,}",
        ] {
            assert_eq!(Selector::parse(text), None, "{text}");
        }
    }
}
