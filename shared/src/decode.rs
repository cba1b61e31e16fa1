//! Reads a line in the plain form that producers write, without the detours a general JSON reader must take.
//!
//! In comes one line; out comes the event, or nothing if the line is not plain: it has spaces, escapes, unknown or
//! repeated fields, numbers other than whole ones of up to 19 digits, a type that is stated rarely, or is no event at
//! all. Nothing is an error here: what is not plain is read by serde, which alone decides what it is. What must hold
//! is that a plain line gives the event that serde would give (`tests/robustness.rs` holds it to that).

use std::borrow::Cow;

use crate::event::{
    Agreement, Analysis, Anomaly, AuthAttempt, CacheLookup, CircuitBreaker, ErrorEvent, Event, EventLoopLag,
    GcPause, HttpRequest, InputSanitization, LlmRequest, MysqlQuery, RateLimitHit, RedisOperationEvent,
};
use crate::labels::ClosedLabel;

/// Most digits that always fit into 64 bits.
const MAX_DIGITS: usize = 19;
/// Powers of ten.
const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// A one in each byte of a word.
const ONES: u64 = u64::MAX / 255;
/// The high bit of each byte of a word.
const HIGH: u64 = ONES * 0x80;

/// The event that a line holds, if it is written in the plain form.
#[inline]
pub(crate) fn plain(line: &str) -> Option<Event<'_>> {
    let mut cursor = Cursor { line, rest: line.as_bytes() };
    cursor.expect(b'{')?;
    let tag = cursor.word()?;
    cursor.expect(b':')?;
    let event = match tag {
        b"llm_request" => Event::LlmRequest(Plain::read(&mut cursor)?),
        b"http_request" => Event::HttpRequest(Plain::read(&mut cursor)?),
        b"analysis" => Event::Analysis(Plain::read(&mut cursor)?),
        b"redis_operation" => Event::RedisOperation(Plain::read(&mut cursor)?),
        b"mysql_query" => Event::MysqlQuery(Plain::read(&mut cursor)?),
        b"cache_lookup" => Event::CacheLookup(Plain::read(&mut cursor)?),
        b"error" => Event::Error(Plain::read(&mut cursor)?),
        b"circuit_breaker" => Event::CircuitBreaker(Plain::read(&mut cursor)?),
        b"auth_attempt" => Event::AuthAttempt(Plain::read(&mut cursor)?),
        b"rate_limit_hit" => Event::RateLimitHit(Plain::read(&mut cursor)?),
        b"input_sanitization" => Event::InputSanitization(Plain::read(&mut cursor)?),
        b"anomaly" => Event::Anomaly(Plain::read(&mut cursor)?),
        b"event_loop_lag" => Event::EventLoopLag(Plain::read(&mut cursor)?),
        b"gc_pause" => Event::GcPause(Plain::read(&mut cursor)?),
        _ => return None,
    };
    cursor.expect(b'}')?;
    cursor.rest.is_empty().then_some(event)
}

/// What can be read from the plain form.
trait Plain<'a>: Sized {
    /// The value that stands at the cursor, which moves behind it.
    fn read(cursor: &mut Cursor<'a>) -> Option<Self>;
}

/// Reads each struct from an object: those before the semicolon must stand, the others have a default; one behind
/// `but` is not read at all, as any unknown field. The compiler
/// sees to it that no field is forgotten. Fields may stand in any order; as long as they stand in this one, which is
/// that of the struct and hence of our own producers, no key is searched for.
macro_rules! objects {
    ($($type:ty, $name:ident {
        $($field:ident $(as $key:literal)?),+ $(; $($optional:ident),+)? $(; but $unread:ident)?
    })+) => {$(
        impl<'a> Plain<'a> for $type {
            fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
                $(let mut $field = None;)+
                $($(let mut $optional = None;)+)?
                cursor.expect(b'{')?;
                let mut ended = false;
                $(if !ended && cursor.skip(concat!("\"", objects!(@key $field $($key)?), "\":")) {
                    $field = Some(Plain::read(cursor)?);
                    ended = cursor.ends_with(b'}')?;
                })+
                $($(if !ended && cursor.skip(concat!("\"", stringify!($optional), "\":")) {
                    $optional = Some(Plain::read(cursor)?);
                    ended = cursor.ends_with(b'}')?;
                })+)?
                while !ended {
                    let key = cursor.word()?;
                    cursor.expect(b':')?;
                    $(if key == objects!(@key $field $($key)?).as_bytes() { put(&mut $field, cursor)?; } else)+
                    $($(if key == stringify!($optional).as_bytes() { put(&mut $optional, cursor)?; } else)+)?
                    { return None; }
                    ended = cursor.ends_with(b'}')?;
                }
                Some($name {
                    $($field: $field?,)+
                    $($($optional: $optional.unwrap_or_default(),)+)?
                    $($unread: None,)?
                })
            }
        }
    )+};
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

objects! {
    Analysis, Analysis {
        t, task_type, provider, status, duration_us; cached, confidence_ppm, consensus_ppm, agreements; but audit
    }
    Agreement, Agreement { a, b, score_ppm }
    LlmRequest<'a>, LlmRequest {
        t, provider, model, task_type, status, duration_us; input_tokens, output_tokens, cost_nanousd
    }
    HttpRequest<'a>, HttpRequest {
        t, method, route, route_kind, status_code, duration_us; request_bytes, response_bytes
    }
    RedisOperationEvent, RedisOperationEvent { t, operation, status }
    MysqlQuery, MysqlQuery { t, query_type, status }
    CacheLookup, CacheLookup { t, cache_type, hit }
    ErrorEvent<'a>, ErrorEvent { t, error_type, severity, service }
    CircuitBreaker<'a>, CircuitBreaker { t, app_instance, service, state }
    AuthAttempt, AuthAttempt { t, status, method; reason }
    RateLimitHit<'a>, RateLimitHit { t, endpoint, client_ip }
    InputSanitization, InputSanitization { t, kind as "type", blocked }
    Anomaly, Anomaly { t, kind as "type" }
    EventLoopLag<'a>, EventLoopLag { t, app_instance, lag_us }
    GcPause<'a>, GcPause { t, app_instance, duration_us }
}

/// Reads a field's value; a second one is not plain.
#[inline]
fn put<'a, T: Plain<'a>>(field: &mut Option<T>, cursor: &mut Cursor<'a>) -> Option<()> {
    if field.is_some() {
        return None;
    }
    *field = Some(T::read(cursor)?);
    Some(())
}

impl<'a> Plain<'a> for u64 {
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        cursor.number()
    }
}

impl<'a> Plain<'a> for u32 {
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        cursor.number()?.try_into().ok()
    }
}

impl<'a> Plain<'a> for u16 {
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        cursor.number()?.try_into().ok()
    }
}

impl<'a> Plain<'a> for bool {
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        if cursor.skip("true") { Some(true) } else { cursor.skip("false").then_some(false) }
    }
}

impl<'a> Plain<'a> for Cow<'a, str> {
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let end = |cursor: &Cursor<'_>| cursor.line.len() - cursor.rest.len();
        let begin = end(cursor);
        cursor.string()?;
        // Between the quotes. The whole line is known to be UTF-8: cheaper than to look at each of its strings by itself.
        cursor.line.get(begin + 1..end(cursor) - 1).map(Cow::Borrowed)
    }
}

impl<'a, L: ClosedLabel> Plain<'a> for L {
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        L::parse_bytes(cursor.word()?)
    }
}

impl<'a, T: Plain<'a>> Plain<'a> for Option<T> {
    #[inline]
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        T::read(cursor).map(Some)
    }
}

impl<'a, T: Plain<'a>> Plain<'a> for Vec<T> {
    fn read(cursor: &mut Cursor<'a>) -> Option<Self> {
        let mut items = Self::new();
        cursor.expect(b'[')?;
        loop {
            items.push(T::read(cursor)?);
            if cursor.ends_with(b']')? {
                return Some(items);
            }
        }
    }
}

/// What is left of a line. Each step says nothing where the line is not plain.
struct Cursor<'a> {
    line: &'a str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        (first == byte).then_some(())
    }

    /// Goes behind `word` if it stands here.
    #[inline]
    fn skip(&mut self, word: &'static str) -> bool {
        match self.rest.strip_prefix(word.as_bytes()) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Whether the list or object ends here, with `close`; it goes on behind a comma.
    #[inline]
    fn ends_with(&mut self, close: u8) -> Option<bool> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match first {
            b',' => Some(false),
            first if first == close => Some(true),
            _ => None,
        }
    }

    /// What stands in a string without escapes.
    #[inline]
    fn string(&mut self) -> Option<&'a [u8]> {
        self.quoted(plain_len)
    }

    /// What stands in a string up to its first quote, to be looked up among known words: none of them has an escape,
    /// so that none is taken for another.
    #[inline]
    fn word(&mut self) -> Option<&'a [u8]> {
        self.quoted(word_len)
    }

    #[inline]
    fn quoted(&mut self, length: impl Fn(&[u8]) -> Option<usize>) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let (string, rest) = self.rest.split_at_checked(length(self.rest)?)?;
        self.rest = rest;
        self.expect(b'"')?;
        Some(string)
    }

    /// A whole number without a sign. (A fraction or an exponent is what must not follow.)
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let first = *self.rest.first()?;
        let mut number = 0u64;
        let mut length = 0;
        // Eight digits at a time; what is left of the line ends with a few closing brackets at least.
        while let Some(word) = self.rest.first_chunk() {
            let (value, digits) = digits(u64::from_le_bytes(*word));
            length += digits;
            if length > MAX_DIGITS {
                return None;
            }
            number = number * TENS[digits] + value;
            self.rest = &self.rest[digits..];
            if digits < 8 {
                // JSON knows no leading zeros.
                return (length == 1 || (length > 0 && first != b'0')).then_some(number);
            }
        }
        self.short_number(first, number, length)
    }

    /// The rest of a number within the last bytes of a line.
    #[cold]
    fn short_number(&mut self, first: u8, mut number: u64, mut length: usize) -> Option<u64> {
        while let Some((digit @ b'0'..=b'9', rest)) = self.rest.split_first() {
            length += 1;
            if length > MAX_DIGITS {
                return None;
            }
            number = number * 10 + u64::from(digit - b'0');
            self.rest = rest;
        }
        (length == 1 || (length > 0 && first != b'0')).then_some(number)
    }
}

/// The value of the digits that a word of text begins with, and their number.
#[inline]
fn digits(word: u64) -> (u64, usize) {
    let word = word ^ (ONES * u64::from(b'0'));
    // The high bit of each byte that is no digit: more than 9, or beyond ASCII.
    let others = (((word & !HIGH) + ONES * (0x80 - 10)) | word) & HIGH;
    let count = others.trailing_zeros() as usize / 8;
    // Zeros before the digits: the first digit stands in the lowest byte.
    let word = if count == 0 { 0 } else { word << (64 - 8 * count) };
    // Neighbours are joined: 8 digits, 4 pairs, 2 fours.
    let pairs = (word * 10 + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    ((fours * 10_000 + (fours >> 32)) & 0xffff_ffff, count)
}

/// How many bytes stand before the first that ends a string or needs a closer look: a quote, a backslash, a control
/// character. Eight at a time, for half of a line is strings.
#[inline]
fn plain_len(bytes: &[u8]) -> Option<usize> {
    length_before(
        bytes,
        |word| equal(word, b'"') | equal(word, b'\\') | below(word, 0x20),
        |byte| byte == b'"' || byte == b'\\' || byte < 0x20,
    )
}

/// How many bytes stand before the first quote.
#[inline]
fn word_len(bytes: &[u8]) -> Option<usize> {
    length_before(bytes, |word| equal(word, b'"'), |byte| byte == b'"')
}

/// How many bytes stand before the first that `in_word` finds among eight, and `is_it` by itself.
#[inline]
fn length_before(bytes: &[u8], in_word: impl Fn(u64) -> u64, is_it: impl Fn(u8) -> bool) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let found = in_word(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(place * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&byte| is_it(byte)).map(|at| words.len() * 8 + at)
}

/// The high bit of the lowest byte of `word` that is below `limit` is set; bits above it may be wrong.
#[inline]
fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(ONES * limit) & !word & HIGH
}

/// The high bit of the lowest byte of `word` that is `byte` is set; bits above it may be wrong.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each type that is read here, as producers write it; two with their fields in another order.
    const PLAIN: &[&str] = &[
        r#"{"analysis":{"t":1,"task_type":"basic","provider":"ensemble","status":"success","duration_us":2}}"#,
        r#"{"analysis":{"agreements":[{"a":"Gemini","b":"Claude","score_ppm":7},{"score_ppm":8,"a":"Claude","b":"Gemini"}],"consensus_ppm":3,"confidence_ppm":4,"cached":true,"duration_us":2,"status":"error","provider":"none","task_type":"critical","t":1}}"#,
        r#"{"llm_request":{"t":1,"provider":"Simulated-OpenRouter","model":"m","task_type":"premium","status":"timeout","duration_us":9999999999999999999,"input_tokens":0,"output_tokens":20,"cost_nanousd":3}}"#,
        r#"{"llm_request":{"status":"rejected","t":1,"model":"größer 😀","provider":"Claude","duration_us":0,"task_type":"basic"}}"#,
        r#"{"http_request":{"t":1,"method":"OTHER","route":"/a","route_kind":"probe","status_code":65535,"duration_us":1}}"#,
        r#"{"redis_operation":{"t":1,"operation":"get","status":"success"}}"#,
        r#"{"mysql_query":{"t":1,"query_type":"insert","status":"timeout"}}"#,
        r#"{"cache_lookup":{"t":1,"cache_type":"redis","hit":false}}"#,
        r#"{"error":{"t":1,"error_type":"","severity":"error","service":"redis"}}"#,
        r#"{"circuit_breaker":{"t":1,"app_instance":"a","service":"Gemini","state":"closed"}}"#,
        r#"{"auth_attempt":{"t":1,"status":"success","method":"api_key"}}"#,
        r#"{"rate_limit_hit":{"t":1,"endpoint":"/","client_ip":"203.0.113.0/24"}}"#,
        r#"{"input_sanitization":{"t":1,"type":"html","blocked":true}}"#,
        r#"{"anomaly":{"t":1,"type":"traffic_spike"}}"#,
        r#"{"event_loop_lag":{"t":1,"app_instance":"a","lag_us":3}}"#,
        r#"{"gc_pause":{"t":1,"app_instance":"a","duration_us":3}}"#,
    ];

    #[test]
    fn plain_lines_are_read_without_serde() {
        for &line in PLAIN {
            let expected: Event<'_> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(plain(line), Some(expected));
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_serde() {
        for line in [
            r#"{"anomaly": {"t":1,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":1,"type":"traffic_spike"}} "#,
            r#"{"anomaly":{"t":1,"type":"traffic_spike","new":1}}"#,
            r#"{"anomaly":{"t":1,"t":1,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":01,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":-1,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":1.0,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":18446744073709551615,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":1,"type":"traffic\u005fspike"}}"#,
            r#"{"anomaly":{"t":1,"type":"traffic_spike"},"anomaly":{"t":1,"type":"traffic_spike"}}"#,
            r#"{"anomaly":{"t":1,"type":"traffic_spike",}}"#,
            r#"{"anomaly":{"t":1,"type":"unheard_of"}}"#,
            r#"{"gc_pause":{"t":1,"app_instance":"a","duration_us":3}"#,
            "null",
            "",
        ] {
            assert_eq!(plain(line), None, "{line}");
        }
    }

    #[test]
    fn a_string_ends_at_its_first_byte_that_is_not_plain() {
        for ends in [b'"', b'\\', 0, b'\n', 0x1f] {
            for before in 0..20 {
                let mut text = vec![0xff; before];
                text.extend([ends, b'"', 0, b'a', b'a', b'a', b'a', b'a', b'a']);
                assert_eq!(plain_len(&text), Some(before));
            }
        }
        assert_eq!(plain_len("no end, \u{7f} and é".as_bytes()), None);
    }
}
