//! How a batch of events stands in a Redis stream (wire version 1), and which keys stand around that stream.
//!
//! A stream entry is one batch with the fields `v` (version), `p` (producer), `s` (sequence number of its first
//! event), `n` (number of events), `h` (oldest sequence number that the producer can still resend), `x` (events
//! dropped so far by this producer) and `d` (the events, one JSON object per line). A line `null` is an event whose
//! record went bad in the producer's journal: lost, and counted as lost.
//!
//! An entry without `p` and `s` comes from a producer that keeps no journal; it is taken at least once.
//!
//! For those who write a producer in another language, `docs/wire.md` tells all of it.

use std::borrow::Cow;

use crate::decode;
use crate::event::Event;

/// The only version of the wire format so far.
pub const VERSION: &str = "1";
/// Default key of the stream of events.
pub const DEFAULT_STREAM: &str = "techsapo:events";
/// Longest producer id, in bytes.
pub const MAX_PRODUCER_BYTES: usize = 64;
/// Most events of one batch.
pub const MAX_BATCH_EVENTS: u64 = 65_536;
/// Largest `d` of one batch, in bytes: what a producer may put into one entry.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
/// The line that stands for an event whose record went bad.
pub const LOST_LINE: &[u8] = b"null";

/// Fields of a stream entry.
pub mod field {
    /// Wire version.
    pub const VERSION: &str = "v";
    /// Producer id.
    pub const PRODUCER: &str = "p";
    /// Sequence number of the first event.
    pub const FIRST_SEQ: &str = "s";
    /// Number of events.
    pub const COUNT: &str = "n";
    /// Oldest sequence number that can still be resent.
    pub const OLDEST_SEQ: &str = "h";
    /// Events dropped so far.
    pub const DROPPED: &str = "x";
    /// The events.
    pub const DATA: &str = "d";
}

/// The keys that belong to one stream. All of them hash to the stream's own slot when its key bears a hash tag, as
/// `techsapo:events:{0}` does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamKeys {
    /// The stream of batches.
    pub stream: String,
    /// Hash: producer id → last sequence number that is durable at the exporter.
    pub acks: String,
    /// Hash: stream key → id of the last entry that is durable at the exporter.
    pub cursors: String,
    /// String: id of the state that may acknowledge and trim; lapses after 30 s.
    pub owner: String,
    /// Stream: what could not be decoded, for a person to look at.
    pub quarantine: String,
}

impl StreamKeys {
    /// The keys around `stream`. Beside `techsapo:events` and its shards they bear the documented names
    /// (`techsapo:acks`, `techsapo:acks:{0}`); beside a stream of another name, that name comes first.
    pub fn of(stream: &str) -> Self {
        let beside = |word: &str| match stream.strip_prefix(DEFAULT_STREAM) {
            Some(shard) => format!("techsapo:{word}{shard}"),
            None => format!("{stream}:{word}"),
        };
        Self {
            stream: stream.to_owned(),
            acks: beside("acks"),
            cursors: beside("cursors"),
            owner: beside("owner"),
            quarantine: beside("quarantine"),
        }
    }
}

/// Id of a stream entry: Redis' clock in milliseconds, then a number within that millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// Milliseconds since the Unix epoch, by Redis' clock.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };

    /// The id written as `<ms>-<seq>`, or nothing if `text` is not one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', text)?;
        Some(Self { ms: parse_u64(&text[..dash])?, seq: parse_u64(&text[dash + 1..])? })
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Where a batch comes from and which of its producer's events it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Producer id: one run of one process.
    pub producer: &'a str,
    /// Sequence number of the first event; a producer's first event is 1.
    pub first_seq: u64,
    /// Oldest sequence number that the producer can still resend; at most `first_seq`.
    pub oldest_seq: u64,
    /// Events that the producer dropped so far because its journal was full.
    pub dropped: u64,
}

/// A batch as it stands in one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Absent from a producer without a journal.
    pub origin: Option<Origin<'a>>,
    /// Number of events (lines) in `data`.
    pub count: u64,
    /// The events: JSON, one per line, the last line with or without its newline.
    pub data: &'a [u8],
}

/// Why an entry is no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// `v` is missing or names a version that this build does not read.
    #[error("field v is not a wire version that is read here (known: 1)")]
    Version,
    /// A field that must stand is missing.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// A field is not the number (or the id) that it should be.
    #[error("field {0} cannot be read")]
    Malformed(&'static str),
    /// The numbers contradict each other.
    #[error("the header's numbers make no sense: {0}")]
    Nonsense(&'static str),
}

impl<'a> Batch<'a> {
    /// Reads a batch from an entry's fields. Unknown fields are ignored.
    ///
    /// # Errors
    /// Says which field is missing, unreadable or contradicts another.
    pub fn decode(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, HeaderError> {
        let (mut version, mut producer, mut first, mut count) = (None, None, None, None);
        let (mut oldest, mut dropped, mut data) = (None, None, None);
        for (name, value) in fields {
            match name {
                b"v" => version = Some(value),
                b"p" => producer = Some(value),
                b"s" => first = Some(value),
                b"n" => count = Some(value),
                b"h" => oldest = Some(value),
                b"x" => dropped = Some(value),
                b"d" => data = Some(value),
                _ => {}
            }
        }
        if version != Some(VERSION.as_bytes()) {
            return Err(HeaderError::Version);
        }
        let data = data.ok_or(HeaderError::Missing(field::DATA))?;
        let lines = line_count(data);
        let count = match count {
            Some(text) => parse_u64(text).ok_or(HeaderError::Malformed(field::COUNT))?,
            // A producer without a journal need not count for us.
            None if producer.is_none() && first.is_none() => lines,
            None => return Err(HeaderError::Missing(field::COUNT)),
        };
        if count == 0 || count > MAX_BATCH_EVENTS {
            return Err(HeaderError::Nonsense("n is not between 1 and 65536"));
        }
        if lines != count {
            return Err(HeaderError::Nonsense("n is not the number of lines in d"));
        }
        let origin = match (producer, first) {
            (None, None) => None,
            (None, Some(_)) => return Err(HeaderError::Missing(field::PRODUCER)),
            (Some(_), None) => return Err(HeaderError::Missing(field::FIRST_SEQ)),
            (Some(producer), Some(first)) => {
                let first_seq = parse_u64(first).ok_or(HeaderError::Malformed(field::FIRST_SEQ))?;
                let oldest_seq = parse_u64(oldest.ok_or(HeaderError::Missing(field::OLDEST_SEQ))?)
                    .ok_or(HeaderError::Malformed(field::OLDEST_SEQ))?;
                let dropped = match dropped {
                    Some(text) => parse_u64(text).ok_or(HeaderError::Malformed(field::DROPPED))?,
                    None => 0,
                };
                if first_seq == 0 || oldest_seq == 0 {
                    return Err(HeaderError::Nonsense("sequence numbers begin at 1"));
                }
                if oldest_seq > first_seq {
                    return Err(HeaderError::Nonsense("h is greater than s"));
                }
                if first_seq.checked_add(count).is_none() {
                    return Err(HeaderError::Nonsense("s is too great"));
                }
                Some(Origin { producer: producer_id(producer)?, first_seq, oldest_seq, dropped })
            }
        };
        Ok(Self { origin, count, data })
    }

    /// The batch's fields, ready for `XADD`. The events are not copied.
    pub fn encode(&self) -> Vec<(&'static str, Cow<'a, [u8]>)> {
        let number = |value: u64| Cow::Owned(value.to_string().into_bytes());
        let mut fields = vec![(field::VERSION, Cow::Borrowed(VERSION.as_bytes()))];
        if let Some(origin) = self.origin {
            fields.push((field::PRODUCER, Cow::Borrowed(origin.producer.as_bytes())));
            fields.push((field::FIRST_SEQ, number(origin.first_seq)));
            fields.push((field::OLDEST_SEQ, number(origin.oldest_seq)));
            fields.push((field::DROPPED, number(origin.dropped)));
        }
        fields.push((field::COUNT, number(self.count)));
        fields.push((field::DATA, Cow::Borrowed(self.data)));
        fields
    }

    /// The batch's events as they stand, one line each, without the newline.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.data.strip_suffix(b"\n").unwrap_or(self.data);
        let mut done = false;
        std::iter::from_fn(move || {
            if done {
                return None;
            }
            match memchr::memchr(b'\n', rest) {
                Some(end) => {
                    let line = &rest[..end];
                    rest = &rest[end + 1..];
                    Some(line)
                }
                None => {
                    done = true;
                    Some(rest)
                }
            }
        })
    }
}

/// What a line of a batch holds.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // It lives for one line; a box would be an allocation per event.
pub enum Line<'a> {
    /// A fact within the contract's bounds.
    Event(Event<'a>),
    /// An event whose record went bad at the producer: it is lost.
    Lost,
}

/// Why a line is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or not UTF-8.
    #[error("not JSON")]
    Syntax,
    /// A type that this build does not know.
    #[error("unknown event type")]
    UnknownType,
    /// A known type whose fields are missing, of a wrong kind, or no known label value.
    #[error("a field is missing, of a wrong kind, or no known label value")]
    Schema,
    /// A number or string beyond the contract's bounds.
    #[error("{0} is outside its bounds")]
    OutOfBounds(&'static str),
}

/// Reads one line of a batch.
///
/// # Errors
/// Says why the line is no event. Whatever the bytes are, this returns.
pub fn decode_line(line: &[u8]) -> Result<Line<'_>, LineError> {
    // The whole line at once: cheaper than each of its strings by itself.
    let line = simdutf8::basic::from_utf8(line).map_err(|_| LineError::Syntax)?;
    let event = match decode::plain(line) {
        Some(event) => event,
        None => match decode_with_serde(line)? {
            Line::Event(event) => event,
            Line::Lost => return Ok(Line::Lost),
        },
    };
    match event.check() {
        Ok(()) => Ok(Line::Event(event)),
        Err(bound) => Err(LineError::OutOfBounds(bound.field)),
    }
}

/// Reads a line in whatever form JSON allows.
fn decode_with_serde(line: &str) -> Result<Line<'_>, LineError> {
    match serde_json::from_str::<Event<'_>>(line) {
        Ok(event) => Ok(Line::Event(event)),
        Err(_) if line.as_bytes() == LOST_LINE => Ok(Line::Lost),
        Err(_) => Err(why_not_an_event(line)),
    }
}

/// The careful look at a line that did not decode. Rare, so it reads the line a second time: serde stops at the first
/// thing that is wrong and may not have seen the rest.
#[cold]
fn why_not_an_event(line: &str) -> LineError {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(serde_json::Value::Object(map))
            if map.len() == 1 && !map.keys().any(|tag| Event::TYPES.contains(&tag.as_str())) =>
        {
            LineError::UnknownType
        }
        Ok(_) => LineError::Schema,
        Err(_) => LineError::Syntax,
    }
}

fn producer_id(text: &[u8]) -> Result<&str, HeaderError> {
    let id = std::str::from_utf8(text).map_err(|_| HeaderError::Malformed(field::PRODUCER))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if id.is_empty() || id.len() > MAX_PRODUCER_BYTES || !id.chars().all(plain) {
        return Err(HeaderError::Malformed(field::PRODUCER));
    }
    Ok(id)
}

fn line_count(data: &[u8]) -> u64 {
    if data.is_empty() {
        return 0;
    }
    let newlines = memchr::memchr_iter(b'\n', data).count() as u64;
    if data.ends_with(b"\n") { newlines } else { newlines + 1 }
}

/// A decimal number of at most 20 digits, without sign or space.
fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then_some(())?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}
