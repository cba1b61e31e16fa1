//! Writes an event as its line of JSON, byte for byte as serde would.
//!
//! In goes an event, out comes its line, without the newline, behind what the buffer holds already. Serialising is nearly all
//! that stating a fact costs, and it happens between the other work of a request: what counts is to have little code, for it
//! must come into the cache each time, and few steps. So a key and the marks around it are one piece of text that the compiler
//! puts together, a closed label is one piece with its quotes, and open text is looked at once for what JSON escapes. Types
//! that are stated rarely are left to serde. What must hold is that nobody can tell the difference
//! (`tests/robustness.rs` holds it to that).

use std::borrow::Cow;

use crate::audit::{AuditCall, AuditNote};
use crate::event::{
    Agreement, Analysis, Anomaly, AuthAttempt, CacheLookup, CircuitBreaker, ErrorEvent, Event, EventLoopLag,
    GcPause, HttpRequest, InputSanitization, LlmRequest, MysqlQuery, RateLimitHit, RedisOperationEvent,
};
use crate::labels::ClosedLabel;

/// Appends `event` to `line`.
///
/// # Errors
/// None that is known: those that serde reserves for itself.
pub fn encode(event: &Event<'_>, line: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    macro_rules! tagged {
        ($tag:literal, $event:expr) => {{
            line.extend_from_slice(concat!("{\"", $tag, "\":").as_bytes());
            $event.write(line);
            line.push(b'}');
        }};
    }
    match event {
        Event::Analysis(event) => tagged!("analysis", event),
        Event::LlmRequest(event) => tagged!("llm_request", event),
        Event::HttpRequest(event) => tagged!("http_request", event),
        Event::RedisOperation(event) => tagged!("redis_operation", event),
        Event::MysqlQuery(event) => tagged!("mysql_query", event),
        Event::CacheLookup(event) => tagged!("cache_lookup", event),
        Event::Error(event) => tagged!("error", event),
        Event::CircuitBreaker(event) => tagged!("circuit_breaker", event),
        Event::AuthAttempt(event) => tagged!("auth_attempt", event),
        Event::RateLimitHit(event) => tagged!("rate_limit_hit", event),
        Event::InputSanitization(event) => tagged!("input_sanitization", event),
        Event::Anomaly(event) => tagged!("anomaly", event),
        Event::EventLoopLag(event) => tagged!("event_loop_lag", event),
        Event::GcPause(event) => tagged!("gc_pause", event),
        Event::RuntimeSample(_)
        | Event::ConfigChanged(_)
        | Event::ProvidersConfigured(_)
        | Event::BudgetLimits(_) => serde_json::to_writer(line, event)?,
    }
    Ok(())
}

/// What can be written as JSON.
trait Json {
    fn write(&self, line: &mut Vec<u8>);

    /// Whether a field with this in it is left out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Writes each struct as an object, in the order of the struct, which serde follows; one that is followed by a condition only
/// where that holds. The compiler sees to it that no field is forgotten.
macro_rules! objects {
    ($($type:ty { $first:ident $(, $field:ident $(as $key:literal)? $(if $present:expr)?)* })+) => {$(
        impl Json for $type {
            fn write(&self, line: &mut Vec<u8>) {
                let Self { $first, $($field,)* } = self;
                line.extend_from_slice(concat!("{\"", stringify!($first), "\":").as_bytes());
                $first.write(line);
                $(if !$field.is_absent() $(&& $present)? {
                    line.extend_from_slice(concat!(",\"", objects!(@key $field $($key)?), "\":").as_bytes());
                    $field.write(line);
                })*
                line.push(b'}');
            }
        }
    )+};
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

objects! {
    Analysis {
        t, task_type, provider, status, duration_us, cached if *cached, confidence_ppm, consensus_ppm, agreements, audit
    }
    Agreement { a, b, score_ppm }
    AuditNote { request_id, caller, user, session_id, mode, prompt_bytes, prompt_hash, cost_nanousd, calls }
    AuditCall { provider, model, status, duration_us, input_tokens, output_tokens, cost_nanousd, error }
    LlmRequest<'_> {
        t, provider, model, task_type, status, duration_us, input_tokens, output_tokens, cost_nanousd
    }
    HttpRequest<'_> {
        t, method, route, route_kind, status_code, duration_us, request_bytes, response_bytes
    }
    RedisOperationEvent { t, operation, status }
    MysqlQuery { t, query_type, status }
    CacheLookup { t, cache_type, hit }
    ErrorEvent<'_> { t, error_type, severity, service }
    CircuitBreaker<'_> { t, app_instance, service, state }
    AuthAttempt { t, status, method, reason }
    RateLimitHit<'_> { t, endpoint, client_ip }
    InputSanitization { t, kind as "type", blocked }
    Anomaly { t, kind as "type" }
    EventLoopLag<'_> { t, app_instance, lag_us }
    GcPause<'_> { t, app_instance, duration_us }
}

impl Json for u64 {
    fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
    }
}

impl Json for u32 {
    fn write(&self, line: &mut Vec<u8>) {
        u64::from(*self).write(line);
    }
}

impl Json for u16 {
    fn write(&self, line: &mut Vec<u8>) {
        u64::from(*self).write(line);
    }
}

impl Json for bool {
    fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl<L: ClosedLabel> Json for L {
    fn write(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(self.as_json().as_bytes());
    }
}

/// Open text: most has nothing in it that JSON escapes.
fn write_text(text: &str, line: &mut Vec<u8>) {
    if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        // Writing text into memory cannot fail.
        let _ = serde_json::to_writer(line, text);
        return;
    }
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

impl Json for Cow<'_, str> {
    fn write(&self, line: &mut Vec<u8>) {
        write_text(self, line);
    }
}

impl Json for String {
    fn write(&self, line: &mut Vec<u8>) {
        write_text(self, line);
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, line: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(line),
            None => line.extend_from_slice(b"null"),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl Json for Box<AuditNote> {
    fn write(&self, line: &mut Vec<u8>) {
        AuditNote::write(self, line);
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, line: &mut Vec<u8>) {
        line.push(b'[');
        for (at, value) in self.iter().enumerate() {
            if at > 0 {
                line.push(b',');
            }
            value.write(line);
        }
        line.push(b']');
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}
