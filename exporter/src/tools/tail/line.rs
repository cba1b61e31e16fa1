//! An event as a line for people: when, what, and its fields in their order, units behind the numbers. Pure.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use techsapo_shared::event::Event;

use crate::catalog::write_scaled;
use crate::tools::human;
use crate::tools::paint::{Paint, Tone};
use crate::tools::printable::printable;

/// Longest line, in characters, before it is cut: an event may be as large as a batch.
const MOST_CHARS: usize = 2_000;
/// What an event says for the audit alone: longer than all the rest.
const AUDIT: &str = "audit";
/// Longest name of a type.
const TYPE_WIDTH: usize = 20;

/// An object's fields in the order in which they stand.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Value)>);

/// An event, whatever its type.
#[derive(Debug)]
struct Body(Fields);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let typed: std::collections::BTreeMap<String, Fields> = Deserialize::deserialize(deserializer)?;
        Ok(Self(typed.into_values().next().unwrap_or_default()))
    }
}

/// The line for `event`, which stands in the stream as `json`.
pub(super) fn readable(event: &Event<'_>, json: &str, paint: Paint) -> String {
    // What was an event is JSON; should it not be, the line is shorter.
    let Body(Fields(fields)) = serde_json::from_str(json).unwrap_or(Body(Fields::default()));
    let kind = Event::TYPES[event.type_index()];
    let mut line = format!(
        "{} {}",
        paint.tone(Tone::Faint, time(event.t())),
        paint.tone(Tone::Subject, format_args!("{kind:<TYPE_WIDTH$}"))
    );
    let mut shown = 0;
    for (name, value) in fields.iter().filter(|(name, _)| name != "t" && name != AUDIT) {
        let (name, text) = field(name, value);
        shown += name.chars().count() + text.chars().count() + 2;
        if shown > MOST_CHARS {
            line.push_str(" …");
            break;
        }
        let _ = write!(line, " {}", paint.tone(Tone::Faint, format_args!("{name}=")));
        match tone(value) {
            Some(tone) => {
                let _ = write!(line, "{}", paint.tone(tone, text));
            }
            None => line.push_str(&text),
        }
    }
    line
}

/// RFC 3339 in UTC, as in the logs.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    // The contract's bounds lie within the calendar's.
    time.map_or_else(|| format!("{ms} ms"), |time| format!("{time:.3}"))
}

/// How the value says that it went, if it says so.
fn tone(value: &Value) -> Option<Tone> {
    match value.as_str()? {
        "success" | "closed" => Some(Tone::Good),
        "rejected" | "half_open" | "warning" | "failure" => Some(Tone::Doubtful),
        "error" | "timeout" | "open" | "critical" => Some(Tone::Bad),
        _ => None,
    }
}

/// A field's name without its unit, and its value with it.
fn field<'a>(name: &'a str, value: &Value) -> (std::borrow::Cow<'a, str>, String) {
    type Show = fn(u64) -> String;
    const UNITS: [(&str, Show); 4] = [
        ("_us", |us| human::duration(Duration::from_micros(us))),
        ("_bytes", |bytes| human::bytes(bytes).replace(' ', "")),
        ("_nanousd", |nanousd| format!("${}", scaled(nanousd, 9))),
        ("_ppm", |ppm| scaled(ppm, 6)),
    ];
    if let Some(number) = value.as_u64() {
        for (suffix, show) in UNITS {
            if let Some(bare) = name.strip_suffix(suffix) {
                return (printable(bare), show(number));
            }
        }
    }
    (printable(name), plain(value))
}

fn scaled(units: u64, decimals: u8) -> String {
    let mut out = String::new();
    write_scaled(&mut out, units, decimals);
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| field(name, value));
            let fields: Vec<_> = fields.map(|(name, text)| format!("{name}={text}")).collect();
            format!("{{{}}}", fields.join(" "))
        }
    }
}

/// In quotes where it could be taken for more than one value.
fn quoted(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "-_./:@+*%".contains(c);
    if !text.is_empty() && text.chars().all(is_word) {
        return text.to_owned();
    }
    let escaped: String =
        text.chars().flat_map(|c| if c == '"' { vec!['\\', '"'] } else { vec![c] }).collect();
    format!("\"{}\"", printable(&escaped))
}

#[cfg(test)]
mod tests {
    use techsapo_shared::wire::{Line, decode_line};

    use super::*;
    use crate::tools::paint::When;

    fn line_with(json: &str, when: When) -> String {
        let Ok(Line::Event(event)) = decode_line(json.as_bytes()) else { panic!("{json} is no event") };
        readable(&event, json, Paint::of(when, &std::io::stdout()))
    }

    fn line(json: &str) -> String {
        line_with(json, When::Never)
    }

    #[test]
    fn fields_stand_in_their_order_with_their_units() {
        let call = r#"{"llm_request":{"t":1790000000123,"provider":"Gemini","model":"gemini-2.5-pro","task_type":"basic","status":"success","duration_us":1234567,"input_tokens":512,"output_tokens":900,"cost_nanousd":9640000}}"#;
        assert_eq!(
            line(call),
            "2026-09-21T14:13:20.123Z llm_request          provider=Gemini model=gemini-2.5-pro task_type=basic \
             status=success duration=1.23s input_tokens=512 output_tokens=900 cost=$0.00964"
        );
        let request = r#"{"http_request":{"t":1,"method":"POST","route":"/api/v1/generate","route_kind":"api","status_code":200,"duration_us":20000,"request_bytes":512,"response_bytes":5000}}"#;
        assert!(
            line(request).ends_with("status_code=200 duration=20ms request=512B response=4.88KiB"),
            "{}",
            line(request)
        );
    }

    #[test]
    fn lists_are_shown_and_the_audit_s_note_is_not() {
        let analysis = r#"{"analysis":{"t":1,"task_type":"basic","provider":"none","status":"error","duration_us":999,"confidence_ppm":850000,"agreements":[{"a":"Gemini","b":"Claude","score_ppm":960000}],"audit":{"request_id":"x"},"later":null}}"#;
        let line = line(analysis);
        assert!(
            line.ends_with(
                "duration=999µs confidence=0.85 agreements=[{a=Gemini b=Claude score=0.96}] later=-"
            ),
            "{line}"
        );
    }

    #[test]
    fn what_others_wrote_can_neither_act_nor_pass_for_more() {
        let hostile = "{\"error\":{\"t\":1,\"error_type\":\"a\u{9b}2J\\u001b[2J b=\\\"c\\\"\",\"severity\":\"error\",\"service\":\"redis\",\"x\u{202e}y\":1}}";
        let line = line(hostile);
        assert!(line.contains(r#"error_type="a\u{9b}2J\u{1b}[2J b=\"c\"" severity=error"#), "{line}");
        assert!(line.ends_with(r"x\u{202e}y=1"), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }

    #[test]
    fn a_line_has_an_end() {
        let json = format!(
            "{{\"config_changed\":{{\"t\":1,\"component\":\"app\",\"a\":\"{}\",\"b\":1}}}}",
            "x".repeat(100_000)
        );
        assert!(line(&json).ends_with("component=app …"), "{}", line(&json));
    }

    #[test]
    fn colours_are_there_only_where_they_are_wanted() {
        let json = r#"{"redis_operation":{"t":1,"operation":"get","status":"timeout"}}"#;
        assert!(!line_with(json, When::Never).contains('\x1b'));
        let coloured = line_with(json, When::Always);
        assert!(coloured.contains("\x1b[1m\x1b[31mtimeout\x1b[0m"), "{coloured:?}");
    }
}
