//! Writes an event as one line, with everything personal or secret in it masked.
//!
//! JSON: `{"timestamp", "level", "message", …fields, "target"}`. Text: the same for a person. What must hold: an event is
//! one line, whatever its values hold; a value never takes more than [`MAX_VALUE_BYTES`].

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::clock;
use crate::mask::mask;

/// Most of a value that is written.
const MAX_VALUE_BYTES: usize = 8 << 10;
/// Most of a value that is looked at. More than is written: nothing that is cut in two here is ever seen.
const MAX_READ_BYTES: usize = 8 * MAX_VALUE_BYTES;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Json,
    Text { colour: bool },
}

/// Gives an event's line to `take`.
pub(super) fn write(event: &Event<'_>, style: Style, take: impl FnOnce(&str)) {
    let write = |line: &mut Line| {
        line.begin(style, *event.metadata().level());
        event.record(line);
        line.end(event.metadata().target());
        take(&line.text);
    };
    LINE.with(|line| match line.try_borrow_mut() {
        Ok(mut line) => write(&mut line),
        // A value that logs while it is written.
        Err(_) => write(&mut Line::new()),
    });
}

thread_local! {
    /// Kept, so that a line costs no allocation.
    static LINE: RefCell<Line> = const { RefCell::new(Line::new()) };
}

/// How many lines these are.
pub(super) fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// The line that says how many are missing.
pub(super) fn dropped(style: Style, lines: u64) -> String {
    let mut line = Line::new();
    line.begin(style, Level::WARN);
    line.message("Log lines were dropped: they could not be written in time, or at all");
    line.number("lines", lines);
    line.end(module_path!());
    line.text
}

/// A line while it is being written.
struct Line {
    style: Style,
    text: String,
    /// Text of the value at hand.
    value: String,
}

impl Line {
    const fn new() -> Self {
        Self { style: Style::Json, text: String::new(), value: String::new() }
    }

    fn begin(&mut self, style: Style, level: Level) {
        self.style = style;
        self.text.clear();
        let now = clock::rfc3339(clock::unix_ms());
        let written = match style {
            Style::Json => write!(self.text, r#"{{"timestamp":"{now}","level":"{level}""#),
            Style::Text { colour: false } => write!(self.text, "{now} {level:>5}"),
            Style::Text { colour: true } => {
                let colour = match level {
                    Level::ERROR => 31,
                    Level::WARN => 33,
                    Level::INFO => 32,
                    _ => 34,
                };
                write!(self.text, "{now} \x1b[{colour}m{level:>5}\x1b[0m")
            }
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }

    fn end(&mut self, target: &str) {
        match self.style {
            Style::Json => {
                self.key("target");
                json_string(&mut self.text, target);
                self.text.push_str("}\n");
            }
            Style::Text { .. } => self.text.push('\n'),
        }
    }

    fn key(&mut self, name: &str) {
        match self.style {
            Style::Json => {
                self.text.push(',');
                json_string(&mut self.text, name);
                self.text.push(':');
            }
            Style::Text { .. } => {
                self.text.push(' ');
                self.text.push_str(name);
                self.text.push('=');
            }
        }
    }

    fn message(&mut self, text: &str) {
        match self.style {
            Style::Json => self.string("message", text),
            Style::Text { .. } => {
                self.text.push(' ');
                let text = shown(text);
                without_control(&mut self.text, &text);
            }
        }
    }

    fn string(&mut self, name: &str, text: &str) {
        if name == "message" && self.style != Style::Json {
            return self.message(text);
        }
        self.key(name);
        let text = shown(text);
        match self.style {
            Style::Json => json_string(&mut self.text, &text),
            Style::Text { .. } if text.contains(' ') || text.is_empty() => {
                self.text.push('"');
                without_control(&mut self.text, &text);
                self.text.push('"');
            }
            Style::Text { .. } => without_control(&mut self.text, &text),
        }
    }

    /// A value that is no text: neither is anything to mask in it, nor to escape.
    fn number(&mut self, name: &str, value: impl fmt::Display) {
        self.key(name);
        let written = write!(self.text, "{value}");
        debug_assert!(written.is_ok(), "a number can be written");
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has neither infinity nor "not a number".
        if value.is_finite() { self.number(field.name(), value) } else { self.number(field.name(), "null") }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.string(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = std::mem::take(&mut self.value);
        text.clear();
        // What refuses to be written any further is shown as far as it came.
        let _ = write!(Bounded(&mut text), "{value:?}");
        self.string(field.name(), &text);
        self.value = text;
    }
}

/// Takes the first [`MAX_READ_BYTES`].
struct Bounded<'a>(&'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_READ_BYTES.saturating_sub(self.0.len());
        self.0.push_str(&text[..floor(text, room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The part of a value that is written: masked first, then cut, so that no half of a secret stays.
fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    let masked = mask(&text[..floor(text, MAX_READ_BYTES)]);
    if masked.len() <= MAX_VALUE_BYTES {
        return masked;
    }
    let cut = floor(&masked, MAX_VALUE_BYTES);
    format!("{}… ({} bytes)", &masked[..cut], text.len()).into()
}

/// The last border of a character that is not behind `at`.
fn floor(text: &str, at: usize) -> usize {
    if at >= text.len() {
        text.len()
    } else {
        (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
    }
}

fn json_string(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("null"),
    }
}

/// Line breaks and control characters escaped: nobody forges a line, or leads a terminal astray.
fn without_control(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
}
