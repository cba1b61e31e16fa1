//! How bad a log's line is, by what it says itself: JSON, `level=`, syslog, klog, a level in capitals or brackets, an access
//! log's status, an exception's name.
//!
//! A word in the middle of a sentence is no level: "no error was found" says that all is well.

use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;
use serde_json::Value;

/// Characters of a line in which its level is looked for.
const HEAD_CHARS: usize = 300;

/// How bad something is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The process, or the system, could not go on.
    Fatal,
    /// Something failed.
    Error,
    /// Something may fail.
    Warning,
    /// What happens.
    Info,
    /// Details for developers.
    Debug,
    /// All details.
    Trace,
    /// It does not say.
    Unknown,
}

/// Fields of a JSON record that name its level, and its message.
const LEVEL_FIELDS: [&str; 5] = ["level", "severity", "lvl", "log.level", "levelname"];
pub(super) const MESSAGE_FIELDS: [&str; 5] = ["message", "msg", "fields.message", "event", "error"];

pub(super) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("a pattern of a log's line is wrong: {error}"))
}

/// `level=error`, `severity: "ERROR"`.
static FIELD: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"(?i)\b(?:level|lvl|severity|loglevel)"?\s*[=:]\s*"?([a-z]+)"#));
/// A level in capitals, in brackets, or before a colon.
static WORD: LazyLock<Regex> = LazyLock::new(|| {
    const WORDS: &str = "emergency|emerg|panic|fatal|critical|crit|alert|severe|error|err|warning|warn|notice|info|debug|trace";
    regex(&format!(
        r"\b({upper})\b|(?i:[\[(|【<]\s*({WORDS}|エラー|致命的|異常|警告|注意|情報)\s*[\])|】>])|(?i:\b({WORDS})\s*[:：])|(エラー|致命的|警告)\s*[:：]",
        upper = WORDS.to_ascii_uppercase()
    ))
});
/// `E1122 01:00:00.000000`.
static KLOG: LazyLock<Regex> = LazyLock::new(|| regex(r"^([FEWI])\d{4} \d{2}:\d{2}:\d{2}"));
/// `<3>`.
static SYSLOG: LazyLock<Regex> = LazyLock::new(|| regex(r"^<(\d{1,3})>"));
/// `"GET / HTTP/1.1" 503`.
static ACCESS: LazyLock<Regex> = LazyLock::new(|| regex(r#"" (\d{3}) (?:\d+|-)(?: |$)"#));
/// What exceptions are called.
static EXCEPTION: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^(?:[\w$]+\.)*[A-Z]\w*(?:Exception|Error)\b|^Traceback \(most recent|\bpanicked at\b|^Exception in thread|^Unhandled",
    )
});
/// What belongs to the record before it.
static CONTINUES: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"^\s|^at [\w$.<]|^Caused by:|^\.\.\. \d+ more|^(?:[\w$]+\.)+[A-Z]\w*(?:Exception|Error)\b|^stack backtrace:|^[}\])]+,?$",
    )
});

impl Level {
    /// What a line says.
    pub fn of(line: &str) -> Self {
        if let Some(record) = json(line) {
            return Self::of_json(&record);
        }
        let head = super::shortened(line, HEAD_CHARS);
        let group = |regex: &Regex| {
            regex
                .captures(head)
                .and_then(|found| found.iter().skip(1).flatten().next().map(|word| word.as_str().to_owned()))
        };
        if let Some(level) = group(&KLOG).and_then(|letter| Self::word(&letter)) {
            return level;
        }
        if let Some(level) = group(&FIELD).and_then(|word| Self::word(&word)) {
            return level;
        }
        if let Some(level) = group(&WORD).and_then(|word| Self::word(&word)) {
            return level;
        }
        if let Some(status) = group(&ACCESS) {
            return match status.as_bytes()[0] {
                b'5' => Self::Error,
                b'4' => Self::Warning,
                _ => Self::Info,
            };
        }
        if EXCEPTION.is_match(head) {
            return Self::Error;
        }
        group(&SYSLOG).and_then(|number| number.parse().ok()).map_or(Self::Unknown, Self::syslog)
    }

    fn of_json(record: &Value) -> Self {
        let level = LEVEL_FIELDS.iter().find_map(|field| record.get(field));
        match level {
            Some(Value::String(word)) => Self::word(word).unwrap_or(Self::Unknown),
            Some(Value::Number(number)) => number.as_u64().map_or(Self::Unknown, Self::number),
            _ => Self::Unknown,
        }
    }

    /// A level's name, whoever gave it.
    fn word(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "f" | "emergency" | "emerg" | "panic" | "fatal" | "critical" | "crit" | "alert" | "致命的" => {
                Self::Fatal
            }
            "e" | "severe" | "error" | "err" | "エラー" | "異常" => Self::Error,
            "w" | "warning" | "warn" | "警告" | "注意" => Self::Warning,
            "i" | "notice" | "info" | "information" | "情報" => Self::Info,
            "debug" | "fine" => Self::Debug,
            "trace" | "finest" | "verbose" => Self::Trace,
            _ => return None,
        })
    }

    /// As loggers of Node.js number them.
    fn number(number: u64) -> Self {
        match number {
            60.. => Self::Fatal,
            50..=59 => Self::Error,
            40..=49 => Self::Warning,
            30..=39 => Self::Info,
            20..=29 => Self::Debug,
            10..=19 => Self::Trace,
            _ => Self::Unknown,
        }
    }

    /// The severity within a priority (RFC 5424).
    fn syslog(priority: u32) -> Self {
        match priority % 8 {
            0..=2 => Self::Fatal,
            3 => Self::Error,
            4 => Self::Warning,
            5 | 6 => Self::Info,
            _ => Self::Debug,
        }
    }

    /// Whether somebody should look at it.
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::Fatal | Self::Error | Self::Warning)
    }
}

/// A line that is a JSON object.
pub(super) fn json(line: &str) -> Option<Value> {
    let line = line.trim();
    if !line.starts_with('{') || !line.ends_with('}') {
        return None;
    }
    serde_json::from_str(line).ok()
}

/// Whether a line belongs to the record before it.
pub(super) fn continues(line: &str) -> bool {
    CONTINUES.is_match(super::shortened(line, HEAD_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_its_level_in_many_ways() {
        use Level::{Debug, Error, Fatal, Info, Trace, Unknown, Warning};
        let lines = [
            (r#"{"level":"error","msg":"x"}"#, Error),
            (r#"{"severity":"CRITICAL","message":"x"}"#, Fatal),
            (r#"{"level":40,"msg":"x"}"#, Warning),
            (r#"{"msg":"error"}"#, Unknown),
            ("ts=1 level=warn msg=\"an error\"", Warning),
            ("2026-01-01 12:00:00 ERROR Something", Error),
            ("[error] 12#12: connect() failed", Error),
            ("2026/01/01 [WARN] slow", Warning),
            ("Error: Cannot find module", Error),
            ("error: linking failed", Error),
            ("E1122 01:00:00.000000 7 main.go:1] gone", Error),
            ("W1122 01:00:00.000000 7 main.go:1] slow", Warning),
            ("<11>Nov 22 host app: out of memory", Error),
            (r#"10.0.0.1 - - [22/Nov/2026] "GET / HTTP/1.1" 503 12 "-""#, Error),
            (r#"10.0.0.1 - - [22/Nov/2026] "GET / HTTP/1.1" 200 12"#, Info),
            ("java.lang.IllegalStateException: closed", Error),
            ("thread 'main' panicked at src/main.rs:1:1:", Error),
            ("【エラー】接続に失敗しました", Error),
            ("警告：残り容量が少ない", Warning),
            ("DEBUG state", Debug),
            ("TRACE state", Trace),
            ("FATAL gone", Fatal),
            ("no error was found, and info is elsewhere", Unknown),
            ("Listening", Unknown),
        ];
        for (line, expected) in lines {
            assert_eq!(Level::of(line), expected, "{line}");
        }
    }

    #[test]
    fn a_stack_trace_belongs_to_what_is_before_it() {
        for line in [
            "    at a.b(C.java:1)",
            "\tmore",
            "Caused by: java.io.IOException",
            "... 12 more",
            "at Object.<anonymous>",
        ] {
            assert!(continues(line), "{line}");
        }
        for line in ["2026-01-01 ERROR x", "Error: x", "attached to x"] {
            assert!(!continues(line), "{line}");
        }
    }
}
