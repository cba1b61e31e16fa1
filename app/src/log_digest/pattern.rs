//! What log lines of one kind have in common: the message without its time and level, with a placeholder for whatever
//! differs from one to the next.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{level, shortened};

/// Characters of a line that are read, and of a pattern that are kept.
const READ_CHARS: usize = 1_000;
const KEPT_CHARS: usize = 200;

/// What is replaced by what, one after another.
static REPLACED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let table = [
        (r"\x1b\[[0-9;]*m", ""),
        (r"\d{4}[-/]\d{2}[-/]\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?", "<time>"),
        (r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]?\d \d{2}:\d{2}:\d{2}", "<time>"),
        (r"\b\d{2}:\d{2}:\d{2}(?:[.,]\d+)?\b", "<time>"),
        (r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\[ip\]", "<ip>"),
        (r"(?i)\b0x[0-9a-f]+\b", "<hex>"),
        (r"(?i)\b(?:[0-9]+[a-f]|[a-f]+[0-9])[0-9a-f]{6,}\b", "<hex>"),
        (r#""[^"\n]{0,200}""#, "\"…\""),
        (r"'[^'\n]{0,200}'", "'…'"),
        (r"\d+(?:\.\d+)?", "<n>"),
        (r"\s+", " "),
        // What stands before the message: time and level.
        (
            r"^(?:\s|<time>|<n>|[\[\](){}|:,-]|\b(?i:fatal|critical|crit|error|err|severe|warning|warn)\b:?)+",
            "",
        ),
    ];
    table
        .into_iter()
        .map(|(pattern, by)| {
            let regex = Regex::new(pattern);
            (regex.unwrap_or_else(|error| panic!("the table of what differs is wrong: {error}")), by)
        })
        .collect()
});

/// The pattern of a line.
pub(super) fn of(line: &str) -> String {
    let message = level::json(line).and_then(|record| message(&record));
    let mut text = shortened(message.as_deref().unwrap_or(line), READ_CHARS).to_owned();
    for (regex, by) in REPLACED.iter() {
        text = regex.replace_all(&text, *by).into_owned();
    }
    let text = text.trim();
    // Nothing but what differs: then that is what they have in common.
    let text = if text.is_empty() { line.trim() } else { text };
    shortened(text, KEPT_CHARS).to_owned()
}

/// A JSON record's message, with its error if it names one beside.
fn message(record: &Value) -> Option<String> {
    let mut texts = level::MESSAGE_FIELDS.iter().filter_map(|field| record.get(field)?.as_str());
    let first = texts.next()?;
    let error = texts.next_back().filter(|_| record.get("error").is_some());
    Some(error.map_or_else(|| first.to_owned(), |error| format!("{first}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn what_differs_makes_no_other_pattern() {
        let same = [
            [
                "2026-11-22T01:00:02.123Z ERROR Request 17 took 3.5 s",
                "2026-11-23 02:00:02,001 ERROR Request 9 took 12 s",
            ],
            ["[error] user 'a' not found", "[error] user 'b c' not found"],
            ["ERROR 4f9c2a7be1 missing", "ERROR 00ff11aa22 missing"],
            [
                r#"{"level":"error","time":1,"msg":"call 3 failed","error":"refused by 10.0.0.1"}"#,
                r#"{"level":"error","time":2,"msg":"call 4 failed","error":"refused by 10.0.0.2"}"#,
            ],
            ["Nov  2 01:00:00 host app: ERROR x", "Nov 22 11:00:00 host app: ERROR x"],
        ];
        for [one, other] in same {
            assert_eq!(of(one), of(other));
        }
        assert_ne!(of("ERROR disk full"), of("ERROR disk slow"));
        assert_eq!(of("ERROR id 550e8400-e29b-41d4-a716-446655440000 gone"), "id <id> gone");
        assert_eq!(of("ERROR 42"), "ERROR 42");
        assert_eq!(of("【エラー】接続に3回失敗"), "【エラー】接続に<n>回失敗");
    }
}
